"""The ledger as the page reads it: one view for all requests, renewed when the ledger has changed.

Loading a view costs far more than asking it, so it is kept. Whether the ledger changed is told by the names
of its files, which are never written twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from spot_training.domain.records import CurrentJob, TrainingRecord
from spot_training.ledger import Ledger, LedgerReader
from spot_training.ledger.store import FRESH, NOTES

if TYPE_CHECKING:
    from collections.abc import Hashable

#: How long the names of the ledger's files are taken for known.
CHECK_SECONDS = 2.0


class Source:
    """The one view of the ledger that all requests share."""

    def __init__(
        self, find_ledger: Callable[[], Ledger] = Ledger.configured, *, check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._find_ledger = find_ledger
        self._check_seconds = check_seconds
        self._lock = threading.Lock()
        self._reader: LedgerReader | None = None
        self._state: Hashable = None
        self._checked_at = float("-inf")

    @contextmanager
    def view(self) -> Iterator[LedgerReader]:
        """The ledger as it was at most `check_seconds` ago. One request at a time holds it."""
        with self._lock:
            yield self._renewed()

    def training(self, key: str) -> TrainingRecord | None:
        """One training as it is now, with what was last noted of its job.

        A training under way is a file of its own, read by itself: quick enough to be asked again and again.
        """
        ledger = self._find_ledger()
        names = [name for name in ledger.fresh_names() if name.key == key]
        if names:
            path = ledger.path(FRESH, str(max(names)))
            if content := ledger.fetch([path]).get(path):
                return _with_note(ledger, TrainingRecord.from_json(json.loads(content)))
        with self.view() as reader:
            return reader.record(key)

    def _renewed(self) -> LedgerReader:
        if self._reader is not None and time.monotonic() - self._checked_at < self._check_seconds:
            return self._reader
        ledger = self._find_ledger()
        state = (ledger.root, tuple(sorted(ledger.fresh_names())), tuple(ledger.list_names("manifests")))
        if self._reader is None or state != self._state:
            fresh = ledger.read()
            if self._reader is not None:
                self._reader.close()
            self._reader, self._state = fresh, state
        self._checked_at = time.monotonic()
        return self._reader


def _with_note(ledger: Ledger, record: TrainingRecord) -> TrainingRecord:
    job = record.current_job
    if job is None:
        return record
    path = ledger.path(NOTES, f"{record.key}.json")
    content = ledger.fetch([path]).get(path)
    note = CurrentJob.from_json(json.loads(content)) if content else None
    if note is None or note.job_name != job.job_name:
        return record
    return replace(record, current_job=replace(note, number=job.number, reason=job.reason))
