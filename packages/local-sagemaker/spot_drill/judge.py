"""What the runs of a drill say about a script: for each question, what was seen and what to change. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .core import judge_resume, judge_sigkill, judge_torn
from .evidence import DID_NOT_RESUME
from .facts import LATE_FACTOR, Facts, count, describe_difference, describe_failure, name_some, skip
from .observe import Arrival, Run, RunKind, tell_story
from .verdict import Check, Question, Result, RunSummary, Verdict

#: More than this share of the run lost in one interruption is worth a warning.
_MUCH_LOST = 0.25


def judge(
    script: str,
    runs: tuple[Run, ...],
    *,
    checkpoint_every_seconds: Callable[[float], float] | None = None,
    accept_not_shown: bool = False,
) -> Verdict:
    """Answer every question. The first run is the uninterrupted one; `checkpoint_every_seconds` is what the
    script promises, given how long that one took.
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
        else "Make the script run without interruptions first; the end of its log is below.",
    )


def _judge_checkpoints(facts: Facts, promise: float | None) -> Check:
    question = Question.CHECKPOINTS
    if not facts.first.is_completed:
        return skip(question, facts.why_not or "")
    if not facts.first_saves:
        return Check(
            question=question,
            result=Result.FAIL,
            seen="Nothing was saved in the checkpoint folder: an interruption loses all the work.",
            change="Save to /opt/ml/checkpoints (CheckpointConfig.LocalPath) as the training goes on, and "
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
    struck = [run for run in facts.struck if run.was_interrupted]
    if not struck:
        return skip(question, "The script was over before each interruption.")
    lost = {run.label: _lost_seconds(run, facts) for run in struck}
    most = max(lost.values())
    share = most / facts.whole_seconds
    each = "; ".join(
        f"{run.label}: {lost[run.label]:.1f} s ({lost[run.label] / facts.whole_seconds:.0%}"
        f"{'' if facts.saves(run.stretches[0]) else ', before the first checkpoint'})"
        for run in struck
    )
    return Check(
        question=question,
        result=Result.WARN if share > _MUCH_LOST else Result.PASS,
        seen=f"Lost work, {each}.",
        change=_advise_on_loss(struck, lost, facts) if share > _MUCH_LOST else "",
        numbers={"most_lost_seconds": round(most, 3), "most_lost_share": round(share, 4)},
    )


def _advise_on_loss(struck: list[Run], lost: Mapping[str, float], facts: Facts) -> str:
    worst = max(struck, key=lambda run: lost[run.label])
    if facts.saves(worst.stretches[0]):
        return "Checkpoint more often, and make sure that what was saved is used."
    return "Save a first checkpoint earlier; or, if starting up is most of this run, drill a longer one."


def _lost_seconds(run: Run, facts: Facts) -> float:
    """From the last checkpoint to the kill; all of the stretch if it was not used."""
    before = run.stretches[0]
    saves = facts.saves(before)
    if not saves or facts.weigh(run) in DID_NOT_RESUME:
        return before.seconds
    return max(0.0, before.seconds - saves[-1].at)


def _judge_restart(facts: Facts) -> Check:
    question = Question.RESTART
    if facts.why_not:
        return skip(question, facts.why_not)
    starts = [run.stretches[1] for run in facts.struck if run.was_interrupted and run.is_completed]
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
        return skip(question, "After the restart nothing was logged or saved.")
    slow = bool(saves) and max(saves) > 0.5 * facts.whole_seconds and max(saves) > 2 * facts.first_saves[0].at
    return Check(
        question=question,
        result=Result.WARN if slow else Result.PASS,
        seen=f"A restart takes at most {' and '.join(times)}.",
        change="Do less before the first step: cache what is prepared, skip data by index." if slow else "",
        numbers={"first_checkpoint_seconds": round(max(saves), 3)} if saves else {},
    )


# --- the model ---


def _judge_model(facts: Facts) -> Check:
    question = Question.SAME_MODEL
    if facts.why_not:
        return skip(question, facts.why_not)
    made = [run for run in facts.struck if run.is_completed and run.was_interrupted]
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
            seen=f"{what} But two undisturbed runs differ too.",
            change="Fix the seeds and keep times out of the model, or judge with --compare COMMAND.",
        )
    return Check(
        question=question,
        result=Result.FAIL,
        seen=f"The run {different.label} made another model, while undisturbed runs agree: {what}",
        change="Save with the checkpoint all that the next step depends on (random states, optimizer, "
        "schedule, place in the data), or draw from the step's number; or judge with --compare COMMAND.",
    )


def _judge_comparison(compared: list[Run]) -> Check:
    bad = next((run for run in compared if run.compared and not run.compared[0]), None)
    said = (bad or compared[0]).compared
    quoted = f" It said {said[1][:200]!r}." if said and said[1] else ""
    if bad:
        return Check(
            question=Question.SAME_MODEL,
            result=Result.FAIL,
            seen=f"The comparing command refuses the model of the run {bad.label}.{quoted}",
            change="Save with the checkpoint all that the next step depends on.",
        )
    return Check(
        question=Question.SAME_MODEL,
        result=Result.PASS,
        seen=f"The comparing command accepts the models of {count(len(compared), 'run')}.{quoted}",
    )


# --- the checkpoint folder ---


def _judge_writes(facts: Facts) -> Check:
    question = Question.ATOMIC
    if facts.why_not:
        return skip(question, facts.why_not)
    # What comes after a torn checkpoint may rightly write over it.
    whole = [run for run in facts.runs if run.kind is not RunKind.TORN]
    saves = [save for run in whole for stretch in run.stretches for save in facts.saves(stretch)]
    overwritten = sorted({save.name for save in saves if save.arrival is Arrival.OVERWRITTEN})
    in_place = sorted({save.name for save in saves if save.arrival is Arrival.NEW_IN_PLACE})
    cut = [
        f"{name} was half written when the run {run.label} was killed"
        for run in facts.struck
        for name in tell_story(run.stretches[0], facts.kinds).unfinished
        if run.was_interrupted
    ]
    change = (
        "Write to another name in the same folder, flush, fsync, then rename to the final one (os.replace)."
    )
    if overwritten:
        seen = f"{name_some(overwritten)} was overwritten in place: a kill in between leaves neither the old "
        seen += "nor the new one."
        return Check(
            question=question, result=Result.FAIL, seen=" ".join([seen, *_sentence(cut)]), change=change
        )
    if in_place:
        torn = judge_torn(facts)
        falls_back = torn.result in (Result.PASS, Result.WARN)
        seen = f"{name_some(in_place)} was written under its final name: a kill in between leaves a torn "
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
        seen=f"All {len(saves)} checkpoint files came whole, by a rename.",
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
        for gap in tell_story(stretch, facts.kinds).gaps
    ]
    if not gaps:
        return Check(
            question=question,
            result=Result.PASS,
            seen="From the first checkpoint on there was always one in the folder.",
        )
    longest = max((gap.ended_at or stretch.seconds) - gap.began_at for gap, stretch in gaps)
    return Check(
        question=question,
        result=Result.FAIL,
        seen=f"{count(len(gaps), 'time')} the last checkpoint was deleted before the next was there, for "
        f"up to {longest:.2f} s; deletions reach S3 too.",
        change="Delete old checkpoints after the new one has its final name, and keep at least the last two.",
        numbers={"longest_seconds": round(longest, 3)},
    )
