"""Faults on demand: which calls of an operation fail, how, and which jobs get a wrong answer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

#: Instead of an operation: all of them.
EVERY_OPERATION = "*"


class Fault(StrEnum):
    """How a call fails, or what is wrong in its answer."""

    THROTTLING = "ThrottlingException"
    INTERNAL_FAILURE = "InternalFailure"
    DROP_CONNECTION = "DropConnection"
    LOSE_RESPONSE = "LoseResponse"
    SLOW_RESPONSE = "SlowResponse"
    # Wrong answers: the call succeeds, but its answer about a job is not true.
    NOT_FOUND = "NotFound"
    NO_TAGS = "NoTags"
    LEFT_OUT = "LeftOut"
    UNKNOWN_STATUS = "UnknownStatus"

    @property
    def is_wrong_answer(self) -> bool:
        return self in WRONG_ANSWERS


#: Which operations can give which wrong answer.
WRONG_ANSWERS: dict[Fault, frozenset[str]] = {
    Fault.NOT_FOUND: frozenset({"DescribeTrainingJob"}),
    Fault.NO_TAGS: frozenset({"ListTags"}),
    Fault.LEFT_OUT: frozenset({"ListTrainingJobs"}),
    Fault.UNKNOWN_STATUS: frozenset({"DescribeTrainingJob", "ListTrainingJobs"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A fault that a client requested.

    It hits `count` calls at most (None: no limit), for `seconds` at most (None: no limit), each call of the
    `operation` with `probability`. A slow response comes `delay_seconds` after the work is done. All times
    are real time, because clients wait and retry in real time.

    A wrong answer hits jobs, not calls. With `burst_seconds` each job gets one burst: every answer about it
    is wrong for this time, starting with the first wrong answer, and no answer is wrong after that.
    """

    operation: str
    fault: Fault
    count: int | None = 1
    seconds: float | None = None
    probability: float = 1.0
    delay_seconds: float = 0.0
    burst_seconds: float | None = None

    def concerns(self, operation: str) -> bool:
        return self.operation in (operation, EVERY_OPERATION)


@dataclass(slots=True)
class _Open:
    """An order that can still hit calls."""

    order: Order
    left: int | None
    until: float | None
    #: Job -> when its burst of wrong answers ends.
    bursts: dict[str, float] = field(default_factory=dict)

    def is_over(self, now: float) -> bool:
        return self.left == 0 or (self.until is not None and now >= self.until)


class Faults:
    """The open orders, in the order in which they came."""

    def __init__(
        self, *, now: Callable[[], float] = time.monotonic, rng: random.Random | None = None
    ) -> None:
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311 - not a secret
        self._lock = threading.Lock()
        self._open: list[_Open] = []

    def add(self, order: Order) -> None:
        until = None if order.seconds is None else self._now() + order.seconds
        with self._lock:
            self._open.append(_Open(order, left=order.count, until=until))

    def take(self, operation: str) -> Order | None:
        """The first order that hits this call, if any."""
        if not self._open:
            return None
        with self._lock:
            for each in self._concerning(operation, are_wrong_answers=False):
                if self._hits(each):
                    return each.order
        return None

    def take_wrong_answer(self, operation: str, job_name: str) -> Fault | None:
        """The fault of an answer of the operation about the job, if any."""
        if not self._open:
            return None
        with self._lock:
            for each in self._concerning(operation, are_wrong_answers=True):
                if self._hits_job(each, job_name):
                    return each.order.fault
        return None

    def _concerning(self, operation: str, *, are_wrong_answers: bool) -> list[_Open]:
        now = self._now()
        self._open = [each for each in self._open if not each.is_over(now)]
        return [
            each
            for each in self._open
            if each.order.concerns(operation) and each.order.fault.is_wrong_answer is are_wrong_answers
        ]

    def _hits_job(self, each: _Open, job_name: str) -> bool:
        burst_seconds = each.order.burst_seconds
        if burst_seconds is None or job_name not in each.bursts:
            is_hit = self._hits(each)
            if is_hit and burst_seconds is not None:
                each.bursts[job_name] = self._now() + burst_seconds
            return is_hit
        return self._now() < each.bursts[job_name] and self._hits(each, always=True)

    def _hits(self, each: _Open, *, always: bool = False) -> bool:
        if each.left == 0 or not (always or self._rng.random() < each.order.probability):
            return False
        each.left = None if each.left is None else each.left - 1
        return True

    def clear(self) -> None:
        with self._lock:
            self._open.clear()
