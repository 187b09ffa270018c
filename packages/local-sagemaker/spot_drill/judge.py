"""Answers each question about a script from the runs of a drill: what was seen, and what to change. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from local_sagemaker import MARKER_SUFFIXES

from .core import judge_resume, judge_sigkill, judge_torn
from .evidence import DID_NOT_RESUME
from .facts import LATE_FACTOR, Facts, count, describe_difference, describe_failure, name_some, skip
from .history import Arrival, read_history
from .observe import Run, RunKind
from .verdict import Check, Question, Result, RunSummary, Verdict

_EMPTY = hashlib.sha256(b"").hexdigest()
#: A kill during such a write leaves a torn checkpoint.
_UNDER_FINAL_NAME = frozenset({Arrival.NEW_IN_PLACE, Arrival.APPENDED})
#: If one interruption loses more than this share of the run, that is a warning.
_MUCH_LOST = 0.25


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
        _judge_work_lost(facts),
        _judge_model(facts),
        _judge_writes(facts),
        _judge_gaps(facts),
        judge_torn(facts),
        judge_sigkill(facts),
        _judge_restart(facts),
    )
    return Verdict(
        script=script,
        checks=checks,
        runs=tuple(_summarise(run) for run in runs),
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
    if run.is_completed:
        seen = f"The undisturbed run completed after {facts.whole_seconds:.1f} s."
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


def _find_published_marker(run: Run) -> str | None:
    """The last marker that the script opened, if a file of its model that is no marker is empty."""
    opened = [name for stretch in run.stretches for name in stretch.markers_read()]
    empty = [name for name, digest in run.model.items() if digest == _EMPTY]
    is_empty = any(not name.endswith(MARKER_SUFFIXES) for name in empty)
    return opened[-1] if opened and run.is_completed and is_empty else None


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
    if promise is not None and longest > LATE_FACTOR * promise:
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"{seen} One was expected every {promise:.1f} s.",
            change="Checkpoint more often, also during long steps such as the first epoch or an evaluation.",
            numbers=numbers,
        )
    return Check(question=question, result=Result.PASS, seen=seen, numbers=numbers)


# --- what an interruption costs ---


def _judge_work_lost(facts: Facts) -> Check:
    question = Question.WORK_LOST
    if facts.why_not:
        return skip(question, facts.why_not)
    disturbed = [run for run in facts.disturbed if run.was_interrupted]
    if not disturbed:
        return skip(question, "The script ended before each interruption.")
    lost = {run.label: _lost_seconds(run, facts) for run in disturbed}
    most = max(lost.values())
    share = most / facts.whole_seconds
    each = "; ".join(
        f"{run.label}: {lost[run.label]:.1f} s ({lost[run.label] / facts.whole_seconds:.0%}"
        f"{'' if facts.saves(run.stretches[0]) else ', before the first checkpoint'})"
        for run in disturbed
    )
    return Check(
        question=question,
        result=Result.WARN if share > _MUCH_LOST else Result.PASS,
        seen=f"Lost work, {each}.",
        change=_advise_on_loss(disturbed, lost, facts) if share > _MUCH_LOST else "",
        numbers={"most_lost_seconds": round(most, 3), "most_lost_share": round(share, 4)},
    )


def _advise_on_loss(disturbed: list[Run], lost: Mapping[str, float], facts: Facts) -> str:
    worst = max(disturbed, key=lambda run: lost[run.label])
    if facts.saves(worst.stretches[0]):
        return "Save checkpoints more often, and make sure that a restart uses them."
    return "Save the first checkpoint earlier. If most of this run is start-up, drill a longer one."


def _lost_seconds(run: Run, facts: Facts) -> float:
    """The time from the last checkpoint to the kill; the whole stretch if the checkpoint was not used."""
    before = run.stretches[0]
    saves = facts.saves(before)
    if not saves or facts.weigh(run) in DID_NOT_RESUME:
        return before.seconds
    return max(0.0, before.seconds - saves[-1].at)


def _judge_restart(facts: Facts) -> Check:
    question = Question.RESTART
    if facts.why_not:
        return skip(question, facts.why_not)
    starts = [run.stretches[1] for run in facts.disturbed if run.was_interrupted and run.is_completed]
    if not starts:
        return skip(question, "No run was interrupted and completed.")
    lines = [at for start in starts if (at := start.first_line_at()) is not None]
    saves = [found[0].at for start in starts if (found := facts.saves(start))]
    times = [
        f"{max(times):.1f} s to the first {what}"
        for times, what in ((lines, "line of log"), (saves, "new checkpoint"))
        if times
    ]
    if not times:
        return skip(question, "After the restart the script logged and saved nothing.")
    slow = bool(saves) and max(saves) > 0.5 * facts.whole_seconds and max(saves) > 2 * facts.first_saves[0].at
    return Check(
        question=question,
        result=Result.WARN if slow else Result.PASS,
        seen=f"A restart takes at most {' and '.join(times)}.",
        change="Do less before the first step: cache prepared data, skip data by index." if slow else "",
        numbers={"first_checkpoint_seconds": round(max(saves), 3)} if saves else {},
    )


# --- the model ---


def _judge_model(facts: Facts) -> Check:
    question = Question.SAME_MODEL
    if facts.why_not:
        return skip(question, facts.why_not)
    made = [run for run in facts.disturbed if run.is_completed and run.was_interrupted]
    if not made:
        return skip(question, "No run was interrupted and completed.")
    compared = [run for run in made if run.compared]
    if compared:
        return _judge_comparison(compared)
    different = next((run for run in made if run.differs_from(facts.first)), None)
    if different is None:
        return Check(
            question=question,
            result=Result.PASS,
            seen=f"The model is the same, byte for byte, in {count(len(made), 'interrupted run')} "
            f"({count(len(facts.first.model), 'file')}).",
        )
    what = describe_difference(facts.first.model, different.model)
    again = next(iter(facts.of(RunKind.UNINTERRUPTED)[1:]), None)
    is_random = again is not None and again.differs_from(facts.first)
    if is_random and set(different.model) == set(facts.first.model):
        return Check(
            question=question,
            result=Result.WARN,
            seen=f"{what} But two undisturbed runs also differ.",
            change="Fix the seeds and keep times out of the model, or judge with --compare COMMAND.",
        )
    return Check(
        question=question,
        result=Result.FAIL,
        seen=f"The run {different.label} made another model, but undisturbed runs make the same: {what}",
        change="Save everything that the next step depends on with the checkpoint (random states, optimizer, "
        "schedule, position in the data), or seed with the step's number; or judge with --compare COMMAND.",
    )


def _judge_comparison(compared: list[Run]) -> Check:
    bad = next((run for run in compared if run.compared and not run.compared[0]), None)
    said = (bad or compared[0]).compared
    quoted = f" Its output: {said[1][:200]!r}." if said and said[1] else ""
    if bad:
        return Check(
            question=Question.SAME_MODEL,
            result=Result.FAIL,
            seen=f"The --compare command rejects the model of the run {bad.label}.{quoted}",
            change="Save everything that the next step depends on with the checkpoint.",
        )
    return Check(
        question=Question.SAME_MODEL,
        result=Result.PASS,
        seen=f"The --compare command accepts the models of {count(len(compared), 'run')}.{quoted}",
    )


# --- the checkpoint folder ---


def _judge_writes(facts: Facts) -> Check:
    question = Question.ATOMIC
    if facts.why_not:
        return skip(question, facts.why_not)
    # A run that starts with a torn checkpoint may overwrite it.
    whole = [run for run in facts.runs if run.kind is not RunKind.TORN]
    saves = [save for run in whole for stretch in run.stretches for save in facts.saves(stretch)]
    overwritten = sorted({save.name for save in saves if save.arrival is Arrival.OVERWRITTEN})
    in_place = sorted({save.name for save in saves if save.arrival in _UNDER_FINAL_NAME})
    cut = [
        f"{name} was half written when the run {run.label} was killed"
        for run in facts.disturbed
        for name in read_history(run.stretches[0], facts.kinds).unfinished
        if run.was_interrupted
    ]
    change = (
        "Write to another name in the same folder, flush, fsync, then rename to the final name (os.replace)."
    )
    if overwritten:
        seen = (
            f"{name_some(overwritten)} was overwritten in place: a kill during the write destroys both the "
        )
        seen += "old and the new checkpoint."
        return Check(
            question=question, result=Result.FAIL, seen=" ".join([seen, *_sentence(cut)]), change=change
        )
    if in_place:
        torn = judge_torn(facts)
        falls_back = torn.result in (Result.PASS, Result.WARN)
        seen = (
            f"{name_some(in_place)} was written under its final name: a kill during the write leaves a torn "
        )
        seen += "checkpoint, which the script survives." if falls_back else "checkpoint."
        return Check(
            question=question,
            result=Result.WARN if falls_back else Result.FAIL,
            seen=" ".join([seen, *_sentence(cut)]),
            change=change,
        )
    return Check(
        question=question,
        result=Result.PASS,
        seen=f"All {len(saves)} checkpoint files were complete when they got their final name, by a rename.",
    )


def _sentence(parts: list[str]) -> list[str]:
    return [f"{parts[0]}."] if parts else []


def _judge_gaps(facts: Facts) -> Check:
    question = Question.KEEPS
    if facts.why_not:
        return skip(question, facts.why_not)
    gaps = [
        (gap, stretch)
        for run in facts.runs
        for stretch in run.stretches
        for gap in read_history(stretch, facts.kinds).gaps
    ]
    if not gaps:
        return Check(
            question=question,
            result=Result.PASS,
            seen="After the first checkpoint there was always one in the folder.",
        )
    longest = max((gap.ended_at or stretch.seconds) - gap.began_at for gap, stretch in gaps)
    return Check(
        question=question,
        result=Result.FAIL,
        seen=f"{count(len(gaps), 'time')} the last checkpoint was deleted before the next was saved, for "
        f"up to {longest:.2f} s. Deletions also reach S3.",
        change="Delete old checkpoints after the new one has its final name. Keep at least the last two.",
        numbers={"longest_seconds": round(longest, 3)},
    )
