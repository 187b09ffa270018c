"""Answers each question about a script from the runs of a drill: what was seen, and what to change. Pure.

The answers about one undisturbed run are here. `core`, `torn`, `cost`, `model` and `folder` have the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from local_sagemaker import MARKER_SUFFIXES

from .core import judge_resume, judge_sigkill
from .cost import judge_restart, judge_work_lost
from .facts import LATE_FACTOR, Facts, count, describe_failure, skip
from .folder import judge_gaps, judge_writes
from .interruptions import account
from .model import judge_model
from .torn import judge_torn
from .verdict import Check, Question, Result, RunSummary, Verdict

if TYPE_CHECKING:
    from .observe import Run

#: Checkpoints that come only after this share of the run, within a share of it, are saved at its end. What
#: follows is the end of the processes.
_END_SHARE, _ONE_MOMENT_SHARE = 0.75, 0.02
_EMPTY = hashlib.sha256(b"").hexdigest()


def judge(
    script: str,
    runs: tuple[Run, ...],
    *,
    checkpoint_every_seconds: Callable[[float], float] | None = None,
    accept_not_shown: bool = False,
) -> Verdict:
    """Answer every question.

    The first run is the uninterrupted one. `checkpoint_every_seconds` takes its training time, and returns
    how often the script is meant to save.
    """
    facts = Facts(runs)
    promise = checkpoint_every_seconds(facts.whole_seconds) if checkpoint_every_seconds else None
    checks = (
        _judge_run(facts),
        _judge_checkpoints(facts, promise),
        judge_resume(facts),
        judge_work_lost(facts),
        judge_model(facts),
        judge_writes(facts),
        judge_gaps(facts),
        judge_torn(facts),
        judge_sigkill(facts),
        judge_restart(facts),
    )
    return Verdict(
        script=script,
        checks=checks,
        runs=tuple(_summarise(run) for run in runs),
        interruptions=account(facts),
        accept_not_shown=accept_not_shown,
    )


def _summarise(run: Run) -> RunSummary:
    last = run.stretches[-1].script_lines()[-12:] if run.stretches and not run.is_completed else ()
    return RunSummary(
        label=run.label,
        status=run.status,
        training_seconds=tuple(round(stretch.seconds, 3) for stretch in run.stretches),
        failure=run.failure,
        last_lines=tuple(line for _, line in last),
    )


def _judge_run(facts: Facts) -> Check:
    run = facts.first
    marker = _find_published_marker(run)
    if marker is not None:
        return Check(
            question=Question.RUNS,
            result=Result.FAIL,
            seen=f"The undisturbed run completed, but its model has an empty file: the script took {marker}, "
            "a marker of SageMaker, for a checkpoint.",
            change="Match the whole name of a checkpoint. While SageMaker uploads a file, and afterwards, an "
            "empty <file>.sagemaker-uploading or <file>.sagemaker-uploaded is next to it.",
        )
    flaky = next((each for each in facts.disturbed if _failed_undisturbed(each)), None)
    if run.is_completed and flaky is not None:
        return Check(
            question=Question.RUNS,
            result=Result.FAIL,
            seen=f"The undisturbed run completed, but the run {flaky.label} ended {flaky.status} before its "
            f"interruption came{describe_failure(flaky)}.",
            change="Make the script run without interruptions first: it does not do so each time.",
        )
    if run.is_completed:
        seen = f"The undisturbed run completed after {facts.whole_seconds:.1f} s."
        if not run.has_mounts:
            seen += (
                " There are no private mounts here, so the script may remove or rename /opt/ml/checkpoints "
                "and /opt/ml/model themselves, which fails on AWS."
            )
        return Check(
            question=Question.RUNS,
            result=Result.PASS,
            seen=seen,
            numbers={"training_seconds": round(facts.whole_seconds, 3)},
        )
    return Check(
        question=Question.RUNS,
        result=Result.FAIL,
        seen=f"The undisturbed run ended {run.status}{describe_failure(run)}.",
        change="Raise --timeout, or train on less data."
        if run.status == "TimedOut"
        else "Make the script run without interruptions first. The end of its log is below.",
    )


def _failed_undisturbed(run: Run) -> bool:
    return not run.was_interrupted and not run.is_completed


def _find_published_marker(run: Run) -> str | None:
    """The last marker that the script opened, if a file of its model that is no marker is empty."""
    opened = [name for stretch in run.stretches for name in stretch.markers_read()]
    empty = [name for name, digest in run.model.items() if digest == _EMPTY]
    is_empty = any(not name.endswith(MARKER_SUFFIXES) for name in empty)
    return opened[-1] if opened and run.is_completed and is_empty else None


def _saves_only_at_the_end(times: list[float], whole: float) -> bool:
    """Whether there is only one moment at which something is saved, at the end of the run."""
    return times[0] > _END_SHARE * whole and times[-1] - times[0] < _ONE_MOMENT_SHARE * whole


def _judge_checkpoints(facts: Facts, promise: float | None) -> Check:
    question = Question.CHECKPOINTS
    if not facts.first.is_completed:
        return skip(question, facts.why_not or "")
    if not facts.first_saves:
        return Check(
            question=question,
            result=Result.FAIL,
            seen="Nothing was saved in the checkpoint folder: an interruption loses all the work.",
            change="Save to /opt/ml/checkpoints (CheckpointConfig.LocalPath) during the training, and "
            "load the newest checkpoint at the start.",
        )
    times = [save.at for save in facts.first_saves]
    longest = max(b - a for a, b in zip([0.0, *times], [*times, facts.whole_seconds], strict=True))
    numbers = {
        "saved": len(times),
        "first_at_seconds": round(times[0], 3),
        "longest_seconds": round(longest, 3),
    }
    seen = (
        f"{count(len(times), 'checkpoint file')} saved, the first after {times[0]:.1f} s; the longest time "
    )
    seen += f"without one was {longest:.1f} s."
    if _saves_only_at_the_end(times, facts.whole_seconds):
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"Nothing was saved before the end: the first checkpoint file was complete after "
            f"{times[0]:.1f} s of {facts.whole_seconds:.1f} s. An interruption before loses all the work.",
            change="Save during the training, not only at its end, and close the file each time. If this "
            "drill trains for one epoch only, train longer.",
            numbers=numbers,
        )
    if promise is not None and longest > LATE_FACTOR * promise:
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"{seen} One was expected every {promise:.1f} s.",
            change="Checkpoint more often, also during long steps such as the first epoch or an evaluation.",
            numbers=numbers,
        )
    return Check(question=question, result=Result.PASS, seen=seen, numbers=numbers)
