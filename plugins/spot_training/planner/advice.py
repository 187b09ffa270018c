"""Which policy, how long to wait, what it will cost and when it will be done: every policy, walked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from spot_training.domain.errors import InvalidInput
from spot_training.domain.moves import (
    SIMPLE_POLICIES,
    BackToSpot,
    MovePolicy,
    Spells,
    View,
    Workload,
    seconds_until_on_demand,
)
from spot_training.domain.traces import Trace, make_trace

from .batch import walk_many
from .planning import Planner, learned_prior

#: Of policies that cost the same, the first is advised: the simpler, or the one people know.
PREFERRED = ("rule", "greedy", "planner", "uniform_progress", "widen", "on_demand")
#: Costs this close are the same (a share).
CLOSE = 0.001
RUNS = 60
_TICK = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one policy did over all runs with one deadline. Dollars are for one instance; times in seconds."""

    policy: str
    deadline_seconds: float
    runs: int
    mean_dollars: float
    high_dollars: float
    typical_finish_seconds: float
    high_finish_seconds: float
    mean_launches: float
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The policy to take, the longest wait it may need, what all of them cost, and the same by deadline."""

    policy: str
    max_wait_seconds: float
    on_demand_dollars: float
    outcomes: tuple[Outcome, ...]
    curve: tuple[Outcome, ...]

    @property
    def chosen(self) -> Outcome:
        return next(outcome for outcome in self.outcomes if outcome.policy == self.policy)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for an XCom."""
        return asdict(self)


def advise(workload: Workload, traces: Sequence[Trace], *, history: Spells = ()) -> Advice:
    """Walk every policy over stretches of `traces`, for this deadline and for others around it.

    `history`: spells of this market, for the planner's prior. Raises `InvalidInput` for a deadline that
    nobody can keep.
    """
    earliest = workload.work_seconds + workload.overhead_seconds
    if workload.deadline_seconds < earliest:
        way_out = f"give at least {earliest:.0f} s: the work and one launch take that long on demand."
        raise InvalidInput("deadline", f"{workload.deadline_seconds:.0f} s", way_out)
    outcomes = tuple(_walk_all(workload, traces, history))
    best = _choose(outcomes)
    deadlines = np.linspace(1.02 * earliest, max(2 * earliest, 1.25 * workload.deadline_seconds), 8)
    curve = [
        outcome
        for seconds in sorted({*map(float, deadlines), workload.deadline_seconds})
        for outcome in _walk_all(replace(workload, deadline_seconds=seconds), traces, history)
    ]
    return Advice(
        policy=best.policy,
        max_wait_seconds=_longest_wait(_policies(history)[best.policy], workload),
        on_demand_dollars=next(o.mean_dollars for o in outcomes if o.policy == "on_demand"),
        outcomes=outcomes,
        curve=tuple(curve),
    )


def traces_like(spells: Spells, *, seconds: float, count: int = RUNS, seed: int = 1) -> list[Trace]:
    """Traces drawn from the lengths of past spells, those with capacity and those without in turns."""
    lengths = {
        kind: [length for has_spot, length in spells if has_spot is kind and length > 0]
        for kind in (True, False)
    }
    if not lengths[True] and not lengths[False]:
        raise InvalidInput("history", list(spells), "give spells as [has_spot, seconds], at least one.")
    rng = np.random.default_rng(seed)
    return [_draw(lengths, seconds, rng, f"history {n + 1}") for n in range(count)]


def traces_of_scenario(
    up_seconds: float, down_seconds: float, *, seconds: float, count: int = RUNS, seed: int = 1
) -> list[Trace]:
    """Traces with memoryless spells of these mean lengths."""
    rng = np.random.default_rng(seed)
    lengths = {True: list(rng.exponential(up_seconds, 400)), False: list(rng.exponential(down_seconds, 400))}
    return [_draw(lengths, seconds, rng, f"scenario {n + 1}") for n in range(count)]


def _draw(lengths: dict[bool, list[float]], seconds: float, rng: Any, name: str) -> Trace:
    up, down = (float(np.sum(lengths[kind])) for kind in (True, False))
    has_spot = bool(rng.random() < up / (up + down))
    ticks: list[int] = []
    while len(ticks) * _TICK < seconds:
        kind = has_spot if lengths[has_spot] else not has_spot
        ticks += [int(kind)] * max(1, round(float(rng.choice(lengths[kind])) / _TICK))
        has_spot = not has_spot
    return make_trace(ticks[: int(np.ceil(seconds / _TICK))], _TICK, name=name)


def _policies(history: Spells) -> dict[str, MovePolicy]:
    planner = Planner()
    if history:
        planner = Planner(prior=learned_prior(planner.prior, tuple(history)))
    return {**{name: make() for name, make in SIMPLE_POLICIES.items()}, "planner": planner}


def _walk_all(workload: Workload, traces: Sequence[Trace], history: Spells) -> list[Outcome]:
    stretches = [_stretches(trace, workload.deadline_seconds, len(traces)) for trace in traces]
    by_tick: dict[float, list[Any]] = {}
    for trace, rows in zip(traces, stretches, strict=True):
        by_tick.setdefault(trace.tick_seconds, []).append(rows)
    return [_walk(policy, workload, by_tick) for policy in _policies(history).values()]


def _stretches(trace: Trace, seconds: float, traces: int) -> Any:
    """Evenly spread starts; a trace that ends too soon goes on from its beginning."""
    ticks = np.frombuffer(trace.ticks, np.uint8)
    length = int(np.ceil(seconds / trace.tick_seconds))
    count = min(len(ticks), max(1, RUNS // traces))
    starts = np.linspace(0, len(ticks), count, endpoint=False).astype(int)
    return np.array([np.take(ticks, np.arange(start, start + length), mode="wrap") for start in starts])


def _walk(policy: MovePolicy, workload: Workload, by_tick: dict[float, list[Any]]) -> Outcome:
    walked = [walk_many(policy, workload, np.concatenate(rows), tick) for tick, rows in by_tick.items()]
    dollars = np.concatenate([walks.cost_on_demand_hours for walks in walked]) * workload.on_demand_price
    finishes = np.concatenate([walks.finish_seconds for walks in walked])
    return Outcome(
        policy=policy.name,
        deadline_seconds=workload.deadline_seconds,
        runs=len(dollars),
        mean_dollars=float(dollars.mean()),
        high_dollars=float(np.quantile(dollars, 0.95)),
        typical_finish_seconds=float(np.median(finishes)),
        high_finish_seconds=float(np.quantile(finishes, 0.95)),
        mean_launches=float(np.concatenate([walks.launches for walks in walked]).mean()),
        missed=sum(walks.missed for walks in walked),
    )


def _choose(outcomes: Sequence[Outcome]) -> Outcome:
    kept = [outcome for outcome in outcomes if not outcome.missed] or list(outcomes)
    cheapest = min(outcome.mean_dollars for outcome in kept)
    close = [outcome for outcome in kept if outcome.mean_dollars <= cheapest * (1 + CLOSE)]
    return min(close, key=lambda outcome: PREFERRED.index(outcome.policy))


def _longest_wait(policy: MovePolicy, workload: Workload) -> float:
    """How long the first spot job may wait for capacity before on-demand has to start."""
    view = View.at_submission(workload, tick_seconds=60.0)
    return seconds_until_on_demand(policy.begin(workload), view).seconds or 0.0


__all__ = ["Advice", "BackToSpot", "Outcome", "advise", "traces_like", "traces_of_scenario"]
