"""Keeps the garbage collector from looking, again and again, through what is being loaded to stay."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_resting = 0
_was_enabled = False


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
