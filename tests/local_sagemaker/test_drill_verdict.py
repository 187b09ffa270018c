"""What the drill concludes from what it saw: pure, on runs made up here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_drill.command import _parser
from spot_drill.files import cut_in_half
from spot_drill.history import Arrival, find_checkpoint_kinds, kind_of, read_history
from spot_drill.judge import judge
from spot_drill.moments import find_enough
from spot_drill.observe import Run, RunKind, Stretch
from spot_drill.plan import BadPlanError, read_moment, read_seconds
from spot_drill.verdict import Question, Result, Verdict, read_verdict
from spot_drill.watch import FileEvent, Happening

from .support import ROOT

WHOLE_SECONDS = 10.0


def _rename(at: float, name: str) -> list[FileEvent]:
    return [
        FileEvent(at, Happening.CREATED, "tmp"),
        FileEvent(at, Happening.WRITTEN, "tmp"),
        FileEvent(at, Happening.CLOSED, "tmp"),
        FileEvent(at, Happening.LEFT, "tmp"),
        FileEvent(at, Happening.ARRIVED, name),
    ]


def _write(at: float, name: str, *, is_new: bool = True) -> list[FileEvent]:
    created = [FileEvent(at, Happening.CREATED, name)] if is_new else []
    return [*created, FileEvent(at, Happening.WRITTEN, name), FileEvent(at, Happening.CLOSED, name)]


def _steps(first: int, last: int, *, after: float = 0.0) -> list[FileEvent]:
    """A checkpoint each second."""
    return [event for n in range(first, last + 1) for event in _rename(n - first + 1 + after, f"step-{n}")]


def _stretch(seconds: float, events: list[FileEvent], **overrides: Any) -> Stretch:
    return Stretch(seconds=seconds, events=tuple(events), **overrides)


def _first(**overrides: Any) -> Run:
    defaults: dict[str, Any] = {
        "kind": RunKind.UNINTERRUPTED,
        "label": "uninterrupted",
        "status": "Completed",
        "stretches": (_stretch(WHOLE_SECONDS, _steps(1, 9)),),
        "model": {"model": "a"},
    }
    return Run(**(defaults | overrides))


def _interrupted(kind: RunKind = RunKind.INTERRUPTED, **overrides: Any) -> Run:
    """Killed at 5.5 s, resumed from step 5."""
    read = FileEvent(0.1, Happening.READ, "step-5")
    second = _stretch(5.0, [read, *_steps(6, 9)], restored=("step-4", "step-5"))
    defaults: dict[str, Any] = {
        "kind": kind,
        "label": str(kind),
        "status": "Completed",
        "stretches": (_stretch(5.5, _steps(1, 5), exit_code=None), second),
        "model": {"model": "a"},
    }
    return Run(**(defaults | overrides))


def _torn(**overrides: Any) -> Run:
    """Started with step 5 cut in half: read it, and went on from step 4."""
    read = [FileEvent(0.1, Happening.READ, name) for name in ("step-5", "step-4")]
    defaults: dict[str, Any] = {
        "kind": RunKind.TORN,
        "label": "torn",
        "status": "Completed",
        "truncated": "step-5",
        "stretches": (_stretch(6.0, [*read, *_steps(5, 9)], restored=("step-4", "step-5")),),
        "model": {"model": "a"},
    }
    return Run(**(defaults | overrides))


def _good(*more: Run) -> tuple[Run, ...]:
    return (_first(), _interrupted(), _interrupted(RunKind.KILLED), _torn(), *more)


def _results(verdict: Verdict, result: Result) -> list[str]:
    return [str(check.question) for check in verdict.checks if check.result is result]


def test_a_script_that_does_everything_right_passes_every_question() -> None:
    verdict = judge("train.py", _good())
    assert _results(verdict, Result.PASS) == [str(check.question) for check in verdict.checks]
    assert verdict.exit_status(strict=True) == 0
    assert verdict.passed
    assert verdict.resumed
    assert verdict.survives_sigkill
    assert verdict.lost_seconds == pytest.approx(0.5)
    assert verdict.lost_share == pytest.approx(0.05)


def test_where_sagemakers_mounts_are_missing_the_answer_says_what_is_not_shown() -> None:
    text = "There are no private mounts here, so the script may remove or rename /opt/ml/checkpoints"
    assert text not in judge("train.py", _good()).check("runs").seen
    check = judge("train.py", (_first(has_mounts=False), *_good()[1:])).check("runs")
    assert text in check.seen
    assert check.result is Result.PASS


def test_a_run_that_starts_over_saves_all_its_checkpoints_again() -> None:
    over = _stretch(10.0, _steps(1, 9), restored=("step-4", "step-5"))
    verdict = judge("train.py", (_first(), _interrupted(stretches=(_interrupted().stretches[0], over))))
    assert verdict.failures == ("resume",)
    assert "it never read the checkpoint, saved 9 checkpoint files again" in verdict.check("resume").seen
    assert verdict.lost_seconds == pytest.approx(5.5)


def test_with_one_checkpoint_the_clock_tells_whether_it_was_used() -> None:
    first = _first(stretches=(_stretch(WHOLE_SECONDS, _rename(5.0, "step-1")),))
    before = _stretch(6.0, _rename(5.0, "step-1"), exit_code=None)
    for seconds, resumed in ((5.2, True), (9.8, False)):
        after = _stretch(seconds, _rename(seconds - 0.5, "step-1"), restored=("step-1",))
        verdict = judge("train.py", (first, _interrupted(stretches=(before, after))))
        assert verdict.resumed is resumed


def test_interruptions_before_the_first_checkpoint_prove_nothing() -> None:
    early = (_stretch(0.5, [], exit_code=None), _stretch(WHOLE_SECONDS, _steps(1, 9)))
    verdict = judge("train.py", (_first(), _interrupted(stretches=early)))
    assert verdict.check("resume").result is Result.SKIP
    assert "no checkpoint was saved yet" in verdict.check("resume").seen
    assert verdict.check("resume").change.startswith(
        "The first checkpoint comes after 1.0 s, the end after 10.0"
    )
    assert not verdict.resumed
    assert "before the first checkpoint" in verdict.check("work lost").seen
    late = (_stretch(4.0, [], exit_code=None), _stretch(WHOLE_SECONDS, _steps(1, 9)))
    lossy = judge("train.py", (_first(), _interrupted(stretches=late))).check("work lost")
    assert lossy.change.startswith("Save the first checkpoint earlier")


def test_without_a_checkpoint_there_is_one_failure_and_nothing_else_is_judged() -> None:
    verdict = judge("train.py", (_first(stretches=(_stretch(WHOLE_SECONDS, []),)),))
    assert verdict.failures == ("checkpoints",)
    assert len(_results(verdict, Result.SKIP)) == 8


@pytest.mark.parametrize(
    ("status", "advice"), [("Failed", "without interruptions first"), ("TimedOut", "--timeout")]
)
def test_a_script_that_does_not_run_at_all_fails_that_question_only(status: str, advice: str) -> None:
    verdict = judge("train.py", (_first(status=status, failure="AlgorithmError: no column"),))
    assert verdict.failures == ("runs",)
    assert advice in verdict.check("runs").change
    assert "no column" in str(verdict)


def test_promised_checkpoints_that_do_not_come_are_a_failure() -> None:
    assert judge("train.py", _good(), checkpoint_every_seconds=lambda _: 1.0).checkpointed
    late = judge("train.py", _good(), checkpoint_every_seconds=lambda whole: 0.04 * whole)
    assert late.failures == ("checkpoints",)
    assert "One was expected every 0.4 s" in late.check("checkpoints").seen


def test_a_checkpoint_overwritten_in_place_fails_and_a_new_one_in_place_warns_if_a_torn_one_is_survived() -> (
    None
):
    for is_new, result in ((False, Result.FAIL), (True, Result.WARN)):
        events = [*_write(1.0, "step-1"), *_write(2.0, "step-2" if is_new else "step-1", is_new=is_new)]
        run = _first(stretches=(_stretch(WHOLE_SECONDS, [*events, *_steps(3, 9, after=2.0)]),))
        verdict = judge("train.py", (run, *_good()[1:]))
        assert verdict.check("atomic writes").result is result
    crashed = _torn(status="Failed", failure="AlgorithmError: truncated")
    verdict = judge("train.py", (run, *_good()[1:-1], crashed))
    assert verdict.failures == ("atomic writes", "torn checkpoint")


def test_a_checkpoint_overwritten_in_place_warns_if_the_script_has_a_copy_of_it() -> None:
    """Keras' BackupAndRestore with `double_checkpoint`: it copies the old one first."""
    events = [event for at in range(1, 10) for event in _write(float(at), "latest", is_new=at == 1)]
    run = _first(stretches=(_stretch(WHOLE_SECONDS, [*events, *_steps(1, 9)]),))
    read = [FileEvent(0.1, Happening.READ, name) for name in ("latest", "step-4")]
    fell_back = _stretch(6.0, [*read, *_steps(5, 9)], restored=("latest", "step-4"))
    verdict = judge("train.py", (run, *_good()[1:-1], _torn(truncated="latest", stretches=(fell_back,))))
    assert verdict.check("atomic writes").result is Result.WARN
    assert "has another one" in verdict.check("atomic writes").seen


def test_the_only_checkpoint_overwritten_in_place_fails_however_many_of_its_writes_are_seen() -> None:
    """On a busy machine two quick writes look like one, so a run that starts over may save less often."""

    def save(*times: float) -> list[FileEvent]:
        return [event for at in times for event in _write(at, "only", is_new=at == times[0])]

    read = FileEvent(0.1, Happening.READ, "only")
    first = _first(stretches=(_stretch(WHOLE_SECONDS, save(*range(1, 10))),))
    before = _stretch(5.5, save(1, 2, 3, 4, 5), exit_code=None)
    after = _stretch(5.0, [read, *_write(1, "only"), *_write(2, "only")], restored=("only",))
    killed = _interrupted(_KILLED, stretches=(before, after))
    for seen in (5, 8, 9):
        over = _stretch(WHOLE_SECONDS, [read, *save(*range(1, seen + 1))], restored=("only",))
        torn = _torn(truncated="only", stretches=(over,))
        verdict = judge("train.py", (first, _interrupted(stretches=killed.stretches), killed, torn))
        assert verdict.check("torn checkpoint").result is Result.WARN, seen
        assert "started over" in verdict.check("torn checkpoint").seen
        assert verdict.failures == ("atomic writes",)


def test_a_temporary_file_cut_off_by_the_kill_is_no_fault() -> None:
    events = [
        *_steps(1, 5),
        FileEvent(5.4, Happening.CREATED, "tmp"),
        FileEvent(5.4, Happening.WRITTEN, "tmp"),
    ]
    run = _interrupted()
    cut = dataclasses.replace(run, stretches=(_stretch(5.5, events, exit_code=None), run.stretches[1]))
    assert judge("train.py", (_first(), cut)).writes_atomically


def test_files_that_are_never_read_back_are_no_checkpoints() -> None:
    log = [event for at in (1.0, 2.0, 3.0) for event in _write(at, "metrics.csv", is_new=at == 1.0)]
    run = _first(stretches=(_stretch(WHOLE_SECONDS, [*_steps(1, 9), *log]),))
    assert judge("train.py", (run, *_good()[1:])).writes_atomically
    assert find_checkpoint_kinds((run,)) == {"step-#", "metrics.csv"}
    assert find_checkpoint_kinds((run, _interrupted())) == {"step-#"}


def test_deleting_the_last_checkpoint_before_the_next_is_there_fails() -> None:
    events = [*_steps(1, 1), FileEvent(1.5, Happening.DELETED, "step-1"), *_steps(2, 9, after=1.0)]
    verdict = judge("train.py", (_first(stretches=(_stretch(WHOLE_SECONDS, events),)), *_good()[1:]))
    assert verdict.failures == ("keeps a checkpoint",)
    assert "for up to 0.50 s" in verdict.check("keeps a checkpoint").seen


def test_clearing_the_folder_at_the_end_is_no_fault() -> None:
    events = [*_steps(1, 1), FileEvent(9.9, Happening.DELETED, "step-1")]
    assert read_history(_stretch(WHOLE_SECONDS, events), frozenset({"step-#"})).gaps == ()
    killed = read_history(_stretch(WHOLE_SECONDS, events, exit_code=None), frozenset({"step-#"}))
    assert [gap.ended_at for gap in killed.gaps] == [None]


def test_another_model_fails_if_undisturbed_runs_agree_and_warns_if_they_do_not() -> None:
    other = _interrupted(model={"model": "b"})
    for again, result in (("a", Result.FAIL), ("c", Result.WARN)):
        runs = (_first(), other, _torn(), _first(label="again", model={"model": again}))
        check = judge("train.py", runs).check("same model")
        assert check.result is result
        assert "model differs." in check.seen


def test_a_missing_file_is_named_and_never_excused() -> None:
    runs = (_first(model={"model": "a", "labels": "x"}), _interrupted(), _first(model={"model": "b"}))
    check = judge("train.py", runs).check("same model")
    assert check.result is Result.FAIL
    assert "labels is missing" in check.seen


def test_the_users_own_comparison_replaces_that_of_the_bytes() -> None:
    for accepted, result in ((True, Result.PASS), (False, Result.FAIL)):
        run = _interrupted(model={"model": "b"}, compared=(accepted, "rmse differs by 0.1"))
        check = judge("train.py", (_first(), run)).check("same model")
        assert check.result is result
        assert "rmse differs by 0.1" in check.seen


def test_a_torn_checkpoint_must_not_be_used_and_starting_over_is_a_warning() -> None:
    for run, result in (
        (_torn(status="Failed", failure="AlgorithmError: bad"), Result.WARN),  # all saves are renames
        (_torn(model={"model": "z"}), Result.FAIL),
        (_torn(stretches=(_stretch(WHOLE_SECONDS, _steps(1, 9), restored=("step-5",)),)), Result.WARN),
    ):
        verdict = judge("train.py", (*_good()[:-1], run))
        assert verdict.check("torn checkpoint").result is result
        assert set(verdict.failures) <= {"torn checkpoint"}


def test_a_torn_checkpoint_must_not_end_the_run_unless_an_interruption_cannot_leave_one() -> None:
    failed = _torn(status="Failed", failure="AlgorithmError: bad")
    warned = judge("train.py", (*_good()[:-1], failed))
    assert warned.passed
    assert "an interruption leaves no torn one" in warned.check("torn checkpoint").seen
    in_place = _first(stretches=(_stretch(WHOLE_SECONDS, [*_steps(1, 8), *_write(9.0, "step-9")]),))
    verdict = judge("train.py", (in_place, *_good()[1:-1], failed))
    assert verdict.failures == ("atomic writes", "torn checkpoint")


def test_a_file_that_is_cut_in_half_is_not_cut_between_two_lines() -> None:
    assert cut_in_half(b"one1\ntwo2\n") == b"one1\ntw"
    assert cut_in_half(b"one1\ntwo2\nthree3") == b"one1\ntw"
    assert cut_in_half(b"12345678") == b"1234"
    assert cut_in_half(b"\n\n") == b"\n"


def test_a_torn_checkpoint_that_was_used_without_harm_is_not_called_a_fall_back() -> None:
    read = FileEvent(0.1, Happening.READ, "step-5")
    same = _torn(stretches=(_stretch(5.0, [read, *_steps(6, 9)], restored=("step-4", "step-5")),))
    assert (
        "the script still made the same model"
        in judge("train.py", (*_good()[:-1], same)).check("torn checkpoint").seen
    )
    assert "fell back" in judge("train.py", _good()).check("torn checkpoint").seen


# --- the true cause of a failure ---


def test_sigkill_is_not_blamed_where_nothing_had_been_saved_yet() -> None:
    killed = (_stretch(5.0, [], exit_code=None), _stretch(WHOLE_SECONDS, _steps(1, 9)))
    verdict = judge("train.py", (_first(), _interrupted(), _interrupted(RunKind.KILLED, stretches=killed)))
    assert verdict.failures == ()
    assert verdict.not_shown == ("torn checkpoint", "sigkill")
    assert "no checkpoint was saved yet, after 5.0 s" in verdict.check("sigkill").seen


def test_a_second_start_that_fails_without_a_checkpoint_is_the_cause_and_not_sigkill() -> None:
    second = _stretch(1.0, [], restored=("running.lock",), exit_code=1)
    stretches = (_stretch(0.5, [], exit_code=None), second)
    killed = _interrupted(
        RunKind.KILLED, stretches=stretches, status="Failed", failure="AlgorithmError: locked"
    )
    verdict = judge("train.py", (_first(), _interrupted(), killed, _torn()))
    assert verdict.failures == ("resume",)
    assert "No checkpoint had been saved yet" in verdict.check("resume").seen
    assert "running.lock" in verdict.check("resume").change
    assert "the cause is not SIGKILL" in verdict.check("sigkill").seen


def test_a_file_that_was_being_written_at_sigkill_is_named() -> None:
    before, after = _interrupted().stretches
    cut = [FileEvent(5.4, Happening.CREATED, "step-6"), FileEvent(5.4, Happening.WRITTEN, "step-6")]
    for events, cause in (
        (cut, "step-6 was being written when it came"),
        ([], "step-4 (and 1 more) was in the"),
    ):
        stretches = (dataclasses.replace(before, events=(*before.events, *events)), after)
        failed = _interrupted(_KILLED, stretches=stretches, status="Failed", failure="AlgorithmError: half")
        verdict = judge("train.py", (_first(), _interrupted(), failed))
        assert verdict.failures == ("sigkill",)
        assert cause in " ".join(verdict.check("sigkill").seen.split())


def test_one_fault_that_both_kinds_of_interruption_show_is_not_blamed_on_sigkill() -> None:
    before, after = _interrupted().stretches
    empty = dataclasses.replace(after, events=tuple(_steps(1, 9)), restored=())
    runs = [_interrupted(kind, stretches=(before, empty)) for kind in (_WARNED, _KILLED)]
    verdict = judge("train.py", (_first(), _interrupted(), *runs, _torn()))
    assert verdict.failures == ("resume",)
    assert "`resume` says what" in verdict.check("sigkill").seen


def test_a_run_that_fails_before_its_interruption_is_a_script_that_does_not_always_run() -> None:
    flaky = _interrupted(status="Failed", failure="AlgorithmError: no memory", stretches=(_stretch(3.0, []),))
    verdict = judge("train.py", (_first(), flaky, _interrupted(_KILLED), _torn()))
    assert verdict.failures == ("runs",)
    assert (
        "ended Failed before its interruption came: AlgorithmError: no memory" in verdict.check("runs").seen
    )


# --- every intended interruption ---


def test_each_intended_interruption_is_accounted_for_in_the_text_and_in_json() -> None:
    runs = (
        _first(),
        _interrupted(label="interrupted at 30%"),
        _nothing_saved(_WARNED),
        dataclasses.replace(_never_interrupted(_WARNED), label="interrupted at 60s", attempts=3),
        _interrupted(_KILLED, attempts=2),
        _torn(),
    )
    verdict = judge("train.py", runs)
    assert [(each.label, str(each.outcome), each.at_seconds) for each in verdict.interruptions] == [
        ("interrupted at 30%", "interrupted and resumed", 5.5),
        ("interrupted", "interrupted, work lost", 0.5),
        ("interrupted at 60s", "never came", None),
        ("killed", "interrupted and resumed", 5.5),
    ]
    text = " ".join(str(verdict).split())
    assert (
        "interrupted at 60s: never came (the script ended first, Completed after 10.0 s, in each of 3" in text
    )
    assert (
        "interrupted: interrupted, work lost (after 0.5 s, interrupted before the first checkpoint, 0.5"
        in text
    )
    written = json.loads(json.dumps(verdict.as_json()))["interruptions"]
    assert [each["outcome"] for each in written].count("never came") == 1
    assert [each["lost_seconds"] for each in written] == [0.5, 0.5, 0.0, 0.5]


def test_an_interruption_that_never_came_is_not_passed_whatever_the_others_show() -> None:
    verdict = judge("train.py", (_first(), _never_interrupted(_WARNED), *_good()[1:]))
    assert verdict.not_shown == ("resume",)
    assert not verdict.passed
    assert not verdict.resumed
    assert "interrupted: the script ended first (Completed after 10.0 s)" in verdict.check("resume").seen


# --- what the second start did again ---


def test_what_is_lost_is_what_the_second_start_did_again_and_not_the_time_since_the_last_save() -> None:
    """All checkpoints are deleted at the end, and an interruption comes during the evaluation."""
    deleted = [FileEvent(9.1, Happening.DELETED, f"step-{n}") for n in range(1, 10)]
    events = [*_steps(1, 9), *deleted]
    before = _stretch(9.5, events, exit_code=None)
    over = _stretch(WHOLE_SECONDS, events)
    late = _interrupted(label="late", stretches=(before, over))
    first = _first(stretches=(_stretch(WHOLE_SECONDS, events),))
    verdict = judge("train.py", (first, *_good()[1:], late))
    assert verdict.failures == ("resume", "keeps a checkpoint")
    assert verdict.lost_seconds == pytest.approx(9.5)
    assert "late: 9.5 s (95%)" in verdict.check("work lost").seen


def test_a_run_that_resumes_from_an_older_checkpoint_fails_and_loses_what_it_does_again() -> None:
    read = FileEvent(0.1, Happening.READ, "step-3")
    after = _stretch(8.0, [read, *_steps(4, 9)], restored=tuple(f"step-{n}" for n in range(1, 8)))
    older = _interrupted(stretches=(_stretch(7.5, _steps(1, 7), exit_code=None), after))
    verdict = judge("train.py", (_first(), older, *_good()[2:]))
    assert verdict.failures == ("resume",)
    assert "step-7 was in the folder, and it saved 4 checkpoint files again, from step-4" in " ".join(
        verdict.check("resume").seen.split()
    )
    assert "epoch-9 comes after epoch-10" in verdict.check("resume").change
    assert verdict.lost_seconds == pytest.approx(4.5)


def test_weights_that_are_saved_more_often_than_the_optimizer_are_no_older_checkpoint() -> None:
    def both(first: int, last: int) -> list[FileEvent]:
        return [
            event
            for n in range(first, last + 1)
            for event in (
                *_rename(n - first + 1, f"weights-{n}"),
                *(_rename(n - first + 1.1, f"optimizer-{n}") if n % 3 == 0 else []),
            )
        ]

    before = _stretch(5.5, both(1, 5), exit_code=None)
    restored = (*(f"weights-{n}" for n in range(1, 6)), "optimizer-3")
    read = [FileEvent(0.1, Happening.READ, name) for name in ("weights-3", "optimizer-3")]
    after = _stretch(6.0, [*read, *both(4, 9)], restored=restored)
    first = _first(stretches=(_stretch(WHOLE_SECONDS, both(1, 9)),))
    runs = [_interrupted(kind, stretches=(before, after)) for kind in (_WARNED, _KILLED)]
    verdict = judge("train.py", (first, *runs))
    assert verdict.resumed
    assert verdict.lost_seconds == pytest.approx(2.4)


def test_names_that_never_come_again_are_counted() -> None:
    def some(names: str) -> list[FileEvent]:
        return [event for n, name in enumerate(names) for event in _rename(n + 1.0, f"c-{ord(name) * 1111}")]

    first = _first(stretches=(_stretch(WHOLE_SECONDS, some("abcdefghi")),))
    before = _stretch(5.5, some("jklmn"), exit_code=None)
    restored = tuple(sorted({event.name for event in some("jklmn") if event.name != "tmp"}))
    read = FileEvent(0.1, Happening.READ, restored[-1])
    for names, resumed, lost in (("opqr", True, 0.5), ("opqrs", True, 1.5), ("opqrstuvw", False, 5.5)):
        after = _stretch(5.0, [read, *some(names)], restored=restored)
        verdict = judge("train.py", (first, _interrupted(stretches=(before, after))))
        assert verdict.resumed is resumed
        assert verdict.lost_seconds == pytest.approx(lost)


def test_a_script_that_saves_only_at_its_end_fails_even_if_it_resumes_from_there() -> None:
    final = _stretch(WHOLE_SECONDS, [*_rename(9.8, "weights"), *_rename(9.85, "optimizer")])
    verdict = judge("train.py", (_first(stretches=(final,)),))
    assert verdict.failures == ("checkpoints",)
    assert "the first checkpoint file was complete after 9.8 s of 10.0 s" in verdict.check("checkpoints").seen
    slow_start = _stretch(20.0, _steps(1, 9, after=18.0)[:10])  # most of a short drill is start-up
    assert "checkpoints" not in judge("train.py", (_first(stretches=(slow_start,)),)).failures


# --- files that are counted as checkpoints and are none ---


def _keeping(*counts: int) -> list[FileEvent]:
    """A checkpoint each second, after which so many are left."""
    events: list[FileEvent] = []
    there: list[str] = []
    for n, left in enumerate(counts, start=1):
        events += _rename(float(n), f"step-{n}")
        there.append(f"step-{n}")
        gone, there = there[: len(there) - left], there[max(0, len(there) - left) :]
        events += [FileEvent(n + 0.01, Happening.DELETED, name) for name in gone]
    return events


@pytest.mark.parametrize(
    ("unmarked", "marked", "is_named"),
    [
        ((1, 2, 3, 3, 3, 3, 3, 3, 3), (1, 2, 3, 2, 1, 2, 2, 1, 2), True),
        ((1, 2, 3, 3, 3, 3, 3, 3, 3), (1, 2, 3, 3, 3, 3, 3, 3, 3), False),
        ((1, 2, 3, 2, 3, 3, 3, 3, 3), (1, 2, 2, 3, 2, 3, 2, 3, 2), False),  # deletes when there is time
        ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 2, 1, 2, 2, 1, 2), False),
    ],
)
def test_a_script_that_counts_markers_among_the_newest_files_is_named(
    unmarked: tuple[int, ...], marked: tuple[int, ...], is_named: bool
) -> None:
    first = _first(stretches=(_stretch(WHOLE_SECONDS, _keeping(*marked)),))
    warm = _first(kind=RunKind.WARM_UP, stretches=(_stretch(WHOLE_SECONDS, _keeping(*unmarked)),))
    check = judge("train.py", (first, warm, *_good()[1:])).check("keeps a checkpoint")
    assert (check.result is Result.FAIL) is is_named
    assert ("counts SageMaker's markers" in check.seen) is is_named
    if is_named:
        assert "without markers it keeps 3, with markers 4 of 4 times only 1 was left" in check.seen
        assert "Match the whole name" in check.change


def test_deleting_the_last_checkpoint_shortly_before_the_end_is_a_warning() -> None:
    events = [*_steps(1, 9), *(FileEvent(9.9, Happening.DELETED, f"step-{n}") for n in range(1, 10))]
    verdict = judge("train.py", (_first(stretches=(_stretch(WHOLE_SECONDS, events),)), *_good()[1:]))
    assert verdict.passed
    assert "keeps a checkpoint" in verdict.warnings
    assert "0.1 s before it ends" in verdict.check("keeps a checkpoint").seen


def test_a_restart_that_takes_most_of_the_run_is_a_warning() -> None:
    run = _interrupted()
    slow = dataclasses.replace(
        run,
        stretches=(
            run.stretches[0],
            dataclasses.replace(run.stretches[1], events=tuple(_steps(6, 9, after=7.0))),
        ),
    )
    verdict = judge("train.py", (_first(), slow))
    assert verdict.check("restart time").result is Result.WARN


def test_warnings_count_only_where_they_are_asked_to() -> None:
    lossy = _interrupted()
    first = dataclasses.replace(lossy.stretches[0], seconds=9.0)
    lossy = dataclasses.replace(lossy, stretches=(first, lossy.stretches[1]))
    verdict = judge("train.py", (_first(), lossy, *_good()[2:]))
    assert verdict.warnings == ("work lost",)
    assert (verdict.exit_status(), verdict.exit_status(strict=True)) == (0, 1)


def test_a_verdict_survives_json() -> None:
    failed = judge("train.py", (*_good()[:-1], _torn(status="Failed", failure="AlgorithmError: bad")))
    accepted = judge("train.py", _good()[:-1], accept_not_shown=True)
    for verdict in (failed, accepted):
        assert read_verdict(json.loads(json.dumps(verdict.as_json()))) == verdict


# --- not shown ---


def _never_interrupted(kind: RunKind) -> Run:
    return _interrupted(kind, stretches=_first().stretches)


def _nothing_saved(kind: RunKind) -> Run:
    return _interrupted(
        kind, stretches=(_stretch(0.5, [], exit_code=None), _stretch(WHOLE_SECONDS, _steps(1, 9)))
    )


_KILLED, _WARNED = RunKind.KILLED, RunKind.INTERRUPTED


@pytest.mark.parametrize(
    ("runs", "not_shown"),
    [
        ((_never_interrupted(_WARNED), _interrupted(_KILLED), _torn()), ("resume",)),
        ((_nothing_saved(_WARNED), _interrupted(_KILLED), _torn()), ("resume",)),
        ((_interrupted(_KILLED), _torn()), ("resume",)),
        ((_interrupted(), _never_interrupted(_KILLED)), ("torn checkpoint", "sigkill")),
        ((_interrupted(), _nothing_saved(_KILLED)), ("torn checkpoint", "sigkill")),
        ((_interrupted(),), ("torn checkpoint", "sigkill")),
        ((_interrupted(), _interrupted(_KILLED)), ("torn checkpoint",)),
        ((), ("resume", "torn checkpoint", "sigkill")),
    ],
)
def test_a_core_question_that_no_run_answered_is_never_a_pass(
    runs: tuple[Run, ...], not_shown: tuple[str, ...]
) -> None:
    verdict = judge("train.py", (_first(), *runs))
    assert verdict.failures == ()
    assert verdict.not_shown == not_shown
    assert not verdict.passed
    assert verdict.exit_status() == 3
    assert not (verdict.resumed and verdict.survives_sigkill and verdict.survives_a_torn_checkpoint)
    for question in not_shown:
        assert verdict.check(question).seen.startswith("Not shown: ")
        assert verdict.check(question).change
    assert judge("train.py", (_first(), *runs), accept_not_shown=True).exit_status() == 0


def test_one_interruption_that_came_to_nothing_is_named_next_to_one_that_was_survived() -> None:
    runs = (_first(), _nothing_saved(_WARNED), *_good()[1:])
    verdict = judge("train.py", runs)
    assert verdict.passed
    assert "Resumed after 1 of 2 interruptions" in verdict.check("resume").seen
    assert "interrupted: no checkpoint was saved yet, after 0.5 s" in verdict.check("resume").seen


def test_where_one_interruption_is_too_early_and_one_too_late_the_advice_lies_in_between() -> None:
    verdict = judge("train.py", (_first(), _never_interrupted(_WARNED), _nothing_saved(_WARNED)))
    assert "Interrupt in between" in verdict.check("resume").change


def test_a_failure_counts_more_than_what_was_not_shown_and_so_does_a_warning_where_it_fails() -> None:
    bad = judge("train.py", (_first(), _interrupted(model={"model": "b"})), accept_not_shown=True)
    assert (bad.failures, bad.not_shown) == (("same model",), ("torn checkpoint", "sigkill"))
    assert bad.exit_status() == 1
    lossy = judge("train.py", (_first(), _nothing_saved(_WARNED), _never_interrupted(_KILLED)))
    assert (lossy.exit_status(), lossy.exit_status(strict=True)) == (3, 3)
    late = (_stretch(4.0, [], exit_code=None), _stretch(WHOLE_SECONDS, _steps(1, 9)))
    warned = judge("train.py", (_first(), _interrupted(stretches=late)))
    assert (warned.exit_status(), warned.exit_status(strict=True)) == (3, 1)


# --- nothing restored after something was saved ---


@pytest.mark.parametrize(("kind", "question"), [(_WARNED, "resume"), (_KILLED, "sigkill")])
def test_saving_and_finding_nothing_at_the_restart_is_a_failure(kind: RunKind, question: str) -> None:
    before, after = _interrupted().stretches
    empty = dataclasses.replace(after, events=tuple(_steps(1, 9)), restored=())
    good = _interrupted(_KILLED if kind is _WARNED else _WARNED)
    verdict = judge("train.py", (_first(), _interrupted(kind, stretches=(before, empty)), good, _torn()))
    assert verdict.failures == (question,)
    assert "restored nothing: it had saved 5 checkpoint files" in verdict.check(question).seen
    assert verdict.lost_seconds == pytest.approx(5.5)


def test_a_file_that_is_always_being_written_is_the_cause_and_not_a_deletion() -> None:
    def overwrite(*times: float) -> list[FileEvent]:
        return [event for at in times for event in _write(at, "state", is_new=at == times[0])]

    first = _first(stretches=(_stretch(WHOLE_SECONDS, overwrite(*range(1, 10))),))
    cut = [*overwrite(1, 2, 3, 4, 5), FileEvent(5.4, Happening.WRITTEN, "state")]
    over = _stretch(WHOLE_SECONDS, overwrite(*range(1, 10)))
    run = _interrupted(stretches=(_stretch(5.5, cut, exit_code=None), over))
    verdict = judge("train.py", (first, run))
    assert verdict.failures == ("resume", "atomic writes")
    assert "state was being written when it was killed" in " ".join(verdict.check("resume").seen.split())
    assert "rename" in verdict.check("resume").change


def test_another_file_in_the_folder_is_no_checkpoint_restored() -> None:
    metrics = [event for at in (1.0, 2.0) for event in _write(at, "metrics.csv", is_new=at == 1.0)]
    first = _first(stretches=(_stretch(WHOLE_SECONDS, [*_steps(1, 9), *metrics]),))
    over = _stretch(WHOLE_SECONDS, [*_steps(1, 9), *metrics], restored=("metrics.csv",))
    saved = _stretch(5.5, [*_steps(1, 5), *metrics], exit_code=None)
    deleted = judge("train.py", (first, _interrupted(_KILLED), _interrupted(stretches=(saved, over))))
    assert deleted.failures == ("resume",)
    early = _stretch(1.9, metrics[:3], exit_code=None)
    unsaved = judge("train.py", (first, _interrupted(), _interrupted(_KILLED, stretches=(early, over))))
    assert unsaved.failures == ()
    assert unsaved.not_shown == ("torn checkpoint", "sigkill")


def test_sigkill_waits_for_half_of_the_files_and_one_of_each_kind_that_does_not_come_last() -> None:
    log = [event for at in range(1, 10) for event in _write(at, "metrics.csv", is_new=at == 1)]
    events = [*log, *_rename(7.0, "step-1"), *_rename(8.5, "step-2"), *_rename(9.5, "summary")]
    first = _first(stretches=(_stretch(WHOLE_SECONDS, sorted(events, key=lambda event: event.at)),))
    for kinds in (find_checkpoint_kinds((first,)), frozenset({"step-#"})):
        so_far = [[event for event in events if event.at <= at] for at in (6.0, 7.0)]
        assert [find_enough(first, kinds).is_there(each) for each in so_far] == [False, True]
    assert not find_enough(first, frozenset({"metrics.csv"})).is_there(log[:7])
    assert find_enough(first, frozenset({"metrics.csv"})).is_there(log[:9])


def test_who_skips_saving_what_is_there_and_never_reads_it_has_not_resumed() -> None:
    before, after = _interrupted().stretches
    unread = _stretch(WHOLE_SECONDS, _steps(6, 9, after=5.0), restored=after.restored)
    verdict = judge("train.py", (_first(), _interrupted(stretches=(before, unread))))
    assert verdict.failures == ("resume",)
    assert "never read the checkpoint" in verdict.check("resume").seen


def test_who_needs_only_the_names_of_the_files_resumes_if_the_clock_shows_it() -> None:
    before, after = _interrupted().stretches
    faster = dataclasses.replace(after, events=tuple(_steps(6, 9)))
    runs = tuple(_interrupted(kind, stretches=(before, faster)) for kind in (_WARNED, _KILLED))
    verdict = judge("train.py", (_first(), *runs))
    assert verdict.resumed
    assert verdict.not_shown == ("torn checkpoint",)
    assert "no checkpoint of at least two bytes" in verdict.check("torn checkpoint").seen


def test_a_slow_start_is_not_taken_for_work_that_was_saved() -> None:
    slow_first = _stretch(WHOLE_SECONDS + 6, _steps(1, 9, after=6.0), lines=((6.5, "go"),))
    before = _stretch(5.5, _steps(1, 5), exit_code=None, lines=((0.5, "go"),))
    unread = _stretch(WHOLE_SECONDS, _steps(6, 9, after=5.0), restored=("step-5",), lines=((0.5, "go"),))
    verdict = judge("train.py", (_first(stretches=(slow_first,)), _interrupted(stretches=(before, unread))))
    assert verdict.failures == ("resume",)


def test_reading_the_settings_and_not_the_weights_is_starting_over() -> None:
    settings = _rename(0.5, "settings.json")
    first = _first(stretches=(_stretch(WHOLE_SECONDS, [*settings, *_steps(1, 9)]),))
    before = _stretch(5.5, [*settings, *_steps(1, 5)], exit_code=None)
    restored = ("settings.json", "step-4", "step-5")
    over = _stretch(
        WHOLE_SECONDS, [FileEvent(0.1, Happening.READ, "settings.json"), *_steps(1, 9)], restored=restored
    )
    verdict = judge("train.py", (first, _interrupted(stretches=(before, over))))
    assert verdict.failures == ("resume",)


# --- what a torn checkpoint did ---


def test_a_model_made_from_a_torn_checkpoint_is_judged_by_the_users_comparison_too() -> None:
    fine = [
        _interrupted(kind, model={"model": "b"}, compared=(True, "close enough"))
        for kind in (_WARNED, _KILLED)
    ]
    torn = _torn(model={"model": "z"}, compared=(False, "rmse differs by 9"))
    verdict = judge("train.py", (_first(), *fine, torn))
    assert verdict.failures == ("torn checkpoint",)
    assert "rmse differs by 9" in verdict.check("torn checkpoint").seen


def test_without_a_model_to_compare_only_falling_back_shows_that_a_torn_checkpoint_is_survived() -> None:
    other = [_interrupted(kind, model={"model": str(kind)}) for kind in (_WARNED, _KILLED)]
    again = _first(label="again", model={"model": "c"})
    fell_back = judge("train.py", (_first(), *other, _torn(model={"model": "z"}), again))
    assert fell_back.survives_a_torn_checkpoint
    read = FileEvent(0.1, Happening.READ, "step-5")
    used = _torn(
        stretches=(_stretch(5.0, [read, *_steps(6, 9)], restored=("step-5",)),), model={"model": "z"}
    )
    verdict = judge("train.py", (_first(), *other, used, again))
    assert verdict.not_shown == ("torn checkpoint",)
    assert "--compare" in verdict.check("torn checkpoint").change


def test_every_failure_says_what_to_change() -> None:
    bad = (
        _first(),
        _interrupted(model={"model": "b"}),
        _interrupted(RunKind.KILLED, status="Failed"),
        _torn(status="Failed"),
    )
    for check in judge("train.py", bad).checks:
        if check.result in (Result.FAIL, Result.WARN):
            assert check.change, check.question


def test_saves_are_told_by_how_they_came() -> None:
    events = [
        *_rename(1, "a1"),
        *_write(2, "a2"),
        *_write(3, "a2", is_new=False),
        FileEvent(4, Happening.WRITTEN, "a1"),
    ]
    story = read_history(_stretch(5, events), frozenset({"a#"}))
    assert [(save.name, save.arrival) for save in story.saves] == [
        ("a1", Arrival.RENAMED),
        ("a2", Arrival.NEW_IN_PLACE),
        ("a2", Arrival.OVERWRITTEN),
    ]
    assert story.unfinished == ("a1",)


def _append(at: float, name: str) -> list[FileEvent]:
    return [FileEvent(at, Happening.WRITTEN, name), FileEvent(at, Happening.APPENDED, name)]


def test_a_file_that_is_closed_and_opened_again_to_append_is_one_save() -> None:
    events = [event for n in (1, 2, 3) for event in (*_write(n, f"a{n}"), *_append(n + 0.1, f"a{n}"))]
    saves = read_history(_stretch(5, events), frozenset({"a#"})).saves
    assert [(save.name, save.at, save.arrival) for save in saves] == [
        (f"a{n}", n + 0.1, Arrival.NEW_IN_PLACE) for n in (1, 2, 3)
    ]


def test_each_line_that_is_appended_to_a_log_is_a_save_and_none_is_an_overwrite() -> None:
    events = [event for n in (1, 2, 3) for event in _append(n, "log")]
    saves = read_history(_stretch(5, events, restored=("log",)), frozenset({"log"})).saves
    assert [save.arrival for save in saves] == [Arrival.APPENDED] * 3


@pytest.mark.parametrize(
    ("torn", "result"), [(_torn(), Result.WARN), (_torn(status="Failed", failure="x"), Result.FAIL)]
)
def test_files_written_in_place_and_then_appended_to_warn_if_a_torn_one_is_survived(
    torn: Run, result: Result
) -> None:
    def save(n: int, at: float) -> list[FileEvent]:
        return [*_write(at, f"step-{n}"), *_append(at + 0.01, f"step-{n}")]

    def steps(first: int, last: int) -> list[FileEvent]:
        return [event for n in range(first, last + 1) for event in save(n, n - first + 1)]

    read = FileEvent(0.1, Happening.READ, "step-5")
    stretches = (
        _stretch(5.5, steps(1, 5), exit_code=None),
        _stretch(5.0, [read, *steps(6, 9)], restored=("step-4", "step-5")),
    )
    runs = [_interrupted(kind, stretches=stretches) for kind in (_WARNED, _KILLED)]
    verdict = judge("train.py", (_first(stretches=(_stretch(WHOLE_SECONDS, steps(1, 9)),)), *runs, torn))
    assert verdict.check("checkpoints").numbers["saved"] == 9
    assert verdict.check("atomic writes").result is result
    assert verdict.resumed


def test_what_the_upload_reads_is_not_taken_for_the_script() -> None:
    events = [*_write(1, "step-5", is_new=False), FileEvent(2, Happening.READ, "step-5")]
    assert _stretch(3, events, restored=("step-5",)).files_read() == frozenset()
    assert _stretch(3, events[::-1], restored=("step-5",)).files_read() == {"step-5"}


_NAMES = st.sampled_from(["step-1", "step-2", "other", "tmp"])
_EVENTS = st.lists(st.tuples(st.sampled_from(Happening), _NAMES), max_size=30)


@given(_EVENTS, st.sampled_from([0, None]))
def test_no_order_of_events_breaks_the_story(
    events: list[tuple[Happening, str]], exit_code: int | None
) -> None:
    given = [FileEvent(float(at), what, name) for at, (what, name) in enumerate(events)]
    stretch = _stretch(100.0, given, exit_code=exit_code, restored=("step-1",))
    run = _interrupted(stretches=(_interrupted().stretches[0], stretch))
    verdict = judge("train.py", (_first(), run))
    assert all(
        save.name in {name for _, name in events}
        for save in read_history(stretch, frozenset({"step-#"})).saves
    )
    assert 0 <= verdict.lost_share <= 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30%", 3.0), ("0.5%", 0.05), ("500ms", 0.5), ("20s", 20.0), ("2m", 120.0), ("1h", 3600.0)],
)
def test_a_moment_is_a_share_or_a_time(text: str, seconds: float) -> None:
    assert read_moment(text, "--interrupt-at").of(WHOLE_SECONDS) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0%", "100%", "-3s", "half", "", "3", "3 days", "0s"])
def test_other_moments_are_refused_with_the_option_and_the_value(text: str) -> None:
    with pytest.raises(BadPlanError, match=f"--grace is '{text}'"):
        read_seconds(text, "--grace")


def test_every_question_and_every_option_is_documented() -> None:
    page = (ROOT / "docs" / "testing-your-training.md").read_text(encoding="utf-8")
    options = [option for action in _parser()._actions for option in action.option_strings[-1:]]
    assert [option for option in options if f"`{option}" not in page and option != "--help"] == []
    assert [question for question in Question if f"| `{question}` |" not in page] == []
    properties = [name for name, value in vars(Verdict).items() if isinstance(value, property)]
    assert [name for name in properties if f"`{name}`" not in page] == []


def test_what_the_toolkit_says_of_itself_is_not_the_script() -> None:
    log = [
        "SM_HOSTS=[]",
        "Invoking script with the following command:",
        "",
        "python train.py",
        "",
        "epoch 1",
        "done",
    ]
    stretch = _stretch(9.0, [], lines=tuple((float(at), line) for at, line in enumerate(log)))
    assert [line for _, line in stretch.script_lines()] == ["epoch 1", "done"]
    assert stretch.first_line_at() == 5.0
    died = _stretch(1.0, [], lines=((0.5, "No module named sagemaker_training"),))
    assert died.script_lines() == died.lines


def test_names_that_differ_in_digits_are_one_kind() -> None:
    assert kind_of("epoch=3-loss=0.25.ckpt") == kind_of("epoch=12-loss=1.5.ckpt")
    assert kind_of("a.pt") != kind_of("b.pt")
    assert kind_of("ckpt-1f0a9c3e77d24b10.pt") == kind_of("ckpt-a5b0c3d2e1f4a7b9.pt")
    assert kind_of("optimizer.pt") != kind_of("beadfade.pt")


EMPTY = hashlib.sha256(b"").hexdigest()
MARKER = FileEvent(9.5, Happening.READ, "step-9.sagemaker-uploaded")


@pytest.mark.parametrize(
    ("events", "model", "is_marker"),
    [
        ([MARKER], {"weights": EMPTY}, True),
        ([MARKER], {"weights": EMPTY, "about": "a"}, True),
        ([MARKER], {"weights": "a"}, False),
        ([MARKER], {"step-9": "a", "step-9.sagemaker-uploaded": EMPTY}, False),  # the whole folder, copied
        ([], {"weights": EMPTY}, False),
    ],
)
def test_a_marker_that_is_published_as_the_model_is_a_failure(
    events: list[FileEvent], model: dict[str, str], is_marker: bool
) -> None:
    first = _first(stretches=(_stretch(WHOLE_SECONDS, [*_steps(1, 9), *events]),), model=model)
    check = judge("train.py", (first, _interrupted(model=model))).check("runs")
    assert check.result is (Result.FAIL if is_marker else Result.PASS)
    assert ("took step-9.sagemaker-uploaded, a marker of SageMaker" in check.seen) is is_marker
