"""How the process of the server uses memory: measured with 5,000 jobs at a time in `benchmarks/soak.py`."""

from __future__ import annotations

import contextlib
import ctypes
import gc

#: Of glibc's malloc.h.
_M_ARENA_MAX = -8


def settle_memory() -> None:
    """Before the first thread starts: one heap for all of them, and few looks through all that lives."""
    # Jobs are many objects that live long: looking through them all again and again takes half the time.
    gc.set_threshold(50_000, 20, 50)
    # glibc gives each thread a heap, and each heap keeps what it needed at most: half of the memory lies idle
    # after minutes, and more of it every hour. With one interpreter lock, threads gain nothing from it.
    with contextlib.suppress(OSError, AttributeError):  # another libc has no such call
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
