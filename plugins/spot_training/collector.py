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
_has_frozen = False


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


@contextmanager
def freezing_once() -> Iterator[None]:
    """What is loaded by now, and what is loaded in here, the collector never looks through again.

    Only for the first in a process: a client that is made anew leaves the old one, which refers to
    itself in circles, and frozen it would stay for ever.
    """
    global _has_frozen
    with _lock:
        is_first, _has_frozen = not _has_frozen, True
    if is_first:
        gc.freeze()
    try:
        yield
    finally:
        if is_first:
            gc.freeze()


def _begin_anew_after_fork() -> None:
    """A child has none of the threads that were in here, to turn the collector on or let the lock go."""
    global _lock, _resting, _has_frozen
    if _resting and _was_enabled:
        gc.enable()
    _lock, _resting, _has_frozen = threading.Lock(), 0, False


os.register_at_fork(after_in_child=_begin_anew_after_fork)
