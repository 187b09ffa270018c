"""The way back to spot with all its costs, compared with the exact optimum, and its constants cross-fitted.

    python benchmarks/policies way-back --traces DIR [--windows 30] [--no-fit] [--out FILE]

The same series, windows and 16 pairs of deadline and overhead as in `python benchmarks/policies`, simulated
from event to event (`spot_training.advise.hand_overs`). The optimum is that of the tick by tick model, which
bills whole ticks and knows the future; it pays for no hand-over. The fit chooses the rule's constants on half
of the series and reports the other half, for each of the ways to halve them. The exit status is 1 if a
deadline was missed, `deadline` with a way back costs more than 1.073 optima (in the cross-fit, or with its
own constants), or a way back with p = 0.3 costs more than none.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spot_training.advise.capacity import Interval, Market, intervals_of
from spot_training.advise.hand_overs import Hazards, walk_events, way_back_for
from spot_training.advise.moves import BackToSpot

from .batch import optimum_many
from .compare import DEADLINE_HOURS, HOUR, OVERHEAD_HOURS, WINDOW_HOURS, Pair, read_traces, workload_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spot_training.advise.simulator import Walk
    from spot_training.advise.traces import Trace

#: What is asked for: mean cost / optimum with a checkpoint every five minutes, and p = 0.
AT_MOST = 1.073
GONE = "way back, p = 0.3"
NEVER, DEFAULT, LOST = "never", "way back", "way back, work is lost"
MINUTE = 60.0
#: The constants that the fit may choose: three numbers of `domain.way_back.WayBack`.
GRID = tuple(
    product((1 / 8, 1 / 7, 1 / 6, 1 / 5, 1 / 4), (0.5, 1.0, 1.5, 2.0), (1 / 24, 1 / 16, 1 / 12, 1 / 10))
)

Constants = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of the table: what a hand-over takes and what goes wrong."""

    label: str
    back: BackToSpot = BackToSpot.HAND_OVER
    hand_over: dict[str, float] = field(default_factory=dict)
    hazards: Hazards = field(default_factory=Hazards)
    constants: Constants | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """Mean cost / optimum by (pair, series), and sums over all runs."""

    ratios: dict[tuple[Pair, str], float]
    runs: int
    misses: int
    hand_overs: int
    failed: int

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.ratios.values())))

    def where(self, *, deadline: float | None = None, series: str | None = None) -> float:
        chosen = [
            ratio
            for ((due, _), name), ratio in self.ratios.items()
            if deadline in (None, due) and series in (None, name)
        ]
        return float(np.mean(chosen))


def settings() -> list[Setting]:
    def named(label: str, **values: Any) -> Setting:
        return Setting(label=f"way back, {label}", **values)

    return [
        Setting(label=NEVER, back=BackToSpot.NEVER),
        Setting(label=DEFAULT),
        *(
            named(f"c = {minutes} min", hand_over={"checkpoint_every_seconds": minutes * MINUTE})
            for minutes in (1, 10, 30)
        ),
        *(named(f"p = {chance:g}", hazards=Hazards(gone_chance=chance)) for chance in (0.1, 0.3, 0.5, 1)),
        *(
            named(f"STOP = {minutes} min", hand_over={"stop_seconds": minutes * MINUTE})
            for minutes in (0, 1, 6)
        ),
        named("a spot quota of one job", hand_over={"is_quota_shared": True}),
        Setting(label=f"{NEVER}, work is lost", back=BackToSpot.NEVER, hazards=Hazards(loses_work=True)),
        Setting(label=LOST, hazards=Hazards(loses_work=True)),
        Setting(label=f"{LOST}, p = 1", hazards=Hazards(loses_work=True, gone_chance=1.0)),
    ]


class Yardstick:
    """The windows of all series, and the optimum of each with each pair."""

    def __init__(self, traces: Sequence[Trace], count: int, pairs: Sequence[Pair]) -> None:
        self.pairs = tuple(pairs)
        self.windows = {trace.name: list(trace.windows(WINDOW_HOURS * HOUR, count)) for trace in traces}
        self._intervals = {
            name: [intervals_of(window) for window in windows] for name, windows in self.windows.items()
        }
        jobs = [(pair, name) for name in self.windows for pair in self.pairs]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._least = dict(zip(jobs, pool.map(self._optimum, jobs), strict=True))

    def _optimum(self, job: tuple[Pair, str]) -> Any:
        pair, name = job
        windows = self.windows[name]
        ticks = np.array([list(window.ticks) for window in windows])
        return optimum_many(workload_of(pair), ticks, windows[0].tick_seconds)

    def score(self, setting: Setting) -> Score:
        ratios, walks = {}, []
        for pair, name in self._least:
            seen = self._walk(setting, pair, self.windows[name], self._intervals[name])
            costs = np.array([walk.cost_on_demand_hours for walk in seen])
            ratios[pair, name] = float((costs / self._least[pair, name]).mean())
            walks += seen
        return Score(
            ratios=ratios,
            runs=len(walks),
            misses=sum(walk.missed for walk in walks),
            hand_overs=sum(walk.hand_overs for walk in walks),
            failed=sum(walk.failed_hand_overs for walk in walks),
        )

    def _walk(
        self,
        setting: Setting,
        pair: Pair,
        windows: Sequence[Trace],
        intervals: Sequence[Sequence[Interval]],
    ) -> list[Walk]:
        workload = workload_of(pair, setting.back)
        rule = way_back_for(workload, hazards=setting.hazards, hand_over=setting.hand_over)
        if setting.constants:
            waiting, less, on_demand = setting.constants
            rule = replace(
                rule, keep_while_waiting=waiting, hand_overs_less=less, keep_while_on_demand=on_demand
            )
        return [
            walk_events(
                workload,
                [Market(trace=window)],
                rule,
                replace(setting.hazards, seed=number),
                intervals=[when],
            )
            for number, (window, when) in enumerate(zip(windows, intervals, strict=True))
        ]


@dataclass(frozen=True, kw_only=True)
class CrossFit:
    """Constants chosen on half of the series, and what they cost on the other half."""

    fitted_on: tuple[str, ...]
    constants: Constants
    there: float
    elsewhere: float


def cross_fit(yardstick: Yardstick) -> list[CrossFit]:
    """Fit on each half of the series. Every series counts in as many reports as any other one."""
    names = list(yardstick.windows)
    costs = []
    for number, constants in enumerate(GRID, start=1):
        print(f"\rfit {number} of {len(GRID)}", end="\033[K", file=sys.stderr)
        score = yardstick.score(Setting(label="fit", constants=constants))
        costs.append([score.where(series=name) for name in names])
    print(file=sys.stderr)
    return halve(np.array(costs), names)


def halve(costs: NDArray[np.float64], names: Sequence[str]) -> list[CrossFit]:
    """The best constants of each half. `costs`: a row for each choice, a column for each series."""
    halves = []
    for half in combinations(range(len(names)), len(names) // 2):
        others = [place for place in range(len(names)) if place not in half]
        means = costs[:, half].mean(axis=1)
        best = int(means.argmin())
        halves.append(
            CrossFit(
                fitted_on=tuple(names[place] for place in half),
                constants=GRID[best],
                there=float(means[best]),
                elsewhere=float(costs[best, others].mean()),
            )
        )
    return halves


def tell(scores: dict[str, Score], halves: Sequence[CrossFit]) -> Iterator[str]:
    first = next(iter(scores.values()))
    series = sorted({name for _, name in first.ratios})
    yield f"{len(series)} series, {first.runs} runs for each row. Cost / optimum:"
    yield ""
    yield (
        "| | mean | misses | hand-overs a run | failed | "
        + " | ".join(f"due {hours:g} h" for hours in DEADLINE_HOURS)
        + " |"
    )
    yield "| --- |" + " ---: |" * (4 + len(DEADLINE_HOURS))
    for label, score in scores.items():
        cells = [label, f"**{score.mean:.4f}**", str(score.misses), f"{score.hand_overs / score.runs:.1f}"]
        cells += [f"{score.failed / score.runs:.1f}"]
        cells += [f"{score.where(deadline=hours):.3f}" for hours in DEADLINE_HOURS]
        yield "| " + " | ".join(cells) + " |"
    yield ""
    yield f"| series | {NEVER} | {DEFAULT} |"
    yield "| --- | ---: | ---: |"
    for name in series:
        cells = [f"{scores[label].where(series=name):.3f}" for label in (NEVER, DEFAULT)]
        yield "| " + " | ".join([name, *cells]) + " |"
    if halves:
        yield ""
        yield from _tell_fit(halves)


def _tell_fit(halves: Sequence[CrossFit]) -> Iterator[str]:
    chosen = sorted({half.constants for half in halves})
    ranges = (f"{min(values):.3f} to {max(values):.3f}" for values in zip(*chosen, strict=True))
    yield (
        f"Cross-fit over {len(halves)} halves, {len(GRID)} choices of constants: "
        f"**{_elsewhere(halves):.4f}** on the other half, {np.mean([half.there for half in halves]):.4f} on "
        f"the same one. Chosen: {', '.join(ranges)}."
    )


def _elsewhere(halves: Sequence[CrossFit]) -> float:
    return float(np.mean([half.elsewhere for half in halves]))


def find_faults(scores: dict[str, Score], halves: Sequence[CrossFit]) -> Iterator[str]:
    """What is wrong, and which targets are missed: a sentence each."""
    for label, score in scores.items():
        if score.misses:
            yield f"{label} missed {score.misses} deadlines"
    if scores[DEFAULT].mean > AT_MOST:
        yield f"{DEFAULT} cost {scores[DEFAULT].mean:.4f} optima, above {AT_MOST}"
    if halves and _elsewhere(halves) > AT_MOST:
        yield f"the cross-fit cost {_elsewhere(halves):.4f} optima, above {AT_MOST}"
    if scores[GONE].mean >= scores[NEVER].mean:
        yield f"{GONE} cost {scores[GONE].mean:.4f} optima, not below {NEVER}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks/policies way-back",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--traces", type=Path, required=True, help="a folder of capacity traces")
    parser.add_argument("--windows", type=int, default=30, help="windows of each series (30)")
    parser.add_argument("--no-fit", action="store_true", help="leave the cross-fit out")
    parser.add_argument("--out", type=Path, help="write the tables there as well")
    given = parser.parse_args(arguments)
    pairs = [(deadline, overhead) for deadline in DEADLINE_HOURS for overhead in OVERHEAD_HOURS]
    yardstick = Yardstick(read_traces(given.traces), given.windows, pairs)
    scores = {setting.label: yardstick.score(setting) for setting in settings()}
    halves = [] if given.no_fit or len(yardstick.windows) < 2 else cross_fit(yardstick)
    text = "\n".join(tell(scores, halves))
    print(text)
    if given.out:
        given.out.write_text(text + "\n")
    faults = list(find_faults(scores, halves))
    for fault in faults:
        print(fault, file=sys.stderr)
    return int(bool(faults))
