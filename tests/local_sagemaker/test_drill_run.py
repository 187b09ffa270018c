"""Which runs a drill makes: on a lab that makes runs up, in no time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from spot_drill.judge import judge
from spot_drill.lab import Lab
from spot_drill.moments import PlannedInterruption
from spot_drill.observe import Run, RunKind, Stretch
from spot_drill.plan import Moment, Plan
from spot_drill.run import Drill
from spot_drill.watch import FileEvent, Happening

PLAN = Plan(
    source=Path(),
    entry_point="train.py",
    python=Path(),
    channels={},
    hyperparameters={},
    interrupt_at=(Moment(share=0.3), Moment(share=0.6)),
)


def _stretch(seconds: float, steps: range, **overrides: Any) -> Stretch:
    """A step each second, and the first after a second."""
    events = tuple(
        FileEvent(float(at), Happening.ARRIVED, f"step-{n}") for at, n in enumerate(steps, start=1)
    )
    return Stretch(seconds=seconds, events=events, **overrides)


class MadeUpLab:
    """Runs a script of ten steps that works for a while after the last one."""

    limit_seconds = 0.0

    def __init__(self, *, tail_seconds: float = 2.0, misses: str = "") -> None:
        self.made: list[str] = []
        self.torn_from: list[str] = []
        self._whole_seconds = 10.0 + tail_seconds
        self._misses = misses
        self.misses_all = False
        self.warm_up_status = "Completed"

    def run(
        self,
        kind: RunKind,
        label: str,
        *,
        planned: PlannedInterruption | None = None,
        torn: str | None = None,
        stop: PlannedInterruption | None = None,
    ) -> Run:
        self.made.append(label)
        stretches: tuple[Stretch, ...] = (_stretch(self._whole_seconds, range(1, 11)),)
        if torn:
            read = (FileEvent(0.5, Happening.READ, "step-4"),)
            stretches = (
                Stretch(
                    seconds=7.0, restored=("step-4",), events=(*read, *_stretch(7.0, range(5, 11)).events)
                ),
            )
        if planned and label != self._misses and not self.misses_all:
            stretches = self._interrupt(planned)
        status = self.warm_up_status if stop else "Completed"
        return Run(kind=kind, label=label, status=status, stretches=stretches, truncated=torn)

    def _interrupt(self, planned: PlannedInterruption) -> tuple[Stretch, ...]:
        times = [tenth / 10 for tenth in range(int(self._whole_seconds * 10))]
        whole = _stretch(self._whole_seconds, range(1, 11)).events
        due = (at for at in times if planned.is_due(at, [event for event in whole if event.at <= at]))
        killed_at = next(due, self._whole_seconds) + planned.notice_seconds
        done = min(10, int(killed_at))
        before = _stretch(killed_at, range(1, done + 1), exit_code=None)
        read = FileEvent(0.5, Happening.READ, f"step-{done}")
        after = _stretch(self._whole_seconds - done, range(done + 1, 11))
        restored = tuple(f"step-{n}" for n in range(1, done + 1))
        events = (read, *after.events) if done else after.events
        return before, Stretch(seconds=after.seconds, restored=restored, events=events)

    def tear(self, run: Run, _kinds: frozenset[str]) -> str | None:
        self.torn_from.append(run.label)
        return f"step-{int(run.stretches[0].seconds)}"


def _carry_out(lab: MadeUpLab, plan: Plan = PLAN) -> tuple[Run, ...]:
    return Drill(cast("Lab", lab), plan, lambda _: None).carry_out()


WARM, UNDISTURBED = "uninterrupted", "uninterrupted, second start"
MOMENTS = ["interrupted at 30%", "interrupted at 60%"]
KILLED, LATE, TORN = (
    "killed without a warning",
    "interrupted after the last checkpoint",
    "with a torn checkpoint",
)


def test_a_drill_warms_up_and_interrupts_at_its_moments_and_after_the_last_checkpoint() -> None:
    lab = MadeUpLab()
    runs = _carry_out(lab)
    assert lab.made == [WARM, UNDISTURBED, *MOMENTS, KILLED, LATE, TORN]
    assert [run.kind for run in runs[:2]] == [RunKind.UNINTERRUPTED, RunKind.WARM_UP]
    assert lab.torn_from == [KILLED]
    verdict = judge("train.py", runs)
    assert verdict.passed
    assert {str(each.outcome) for each in verdict.interruptions} == {"interrupted and resumed"}
    assert [each.attempts for each in verdict.interruptions] == [1] * 4


def test_a_script_that_ends_with_its_last_checkpoint_is_not_interrupted_after_it() -> None:
    lab = MadeUpLab(tail_seconds=0.1)
    _carry_out(lab)
    assert LATE not in lab.made


def test_a_long_warm_up_is_stopped_and_does_not_count() -> None:
    lab = MadeUpLab()
    lab.warm_up_status = "Stopped"
    runs = _carry_out(lab)
    assert lab.made[:2] == [WARM, "uninterrupted"]
    assert [run.label for run in runs if run.kind in (RunKind.UNINTERRUPTED, RunKind.WARM_UP)] == [
        "uninterrupted"
    ]
    assert judge("train.py", runs).passed


def test_a_warm_up_that_fails_is_the_whole_drill() -> None:
    lab = MadeUpLab()
    lab.warm_up_status = "Failed"
    runs = _carry_out(lab)
    assert lab.made == [WARM]
    assert judge("train.py", runs).failures == ("runs",)


@pytest.mark.parametrize("missed", [*MOMENTS, LATE])
def test_an_interruption_that_never_comes_is_tried_three_times_and_is_no_pass(missed: str) -> None:
    lab = MadeUpLab(misses=missed)
    verdict = judge("train.py", _carry_out(lab))
    assert lab.made.count(missed) == 3
    never = next(each for each in verdict.interruptions if each.label == missed)
    assert (str(never.outcome), never.attempts, never.at_seconds) == ("never came", 3, None)
    assert verdict.not_shown == ("resume",)
    assert verdict.exit_status() == 3


def test_a_question_that_no_intended_interruption_answers_gets_another_one() -> None:
    plan = replace(PLAN, interrupt_at=(Moment(share=0.01),), grace=Moment(seconds=0.1))
    lab = MadeUpLab()
    runs = _carry_out(lab, plan)
    assert "interrupted after a checkpoint" in lab.made
    verdict = judge("train.py", runs)
    assert verdict.resumed
    assert str(verdict.interruptions[0].outcome) == "interrupted, work lost"


def test_a_torn_checkpoint_comes_from_another_run_if_the_killed_one_shows_nothing() -> None:
    lab = MadeUpLab(misses=KILLED)
    verdict = judge("train.py", _carry_out(lab))
    assert lab.torn_from == ["interrupted at 30%"]
    assert verdict.not_shown == ("sigkill",)
    assert verdict.survives_a_torn_checkpoint


def test_a_script_that_no_interruption_ever_meets_is_not_tried_over_and_over() -> None:
    lab = MadeUpLab()
    lab.misses_all = True
    verdict = judge("train.py", _carry_out(lab))
    assert lab.made == [WARM, UNDISTURBED, *[MOMENTS[0]] * 3, MOMENTS[1], KILLED]
    assert verdict.not_shown == ("resume", "torn checkpoint", "sigkill")
