"""The ledger as the page reads it: one view for all requests, renewed when the ledger has changed.

Loading a view costs far more than querying it, so it is kept. The names of the ledger's files show whether it
has changed, because no file is written twice. A new view is loaded in the background, so that requests do not
wait for it, unless the old one is more than `LAG_SECONDS` old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spot_training.ledger import Ledger, LedgerReader
from spot_training.ledger.fresh import read_newest, read_notes
from spot_training.ledger.reader import newest_record
from spot_training.ledger.set_aside import CannotRead

from .overview import lay_tables

if TYPE_CHECKING:
    from spot_training.domain.records import TrainingRecord

#: How long the list of the ledger's files is valid.
CHECK_SECONDS = 2.0
#: How old a view may be while a new one is loaded in the background.
LAG_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A loaded ledger, the names of its files, and when they were last listed."""

    reader: LedgerReader
    names: Hashable
    checked_at: float
    loaded_at: float


class Source:
    """The view of the ledger that all requests share."""

    def __init__(
        self,
        find_ledger: Callable[[], Ledger] = Ledger.configured,
        *,
        check_seconds: float = CHECK_SECONDS,
        lag_seconds: float = LAG_SECONDS,
    ) -> None:
        self._find_ledger = find_ledger
        self._check_seconds = check_seconds
        self._lag_seconds = lag_seconds
        self._lock = threading.Lock()
        self._kept: _View | None = None
        self._renewal: threading.Thread | None = None

    @contextmanager
    def view(self) -> Iterator[LedgerReader]:
        """The ledger as it was at most `lag_seconds` ago. One request at a time uses it."""
        with self._lock:
            yield self._current().reader

    def training(self, key: str) -> TrainingRecord | None:
        """One training as it is now, with the latest note on its job.

        A running training has its own file, which is quick to read again and again.
        """
        ledger = self._find_ledger()
        try:
            record = newest_record(ledger, key)
        except CannotRead:
            return None  # the merged record is older
        if record is not None:
            return _with_note(ledger, record)
        with self.view() as reader:
            return reader.record(key)

    def left_out(self, key: str) -> tuple[str, ...]:
        """The files of one training that cannot be read now, and the reasons."""
        return tuple(str(problem) for problem in read_newest(self._find_ledger(), key).set_aside)

    def _current(self) -> _View:
        kept = self._kept
        age = float("inf") if kept is None else time.monotonic() - kept.checked_at
        if kept is None or age >= max(self._lag_seconds, self._check_seconds):
            return self._keep(self._newer(kept))
        if age >= self._check_seconds and (self._renewal is None or not self._renewal.is_alive()):
            self._renewal = threading.Thread(target=self._renew, args=(kept,), daemon=True)
            self._renewal.start()
        return kept

    def _renew(self, kept: _View) -> None:
        newer = self._newer(kept)
        with self._lock:
            self._keep(newer)

    def _newer(self, kept: _View | None) -> _View:
        """The kept view if the ledger has not changed, otherwise a new one."""
        ledger = self._find_ledger()
        checked_at = time.monotonic()
        names = (ledger.root, tuple(sorted(ledger.fresh_names())), tuple(ledger.list_names("manifests")))
        if kept is not None and kept.names == names and not self._may_be_restored(kept, checked_at):
            return replace(kept, checked_at=checked_at)
        reader = ledger.read()
        lay_tables(reader)
        return _View(reader=reader, names=names, checked_at=checked_at, loaded_at=checked_at)

    def _may_be_restored(self, kept: _View, now: float) -> bool:
        """Whether a file that could not be read may have been restored, under the same name."""
        return bool(kept.reader.set_aside) and now - kept.loaded_at >= self._lag_seconds

    def _keep(self, view: _View) -> _View:
        if self._kept is not None and self._kept.reader is not view.reader:
            self._kept.reader.close()
        self._kept = view
        return view


def _with_note(ledger: Ledger, record: TrainingRecord) -> TrainingRecord:
    job = record.current_job
    if job is None:
        return record
    note = read_notes(ledger, [record.key])[0].get(record.key)
    if note is None or note.job_name != job.job_name:
        return record
    return replace(record, current_job=replace(note, number=job.number, reason=job.reason))
