"""One stack at a time uses a state folder."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from include.local_stack.errors import StackInUseError, StackTimeoutError
from include.local_stack.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def lock_folder(folder: Path, timeout_seconds: float) -> int:
    """Lock a state folder, and return the file descriptor that holds the lock.

    The keeper of each process holds it too, so this waits for a stack that is still stopping. Raises
    `StackInUseError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_lock() -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        wait_until(try_lock, "the state folder", timeout_seconds=timeout_seconds)
    except StackTimeoutError:
        os.close(fd)
        raise StackInUseError(
            f"another stack runs in {folder}. Stop it first, or use another state folder."
        ) from None
    except BaseException:
        os.close(fd)
        raise
    return fd
