"""How the server's process uses memory, as measured with 5,000 jobs at a time in `benchmarks/soak.py`."""

from __future__ import annotations

import contextlib
import ctypes
import gc

#: Of glibc's malloc.h.
_M_ARENA_MAX = -8


def settle_memory() -> None:
    """Use one heap for all threads, and collect garbage less often. Call it before any thread starts."""
    # Jobs are many objects that live long. With the default, garbage collection takes half the time.
    gc.set_threshold(50_000, 20, 50)
    # glibc gives each thread its own heap, and no heap shrinks: half of the memory is unused after minutes,
    # and more every hour. With one interpreter lock, threads gain nothing from it.
    with contextlib.suppress(OSError, AttributeError):  # another libc has no such call
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
