"""Keeps the garbage collector from looking, again and again, through what is being loaded to stay."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_resting = 0
_was_enabled = False
_frozen: set[str] = set()


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """No automatic garbage collection in here; afterwards it is as it was.

    Making a boto3 client makes tens of thousands of objects beside Airflow's two hundred thousand, and the
    collector would go through all of them each time enough were made. Threads may be in here together: the
    last one turns it on again.
    """
    global _resting, _was_enabled  # noqa: PLW0603 - the collector is the process's, too
    with _lock:
        if _resting == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _resting += 1
    try:
        yield
    finally:
        with _lock:
            _resting -= 1
            if _resting == 0 and _was_enabled:
                gc.enable()


def freeze_once(what: str) -> None:
    """All there is by now, the collector never looks through again; a second time for `what` does nothing.

    Once, because what is made anew leaves the old behind: a boto3 client refers to itself in circles, and
    frozen it would stay for ever.
    """
    with _lock:
        if what not in _frozen:
            _frozen.add(what)
            gc.freeze()


def _begin_anew_after_fork() -> None:
    """A child has none of the threads that were in here, to turn the collector on or let the lock go."""
    global _lock, _resting
    if _resting and _was_enabled:
        gc.enable()
    _lock, _resting = threading.Lock(), 0
    _frozen.clear()


os.register_at_fork(after_in_child=_begin_anew_after_fork)
