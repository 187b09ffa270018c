"""Faults on demand: which of the next calls of an operation fail, and how."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

#: Instead of an operation: all of them.
EVERY_OPERATION = "*"


class Fault(StrEnum):
    """How a call fails."""

    THROTTLING = "ThrottlingException"
    INTERNAL_FAILURE = "InternalFailure"
    DROP_CONNECTION = "DropConnection"
    LOSE_RESPONSE = "LoseResponse"
    SLOW_RESPONSE = "SlowResponse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A fault that was asked for.

    It hits `count` calls at most (None: no limit), for `seconds` of real time at most (None: no limit), each
    call of the `operation` with `probability`. A slow response comes `delay_seconds` of real time after the
    work is done. Real time, as clients wait and retry in it.
    """

    operation: str
    fault: Fault
    count: int | None = 1
    seconds: float | None = None
    probability: float = 1.0
    delay_seconds: float = 0.0

    def concerns(self, operation: str) -> bool:
        return self.operation in (operation, EVERY_OPERATION)


@dataclass(slots=True)
class _Open:
    """An order that is not used up."""

    order: Order
    left: int | None
    until: float | None

    def is_over(self, now: float) -> bool:
        return self.left == 0 or (self.until is not None and now >= self.until)


class Faults:
    """What is still to go wrong, in the order it was asked for."""

    def __init__(
        self, *, now: Callable[[], float] = time.monotonic, rng: random.Random | None = None
    ) -> None:
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311 - who is throttled is no secret
        self._lock = threading.Lock()
        self._open: list[_Open] = []

    def add(self, order: Order) -> None:
        until = None if order.seconds is None else self._now() + order.seconds
        with self._lock:
            self._open.append(_Open(order, left=order.count, until=until))

    def take(self, operation: str) -> Order | None:
        """The fault of this call, if it has one: of the first order that concerns it and hits."""
        if not self._open:
            return None
        with self._lock:
            now = self._now()
            self._open = [each for each in self._open if not each.is_over(now)]
            for each in self._open:
                if each.order.concerns(operation) and self._rng.random() < each.order.probability:
                    each.left = None if each.left is None else each.left - 1
                    return each.order
        return None

    def clear(self) -> None:
        with self._lock:
            self._open.clear()
