"""What a process keeps for itself, and calls that do not block for long. Standard library only."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Values that a process makes once and keeps: one for each key, made by whoever asks first.

    A forked child starts without them: it has none of its parent's threads, and a lock that one of those
    threads held stays locked for ever.
    """

    def __init__(self) -> None:
        self.forget()
        _kept.append(self)

    def get(self, make: Callable[[], T], key: Hashable = None) -> T:
        """The value of `key`. Threads that ask at once get the same one."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            return self._values[key]

    def forget(self) -> None:
        """Start again with nothing."""
        self._lock = threading.Lock()
        self._values: dict[Hashable, T] = {}


#: Every `PerProcess`: all of them are made by modules, and live as long as the process.
_kept: list[PerProcess[Any]] = []


def _forget_all() -> None:
    for values in _kept:
        values.forget()


os.register_at_fork(after_in_child=_forget_all)


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result of `work`, or `TimeoutError`. Work that takes longer continues in its own thread."""
    return begin(work)(seconds)


def at_once(seconds: float, works: Iterable[Callable[[], T]]) -> list[T]:
    """The results of calls that run at the same time, or `TimeoutError` as `within`."""
    results = [begin(work) for work in works]
    until = time.monotonic() + seconds
    return [result(max(0.0, until - time.monotonic())) for result in results]


def begin(work: Callable[[], T]) -> Callable[[float], T]:
    """Start `work` in its own thread. Returns a function that waits so many seconds for the result."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failure.append(error)

    def result(seconds: float) -> T:
        thread.join(seconds)
        if failure:
            raise failure[0]
        if not outcome:
            raise TimeoutError(f"no answer within {seconds:g} s")
        return outcome[0]

    thread = threading.Thread(target=run, name="spot-training-bounded", daemon=True)
    thread.start()
    return result
