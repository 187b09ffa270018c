"""The ledger as the page reads it: one view for all requests, renewed when the ledger has changed.

The notes of running jobs are renewed apart from it: they change without a change of the records.

Loading a view costs far more than querying it, so it is kept. The names of the ledger's files show whether it
has changed, because no file is written twice. A new view is loaded in the background, so that requests do not
wait for it, unless the old one is more than `LAG_SECONDS` old.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from spot_training.ledger import Ledger, LedgerReader, Selection
from spot_training.ledger.fresh import read_newest, read_notes
from spot_training.ledger.live_notes import LiveNotes
from spot_training.ledger.reader import newest_record
from spot_training.ledger.set_aside import CannotRead
from spot_training.ledger.sweeps import last_sweep

from . import month
from .overview import lay_tables

if TYPE_CHECKING:
    from spot_training.domain.records import CurrentJob, TrainingRecord
    from spot_training.ledger.sweeps import SweepReport

log = logging.getLogger(__name__)
T = TypeVar("T")

#: How long the list of the ledger's files is valid.
CHECK_SECONDS = 2.0
#: How old a view may be while a new one is loaded in the background.
LAG_SECONDS = 60.0
#: How many answers about one view are kept.
MOST_ANSWERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A loaded ledger, the names of its files, and when they were last listed.

    `running` are its running trainings. `answers` are questions that were asked of this view before.
    """

    reader: LedgerReader
    running: tuple[TrainingRecord, ...] = ()
    answers: dict[Hashable, Any] = field(default_factory=dict)
    names: Hashable
    checked_at: float
    loaded_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Live:
    """The notes of running jobs, what the last sweep left, and when both were read."""

    notes: Mapping[str, CurrentJob]
    sweep: SweepReport | None
    installations: tuple[str, ...]
    read_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The running trainings of all Dags with the newest notes of their jobs, and what the last sweep left."""

    records: tuple[TrainingRecord, ...]
    sweep: SweepReport | None = None


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
        self._notes = LiveNotes()
        self._live: _Live | None = None
        self._live_lock = threading.Lock()
        self._live_renewal: threading.Thread | None = None

    @contextmanager
    def view(self) -> Iterator[LedgerReader]:
        """The ledger as it was at most `lag_seconds` ago. One request at a time uses it."""
        with self._lock:
            yield self._current().reader

    def answer(self, question: Hashable, ask: Callable[[LedgerReader], T]) -> T:
        """What `ask` returns for the view, asked once for each view and `question`."""
        with self._lock:
            view = self._current()
            if question not in view.answers:
                if len(view.answers) >= MOST_ANSWERS:
                    view.answers.clear()
                view.answers[question] = ask(view.reader)
            return cast("T", view.answers[question])

    def running(self, installations: tuple[str, ...] = ()) -> Running:
        """The running trainings, with the notes of at most `lag_seconds` ago.

        `installations` are the names of this Airflow, for what the last sweep left.
        """
        with self._lock:
            records = self._current().running
        live = self._current_live(records, installations)
        return Running(records=tuple(_as_noted(r, live.notes) for r in records), sweep=live.sweep)

    def _current_live(self, records: tuple[TrainingRecord, ...], installations: tuple[str, ...]) -> _Live:
        with self._live_lock:
            kept = self._live
            age = time.monotonic() - kept.read_at if kept and kept.installations == installations else None
            is_renewed = self._live_renewal is not None and self._live_renewal.is_alive()
            if kept is None or age is None or age >= max(self._lag_seconds, self._check_seconds):
                if is_renewed and self._live_renewal:
                    self._live_renewal.join()
                self._live = kept = self._read_live(records, installations)
            elif age >= self._check_seconds and not is_renewed:
                self._live_renewal = threading.Thread(
                    target=self._renew_live, args=(records, installations), daemon=True
                )
                self._live_renewal.start()
            return kept

    def _renew_live(self, records: tuple[TrainingRecord, ...], installations: tuple[str, ...]) -> None:
        try:
            self._live = self._read_live(records, installations)
        except Exception as error:  # noqa: BLE001 - asked again soon, by a request at the latest
            log.warning("The notes of running jobs could not be read: %s", error)

    def _read_live(self, records: tuple[TrainingRecord, ...], installations: tuple[str, ...]) -> _Live:
        ledger = self._find_ledger()
        return _Live(
            read_at=time.monotonic(),
            notes=self._notes.read(ledger, [record.key for record in records]),
            sweep=last_sweep(ledger, installations),
            installations=installations,
        )

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
        month.lay_tables(reader)
        return _View(
            reader=reader,
            running=tuple(reader.records(Selection(states=("running",)))),
            names=names,
            checked_at=checked_at,
            loaded_at=checked_at,
        )

    def _may_be_restored(self, kept: _View, now: float) -> bool:
        """Whether a file that could not be read may have been restored, under the same name."""
        return bool(kept.reader.set_aside) and now - kept.loaded_at >= self._lag_seconds

    def _keep(self, view: _View) -> _View:
        if self._kept is not None and self._kept.reader is not view.reader:
            self._kept.reader.close()
        self._kept = view
        return view


def _with_note(ledger: Ledger, record: TrainingRecord) -> TrainingRecord:
    if record.current_job is None:
        return record
    return _as_noted(record, read_notes(ledger, [record.key])[0])


def _as_noted(record: TrainingRecord, notes: Mapping[str, CurrentJob]) -> TrainingRecord:
    note, job = notes.get(record.key), record.current_job
    if note is None or job is None or note.job_name != job.job_name:
        return record
    return replace(record, current_job=replace(note, number=job.number, reason=job.reason))
