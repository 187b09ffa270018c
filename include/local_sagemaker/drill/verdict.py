"""What the runs of a drill say about a script: for each question, what was seen and what to change. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from .observe import Arrival, Run, RunKind, Save, Stretch, find_checkpoint_kinds, tell_story

#: More than this share of the run lost in one interruption is worth a warning.
_MUCH_LOST = 0.25
#: Promised checkpoints may come this much later before it counts: machines are uneven.
_LATE_FACTOR = 2.0
#: Less than this to save by resuming is not told from noise by the clock.
_LEAST_TELLING_SECONDS, _LEAST_TELLING_SHARE = 1.0, 0.2


class Question(StrEnum):
    """What a drill asks."""

    RUNS = "runs"
    CHECKPOINTS = "checkpoints"
    RESUME = "resume"
    WORK_LOST = "work lost"
    SAME_MODEL = "same model"
    ATOMIC = "atomic writes"
    KEEPS = "keeps a checkpoint"
    TORN = "torn checkpoint"
    SIGKILL = "sigkill"
    RESTART = "restart time"


class Result(StrEnum):
    """The answer. What could not be judged is skipped, and says why."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question answered: `seen` is one sentence, `change` one of advice or empty."""

    question: Question
    result: Result
    seen: str
    change: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run, for the record."""

    label: str
    status: str
    training_seconds: tuple[float, ...]
    failure: str | None = None
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Verdict:
    """The whole. Its text says everything, so a failed assertion on any of its properties explains itself."""

    script: str
    checks: tuple[Check, ...]
    runs: tuple[RunSummary, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """The questions with a bad answer."""
        return tuple(str(check.question) for check in self.checks if check.result is Result.FAIL)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(str(check.question) for check in self.checks if check.result is Result.WARN)

    @property
    def passed(self) -> bool:
        """No failures; warnings do not count."""
        return not self.failures

    @property
    def completed(self) -> bool:
        """The undisturbed run did."""
        return self._is_passed(Question.RUNS)

    @property
    def checkpointed(self) -> bool:
        return self._is_fine(Question.CHECKPOINTS)

    @property
    def resumed(self) -> bool:
        """After every interruption that had something to go on from, and there was one."""
        return self._is_passed(Question.RESUME)

    @property
    def same_model(self) -> bool:
        return self._is_passed(Question.SAME_MODEL)

    @property
    def writes_atomically(self) -> bool:
        return self._is_passed(Question.ATOMIC)

    @property
    def always_has_a_checkpoint(self) -> bool:
        return self._is_passed(Question.KEEPS)

    @property
    def survives_a_torn_checkpoint(self) -> bool:
        return self._is_fine(Question.TORN)

    @property
    def survives_sigkill(self) -> bool:
        return self._is_passed(Question.SIGKILL)

    @property
    def lost_seconds(self) -> float:
        """The most work lost in one interruption."""
        return self.check(Question.WORK_LOST).numbers.get("most_lost_seconds", 0.0)

    @property
    def lost_share(self) -> float:
        """The same as a share of the uninterrupted run."""
        return self.check(Question.WORK_LOST).numbers.get("most_lost_share", 0.0)

    def check(self, question: Question | str) -> Check:
        """The answer to one question."""
        return next(check for check in self.checks if check.question == question)

    def exit_status(self, *, strict: bool = False) -> int:
        return 1 if self.failures or (strict and self.warnings) else 0

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self)}

    def _is_passed(self, question: Question) -> bool:
        return self.check(question).result is Result.PASS

    def _is_fine(self, question: Question) -> bool:
        return self.check(question).result in (Result.PASS, Result.WARN)

    def __str__(self) -> str:
        whole = "FAIL" if self.failures else "PASS with warnings" if self.warnings else "PASS"
        lines = [f"Spot drill of {self.script}: {whole}", ""]
        for check in self.checks:
            lines += _wrap(f"  {check.result.upper():4}  {check.question:18}  ", check.seen)
            if check.change:
                lines += _wrap(" " * 28 + "-> ", check.change)
        troubled = [run for run in self.runs if run.failure or run.status != "Completed"]
        for run in troubled:
            lines += ["", f"The run {run.label} ended {run.status}. The end of its log:"]
            lines += [f"    {line}" for line in run.last_lines]
        return "\n".join(lines)

    __repr__ = __str__


def read_verdict(content: Mapping[str, Any]) -> Verdict:
    """The inverse of `as_json`."""
    checks = (
        Check(**(check | {"question": Question(check["question"]), "result": Result(check["result"])}))
        for check in content["checks"]
    )
    runs = (
        RunSummary(
            **(
                run
                | {
                    "training_seconds": tuple(run["training_seconds"]),
                    "last_lines": tuple(run["last_lines"]),
                }
            )
        )
        for run in content["runs"]
    )
    return Verdict(script=content["script"], checks=tuple(checks), runs=tuple(runs))


def judge(
    script: str,
    runs: tuple[Run, ...],
    *,
    checkpoint_every_seconds: Callable[[float], float] | None = None,
) -> Verdict:
    """Answer every question. The first run is the uninterrupted one; `checkpoint_every_seconds` is what the
    script promises, given how long that one took.
    """
    facts = _Facts(runs)
    promise = checkpoint_every_seconds(facts.whole_seconds) if checkpoint_every_seconds else None
    checks = (
        _judge_run(facts),
        _judge_checkpoints(facts, promise),
        _judge_resume(facts),
        _judge_work_lost(facts),
        _judge_model(facts),
        _judge_writes(facts),
        _judge_gaps(facts),
        _judge_torn(facts),
        _judge_sigkill(facts),
        _judge_restart(facts),
    )
    return Verdict(script=script, checks=checks, runs=tuple(_summarise(run) for run in runs))


def _summarise(run: Run) -> RunSummary:
    last = run.stretches[-1].script_lines()[-12:] if run.stretches and not run.is_completed else ()
    return RunSummary(
        label=run.label,
        status=run.status,
        training_seconds=tuple(round(stretch.seconds, 3) for stretch in run.stretches),
        failure=run.failure,
        last_lines=tuple(line for _, line in last),
    )


class _Facts:
    """What the answers share."""

    def __init__(self, runs: tuple[Run, ...]) -> None:
        self.runs = runs
        self.first = runs[0]
        self.kinds = find_checkpoint_kinds(runs)
        self.whole_seconds = sum(stretch.seconds for stretch in self.first.stretches)
        self.first_saves = self.saves(self.first.stretches[0]) if self.first.stretches else ()

    def saves(self, stretch: Stretch) -> tuple[Save, ...]:
        return tell_story(stretch, self.kinds).saves

    def of(self, *kinds: RunKind) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.kind in kinds)

    @property
    def struck(self) -> tuple[Run, ...]:
        return self.of(RunKind.INTERRUPTED, RunKind.KILLED)

    @property
    def why_not(self) -> str | None:
        """Why nothing but the first run can be judged."""
        if not self.first.is_completed:
            return "The undisturbed run did not complete."
        if not self.first_saves:
            return "There is no checkpoint."
        return None

    @property
    def resumable(self) -> tuple[Run, ...]:
        """Interrupted when there was a checkpoint to go on from."""
        return tuple(run for run in self.struck if run.was_interrupted and run.stretches[1].restored)


def _skip(question: Question, why: str) -> Check:
    return Check(question=question, result=Result.SKIP, seen=f"Not judged: {why[0].lower()}{why[1:]}")


def _judge_run(facts: _Facts) -> Check:
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
        seen=f"The undisturbed run ended {run.status}{_because(run)}.",
        change="Raise --timeout, or train on less data."
        if run.status == "TimedOut"
        else "Make the script run without interruptions first; the end of its log is below.",
    )


def _because(run: Run) -> str:
    first = (run.failure or "").strip().splitlines()
    return f": {first[0][:300].rstrip('.:')}" if first else ""


def _judge_checkpoints(facts: _Facts, promise: float | None) -> Check:
    question = Question.CHECKPOINTS
    if not facts.first.is_completed:
        return _skip(question, facts.why_not or "")
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
        f"{_count(len(times), 'checkpoint file')} saved, the first after {times[0]:.1f} s; the longest time "
    )
    seen += f"without one was {longest:.1f} s."
    if promise is not None and longest > _LATE_FACTOR * promise:
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"{seen} One was expected every {promise:.1f} s.",
            change="Checkpoint more often, also during long steps such as the first epoch or an evaluation.",
            numbers=numbers,
        )
    return Check(question=question, result=Result.PASS, seen=seen, numbers=numbers)


# --- resuming ---


def has_resumed(run: Run, first: Run, kinds: frozenset[str]) -> bool | None:
    """Whether the second stretch went on where the first was; None when it cannot be told.

    By the number of checkpoints where there are enough to count: a run that starts over saves them all again.
    Else by the clock, else by whether it read what was restored.
    """
    before, after = run.stretches[0], run.stretches[-1]
    saved = tell_story(before, kinds).saves
    if not after.restored or not run.is_completed:
        return None
    redone = (
        len(saved) + len(tell_story(after, kinds).saves) - len(tell_story(first.stretches[0], kinds).saves)
    )
    if len(saved) >= 2:
        return redone <= len(saved) / 2
    if redone <= 0:
        return True
    whole = sum(stretch.seconds for stretch in first.stretches)
    worth = saved[-1].at if saved else 0.0
    if worth >= max(_LEAST_TELLING_SECONDS, _LEAST_TELLING_SHARE * whole):
        return whole - after.seconds > worth / 2
    return bool(after.files_read())


def _judge_resume(facts: _Facts) -> Check:
    question = Question.RESUME
    if facts.why_not:
        return _skip(question, facts.why_not)
    # What a SIGKILL alone breaks is another question.
    failed = [run for run in facts.of(RunKind.INTERRUPTED) if not run.is_completed]
    if failed:
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"The run {failed[0].label} ended {failed[0].status}{_because(failed[0])}.",
            change="Make a second start work with what the first one left in the checkpoint folder.",
        )
    judged = [
        (run, has_resumed(run, facts.first, facts.kinds)) for run in facts.resumable if run.is_completed
    ]
    with_warning = [(run, resumed) for run, resumed in judged if run.kind is RunKind.INTERRUPTED]
    over = [run for run, resumed in with_warning or judged if resumed is False]
    if over:
        after = over[0].stretches[-1]
        has_read = "it read the checkpoint" if after.files_read() else "it never read the checkpoint"
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"The run {over[0].label} started over: {has_read}, saved "
            f"{_count(len(facts.saves(after)), 'checkpoint file')} again (an undisturbed run saves "
            f"{len(facts.first_saves)}) and took {after.seconds:.1f} s (undisturbed: "
            f"{facts.whole_seconds:.1f} s).",
            change="At the start, look for the newest checkpoint in the checkpoint folder, load it, and "
            "begin with the step after it.",
        )
    resumed = [run for run, has in judged if has]
    if not resumed:
        return Check(
            question=question,
            result=Result.WARN,
            seen="No interruption came between the first checkpoint "
            f"({facts.first_saves[0].at:.1f} s) and the end ({facts.whole_seconds:.1f} s).",
            change="Interrupt later (--interrupt-at), checkpoint earlier, or train longer.",
        )
    best = resumed[0]
    line = best.line_about_resuming()
    seen = (
        f"Resumed after {len(resumed)} of {_count(len(facts.struck), 'interruption')}: the run {best.label} "
    )
    seen += f"needed {best.stretches[-1].seconds:.1f} s more (undisturbed: {facts.whole_seconds:.1f} s)"
    return Check(
        question=question,
        result=Result.PASS,
        seen=f"{seen} and said {line.strip()[:100]!r}." if line else f"{seen}.",
    )


def _judge_work_lost(facts: _Facts) -> Check:
    question = Question.WORK_LOST
    if facts.why_not:
        return _skip(question, facts.why_not)
    struck = [run for run in facts.struck if run.was_interrupted]
    if not struck:
        return _skip(question, "The script was over before each interruption.")
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


def _advise_on_loss(struck: list[Run], lost: Mapping[str, float], facts: _Facts) -> str:
    worst = max(struck, key=lambda run: lost[run.label])
    if facts.saves(worst.stretches[0]):
        return "Checkpoint more often, and make sure that what was saved is used."
    return "Save a first checkpoint earlier; or, if starting up is most of this run, drill a longer one."


def _lost_seconds(run: Run, facts: _Facts) -> float:
    """From the last checkpoint to the kill; all of the stretch if it was not used."""
    before = run.stretches[0]
    saves = facts.saves(before)
    if not saves or has_resumed(run, facts.first, facts.kinds) is False:
        return before.seconds
    return max(0.0, before.seconds - saves[-1].at)


def _judge_restart(facts: _Facts) -> Check:
    question = Question.RESTART
    if facts.why_not:
        return _skip(question, facts.why_not)
    starts = [run.stretches[1] for run in facts.struck if run.was_interrupted and run.is_completed]
    if not starts:
        return _skip(question, "No run was interrupted and completed.")
    lines = [at for start in starts if (at := start.first_line_at()) is not None]
    saves = [found[0].at for start in starts if (found := facts.saves(start))]
    told = [
        f"{max(times):.1f} s to the first {what}"
        for times, what in ((lines, "line of log"), (saves, "new checkpoint"))
        if times
    ]
    if not told:
        return _skip(question, "After the restart nothing was logged or saved.")
    slow = bool(saves) and max(saves) > 0.5 * facts.whole_seconds and max(saves) > 2 * facts.first_saves[0].at
    return Check(
        question=question,
        result=Result.WARN if slow else Result.PASS,
        seen=f"A restart takes at most {' and '.join(told)}.",
        change="Do less before the first step: cache what is prepared, skip data by index." if slow else "",
        numbers={"first_checkpoint_seconds": round(max(saves), 3)} if saves else {},
    )


# --- the model ---


def _judge_model(facts: _Facts) -> Check:
    question = Question.SAME_MODEL
    if facts.why_not:
        return _skip(question, facts.why_not)
    made = [run for run in facts.struck if run.is_completed and run.was_interrupted]
    if not made:
        return _skip(question, "No run was interrupted and completed.")
    compared = [run for run in made if run.compared]
    if compared:
        return _judge_comparison(compared)
    different = next((run for run in made if run.differs_from(facts.first)), None)
    if different is None:
        return Check(
            question=question,
            result=Result.PASS,
            seen=f"The model is the same, byte for byte, in {_count(len(made), 'interrupted run')} "
            f"({_count(len(facts.first.model), 'file')}).",
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
        seen=f"The comparing command accepts the models of {_count(len(compared), 'run')}.{quoted}",
    )


def describe_difference(first: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Which files differ, as a sentence."""
    missing, added = sorted(set(first) - set(other)), sorted(set(other) - set(first))
    differing = sorted(name for name in set(first) & set(other) if first[name] != other[name])
    parts = [
        f"{', '.join(names[:5])}{' and more' if len(names) > 5 else ''} {verb}"
        for names, verb in (
            (missing, _verb(missing, "is missing", "are missing")),
            (added, _verb(added, "is there in addition", "are there in addition")),
            (differing, _verb(differing, "has other bytes", "have other bytes")),
        )
        if names
    ]
    return f"{'; '.join(parts)}."


def _verb(names: list[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many


# --- the checkpoint folder ---


def _judge_writes(facts: _Facts) -> Check:
    question = Question.ATOMIC
    if facts.why_not:
        return _skip(question, facts.why_not)
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
        seen = f"{_some(overwritten)} was overwritten in place: a kill in between leaves neither the old nor "
        seen += "the new one."
        return Check(
            question=question, result=Result.FAIL, seen=" ".join([seen, *_sentence(cut)]), change=change
        )
    if in_place:
        torn = _judge_torn(facts)
        falls_back = torn.result in (Result.PASS, Result.WARN)
        seen = (
            f"{_some(in_place)} was written under its final name: a kill in between leaves a torn checkpoint"
        )
        seen += ", which the script survives." if falls_back else "."
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


def _judge_gaps(facts: _Facts) -> Check:
    question = Question.KEEPS
    if facts.why_not:
        return _skip(question, facts.why_not)
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
        seen=f"{_count(len(gaps), 'time')} the last checkpoint was deleted before the next was there, for "
        f"up to {longest:.2f} s; deletions reach S3 too.",
        change="Delete old checkpoints after the new one has its final name, and keep at least the last two.",
        numbers={"longest_seconds": round(longest, 3)},
    )


def _judge_torn(facts: _Facts) -> Check:
    question = Question.TORN
    if facts.why_not:
        return _skip(question, facts.why_not)
    run = next(iter(facts.of(RunKind.TORN)), None)
    if run is None:
        return _skip(question, "After SIGKILL the script opened no checkpoint that could be torn.")
    if not run.is_completed:
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"With {run.truncated} cut in half the run ended {run.status}{_because(run)}. So would "
            "every restart.",
            change="Check a checkpoint before using it (length or hash, or catch the error), and fall back "
            "to the one before.",
        )
    others_agree = not any(each.differs_from(facts.first) for each in facts.struck)
    is_accepted = run.compared is not None and run.compared[0]
    if others_agree and not is_accepted and run.differs_from(facts.first):
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"With {run.truncated} cut in half the script went on without an error and made another "
            f"model: {describe_difference(facts.first.model, run.model)}",
            change="Check a checkpoint before using it (length or hash), and fall back to the one before.",
        )
    if len(facts.saves(run.stretches[0])) >= len(facts.first_saves):
        return Check(
            question=question,
            result=Result.WARN,
            seen=f"With {run.truncated} cut in half the script started over: no other checkpoint was used.",
            change="Keep at least the last two checkpoints, and fall back to the one before.",
        )
    killed = [each for each in facts.of(RunKind.KILLED) if each.was_interrupted]
    fell_back = any(
        len(facts.saves(run.stretches[0])) > len(facts.saves(each.stretches[1])) for each in killed
    )
    end = "fell back to an earlier one." if fell_back else "went on all the same, to a good end."
    return Check(
        question=question,
        result=Result.PASS,
        seen=f"With {run.truncated} cut in half the script {end}",
    )


def _judge_sigkill(facts: _Facts) -> Check:
    question = Question.SIGKILL
    if facts.why_not:
        return _skip(question, facts.why_not)
    run = next(iter(facts.of(RunKind.KILLED)), None)
    if run is None or not run.was_interrupted:
        return _skip(question, "The script was over before it could be killed.")
    interrupted = [each for each in facts.of(RunKind.INTERRUPTED) if each.was_interrupted]
    if not run.is_completed:
        if any(not each.is_completed for each in interrupted):
            return _skip(question, "It does not get over an interruption with a warning either.")
        return Check(
            question=question,
            result=Result.FAIL,
            seen=f"After SIGKILL without a warning the run ended {run.status}{_because(run)}.",
            change="Do not rely on SIGTERM: in script mode it never reaches the script. Save as you go.",
        )
    if has_resumed(run, facts.first, facts.kinds) is not False and run.stretches[1].restored:
        return Check(
            question=question, result=Result.PASS, seen="Killed without a warning, it resumed and completed."
        )
    others = [has_resumed(each, facts.first, facts.kinds) for each in interrupted]
    if others and not any(others):
        return _skip(question, "It does not resume after an interruption with a warning either.")
    return Check(
        question=question,
        result=Result.FAIL if others else Result.WARN,
        seen="Killed without a warning, it started over.",
        change="Do not rely on SIGTERM: in script mode it never reaches the script. Save as you go.",
    )


# --- words ---


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{listed[0]} (and {len(listed) - 1} more)"


def _wrap(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, width=110, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False
    ) or [head]
