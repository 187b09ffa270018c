"""Looks for a missed deadline in all modes: one or several markets, with and without a way back.

    python benchmarks/policies misses [--cases 100000] [--seed 1] [--traces DIR]

Adversarial cases (`adversary`): capacity ends at the worst moments, p is up to 1, checkpoints come up to a
thousand times more rarely than assumed, and each interruption loses the work since the last one. With traces,
also windows of recorded series. The exit status is 1 if a deadline was missed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from spot_training.advise.capacity import Market
from spot_training.advise.hand_overs import Hazards, walk_events, way_back_for
from spot_training.advise.moves import BackToSpot

from .adversary import Case, draw_case
from .any_of import MOST_MARKETS, WAYS, overlapping
from .compare import DEADLINE_HOURS, HOUR, OVERHEAD_HOURS, WINDOW_HOURS, read_traces, workload_of

if TYPE_CHECKING:
    from spot_training.advise.traces import Trace

#: Seconds between checkpoints, and chances that capacity is gone.
CHECKPOINTS, CHANCES = (300.0, 1800.0), (0.0, 0.3, 1.0)


def adversarial(cases: int, seed: int) -> Counter[str]:
    """How many cases there were, what happened in them, and how many deadlines were missed."""
    seen: Counter[str] = Counter()
    for number in range(cases):
        case = draw_case(Random(f"{seed}.{number}"))  # noqa: S311 - repeatable, not secret
        walk = case.walk()
        seen["cases"] += 1
        seen["missed"] += walk.missed
        seen["interruptions"] += walk.interruptions
        seen["hand-overs"] += walk.hand_overs
        seen["failed hand-overs"] += walk.failed_hand_overs
        seen["missed by a guard that forgets lost work"] += _without_lost_work(case).walk().missed
    return seen


def _without_lost_work(case: Case) -> Case:
    how = replace(case.way_back.hand_over, lost_seconds=0.0)
    return replace(case, way_back=replace(case.way_back, hand_over=how))


def recorded(traces: Sequence[Trace], count: int) -> Counter[str]:
    """The same for windows of recorded series."""
    seen: Counter[str] = Counter()
    for group in _groups(traces):
        windows = zip(*(trace.windows(WINDOW_HOURS * HOUR, count) for trace in group), strict=True)
        for at_once, pair, way in product(windows, product(DEADLINE_HOURS, OVERHEAD_HOURS), WAYS):
            workload, markets = workload_of(pair, way), [Market(trace=window) for window in at_once]
            for every, chance in product(CHECKPOINTS, CHANCES if _asks(way, markets) else (0.0,)):
                hazards = Hazards(loses_work=True, gone_chance=chance)
                rule = way_back_for(workload, hazards=hazards, hand_over={"checkpoint_every_seconds": every})
                walk = walk_events(workload, markets, rule, hazards)
                seen["runs"] += 1
                seen["missed"] += walk.missed
                seen["interruptions"] += walk.interruptions
                seen["hand-overs"] += walk.hand_overs
                seen["failed hand-overs"] += walk.failed_hand_overs
    return seen


def _groups(traces: Sequence[Trace]) -> Iterator[Sequence[Trace]]:
    """Each series alone, and the first two and three of each folder."""
    yield from ([trace] for trace in traces)
    for group in overlapping(traces).values():
        yield from (group[:markets] for markets in range(2, MOST_MARKETS + 1))


def _asks(way: BackToSpot, markets: Sequence[Market]) -> bool:
    return way is BackToSpot.HAND_OVER or len(markets) > 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks/policies misses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", type=int, default=100_000, help="adversarial cases (100,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the cases (1)")
    parser.add_argument("--traces", type=Path, help="a folder of capacity traces")
    parser.add_argument("--windows", type=int, default=30, help="windows of each series (30)")
    given = parser.parse_args(arguments)
    found = {"adversarial": adversarial(given.cases, given.seed)}
    if given.traces:
        found["recorded"] = recorded(read_traces(given.traces), given.windows)
    for label, seen in found.items():
        print(f"{label}: " + ", ".join(f"{what} {number:,}" for what, number in seen.items()))
    return int(any(seen["missed"] for seen in found.values()))
