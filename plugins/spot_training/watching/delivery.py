"""Reports from a watcher's thread to the coroutines that wait in an event loop.

However many jobs change in the same second, an event loop is woken once and hands a few letters over at a
time, so that all else in it goes on in between.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Letter = TypeVar("Letter")

#: So many letters are handed over before the event loop does something else. Each wakes a coroutine, which
#: costs a fraction of a millisecond.
LETTERS_AT_ONCE = 25


class Letterbox(Generic[Letter]):
    """What one coroutine of this event loop waits for. It costs next to nothing while nothing comes."""

    __slots__ = ("_letters", "_office", "_waiting")

    def __init__(self) -> None:
        self._office: PostOffice = office_of(asyncio.get_running_loop())
        self._letters: deque[Letter] | None = None
        self._waiting: asyncio.Future[None] | None = None

    def send(self, letter: Letter) -> None:
        """Put a letter in, from any thread."""
        self._office.send(self, letter)

    async def take(self, timeout_seconds: float | None) -> Letter:
        """The next letter; raises `TimeoutError` when none came in time."""
        if not self._letters:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            alarm = None if timeout_seconds is None else loop.call_later(timeout_seconds, self._wake)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if alarm is not None:
                    alarm.cancel()
        if not self._letters:
            raise TimeoutError
        letter = self._letters.popleft()
        if not self._letters:
            self._letters = None
        return letter

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _put(self, letter: Letter) -> None:
        if self._letters is None:
            self._letters = deque()
        self._letters.append(letter)
        self._wake()


class PostOffice:
    """Delivers the letters of all threads to the letterboxes of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._letters: deque[tuple[Letterbox[Any], Any]] = deque()
        self._is_under_way = False

    def send(self, letterbox: Letterbox[Any], letter: Any) -> None:
        with self._lock:
            if self._loop.is_closed():
                return
            self._letters.append((letterbox, letter))
            if self._is_under_way:
                return
            self._is_under_way = True
        with suppress(RuntimeError):  # closed just now: nobody is left to take it
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        for _ in range(LETTERS_AT_ONCE):
            with self._lock:
                if not self._letters:
                    self._is_under_way = False
                    return
                letterbox, letter = self._letters.popleft()
            letterbox._put(letter)  # noqa: SLF001 - the post office is the one who may
        # Behind the coroutines that were just woken.
        self._loop.call_soon(self._deliver)


_offices: WeakKeyDictionary[asyncio.AbstractEventLoop, PostOffice] = WeakKeyDictionary()


def office_of(loop: asyncio.AbstractEventLoop) -> PostOffice:
    """The one post office of an event loop."""
    office = _offices.get(loop)
    if office is None:
        office = _offices[loop] = PostOffice(loop)
    return office
