"""The answers about the checkpoint folder: how files are written, and whether there is always one. Pure."""

from __future__ import annotations

from local_sagemaker import MARKER_SUFFIXES

from .facts import Facts, count, name_some, skip
from .history import Arrival, read_history
from .moments import find_last_change
from .observe import RunKind
from .torn import judge_torn
from .verdict import Check, Question, Result

#: A kill during such a write leaves a torn checkpoint.
_UNDER_FINAL_NAME = frozenset({Arrival.NEW_IN_PLACE, Arrival.APPENDED})
#: So often fewer checkpoints are left that it is no chance.
_LEAST_MISCOUNTS = 2
_MATCH_NAMES = (
    "Match the whole name of a checkpoint when you delete old ones, such as epoch-*.json. An empty "
    "<file>.sagemaker-uploading or <file>.sagemaker-uploaded is next to each."
)


def judge_writes(facts: Facts) -> Check:
    question = Question.ATOMIC
    if facts.why_not:
        return skip(question, facts.why_not)
    saves = facts.whole_saves()
    overwritten = sorted(facts.overwritten)
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
    torn = judge_torn(facts)
    if overwritten:
        seen = f"{name_some(overwritten)} was overwritten in place: a kill during the write destroys "
        has_another = torn.result is Result.PASS and any(
            run.truncated in overwritten for run in facts.of(RunKind.TORN)
        )
        seen += (
            "it, but the script has another one." if has_another else "both the old and the new checkpoint."
        )
        return Check(
            question=question,
            result=Result.WARN if has_another else Result.FAIL,
            seen=" ".join([seen, *_sentence(cut)]),
            change=change,
        )
    if in_place:
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


def judge_gaps(facts: Facts) -> Check:
    question = Question.KEEPS
    if facts.why_not:
        return skip(question, facts.why_not)
    miscounted = _describe_counted_markers(facts)
    gaps = [
        (gap, stretch)
        for run in facts.runs
        for stretch in run.stretches
        for gap in read_history(stretch, facts.kinds).gaps
    ]
    if not gaps and not miscounted:
        return _judge_end(facts)
    seen, change = [miscounted] if miscounted else [], _MATCH_NAMES if miscounted else ""
    numbers = {}
    if gaps:
        longest = max((gap.ended_at or stretch.seconds) - gap.began_at for gap, stretch in gaps)
        numbers["longest_seconds"] = round(longest, 3)
        seen.append(
            f"{count(len(gaps), 'time')} the last checkpoint was deleted before the next was saved, for up "
            f"to {longest:.2f} s. Deletions also reach S3."
        )
        change = change or (
            "Delete old checkpoints after the new one has its final name. Keep at least the last two."
        )
    return Check(question=question, result=Result.FAIL, seen=" ".join(seen), change=change, numbers=numbers)


def _judge_end(facts: Facts) -> Check:
    """A script that deletes all its checkpoints and then has little left to do."""
    stretch = facts.first.stretches[0]
    lost = read_history(stretch, facts.kinds).lost
    if not lost:
        return Check(
            question=Question.KEEPS,
            result=Result.PASS,
            seen="After the first checkpoint there was always one in the folder.",
        )
    at = find_last_change(stretch, facts.kinds)
    return Check(
        question=Question.KEEPS,
        result=Result.WARN,
        seen=f"The script deletes its last checkpoint ({name_some(lost)}) {stretch.seconds - at:.1f} s "
        "before it ends: an interruption in this time loses all the work.",
        change="Keep the newest checkpoint until the script ends. SageMaker deletes from S3 what the script "
        "deletes.",
    )


def _describe_counted_markers(facts: Facts) -> str:
    """Whether the script keeps fewer checkpoints when there are markers of SageMaker next to them.

    A script that keeps the newest files, whatever they are, keeps the same number each time in the warm-up,
    which has no markers, and fewer in the other runs.
    """
    warm = facts.warm_up
    if warm is None or not warm.stretches:
        return ""
    kept = {left for left in read_history(warm.stretches[0], facts.kinds).left if left}
    marked = [run.stretches[0] for run in (facts.first, *facts.disturbed) if run.stretches]
    left = [number for stretch in marked for number in read_history(stretch, facts.kinds).left if number]
    fewer = [number for number in left if number < max(kept, default=0)]
    if len(kept) != 1 or max(left, default=0) > max(kept) or len(fewer) < _LEAST_MISCOUNTS:
        return ""
    return (
        f"The script counts SageMaker's markers (such as <file>{MARKER_SUFFIXES[-1]}) as checkpoints, and so "
        f"deletes real ones: without markers it keeps {max(kept)}, with markers {len(fewer)} of {len(left)} "
        f"times only {min(fewer)} {'was' if min(fewer) == 1 else 'were'} left."
    )
