"""Carries out a plan: which runs a drill makes, in which order, and which it makes again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from .evidence import RESUMED, SHOWS_NOTHING, Evidence, weigh
from .history import find_checkpoint_kinds, find_file_kinds, read_history
from .lab import Lab, open_lab
from .moments import (
    AfterCheckpoint,
    AfterLastCheckpoint,
    AtMoment,
    Attempt,
    Enough,
    Intended,
    Kill,
    PlannedInterruption,
    has_time_after_last_checkpoint,
)
from .observe import Run, RunKind

if TYPE_CHECKING:
    from .plan import Plan

#: A warm-up that takes longer is stopped once the script has saved something.
_WARM_UP_SECONDS = 30.0
#: How many runs are made for one interruption: an attempt that shows nothing is repeated at another moment.
_MOST_ATTEMPTS = 3

Progress = Callable[[str], None]


def carry_out(plan: Plan, report: Progress) -> tuple[Run, ...]:
    """Run the script as often as needed to judge it. The first run of the result is the undisturbed one.

    Ends early if an undisturbed run fails or saves no checkpoint: further runs would show nothing.
    """
    with open_lab(plan) as lab:
        return Drill(lab, plan, report).carry_out()


class Drill:
    """One drill in one lab."""

    def __init__(self, lab: Lab, plan: Plan, report: Progress) -> None:
        self._lab = lab
        self._plan = plan
        self._report = report
        self._runs: list[Run] = []

    def carry_out(self) -> tuple[Run, ...]:
        warm = self._warm_up()
        if warm and not _can_be_interrupted(warm):
            return (replace(warm, kind=RunKind.UNINTERRUPTED),)
        first = self._run_undisturbed("uninterrupted, second start" if warm else "uninterrupted")
        if not _can_be_interrupted(first):
            return (first,)
        self._lab.limit_seconds = min(self._plan.timeout_seconds, 4 * first.training_seconds + 60)
        self._reference = first
        self._runs = [first, *([replace(warm, label="uninterrupted, first start")] if warm else [])]
        self._interrupt_all()
        self._tear()
        return self._compare(first)

    @property
    def _kinds(self) -> frozenset[str]:
        return find_checkpoint_kinds(self._runs)

    # --- undisturbed ---

    def _warm_up(self) -> Run | None:
        """A first start is slower, because the files of its packages are not in memory yet. So its times do
        not count. A long one is stopped, and then it is None.
        """
        self._report(f"uninterrupted run of {self._plan.entry_point}, to warm up")
        saved = Enough(saves=1)
        stop = PlannedInterruption(at_seconds=_WARM_UP_SECONDS, after=saved)
        run = self._lab.run(RunKind.WARM_UP, "uninterrupted", stop=stop)
        self._report(_sum_up(run))
        return None if run.status == "Stopped" else run

    def _run_undisturbed(self, label: str) -> Run:
        self._report("uninterrupted run: its times count")
        run = self._lab.run(RunKind.UNINTERRUPTED, label)
        self._report(_sum_up(run))
        return run

    # --- interrupted ---

    def _interrupt_all(self) -> None:
        for moment in self._plan.interrupt_at:
            self._interrupt(AtMoment(moment=moment, plan_of_drill=self._plan))
        self._interrupt(Kill())
        if not self._runs[-1].was_interrupted:
            return
        warned = [run for run in self._runs if run.kind is RunKind.INTERRUPTED]
        if all(self._weigh(run) in SHOWS_NOTHING for run in warned):
            self._interrupt(AfterCheckpoint())
        if has_time_after_last_checkpoint(self._reference, self._kinds):
            self._interrupt(AfterLastCheckpoint())

    def _interrupt(self, intended: Intended) -> None:
        evidence: Evidence | None = None
        # The last attempt comes as soon as there is a checkpoint. If one did not, more attempts are in vain.
        is_hopeless = any(not r.was_interrupted and r.attempts == _MOST_ATTEMPTS for r in self._runs)
        most = 1 if is_hopeless else _MOST_ATTEMPTS
        for number in range(1, most + 1):
            attempt = Attempt(number=number, reference=self._reference, kinds=self._kinds, previous=evidence)
            planned = intended.plan(attempt)
            self._report(f"{intended.label}: {planned}")
            run = self._lab.run(intended.kind, intended.label, planned=planned)
            self._report(_sum_up(run))
            evidence = self._weigh(run)
            if not run.was_interrupted and _can_be_interrupted(run):
                self._reference = run
            if not intended.is_to_be_repeated(evidence, attempt) or not run.is_completed:
                break
            if number < most:
                self._report(f"  which shows nothing ({evidence}): again, at another moment")
        self._runs.append(replace(run, attempts=number))

    def _weigh(self, run: Run) -> Evidence:
        return weigh(run, self._runs[0], find_checkpoint_kinds([*self._runs, run]))

    def _tear(self) -> None:
        """Start with a torn checkpoint, of the killed run or of another that resumed."""
        resumed = [run for run in self._runs if run.was_interrupted and self._weigh(run) in RESUMED]
        for run in sorted(resumed, key=lambda run: run.kind is not RunKind.KILLED):
            torn = self._lab.tear(run, self._kinds)
            if torn:
                self._report(f"started with the newest checkpoint cut in half ({torn})")
                again = self._lab.run(RunKind.TORN, "with a torn checkpoint", torn=torn)
                self._runs.append(replace(again, torn_from=run.label))
                self._report(_sum_up(again))
                return

    # --- the models ---

    def _compare(self, first: Run) -> tuple[Run, ...]:
        if self._plan.compare:
            others = [
                run if run.kind is RunKind.WARM_UP else self._lab.compare(first, run, self._plan.compare)
                for run in self._runs[1:]
            ]
            return (first, *others)
        differ = any(run.was_interrupted and run.differs_from(first) for run in self._runs)
        if differ and not any(run.kind is RunKind.WARM_UP for run in self._runs):
            self._report("the models differ: one more uninterrupted run, to see whether they always differ")
            self._runs.append(self._run_undisturbed("uninterrupted again"))
        return tuple(self._runs)


def _can_be_interrupted(run: Run) -> bool:
    """Whether there is anything to see: the script completes, and saves something."""
    stretch = run.stretches[0] if run.stretches else None
    return (
        run.is_completed
        and stretch is not None
        and bool(read_history(stretch, find_file_kinds([stretch])).saves)
    )


def _sum_up(run: Run) -> str:
    seconds = " + ".join(f"{stretch.seconds:.1f}" for stretch in run.stretches)
    return f"  {run.status} after {seconds} s of training"
