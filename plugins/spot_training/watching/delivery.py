"""Reports from a watcher's thread to the coroutines that wait in an event loop.

However many jobs change in the same second, an event loop is woken once and delivers a few items at a time,
so that everything else in it continues in between.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Item = TypeVar("Item")

#: So many items are delivered before the event loop does something else. Each wakes a coroutine, which costs
#: a fraction of a millisecond.
ITEMS_AT_ONCE = 25


class EventLoopQueue(Generic[Item]):
    """A queue from any thread to one coroutine of this event loop. Small while it is empty."""

    __slots__ = ("_delivery", "_items", "_next")

    def __init__(self) -> None:
        self._delivery = delivery_to(asyncio.get_running_loop())
        self._items: deque[Item] | None = None
        self._next: asyncio.Future[Item] | None = None

    def put(self, item: Item) -> None:
        """Append an item, from any thread."""
        self._delivery.send(self, item)

    def next(
        self, timeout_seconds: float | None = None, on_timeout: Callable[[], Item] | None = None
    ) -> asyncio.Future[Item]:
        """The next item, or what `on_timeout` returns if there is none in time.

        Not a coroutine, which would be one more object for the garbage collector to visit for each of ten
        thousand waiting jobs.
        """
        loop = asyncio.get_running_loop()
        upcoming = self._next = loop.create_future()
        if self._items:
            upcoming.set_result(self._items.popleft())
            self._items = self._items or None
        elif timeout_seconds is not None and on_timeout is not None:
            alarm = loop.call_later(timeout_seconds, lambda: _resolve(upcoming, on_timeout()))
            upcoming.add_done_callback(lambda _: alarm.cancel())
        return upcoming

    def _append(self, item: Item) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(item)
            return
        if self._items is None:
            self._items = deque()
        self._items.append(item)


def _resolve(upcoming: asyncio.Future[Item], item: Item) -> None:
    if not upcoming.done():
        upcoming.set_result(item)


class Delivery:
    """Delivers the items of all threads to the queues of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._items: deque[tuple[EventLoopQueue[Any], Any]] = deque()
        self._is_under_way = False

    def send(self, queue: EventLoopQueue[Any], item: Any) -> None:
        with self._lock:
            if self._loop.is_closed():
                return
            self._items.append((queue, item))
            if self._is_under_way:
                return
            self._is_under_way = True
        with suppress(RuntimeError):  # closed just now: nothing in it waits any more
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        for _ in range(ITEMS_AT_ONCE):
            with self._lock:
                if not self._items:
                    self._is_under_way = False
                    return
                queue, item = self._items.popleft()
            queue._append(item)  # noqa: SLF001 - only from here, in the event loop
        # Behind the coroutines that were just woken.
        self._loop.call_soon(self._deliver)


_deliveries: WeakKeyDictionary[asyncio.AbstractEventLoop, Delivery] = WeakKeyDictionary()


def delivery_to(loop: asyncio.AbstractEventLoop) -> Delivery:
    """The one `Delivery` of an event loop. Called in it, so that no lock is needed."""
    delivery = _deliveries.get(loop)
    if delivery is None:
        delivery = _deliveries[loop] = Delivery(loop)
    return delivery
