"""Any of several markets, with and without a way back: the share of the on-demand price.

    python benchmarks/policies any-of --traces DIR [--windows 30] [--quota-of-one] [--out FILE]

The series of one folder overlap in time. Each window is taken from the same moment of all of them. Each
market is the preferred one in turn; "one" is that market alone. The overheads are those of `python
benchmarks/policies`; each of them and each order of markets counts the same. Prices and speeds are the same.
The share is the whole cost, with scouts and launches, divided by the work on demand without a launch. With
`--quota-of-one`, the training job is created only when the scout has stopped. The exit status is 1 if a
deadline was missed, or any of 2 costs more than 0.78 of one market for 12 hours of work due in 18.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from spot_training.advise.capacity import Market
from spot_training.advise.hand_overs import walk_events, way_back_for
from spot_training.advise.moves import BackToSpot, Workload
from spot_training.advise.traces import Trace

from .compare import HOUR, OVERHEAD_HOURS, read_traces

#: Hours of work, and of the deadline.
TRAININGS = ((4.0, 6.0), (12.0, 18.0), (48.0, 60.0))
ASKED_FOR, AT_MOST = (12.0, 18.0), 0.78
WAYS = (BackToSpot.NEVER, BackToSpot.HAND_OVER)
MOST_MARKETS = 3
EVERYWHERE = "all"

#: A folder, (work, deadline), how many markets, and the way back.
Case = tuple[str, tuple[float, float], int, BackToSpot]


@dataclass
class Shares:
    """Shares of the on-demand price by case, run by run, the share of scouts in the bill, and misses."""

    runs: dict[Case, list[float]]
    scouts: dict[Case, list[float]]
    misses: int = 0

    def cell(self, folder: str, training: tuple[float, float], markets: int, way: BackToSpot) -> str:
        """The mean share, or a dash where the folder has fewer series."""
        runs = self._of(self.runs, folder, (training, markets, way))
        return f"{np.mean(runs):.3f}" if runs else "-"

    def _of(
        self, what: dict[Case, list[float]], folder: str, rest: tuple[tuple[float, float], int, BackToSpot]
    ) -> list[float]:
        return [
            share
            for case, shares in what.items()
            if folder in (EVERYWHERE, case[0]) and case[1:] == rest
            for share in shares
        ]

    def scouts_share(self, markets: int, way: BackToSpot) -> float:
        rest = (ASKED_FOR, markets, way)
        return float(np.mean(self._of(self.scouts, EVERYWHERE, rest)))


def overlapping(traces: Sequence[Trace]) -> dict[str, list[Trace]]:
    """The series of each folder that has several, cut to the time that all of them cover."""
    folders: dict[str, list[Trace]] = {}
    for trace in traces:
        folders.setdefault(str(Path(trace.name).parent), []).append(trace)
    return {name: _cut(group) for name, group in folders.items() if len(group) > 1}


def _cut(group: Sequence[Trace]) -> list[Trace]:
    seconds = min(trace.seconds for trace in group)
    return [
        Trace(
            ticks=trace.ticks[: int(seconds // trace.tick_seconds)],
            tick_seconds=trace.tick_seconds,
            name=trace.name,
        )
        for trace in group
    ]


def run_all(groups: dict[str, list[Trace]], count: int, hand_over: dict[str, float]) -> Shares:
    shares = Shares(runs={}, scouts={})
    for folder, group in groups.items():
        for training in TRAININGS:
            windows = [list(trace.windows(training[1] * HOUR, count)) for trace in group]
            for markets in range(1, min(MOST_MARKETS, len(group)) + 1):
                for way in WAYS:
                    print(f"\r{folder}: {training}, {markets}, {way}", end="\033[K", file=sys.stderr)
                    _run(shares, (folder, training, markets, way), windows, hand_over)
    print(file=sys.stderr)
    return shares


def _run(shares: Shares, case: Case, windows: Sequence[Sequence[Trace]], hand_over: dict[str, float]) -> None:
    _, (work, due), markets, way = case
    runs, scouts = shares.runs.setdefault(case, []), shares.scouts.setdefault(case, [])
    for overhead in OVERHEAD_HOURS:
        workload = Workload(
            work_seconds=work * HOUR,
            deadline_seconds=due * HOUR,
            overhead_seconds=overhead * HOUR,
            back_to_spot=way,
        )
        rule = way_back_for(workload, hand_over=hand_over)
        for order in permutations(windows, markets):
            for at_once in zip(*order, strict=True):
                walk = walk_events(workload, [Market(trace=window) for window in at_once], rule)
                runs.append(walk.cost_on_demand_hours / work)
                scouts.append(walk.scout_seconds / 3600 * workload.spot_price / walk.cost_dollars)
                shares.misses += walk.missed


def tell(shares: Shares, folders: Sequence[str]) -> Iterator[str]:
    yield "Share of the on-demand price: one market / any of 2 / any of 3"
    yield ""
    yield "| | " + " | ".join(folders) + " |"
    yield "| --- |" + " ---: |" * len(folders)
    for training in TRAININGS:
        for way in WAYS:
            label = f"{training[0]:g} h due in {training[1]:g} h"
            label += ", with the way back" if way is BackToSpot.HAND_OVER else ""
            cells = [
                " / ".join(
                    shares.cell(folder, training, markets, way) for markets in range(1, MOST_MARKETS + 1)
                )
                for folder in folders
            ]
            yield "| " + " | ".join([label, *cells]) + " |"
    yield ""
    for folder in (*folders, EVERYWHERE):
        yield f"Any of 2 / one market, 12 h due in 18 h, {folder}: **{ratio(shares, folder):.3f}**"
    yield ""
    yield f"Scouts in the bill, 12 h due in 18 h, any of 2: {shares.scouts_share(2, BackToSpot.NEVER):.2%}"
    yield f"Missed deadlines: {shares.misses} of {sum(map(len, shares.runs.values()))}"


def ratio(shares: Shares, folder: str) -> float:
    """Any of 2, compared with the preferred one of them alone."""
    two = [share for case, runs in shares.runs.items() if _is(case, folder, 2) for share in runs]
    # Each market is the preferred one in as many pairs as any other market of its folder.
    one = [
        (float(np.mean(runs)), len(shares.runs[case[0], case[1], 2, case[3]]))
        for case, runs in shares.runs.items()
        if _is(case, folder, 1)
    ]
    return float(np.mean(two)) / (sum(mean * count for mean, count in one) / sum(count for _, count in one))


def _is(case: Case, folder: str, markets: int) -> bool:
    return folder in (EVERYWHERE, case[0]) and case[1:] == (ASKED_FOR, markets, BackToSpot.NEVER)


def find_faults(shares: Shares) -> Iterator[str]:
    """What is wrong, and which targets are missed: a sentence each."""
    if shares.misses:
        yield f"{shares.misses} deadlines were missed"
    if ratio(shares, EVERYWHERE) > AT_MOST:
        yield f"any of 2 cost {ratio(shares, EVERYWHERE):.3f} of one market, above {AT_MOST}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks/policies any-of",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--traces", type=Path, required=True, help="a folder with folders of traces")
    parser.add_argument("--windows", type=int, default=30, help="windows of each series (30)")
    parser.add_argument("--quota-of-one", action="store_true", help="the spot quota covers one job")
    parser.add_argument("--out", type=Path, help="write the tables there as well")
    given = parser.parse_args(arguments)
    groups = overlapping(read_traces(given.traces))
    if not groups:
        raise SystemExit(
            f"{given.traces} has no folder with several series: those of one folder overlap in time"
        )
    shares = run_all(groups, given.windows, {"is_quota_shared": given.quota_of_one})
    text = "\n".join(tell(shares, list(groups)))
    print(text)
    if given.out:
        given.out.write_text(text + "\n")
    faults = list(find_faults(shares))
    for fault in faults:
        print(fault, file=sys.stderr)
    return int(bool(faults))
