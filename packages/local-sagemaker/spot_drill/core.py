"""The core questions: does the script resume, and does it survive SIGKILL (`torn` has the third). Pure.

Each is answered only by its own runs. If these show nothing, the answer says why, and what to change in the
next drill.
"""

from __future__ import annotations

from .evidence import DID_NOT_RESUME, RESUMED, SHOWS_NOTHING, Evidence
from .facts import Facts, advise_on_kill, count, describe_failure, describe_no_evidence, name_some, skip
from .history import kind_of, read_history
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
            f"{'; '.join(describe_no_evidence(run, facts) for run in never_came or warned or (None,))}.",
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
    others = [f"; {describe_no_evidence(run, facts)}" for run in warned if run not in shown]
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
    kinds = {kind_of(save.name) for save in saved}  # not a log that is open all the time
    cut = [name for name in read_history(before, facts.kinds).unfinished if kind_of(name) in kinds]
    if cut:
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"The run {run.label} restored nothing: {name_some(cut)} was being written when it was "
            f"killed after {before.seconds:.1f} s, and no complete checkpoint was there.",
            change="Write to another name in the same folder, flush, fsync, close, then rename to the final "
            "name (os.replace).",
        )
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


# --- SIGKILL ---


def judge_sigkill(facts: Facts) -> Check:
    question = Question.SIGKILL
    if facts.why_not:
        return skip(question, facts.why_not)
    run = facts.killed
    if run is None or facts.weigh(run) in SHOWS_NOTHING:
        return skip(question, f"{describe_no_evidence(run, facts)}.", advise_on_kill(facts))
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
