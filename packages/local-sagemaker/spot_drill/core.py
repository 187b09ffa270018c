"""The core questions: does the script resume, and does it survive a torn checkpoint and SIGKILL. Pure.

Each is answered only by its own runs. If these show nothing, the answer says why, and what to change in the
next drill.
"""

from __future__ import annotations

from .evidence import DID_NOT_RESUME, SHOWS_NOTHING, Evidence
from .facts import LATE_FACTOR, Facts, count, describe_difference, describe_failure, skip
from .observe import Run, RunKind
from .verdict import Check, Question, Result


def judge_resume(facts: Facts) -> Check:
    question = Question.RESUME
    if facts.why_not:
        return skip(question, facts.why_not)
    warned = facts.of(RunKind.INTERRUPTED)
    # What only SIGKILL breaks is another question.
    failed = [run for run in warned if not run.is_completed]
    if failed:
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"The run {failed[0].label} ended {failed[0].status}{describe_failure(failed[0])}.",
            change="Make a second start work with the files that the first left in the checkpoint folder.",
        )
    shown = [run for run in warned if facts.weigh(run) not in SHOWS_NOTHING]
    over = [run for run in shown or facts.of(RunKind.KILLED) if facts.weigh(run) in DID_NOT_RESUME]
    if over:
        return _fail_starting_over(question, over[0], facts)
    if not shown:
        return skip(
            question,
            f"{'; '.join(_describe_no_evidence(run, facts) for run in warned or (None,))}.",
            _advise_on_moments(warned, facts),
        )
    return Check(question=question, result=Result.PASS, seen=_describe_resuming(shown, facts))


def _describe_resuming(shown: list[Run], facts: Facts) -> str:
    warned = facts.of(RunKind.INTERRUPTED)
    best = shown[0]
    line = best.line_about_resuming()
    seen = f"Resumed after {len(shown)} of {count(len(warned), 'interruption')}: the run {best.label} "
    seen += f"needed {best.stretches[-1].seconds:.1f} s more (undisturbed: {facts.whole_seconds:.1f} s)"
    if line:
        seen += f" and said {line.strip()[:100]!r}"
    others = [f"; {_describe_no_evidence(run, facts)}" for run in warned if run not in shown]
    return f"{seen}{''.join(others)}."


def _fail_starting_over(question: Question, run: Run, facts: Facts) -> Check:
    """The answer about a run that saved, but did not resume from what it saved."""
    if facts.weigh(run) is Evidence.NOTHING_LEFT:
        return _fail_nothing_left(question, run, facts)
    after = run.stretches[-1]
    has_read = "it read the checkpoint" if after.files_read() else "it never read the checkpoint"
    return Check(
        question=question,
        result=Result.FAIL,
        seen=f"The run {run.label} started over: {has_read}, saved "
        f"{count(len(facts.saves(after)), 'checkpoint file')} again (an undisturbed run saves "
        f"{len(facts.first_saves)}) and took {after.seconds:.1f} s (undisturbed: "
        f"{facts.whole_seconds:.1f} s).",
        change="At the start, find the newest checkpoint in the checkpoint folder, load it, and continue "
        "with the next step.",
    )


def _fail_nothing_left(question: Question, run: Run, facts: Facts) -> Check:
    before = run.stretches[0]
    saved = facts.saves(before)
    return Check(
        question=question,
        result=Result.FAIL,
        seen=f"The run {run.label} restored nothing: it had saved {count(len(saved), 'checkpoint file')}, "
        f"the last after {saved[-1].at:.1f} s, and was interrupted after {before.seconds:.1f} s, but no "
        "checkpoint was in the folder at the restart.",
        change="Keep the newest checkpoint until the script ends: do not delete or move it after the last "
        "epoch, before an evaluation, or while the next one is written. SageMaker deletes from S3 what the "
        "script deletes.",
    )


# --- what a run could not show ---


def _describe_no_evidence(run: Run | None, facts: Facts) -> str:
    if run is None:
        return "no run was interrupted"
    if facts.weigh(run) is Evidence.NOTHING_SAVED:
        return f"{run.label}: no checkpoint was saved yet, after {run.stretches[0].seconds:.1f} s"
    return f"{run.label}: the script ended first ({run.status} after {run.training_seconds:.1f} s)"


def _advise_on_moments(runs: tuple[Run, ...], facts: Facts) -> str:
    """How to interrupt the script between its first checkpoint and its end."""
    found = {facts.weigh(run) for run in runs}
    if {Evidence.NEVER_CAME, Evidence.NOTHING_SAVED} <= found:
        change = "Interrupt in between (--interrupt-at), save earlier or train longer."
    elif Evidence.NEVER_CAME in found:
        change = "Interrupt earlier (--interrupt-at, or a shorter --grace) or train longer."
    else:
        change = "Interrupt later (--interrupt-at), save earlier or train longer."
    times = f"{facts.first_saves[0].at:.1f} s, the end after {facts.whole_seconds:.1f} s"
    return f"The first checkpoint comes after {times}. {change}"


# --- a torn checkpoint ---


def judge_torn(facts: Facts) -> Check:
    question = Question.TORN
    if facts.why_not:
        return skip(question, facts.why_not)
    run = next(iter(facts.of(RunKind.TORN)), None)
    if run is None:
        return skip(question, *_why_nothing_was_torn(facts))
    torn = f"With {run.truncated} cut in half"
    is_other = _has_other_model(run, facts)
    if not run.is_completed or is_other:
        return _fail_torn(torn, run, facts)
    if len(facts.saves(run.stretches[0])) >= len(facts.first_saves) or not run.stretches[0].files_read():
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


def _fell_back(run: Run, facts: Facts) -> bool:
    """Whether the script repeated more work than after the same kill with a complete checkpoint."""
    killed = facts.killed
    return (
        killed is not None
        and killed.was_interrupted
        and len(facts.saves(run.stretches[0])) > len(facts.saves(killed.stretches[1]))
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
        why = _describe_no_evidence(run, facts)
        return f"There was no checkpoint to cut in half: {why}.", _advise_on_kill(facts)
    if facts.weigh(run) is Evidence.RESUMED:
        why = "After SIGKILL the script read no checkpoint of at least two bytes that could be cut in half."
        change = "Keep the state in the content of the checkpoint files, not in their names. If the script "
        return why, f"{change}needs no content, accept this with --accept-not-shown."
    return "After SIGKILL the script did not resume from a checkpoint.", ""


# --- SIGKILL ---


def judge_sigkill(facts: Facts) -> Check:
    question = Question.SIGKILL
    if facts.why_not:
        return skip(question, facts.why_not)
    run = facts.killed
    others = {facts.weigh(each) for each in facts.of(RunKind.INTERRUPTED)}
    if run is None or not _shows_something(run, others, facts):
        return skip(question, f"{_describe_no_evidence(run, facts)}.", _advise_on_kill(facts))
    evidence = facts.weigh(run)
    if evidence is Evidence.RESUMED:
        return Check(
            question=question,
            result=Result.PASS,
            seen="Killed without a warning, the script resumed and completed.",
        )
    if evidence is Evidence.ENDED_BADLY and evidence in others:
        return skip(question, "The script also fails after an interruption with a warning.")
    if evidence in DID_NOT_RESUME:
        if Evidence.RESUMED not in others:
            return skip(question, "The script also does not resume after an interruption with a warning.")
        return _fail_starting_over(question, run, facts)
    seen = "Killed without a warning, the script started over."
    if evidence is Evidence.ENDED_BADLY:
        seen = f"After SIGKILL without a warning the run ended {run.status}{describe_failure(run)}."
    return Check(
        question=question,
        result=Result.FAIL,
        seen=seen,
        change="Do not rely on SIGTERM: in script mode it never reaches the script. Save regularly.",
    )


def _shows_something(run: Run, others: set[Evidence], facts: Facts) -> bool:
    """Whether the run that was to be killed shows anything, good or bad."""
    if facts.weigh(run) is not Evidence.NOTHING_SAVED:
        return facts.weigh(run) not in SHOWS_NOTHING
    # Long after the first checkpoint of the undisturbed run this is not chance: it saves only after a
    # warning.
    is_late = run.stretches[0].seconds > LATE_FACTOR * facts.first_saves[0].at
    return is_late and Evidence.RESUMED in others


def _advise_on_kill(facts: Facts) -> str:
    return (
        "SIGKILL comes at half of the undisturbed time, or later, when half of the checkpoints are saved. "
        f"The first checkpoint came after {facts.first_saves[0].at:.1f} s of {facts.whole_seconds:.1f} s. "
        "Save earlier and evenly over the run, or train longer."
    )
