"""When the drill interrupts a run, and when again: pure, on runs made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from spot_drill.evidence import Evidence
from spot_drill.moments import (
    AfterCheckpoint,
    AfterLastCheckpoint,
    AtMoment,
    Attempt,
    Kill,
    PlannedInterruption,
    has_time_after_last_checkpoint,
)
from spot_drill.observe import Run, RunKind, Stretch
from spot_drill.plan import Moment, Plan
from spot_drill.watch import FileEvent, Happening

STEP = frozenset({"step-#"})


def _saves(*times: float) -> list[FileEvent]:
    return [FileEvent(at, Happening.ARRIVED, f"step-{n}") for n, at in enumerate(times, start=1)]


def _reference(seconds: float, *times: float, deleted_at: float | None = None) -> Run:
    events = _saves(*times)
    if deleted_at is not None:
        events += [FileEvent(deleted_at, Happening.DELETED, f"step-{n}") for n in range(1, len(times) + 1)]
    stretch = Stretch(seconds=seconds, events=tuple(events))
    return Run(kind=RunKind.UNINTERRUPTED, label="", status="Completed", stretches=(stretch,))


def _attempt(
    number: int = 1,
    previous: Evidence | None = None,
    reference: Run | None = None,
    kinds: frozenset[str] = STEP,
) -> Attempt:
    reference = reference or _reference(10.0, *range(1, 10))
    return Attempt(number=number, reference=reference, kinds=kinds, previous=previous)


def _at(moment: Moment) -> AtMoment:
    plan = Plan(
        source=Path(),
        entry_point="train.py",
        python=Path(),
        channels={},
        hyperparameters={},
        interrupt_at=(moment,),
    )
    return AtMoment(moment=moment, plan_of_drill=plan)


HALF = _at(Moment(share=0.55))


@pytest.mark.parametrize(
    ("seconds", "saves", "is_due"),
    [
        (5.4, 4, False),  # as fast as the undisturbed run, and too early
        (5.6, 5, True),
        (9.0, 3, False),  # a slow run: what it has saved counts
        (9.0, 5, True),
        (3.0, 5, False),
        (3.0, 6, True),  # a fast run
    ],
)
def test_a_share_of_the_run_means_what_is_saved_by_then(seconds: float, saves: int, is_due: bool) -> None:
    planned = HALF.plan(_attempt())
    assert planned.is_due(seconds, _saves(*range(saves))) is is_due
    assert planned.notice_seconds == pytest.approx(1.0)


def test_an_absolute_time_means_this_time() -> None:
    planned = _at(Moment(seconds=60.0)).plan(_attempt())
    assert not planned.is_due(59.0, _saves(*range(9)))
    assert planned.is_due(60.0, [])


def test_an_interruption_that_never_came_is_repeated_earlier_and_then_after_a_checkpoint() -> None:
    for moment in (_at(Moment(seconds=60.0)), _at(Moment(share=0.9))):
        assert moment.is_to_be_repeated(Evidence.NEVER_CAME, _attempt())
        second = moment.plan(_attempt(2, Evidence.NEVER_CAME, _reference(5.0, 1, 2, 3, 4)))
        assert 3.0 <= second.at_seconds <= 3.5  # in the time of the run that ended first
        assert second.notice_seconds == pytest.approx(0.25)
        third = moment.plan(_attempt(3, Evidence.NEVER_CAME))
        assert third.is_due(0.1, _saves(0.1))
        assert not third.is_due(99.0, [])


def test_a_moment_before_the_first_checkpoint_is_repeated_only_if_that_was_not_to_be_expected() -> None:
    early = _reference(10.0, 7, 8, 9)
    assert not HALF.is_to_be_repeated(Evidence.NOTHING_SAVED, _attempt(reference=early))
    assert HALF.is_to_be_repeated(Evidence.NOTHING_SAVED, _attempt())
    assert HALF.plan(_attempt(2, Evidence.NOTHING_SAVED)).is_due(0.1, _saves(1, 2, 3, 4))
    assert not HALF.is_to_be_repeated(Evidence.STARTED_OVER, _attempt())


def test_sigkill_comes_in_the_middle_and_at_further_attempts_as_soon_as_there_are_checkpoints() -> None:
    first = Kill().plan(_attempt())
    assert not first.is_due(4.9, _saves(*range(9)))
    assert first.is_due(5.1, _saves(*range(4)))
    assert not first.is_due(5.1, _saves(*range(3)))
    assert first.is_due(15.0, [])
    second, third = (Kill().plan(_attempt(n, Evidence.NEVER_CAME)) for n in (2, 3))
    assert second.is_due(0.1, _saves(*range(4)))
    assert not second.is_due(99.0, _saves(*range(3)))
    assert third.is_due(0.1, _saves(0))
    assert AfterCheckpoint().plan(_attempt()) == second


def test_after_the_last_checkpoint_means_after_the_last_change_in_the_folder() -> None:
    reference = _reference(10.0, 1, 2, 3, deleted_at=4.0)
    planned = AfterLastCheckpoint().plan(_attempt(reference=reference))
    saved = _saves(1, 2, 3)
    assert not planned.is_due(3.5, saved)
    assert not planned.is_due(3.5, [*saved, FileEvent(3.9, Happening.DELETED, "step-1")])
    assert planned.is_due(4.0, reference.stretches[0].events)
    late = AfterLastCheckpoint().plan(_attempt(3, Evidence.NEVER_CAME, reference))
    assert late == PlannedInterruption(at_seconds=7.0)


@pytest.mark.parametrize(
    ("reference", "has_time"),
    [
        (_reference(10.0, 1, 2, 9.0), True),
        (_reference(10.0, 1, 2, 9.9), False),
        (_reference(10.0, 1, 2, deleted_at=9.85), True),  # everything is gone then
        (_reference(10.0, 1, 2, deleted_at=9.95), False),
        (_reference(1.0, 0.5, 0.8), False),
        (_reference(10.0), False),
    ],
)
def test_there_is_time_after_the_last_checkpoint_if_an_interruption_can_come_then(
    reference: Run, has_time: bool
) -> None:
    assert has_time_after_last_checkpoint(reference, STEP) is has_time
