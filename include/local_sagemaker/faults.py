"""Faults on demand: the next n calls of an operation fail in a chosen way."""

from __future__ import annotations

import threading
from collections import deque
from enum import StrEnum


class Fault(StrEnum):
    """How a call fails."""

    THROTTLING = "ThrottlingException"
    INTERNAL_FAILURE = "InternalFailure"
    DROP_CONNECTION = "DropConnection"
    LOSE_RESPONSE = "LoseResponse"


class Faults:
    """What is still to go wrong, in the order it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, deque[Fault]] = {}

    def add(self, operation: str, fault: Fault, count: int) -> None:
        with self._lock:
            self._pending.setdefault(operation, deque()).extend([fault] * count)

    def take(self, operation: str) -> Fault | None:
        """The fault of this call, if it has one."""
        if not self._pending:
            return None
        with self._lock:
            pending = self._pending.get(operation)
            fault = pending.popleft() if pending else None
            if not pending:
                self._pending.pop(operation, None)
            return fault

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()
