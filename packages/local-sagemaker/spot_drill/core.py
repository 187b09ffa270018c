"""The core questions: does the script resume, and does it survive a torn checkpoint and SIGKILL. Pure.

Each is answered only by its own runs. If these show nothing, the answer says why, and what to change in the
next drill.
"""

from __future__ import annotations

from .evidence import DID_NOT_RESUME, RESUMED, SHOWS_NOTHING, Evidence
from .facts import Facts, count, describe_difference, describe_failure, name_some, skip
from .history import read_history
from .observe import Run, RunKind
from .progress import find_older
from .verdict import Check, Question, Result


def judge_resume(facts: Facts) -> Check:
    question = Question.RESUME
    if facts.why_not:
        return skip(question, facts.why_not)
    warned = facts.of(RunKind.INTERRUPTED)
    # What only SIGKILL breaks is another question, unless nothing was saved that it could have broken.
    failed = [
        run
        for run in facts.disturbed
        if facts.weigh(run) is Evidence.ENDED_BADLY
        and (run.kind is RunKind.INTERRUPTED or not facts.saves(run.stretches[0]))
    ]
    if failed:
        return _fail_second_start(failed[0], facts)
    shown = [run for run in warned if facts.weigh(run) not in SHOWS_NOTHING]
    over = [run for run in shown or facts.of(RunKind.KILLED) if facts.weigh(run) in DID_NOT_RESUME]
    if over:
        return _fail_starting_over(question, over[0], facts)
    older = [run for run in facts.disturbed if facts.weigh(run) is Evidence.RESUMED_OLDER]
    if older:
        return _fail_resuming_older(older[0], facts)
    never_came = [run for run in warned if not run.was_interrupted]
    if not shown or never_came:
        return skip(
            question,
            f"{'; '.join(_describe_no_evidence(run, facts) for run in never_came or warned or (None,))}.",
            _advise_on_moments(warned, facts),
        )
    return Check(question=question, result=Result.PASS, seen=_describe_resuming(shown, facts))


def _fail_second_start(run: Run, facts: Facts) -> Check:
    saved = facts.saves(run.stretches[0])
    ended = f"The run {run.label} ended {run.status}{describe_failure(run)}."
    if saved:
        change = "Make a second start work with the files that the first left in the checkpoint folder."
    else:
        ended += " No checkpoint had been saved yet, so it is the second start that fails, not a checkpoint."
        there = name_some(run.stretches[-1].restored) if run.stretches[-1].restored else ""
        change = "Make a second start work without a checkpoint"
        change += f", and with what the first left in the folder: {there}." if there else "."
    return Check(question=Question.RESUME, result=Result.FAIL, seen=ended, change=change)


def _fail_resuming_older(run: Run, facts: Facts) -> Check:
    older = find_older(run, facts.first, facts.kinds)
    assert older is not None  # noqa: S101  (this is what the run was weighed by)
    return Check(
        question=Question.RESUME,
        result=Result.FAIL,
        seen=f"The run {run.label} resumed from an older checkpoint: {older.newest} was in the folder, and "
        f"it saved {count(older.count, 'checkpoint file')} again, from {older.again} on.",
        change="Compare the numbers in the names as numbers: by its letters epoch-9 comes after epoch-10. Do "
        "not go by the time of a file: a restored file has the time of its download.",
    )


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
    tries = f", in each of {run.attempts} attempts" if run.attempts > 1 else ""
    return f"{run.label}: the script ended first ({run.status} after {run.training_seconds:.1f} s){tries}"


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
        why = _describe_no_evidence(run, facts)
        return f"There was no checkpoint to cut in half: {why}.", _advise_on_kill(facts)
    if facts.weigh(run) in RESUMED:
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
    if run is None or facts.weigh(run) in SHOWS_NOTHING:
        return skip(question, f"{_describe_no_evidence(run, facts)}.", _advise_on_kill(facts))
    others = {facts.weigh(each) for each in facts.of(RunKind.INTERRUPTED)}
    evidence = facts.weigh(run)
    if evidence in RESUMED:
        return Check(
            question=question,
            result=Result.PASS,
            seen="Killed without a warning, the script resumed and completed.",
        )
    is_the_cause = evidence not in others and bool(others & RESUMED)
    if not is_the_cause or not facts.saves(run.stretches[0]):
        return skip(question, "The cause is not SIGKILL: the answer to `resume` says what is.")
    if evidence is Evidence.ENDED_BADLY:
        return _fail_after_sigkill(run, facts)
    return _fail_starting_over(question, run, facts)


def _fail_after_sigkill(run: Run, facts: Facts) -> Check:
    before, after = run.stretches[0], run.stretches[-1]
    cut = read_history(before, facts.kinds).unfinished
    ended = f"After SIGKILL at {before.seconds:.1f} s the run ended {run.status}{describe_failure(run)}."
    if cut:
        seen = f"{ended} {name_some(cut)} was being written when it came."
        change = "Write to another name, flush, fsync, then rename to the final name (os.replace)."
    else:
        found = f"{name_some(after.restored)} was" if after.restored else "nothing was"
        seen = f"{ended} At the restart {found} in the checkpoint folder."
        change = "Make a second start work with the files that are there at any moment."
    return Check(question=Question.SIGKILL, result=Result.FAIL, seen=seen, change=change)


def _advise_on_kill(facts: Facts) -> str:
    return (
        "SIGKILL comes at half of the undisturbed time, or later, when half of the checkpoints are saved; "
        "further attempts, as soon as there are checkpoints. "
        f"The first checkpoint came after {facts.first_saves[0].at:.1f} s of {facts.whole_seconds:.1f} s. "
        "Save earlier and evenly over the run, or train longer."
    )
