"""Every policy over recorded capacity, compared with the exact optimum: cost, misses, worst run, and speed.

    python benchmarks/policies --traces DIR [--windows 30] [--out FILE]

DIR holds capacity traces as JSON, `{"metadata": {"gap_seconds": 300}, "data": [1, 0, ...]}`, in folders or
not. Each is cut into evenly spread windows of 92.3 hours; in each, 48 hours of work are due after 52, 60, 70
and 92 hours, with 0.02, 0.05, 0.1 and 0.2 hours of overhead on every launch. Nobody sees spot capacity while
on-demand runs. The planner walks each series with the prior that comes with it, with one fitted on the other
series alone, and with one fitted on the other folders (whole collections) alone. The exit status is 1 when a
deadline was missed, a policy beat the optimum, `deadline` or the rule cost more than 1.045 optima on the
mean, or the planner fitted on the other series more than 1.035 (with all windows: two of each scatter above).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spot_training.advise.moves import BackToSpot, MovePolicy, UntilDeadline, View, Workload
from spot_training.advise.traces import Trace, parse_trace
from spot_training.policies import simulate

from .baselines import BASELINES, Greedy, Rule, UniformProgress
from .batch import Walks, optimum_many, walk_many
from .compiled import IS_COMPILED
from .market import fit_prior
from .planning import PLANNED_REDRAW_HOURS, Planner
from .tables import make_tables

ROOT = Path(__file__).resolve().parents[2]
HOUR = 3600.0
WORK_HOURS = 48.0
DEADLINE_HOURS = (52.0, 60.0, 70.0, 92.0)
OVERHEAD_HOURS = (0.02, 0.05, 0.1, 0.2)
WINDOW_HOURS = 92.3
CROSS_FIT = "planner, fitted on the other series"
WHOLE_FOLDERS = "planner, fitted on the other folders"
#: What is asked of them: mean cost / optimum.
AT_MOST = {"rule": 1.045, "deadline": 1.045, CROSS_FIT: 1.035}
BESIDE, STOP_FIRST, NEVER = BackToSpot.BESIDE, BackToSpot.STOP_FIRST, BackToSpot.NEVER

Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A row of the table: a policy (made for each series, by its name) and how it may go back to spot."""

    label: str
    policy_for: Callable[[str], MovePolicy]
    back_to_spot: BackToSpot = BESIDE


@dataclass
class Score:
    """Cost / optimum of every run, by (deadline, overhead) and by series."""

    ratios: dict[tuple[Pair, str], Any] = field(default_factory=dict)
    misses: int = 0

    def mean(self, *, pair: Pair | None = None, series: str | None = None) -> float:
        """Over the pairs and series asked for; each pair and each series counts the same."""
        chosen = [
            runs.mean()
            for (its_pair, its_series), runs in self.ratios.items()
            if pair in (None, its_pair) and series in (None, its_series)
        ]
        return float(np.mean(chosen))

    def mean_where(self, index: int, hours: float) -> float:
        pairs = {pair for pair, _ in self.ratios if pair[index] == hours}
        return float(np.mean([self.mean(pair=pair) for pair in sorted(pairs)]))

    @property
    def worst(self) -> float:
        return max(float(runs.max()) for runs in self.ratios.values())

    @property
    def best(self) -> float:
        return min(float(runs.min()) for runs in self.ratios.values())


def workload_of(pair: Pair, back: BackToSpot = BESIDE) -> Workload:
    deadline, overhead = pair
    return Workload(
        work_seconds=WORK_HOURS * HOUR,
        deadline_seconds=deadline * HOUR,
        overhead_seconds=overhead * HOUR,
        back_to_spot=back,
    )


def read_traces(folder: Path) -> list[Trace]:
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        raise SystemExit(f"{folder} holds no *.json: give --traces a folder of capacity traces")
    return [parse_trace(path.read_text(), source=str(path.relative_to(folder))) for path in paths]


def contestants(traces: list[Trace]) -> list[Contestant]:
    plain = [
        Contestant(label=name, policy_for=_always(BASELINES[name]()))
        for name in ("on_demand", "widen", "greedy", "uniform_progress")
    ]
    rows = [
        *plain,
        Contestant(
            label="uniform_progress, hysteresis=False",
            policy_for=_always(UniformProgress(hysteresis=False)),
        ),
        Contestant(label="rule", policy_for=_always(Rule())),
        Contestant(label="deadline", policy_for=_always(UntilDeadline())),
        Contestant(label="planner, built-in prior", policy_for=_always(Planner())),
    ]
    rows += [
        Contestant(label=label, policy_for=planners.__getitem__)
        for label, planners in (
            (CROSS_FIT, _fit_without(traces, lambda trace: trace.name)),
            (WHOLE_FOLDERS, _fit_without(traces, lambda trace: str(Path(trace.name).parent))),
        )
        if planners
    ]
    rows += [
        Contestant(label=f"{policy.name}, {back}", policy_for=_always(policy), back_to_spot=back)
        for policy in (Rule(), UntilDeadline())
        for back in (STOP_FIRST, NEVER)
    ]
    return rows


def _always(policy: MovePolicy) -> Callable[[str], MovePolicy]:
    return lambda _series: policy


def _fit_without(traces: list[Trace], part_of: Callable[[Trace], str]) -> dict[str, Planner]:
    """For each series a planner fitted on the other parts; nothing where there is one part only."""
    others = {part: [t for t in traces if part_of(t) != part] for part in {part_of(t) for t in traces}}
    if len(others) == 1:
        return {}
    planners = {part: Planner(prior=fit_prior(rest)) for part, rest in others.items()}
    return {trace.name: planners[part_of(trace)] for trace in traces}


def run_all(traces: list[Trace], count: int, pairs: list[Pair]) -> dict[str, Score]:
    rows = contestants(traces)
    scores = {row.label: Score() for row in rows}
    windows = {
        trace.name: np.array([list(window.ticks) for window in trace.windows(WINDOW_HOURS * HOUR, count)])
        for trace in traces
    }

    def walk_one(job: tuple[Trace, Pair]) -> tuple[Trace, Pair, Any, list[Walks]]:
        trace, pair = job
        ticks, tick = windows[trace.name], trace.tick_seconds
        least = optimum_many(workload_of(pair), ticks, tick)
        walks = [
            walk_many(row.policy_for(trace.name), workload_of(pair, row.back_to_spot), ticks, tick)
            for row in rows
        ]
        return trace, pair, least, walks

    jobs = [(trace, pair) for trace in traces for pair in pairs]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (trace, pair, least, walks) in enumerate(pool.map(walk_one, jobs), start=1):
            print(f"\r{number} of {len(jobs)}: {trace.name}", end="\033[K", file=sys.stderr)
            for row, walked in zip(rows, walks, strict=True):
                scores[row.label].ratios[pair, trace.name] = walked.cost_on_demand_hours / least
                scores[row.label].misses += walked.missed
    print(file=sys.stderr)
    return scores


def tell_costs(scores: dict[str, Score], traces: list[Trace], count: int) -> Iterator[str]:
    runs = sum(len(runs) for runs in next(iter(scores.values())).ratios.values())
    yield f"{len(traces)} series, up to {count} windows each: {runs} runs per policy. Cost / optimum:"
    yield ""
    ratios = next(iter(scores.values())).ratios
    deadlines, overheads = (sorted({pair[index] for pair, _ in ratios}) for index in (0, 1))
    parts = [f"d = {hours:g} h" for hours in overheads] + [f"due {hours:g} h" for hours in deadlines]
    yield "| policy | mean | misses | worst run | " + " | ".join(parts) + " |"
    yield "| --- |" + " ---: |" * (3 + len(parts))
    for label, score in scores.items():
        by_overhead = [f"{score.mean_where(1, hours):.3f}" for hours in overheads]
        by_deadline = [f"{score.mean_where(0, hours):.3f}" for hours in deadlines]
        cells = [label, f"**{score.mean():.4f}**", str(score.misses), f"{score.worst:.2f}"]
        yield "| " + " | ".join([*cells, *by_overhead, *by_deadline]) + " |"
    yield ""
    ours = [label for label in scores if label in ("rule", "deadline") or label.startswith("planner")]
    yield "| series | spot is there | " + " | ".join(ours) + " |"
    yield "| --- |" + " ---: |" * (len(ours) + 1)
    for trace in traces:
        cells = [f"{scores[label].mean(series=trace.name):.3f}" for label in ours]
        yield "| " + " | ".join([trace.name, f"{trace.availability:.0%}", *cells]) + " |"


def find_faults(scores: dict[str, Score]) -> Iterator[str]:
    """What is wrong, and which targets are missed: a sentence each."""
    for label, score in scores.items():
        if score.misses:
            yield f"{label} missed {score.misses} deadlines"
        if score.best < 1 - 1e-9:
            yield f"{label} was below the optimum: {score.best:.4f}"
    for label, limit in AT_MOST.items():
        if label in scores and scores[label].mean() > limit:
            yield f"{label} cost {scores[label].mean():.4f} optima on the mean, above {limit}"


def tell_speed(traces: list[Trace]) -> Iterator[str]:
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    how = "compiled" if IS_COMPILED else "NOT compiled (no numba)"
    yield f"{machine}, Python {platform.python_version()}, {how}:"
    yield ""
    yield "| what | measured |"
    yield "| --- | ---: |"
    for policy in (Greedy(), UniformProgress(), Rule(), UntilDeadline()):
        speed = _trace_hours_per_second(policy, traces)
        yield f"| {policy.name}, trace-hours a second, one core | {speed:,.0f} |"
    pair = (92.0, 0.2)
    workload = workload_of(pair)
    seconds, tables = _time(
        lambda: make_tables(workload, Planner().prior, redraw_per_hour=1 / PLANNED_REDRAW_HOURS)
    )
    yield f"| planner's tables for 92 h, seconds | {seconds:.2f} |"
    yield f"| planner's tables for 92 h, MB | {tables.megabytes:.0f} |"
    yield f"| a decision of the planner, microseconds | {_decision_microseconds(workload):.0f} |"
    yield f"| ... without numba | {_decision_without_numba(pair):.0f} |"
    trace = traces[0]
    window = next(trace.windows(WINDOW_HOURS * HOUR, 1))
    seconds, _ = _time(lambda: simulate("deadline", workload, window))
    yield f"| deadline by `simulate()`, plain Python, trace-hours a second | {WINDOW_HOURS / seconds:,.0f} |"


def _time(call: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    """The best of some rounds, on this thread's own CPU: other programs do not count."""
    best, result = float("inf"), None
    for _ in range(rounds):
        started = time.thread_time()
        result = call()
        best = min(best, time.thread_time() - started)
    return best, result


def _trace_hours_per_second(policy: MovePolicy, traces: list[Trace]) -> float:
    """Hours a walk went through until it was done, not those of the window it was given."""
    workload = workload_of((70.0, 0.1))
    hours = seconds = 0.0
    for trace in traces:
        ticks = np.array([list(window.ticks) for window in trace.windows(WINDOW_HOURS * HOUR, 30)], np.uint8)
        took, walks = _time(partial(walk_many, policy, workload, ticks, trace.tick_seconds))
        hours += float(walks.finish_seconds.sum()) / HOUR
        seconds += took
    return hours / seconds


def _decision_microseconds(workload: Workload) -> float:
    decider = Planner().begin(workload)
    view = View.at_submission(workload, tick_seconds=60.0)
    decider.decide(view)
    views = [replace(view, seconds_left=view.seconds_left - 60.0 * n) for n in range(1, 1000)]
    seconds, _ = _time(lambda: [decider.decide(later) for later in views], rounds=1)
    return seconds / len(views) * 1e6


def _decision_without_numba(pair: Pair) -> float:
    """The same in a process that has no numba."""
    code = (
        "import sys; sys.modules['numba'] = None; from benchmarks.policies import compare;"
        f"print(compare._decision_microseconds(compare.workload_of({pair})))"
    )
    return float(subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, required=True, help="a folder of capacity traces")
    parser.add_argument("--windows", type=int, default=30, help="windows of each series (30)")
    parser.add_argument("--deadlines", type=float, nargs="+", default=DEADLINE_HOURS, help="hours")
    parser.add_argument("--overheads", type=float, nargs="+", default=OVERHEAD_HOURS, help="hours")
    parser.add_argument("--out", type=Path, help="write the tables there as well")
    given = parser.parse_args()
    traces = read_traces(given.traces)
    pairs = [(deadline, overhead) for deadline in given.deadlines for overhead in given.overheads]
    scores = run_all(traces, given.windows, pairs)
    text = "\n".join([*tell_costs(scores, traces, given.windows), "", *tell_speed(traces)])
    print(text)
    if given.out:
        given.out.write_text(text + "\n")
    faults = list(find_faults(scores))
    for fault in faults:
        print(fault, file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
