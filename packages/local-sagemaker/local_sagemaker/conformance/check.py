"""What a question is, and the kinds of answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from .evidence import Run


class Result(StrEnum):
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    #: A question without a known answer: what was seen.
    ANSWERED = "answered"
    #: It cannot be forced there, or was left out. Never a pass.
    SKIP = "skip"
    #: It should have been answered, and was not.
    UNKNOWN = "unknown"


#: A job that ends so, and was not meant to, says more about the role, the image or the capacity than about
#: the question.
_OTHER_ENDS = ("Failed", "MaxRuntimeExceeded", "MaxWaitTimeExceeded")


class NotAnsweredError(Exception):
    """Raised in a check that cannot be answered. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    result: Result
    seen: Any = None
    expected: Any = None


def expect(expected: Any, seen: Any) -> Answer:
    """Pass if both are equal."""
    return Answer(result=Result.PASS if seen == expected else Result.FAIL, expected=expected, seen=seen)


def expect_that(is_so: bool, expected: str, seen: Any) -> Answer:
    """Pass if the condition holds. `expected` says it in words."""
    return Answer(result=Result.PASS if is_so else Result.FAIL, expected=expected, seen=seen)


def answered(seen: Any) -> Answer:
    return Answer(result=Result.ANSWERED, seen=seen)


def unknown(why: str) -> Answer:
    return Answer(result=Result.UNKNOWN, seen=why)


def skipped(why: str) -> Answer:
    return Answer(result=Result.SKIP, seen=why)


Ask: TypeAlias = Callable[["Run"], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question. `needs` are the jobs without which it cannot be answered."""

    name: str
    group: str
    question: str
    source: str
    ask: Ask
    needs: tuple[str, ...] = ()
    #: Jobs that are made for it, but can be missing.
    wants: tuple[str, ...] = ()
    #: The max runtime of a request that the service should refuse: it may cost if it does not.
    risk_seconds: int | None = None

    def answer(self, run: Run) -> tuple[Answer, float]:
        """The answer, and how long it took."""
        began = time.monotonic()
        return self._answer(run), time.monotonic() - began

    def _answer(self, run: Run) -> Answer:
        for name in self.needs:
            job = run.jobs.get(name)
            if job is None:
                return skipped(f"the job {name} cannot be forced on {run.target.kind}")
            if job.missing:
                return unknown(f"the job {name}: {job.missing}")
            if job.was_interrupted and name != "interrupted":
                return unknown(f"the job {name} was interrupted by chance: run again")
            if job.status in _OTHER_ENDS and job.status != job.plan.end:
                return unknown(f"the job {name} ended otherwise: {job.end}")
        try:
            return self.ask(run)
        except (KeyError, IndexError) as exc:
            return Answer(result=Result.FAIL, expected="an answer that has it", seen=f"there is no {exc}")
        except (NotAnsweredError, ClientError, BotoCoreError) as exc:
            return unknown(str(exc))
        except Exception as exc:  # noqa: BLE001 - an answer that nobody expected must not end the run
            return unknown(f"the question does not fit the answer: {exc!r}")


@dataclass(frozen=True, slots=True)
class Group:
    """The questions about one subject, in their order."""

    name: str
    checks: list[Check] = field(default_factory=list)

    def question(
        self, question: str, *, source: str, needs: str = "", wants: str = ""
    ) -> Callable[[Ask], Ask]:
        """Make a check of a function, with its name. `needs` and `wants` are names of jobs in one text."""

        def add(ask: Ask) -> Ask:
            name = ask.__name__.replace("_", "-")
            self.checks.append(
                Check(
                    name=name,
                    group=self.name,
                    question=question,
                    source=source,
                    ask=ask,
                    needs=tuple(needs.split()),
                    wants=tuple(wants.split()),
                )
            )
            return ask

        return add
