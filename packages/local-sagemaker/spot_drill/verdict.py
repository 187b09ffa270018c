"""The verdict of a drill: questions, answers, the overall result and the exit status. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

NOT_SHOWN_STATUS = 3


class Question(StrEnum):
    """A question about the script."""

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


#: Without an answer to each of these it is not known whether the script survives spot: if one is skipped, the
#: whole drill is "not shown".
CORE_QUESTIONS = (Question.RESUME, Question.TORN, Question.SIGKILL)


class Result(StrEnum):
    """The answer. A question that cannot be judged is skipped, with the reason."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The answer to one question. `seen` says what the drill saw, and `change` gives advice or is empty."""

    question: Question
    result: Result
    seen: str
    change: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run, as it is in the report."""

    label: str
    status: str
    training_seconds: tuple[float, ...]
    failure: str | None = None
    last_lines: tuple[str, ...] = ()


class Outcome(StrEnum):
    """What became of an intended interruption."""

    RESUMED = "interrupted and resumed"
    WORK_LOST = "interrupted, work lost"
    NEVER_CAME = "never came"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """One intended interruption. `at_seconds` is the time of the kill, and None if it never came."""

    label: str
    outcome: Outcome
    at_seconds: float | None
    lost_seconds: float
    attempts: int
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Verdict:
    """The whole verdict. Its text says everything, so a failed assertion on a property explains itself."""

    script: str
    checks: tuple[Check, ...]
    runs: tuple[RunSummary, ...]
    interruptions: tuple[Interruption, ...] = ()
    accept_not_shown: bool = False
    """Whether a core question without an answer counts as a pass."""

    @property
    def failures(self) -> tuple[str, ...]:
        """The failed questions."""
        return tuple(str(check.question) for check in self.checks if check.result is Result.FAIL)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(str(check.question) for check in self.checks if check.result is Result.WARN)

    @property
    def not_shown(self) -> tuple[str, ...]:
        """The core questions (resume, torn checkpoint, sigkill) that no run answered."""
        return tuple(
            str(check.question)
            for check in self.checks
            if check.question in CORE_QUESTIONS and check.result is Result.SKIP
        )

    @property
    def passed(self) -> bool:
        """No failures, and every core question is answered (or `accept_not_shown`). Warnings do not count."""
        return self.exit_status() == 0

    @property
    def completed(self) -> bool:
        """Whether the undisturbed run completed."""
        return self._is_passed(Question.RUNS)

    @property
    def checkpointed(self) -> bool:
        return self._is_fine(Question.CHECKPOINTS)

    @property
    def resumed(self) -> bool:
        """Whether it resumed after every interruption with a warning that came after a checkpoint."""
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
        """The most work lost in one interruption, as a share of the uninterrupted run."""
        return self.check(Question.WORK_LOST).numbers.get("most_lost_share", 0.0)

    def check(self, question: Question | str) -> Check:
        """The answer to one question."""
        return next(check for check in self.checks if check.question == question)

    def exit_status(self, *, strict: bool = False) -> int:
        """0 pass, 1 failures (with `strict` also warnings), else 3 if a core question has no answer."""
        if self.failures or (strict and self.warnings):
            return 1
        return NOT_SHOWN_STATUS if self.not_shown and not self.accept_not_shown else 0

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "not_shown": list(self.not_shown), **asdict(self)}

    def _is_passed(self, question: Question) -> bool:
        return self.check(question).result is Result.PASS

    def _is_fine(self, question: Question) -> bool:
        return self.check(question).result in (Result.PASS, Result.WARN)

    def __str__(self) -> str:
        lines = [f"Spot drill of {self.script}: {self._summary()}", ""]
        for check in self.checks:
            lines += _wrap(f"  {check.result.upper():4}  {check.question:18}  ", check.seen)
            if check.change:
                lines += _wrap(" " * 28 + "-> ", check.change)
        if self.interruptions:
            lines += ["", "Interruptions:"]
            for each in self.interruptions:
                lines += _wrap(" " * 8, f"{each.label}: {each.outcome}{each.seen and f' ({each.seen})'}")
        if self.not_shown and not self.failures:
            lines += ["", *_wrap("", self._not_shown_advice())]
        troubled = [run for run in self.runs if run.failure or run.status != "Completed"]
        for run in troubled:
            lines += ["", f"The run {run.label} ended {run.status}. The end of its log:"]
            lines += [f"    {line}" for line in run.last_lines]
        return "\n".join(lines)

    __repr__ = __str__

    def _summary(self) -> str:
        if self.failures:
            return "FAIL"
        if self.not_shown:
            return "NOT SHOWN (accepted)" if self.accept_not_shown else "NOT SHOWN"
        return "PASS with warnings" if self.warnings else "PASS"

    def _not_shown_advice(self) -> str:
        unanswered = f"Not shown: {', '.join(self.not_shown)}."
        if self.accept_not_shown:
            return f"{unanswered} --accept-not-shown counts this as a pass."
        return (
            f"{unanswered} This is not a pass: no run of this drill gave an answer. Follow the advice after "
            "-> and drill again, or accept it with --accept-not-shown."
        )


def read_verdict(content: Mapping[str, Any]) -> Verdict:
    """Make a verdict from the content of `as_json`."""
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
    interruptions = (
        Interruption(**(each | {"outcome": Outcome(each["outcome"])}))
        for each in content.get("interruptions", ())
    )
    return Verdict(
        script=content["script"],
        checks=tuple(checks),
        runs=tuple(runs),
        interruptions=tuple(interruptions),
        accept_not_shown=content["accept_not_shown"],
    )


def _wrap(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, width=110, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False
    ) or [head]
