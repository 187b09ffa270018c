"""Carries out a plan: which runs a drill makes, in which order, and which it makes again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .evidence import SHOWS_NOTHING, Enough, find_enough, weigh
from .history import find_checkpoint_kinds, read_history
from .lab import Lab, PlannedInterruption, open_lab
from .observe import Run, RunKind

if TYPE_CHECKING:
    from .plan import Moment, Plan

#: An undisturbed run of at most this time is repeated.
_SHORT_SECONDS = 30.0
#: How often a short run that shows nothing is repeated.
_MORE_TRIES = 2
#: SIGKILL comes in the middle of the run, or later, if fewer than half of the checkpoints are saved by then.
_KILL_SHARE, _LAST_KILL_SHARE = 0.5, 1.5

Progress = Callable[[str], None]


def carry_out(plan: Plan, report: Progress) -> tuple[Run, ...]:
    """Run the script as often as needed to judge it, the uninterrupted run first.

    Ends early if the uninterrupted run fails or saves no checkpoint: further runs would show nothing.
    """
    with open_lab(plan) as lab:
        first = _run_undisturbed(lab, plan, report)
        runs = [first]
        whole = first.training_seconds
        if not first.is_completed or not read_history(first.stretches[0], find_checkpoint_kinds(runs)).saves:
            return tuple(runs)
        lab.limit_seconds = min(plan.timeout_seconds, 4 * whole + 60)

        tries = Tries(first, whole)
        runs += [_interrupt(lab, plan, moment, tries, report) for moment in plan.interrupt_at]
        killed = _kill(lab, find_enough(first, find_checkpoint_kinds(runs)), tries, report)
        runs.append(killed)

        torn = lab.tear(killed, find_checkpoint_kinds(runs))
        if torn:
            report(f"started with the newest checkpoint cut in half ({torn})")
            runs.append(lab.run(RunKind.TORN, "with a torn checkpoint", torn=torn))
            report(_sum_up(runs[-1]))

        if plan.compare:
            runs = [first, *(lab.compare(first, run, plan.compare) for run in runs[1:])]
        elif any(run.was_interrupted and run.differs_from(first) for run in runs):
            report("the models differ: one more uninterrupted run, to see whether they always differ")
            runs.append(lab.run(RunKind.UNINTERRUPTED, "uninterrupted again"))
        return tuple(runs)


def _run_undisturbed(lab: Lab, plan: Plan, report: Progress) -> Run:
    """The run that the others are compared with.

    A first start is often slower, because the files of its packages are not in memory yet. This is a large
    part of a short run, so an interruption at a share of its time could come after the end of faster runs.
    """
    report(f"uninterrupted run of {plan.entry_point}")
    run = lab.run(RunKind.UNINTERRUPTED, "uninterrupted")
    report(_sum_up(run))
    if run.is_completed and run.training_seconds <= _SHORT_SECONDS:
        report("again, because a first start is often slower")
        run = lab.run(RunKind.UNINTERRUPTED, "uninterrupted, second start")
        report(_sum_up(run))
    return run


@dataclass(slots=True)
class Tries:
    """Repeats an interrupted run that shows nothing by chance.

    On a busy machine, runs differ in speed. An interruption at a share of a slow run can come after the end
    of a fast one, or before the first checkpoint of a run that starts slowly. Long runs are not repeated:
    there the difference does not matter, and a repetition takes long.
    """

    first: Run
    whole_seconds: float

    def make(self, run_once: Callable[[], Run], report: Progress) -> Run:
        """The first of up to three runs that shows something, or else the last one."""
        run = run_once()
        for _ in range(_MORE_TRIES):
            if self.first.training_seconds > _SHORT_SECONDS or not self._shows_nothing(run):
                break
            if not run.was_interrupted:
                self.whole_seconds = min(self.whole_seconds, run.training_seconds)
            report("  which shows nothing, as can happen on a busy machine: again")
            run = run_once()
        return run

    def _shows_nothing(self, run: Run) -> bool:
        return weigh(run, self.first, find_checkpoint_kinds([self.first, run])) in SHOWS_NOTHING


def _interrupt(lab: Lab, plan: Plan, moment: Moment, tries: Tries, report: Progress) -> Run:
    def run_once() -> Run:
        at, grace = moment.of(tries.whole_seconds), plan.grace_seconds(tries.whole_seconds)
        report(f"interrupted at {moment} ({at:.1f} s), SIGKILL {grace:.1f} s after SIGTERM")
        planned = PlannedInterruption(at_seconds=at, notice_seconds=grace)
        run = lab.run(RunKind.INTERRUPTED, f"interrupted at {moment}", planned=planned)
        report(_sum_up(run))
        return run

    return tries.make(run_once, report) if moment.share is not None else run_once()


def _kill(lab: Lab, enough: Enough, tries: Tries, report: Progress) -> Run:
    def run_once() -> Run:
        at = _KILL_SHARE * tries.whole_seconds
        report(f"killed by SIGKILL without a warning, at {at:.1f} s")
        latest = _LAST_KILL_SHARE * tries.whole_seconds
        planned = PlannedInterruption(at_seconds=at, after=enough, latest_seconds=latest)
        run = lab.run(RunKind.KILLED, "killed without a warning", planned=planned)
        report(_sum_up(run))
        return run

    return tries.make(run_once, report)


def _sum_up(run: Run) -> str:
    seconds = " + ".join(f"{stretch.seconds:.1f}" for stretch in run.stretches)
    return f"  {run.status} after {seconds} s of training"
