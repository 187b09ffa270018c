"""How spot markets behave: how long intervals of capacity and of none last, and how markets differ.

A market type scales the pooled hazards of both kinds of interval. How often each type is met is fitted by
expectation-maximisation over stretches of recorded series; online, a Bayes filter tells the types apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .kernels import AGE_HOURS

if TYPE_CHECKING:
    from spot_training.advise.moves import Intervals
    from spot_training.advise.traces import Trace

Floats = NDArray[np.float64]

#: What a market type multiplies the pooled hazards by.
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
#: Markets change: stretches of this length are taken for one type when the prior is fitted (hours).
STRETCH_HOURS = 12.0


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is known of any market before it is seen.

    `hazards[kind][age]`: the chance per hour that an interval ends, kind 0 without capacity, 1 with;
    `weights`: how often each type is met, row by row of (scale of intervals with capacity, scale of intervals
    without).
    """

    hazards: tuple[tuple[float, ...], tuple[float, ...]]
    weights: tuple[float, ...]

    @cached_property
    def hazard_table(self) -> Floats:
        return np.array(self.hazards, dtype=np.float64)

    @cached_property
    def type_weights(self) -> Floats:
        return np.array(self.weights, dtype=np.float64)

    def learn(self, history: Intervals, *, strength: float = 4.0) -> Prior:
        """The same prior after a market's past: it counts as `strength` more stretches."""
        tick = 300.0
        ticks = [has_spot for has_spot, seconds in history for _ in range(round(seconds / tick))]
        seen = _stretch_likelihoods([(tick / 3600, np.array(ticks, dtype=np.int64))], self.hazard_table)
        if not len(seen):
            return self
        shares = _responsibilities(seen, self.type_weights).sum(axis=0)
        weights = (strength * self.type_weights + shares) / (strength + len(seen))
        return Prior(hazards=self.hazards, weights=tuple(map(float, weights / weights.sum())))


def market_types() -> Floats:
    """Shape (types, 2): the scales of intervals without and with capacity."""
    return np.array([(down, up) for up in SCALES for down in SCALES])


def fit_prior(traces: Sequence[Trace]) -> Prior:
    """Hazards pooled over traces (each counts the same, however long), and the weights of the types."""
    hazards = _pool_hazards(traces)
    series = [(trace.tick_seconds / 3600, np.frombuffer(trace.ticks, np.uint8)) for trace in traces]
    likelihoods, counts = [], []
    for one in series:
        rows = _stretch_likelihoods([one], hazards)
        likelihoods.append(rows)
        counts.append(np.full(len(rows), 1.0 / max(1, len(rows))))
    weights = _expect_and_maximise(np.concatenate(likelihoods), np.concatenate(counts))
    return Prior(
        hazards=(tuple(map(float, hazards[0])), tuple(map(float, hazards[1]))),
        weights=tuple(map(float, weights)),
    )


def _pool_hazards(traces: Sequence[Trace]) -> Floats:
    edges = np.array([*AGE_HOURS, np.inf])
    ends, hours = np.zeros((2, len(AGE_HOURS))), np.zeros((2, len(AGE_HOURS)))
    for trace in traces:
        weight = 300 * 3600 / trace.seconds
        intervals = intervals_of(trace.ticks, trace.tick_seconds / 3600)
        # How the first interval began and how the last one ends, nobody saw.
        for number, (has_spot, length) in enumerate(intervals[1:], start=2):
            kind = int(has_spot)
            hours[kind] += weight * np.clip(length - edges[:-1], 0.0, edges[1:] - edges[:-1])
            if number < len(intervals):
                ends[kind, np.searchsorted(edges, length, side="right") - 1] += weight
    raw = np.maximum(ends / np.maximum(hours, 1e-9), 0.02)
    return np.asarray((ends + 1) / (hours + 1 / raw), dtype=np.float64)


def intervals_of(ticks: Iterable[object], tick_seconds: float) -> list[tuple[bool, float]]:
    """Runs of equal ticks as (has_spot, seconds), oldest first."""
    intervals: list[tuple[bool, float]] = []
    for tick in ticks:
        value = bool(tick)
        if intervals and intervals[-1][0] is value:
            intervals[-1] = (value, intervals[-1][1] + tick_seconds)
        else:
            intervals.append((value, tick_seconds))
    return intervals


def _stretch_likelihoods(series: Sequence[tuple[float, Any]], hazards: Floats) -> Floats:
    """Log-likelihood of each stretch under each type, shape (stretches, types)."""
    types = market_types()
    rows = []
    for tick_hours, ticks in series:
        length = max(1, int(STRETCH_HOURS / tick_hours))
        changes = np.flatnonzero(np.diff(ticks.astype(np.int64))) + 1
        starts = np.zeros(len(ticks), dtype=np.int64)
        starts[changes] = changes
        ages = (np.arange(len(ticks)) - np.maximum.accumulate(starts)) * tick_hours
        bucket = np.searchsorted(AGE_HOURS, ages, side="right") - 1
        base = hazards[ticks, bucket] * tick_hours
        ended = np.zeros(len(ticks), dtype=bool)
        ended[changes - 1] = True
        for start in range(0, len(ticks) - length + 1, length):
            part = slice(start, start + length)
            exponent = base[part, None] * types[:, ticks[part]].T
            ends = np.log(-np.expm1(-exponent))
            rows.append(np.where(ended[part, None], ends, -exponent).sum(axis=0))
    return np.array(rows).reshape(-1, len(types))


def _responsibilities(likelihoods: Floats, weights: Floats) -> Floats:
    joint = likelihoods + np.log(weights)
    shares = np.exp(joint - joint.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float64)


def _expect_and_maximise(likelihoods: Floats, counts: Floats, *, rounds: int = 100) -> Floats:
    types = likelihoods.shape[1]
    weights = np.full(types, 1 / types)
    for _ in range(rounds):
        shares = (_responsibilities(likelihoods, weights) * counts[:, None]).sum(axis=0) + 0.3 / types
        weights = shares / shares.sum()
    return weights
