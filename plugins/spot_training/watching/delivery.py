"""Reports from a watcher's thread to the coroutines that wait in an event loop.

However many jobs change in the same second, an event loop is woken once and delivers a few items at a time,
so that everything else in it continues in between.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Item = TypeVar("Item")

#: So many items are delivered before the event loop does something else. Each wakes a coroutine, which costs
#: a fraction of a millisecond.
ITEMS_AT_ONCE = 25


class EventLoopQueue(Generic[Item]):
    """A queue from any thread to one coroutine of this event loop. Small while it is empty."""

    __slots__ = ("_delivery", "_items", "_waiting")

    def __init__(self) -> None:
        self._delivery = delivery_to(asyncio.get_running_loop())
        self._items: deque[Item] | None = None
        self._waiting: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """Append an item, from any thread."""
        self._delivery.send(self, item)

    def wait(self, timeout_seconds: float | None) -> asyncio.Future[None]:
        """Done once there is an item, or the time is up: `take` tells which.

        Not a coroutine, which would be one more object for the garbage collector to visit for each of ten
        thousand waiting jobs.
        """
        loop = asyncio.get_running_loop()
        waiting = self._waiting = loop.create_future()
        if self._items:
            _wake(waiting)
        elif timeout_seconds is not None:
            alarm = loop.call_later(timeout_seconds, _wake, waiting)
            waiting.add_done_callback(lambda _: alarm.cancel())
        return waiting

    def take(self) -> Item:
        """The next item. Raises `TimeoutError` if there is none."""
        if not self._items:
            raise TimeoutError
        item = self._items.popleft()
        if not self._items:
            self._items = None
        return item

    def _append(self, item: Item) -> None:
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        if self._waiting is not None:
            _wake(self._waiting)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


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
