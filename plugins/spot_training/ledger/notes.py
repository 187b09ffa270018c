"""Takes notes of live jobs without keeping anybody waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spot_training.domain.lifecycle import JobSnapshot


class NoteTaker:
    """Writes notes in a thread of its own, one after the other; of several for one record only the newest.

    So a ledger that is slow, or does not answer, delays notes and nothing else. What is not written when the
    process ends is lost: notes are for the page, the task's own books are not kept here.
    """

    def __init__(self, write: Callable[[str, JobSnapshot], None]) -> None:
        self._write = write
        self._due: dict[str, JobSnapshot] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def take(self, key: str, job: JobSnapshot) -> None:
        """Have it written down soon that this is how the job of record `key` stands. Returns at once."""
        with self._lock:
            self._due[key] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spot-training-notes", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            self._write(*due)

    def _next(self) -> tuple[str, JobSnapshot] | None:
        """Whose turn it is; None when there is nothing left to write, which ends the thread."""
        with self._lock:
            if not self._due:
                self._thread = None
                return None
            key = next(iter(self._due))
            return key, self._due.pop(key)
