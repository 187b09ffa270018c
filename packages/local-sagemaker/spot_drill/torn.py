"""The core question about a torn checkpoint: does the script survive one that is cut in half. Pure."""

from __future__ import annotations

from .evidence import RESUMED, SHOWS_NOTHING
from .facts import (
    Facts,
    advise_on_kill,
    describe_difference,
    describe_failure,
    describe_no_evidence,
    skip,
)
from .history import Arrival, read_history
from .observe import Run, RunKind
from .verdict import Check, Question, Result


def judge_torn(facts: Facts) -> Check:
    question = Question.TORN
    if facts.why_not:
        return skip(question, facts.why_not)
    run = next(iter(facts.of(RunKind.TORN)), None)
    if run is None:
        return skip(question, *_why_nothing_was_torn(facts))
    torn = f"With {run.truncated} cut in half"
    is_other = _has_other_model(run, facts)
    if not run.is_completed and _renames_all(facts):
        return Check(
            question=question,
            result=Result.WARN,
            seen=f"{torn} the run ended {run.status}{describe_failure(run)}. But each checkpoint gets its "
            "final name by a rename, so an interruption leaves no torn one.",
            change="To survive a damaged file, too, check a checkpoint before you use it, and fall back to "
            "the previous one.",
        )
    if not run.is_completed or is_other:
        return _fail_torn(torn, run, facts)
    if _started_over(run, facts):
        return Check(
            question=question,
            result=Result.WARN,
            seen=f"{torn} the script started over: it used no other checkpoint.",
            change="Keep at least the last two checkpoints, and fall back to the previous one.",
        )
    if _fell_back(run, facts):
        return Check(
            question=question, result=Result.PASS, seen=f"{torn} the script fell back to an earlier one."
        )
    if is_other is None:
        return skip(
            question,
            f"{torn} the script continued without an error, but its model cannot be judged: the models also "
            "differ without a torn checkpoint.",
            "Fix the seeds and keep times out of the model, or judge with --compare COMMAND.",
        )
    return Check(
        question=question,
        result=Result.PASS,
        seen=f"{torn} the script still made the same model.",
    )


def _fail_torn(torn: str, run: Run, facts: Facts) -> Check:
    if run.is_completed:
        seen = f"{torn} the script continued without an error and made another model: "
        seen += _describe_other_model(run, facts)
        check = "length or hash"
    else:
        seen = f"{torn} the run ended {run.status}{describe_failure(run)}. Every restart would end in the "
        seen += "same way."
        check = "length or hash, or catch the error"
    return Check(
        question=Question.TORN,
        result=Result.FAIL,
        seen=seen,
        change=f"Check a checkpoint before you use it ({check}), and fall back to the previous one.",
    )


def _renames_all(facts: Facts) -> bool:
    """Whether an interruption never leaves half of a file under the final name of a checkpoint."""
    untorn = [stretch for run in facts.runs if run.kind is not RunKind.TORN for stretch in run.stretches]
    histories = [read_history(stretch, facts.kinds) for stretch in untorn]
    return all(
        save.arrival is Arrival.RENAMED for history in histories for save in history.saves
    ) and not any(history.unfinished for history in histories)


def _started_over(run: Run, facts: Facts) -> bool:
    """Whether nothing but the torn file was read, or everything was saved again.

    A file that is overwritten in place may be saved more often than seen: on a busy machine two quick writes
    look like one. So of such a file the number of saves is no sign that the script found another checkpoint.
    """
    start = run.stretches[0]
    if not start.files_read() or len(facts.saves(start)) >= len(facts.first_saves):
        return True
    return run.truncated in facts.overwritten and facts.checkpoints_read(start) <= {run.truncated}


def _fell_back(run: Run, facts: Facts) -> bool:
    """Whether the script repeated more work than after the same kill with a complete checkpoint."""
    whole = next((each for each in facts.disturbed if each.label == run.torn_from), facts.killed)
    return (
        whole is not None
        and whole.was_interrupted
        and len(facts.saves(run.stretches[0])) > len(facts.saves(whole.stretches[1]))
    )


def _has_other_model(run: Run, facts: Facts) -> bool | None:
    """Whether the model differs from the undisturbed one; None if models also differ with complete
    checkpoints.
    """
    if run.compared:
        is_refused = not run.compared[0]
        others_are_refused = any(each.compared and not each.compared[0] for each in facts.disturbed)
        return None if is_refused and others_are_refused else is_refused
    if not run.differs_from(facts.first):
        return False
    return None if any(each.differs_from(facts.first) for each in facts.disturbed) else True


def _describe_other_model(run: Run, facts: Facts) -> str:
    if run.compared:
        return f"the --compare command rejects it: {run.compared[1][:200]!r}."
    return describe_difference(facts.first.model, run.model)


def _why_nothing_was_torn(facts: Facts) -> tuple[str, str]:
    """Why no run started with a torn checkpoint, and what to change."""
    run = facts.killed
    if run is None or facts.weigh(run) in SHOWS_NOTHING:
        why = describe_no_evidence(run, facts)
        return f"There was no checkpoint to cut in half: {why}.", advise_on_kill(facts)
    if facts.weigh(run) in RESUMED:
        why = "After SIGKILL the script read no checkpoint of at least two bytes that could be cut in half."
        change = "Keep the state in the content of the checkpoint files, not in their names. If the script "
        return why, f"{change}needs no content, accept this with --accept-not-shown."
    return "After SIGKILL the script did not resume from a checkpoint.", ""
