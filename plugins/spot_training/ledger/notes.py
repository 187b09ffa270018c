"""Writes notes of running jobs in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spot_training.domain.checkpoints_seen import SeenCheckpoints
    from spot_training.domain.lifecycle import JobSnapshot


class NoteTaker:
    """Writes notes in one thread, one after the other. Of several for one record, only the newest.

    So a ledger that is slow, or does not answer, delays notes and nothing else. Notes that are not written
    when the process ends are lost: they are for the page only, the task's record does not depend on them.
    """

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write
        self._due: dict[str, tuple[object, ...]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def take(self, key: str, job: JobSnapshot, *seen: SeenCheckpoints) -> None:
        """Write down soon what AWS says of the job of record `key`, and what was seen of its checkpoints.

        Returns at once.
        """
        with self._lock:
            self._due[key] = (job, *seen)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spot-training-notes", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            self._write(*due)

    def _next(self) -> tuple[object, ...] | None:
        """The next note to write. None if there is none, which ends the thread."""
        with self._lock:
            if not self._due:
                self._thread = None
                return None
            key = next(iter(self._due))
            return key, *self._due.pop(key)
