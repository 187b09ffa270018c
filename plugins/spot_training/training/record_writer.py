"""The recorder's calls to others, each with a time limit: the ledger's files and the prices.

A training matters more than its record: whoever was late once gets a second and no more after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from spot_training.domain.records import Price
from spot_training.ledger.reader import newest_record
from spot_training.ledger.reservations import release
from spot_training.ledger.stop_reasons import LedgerStops
from spot_training.ledger.store import FreshName
from spot_training.process import within

if TYPE_CHECKING:
    from spot_training.domain.checkpoints_seen import SeenCheckpoints
    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.domain.records import TrainingRecord
    from spot_training.domain.stop_reasons import StopNote
    from spot_training.ledger.store import Ledger

T = TypeVar("T")

#: How long a training waits for the ledger, and how long a task that is about to end.
WRITE_SECONDS = 10.0
LAST_WRITE_SECONDS = 30.0
#: How long after the ledger was late once, and for what only the page needs.
SHORT_SECONDS = 1.0

PriceOf = Callable[[str, str], Price | None]
"""The on-demand price of (region, instance type), or None."""


class TimeLimit:
    """Waits for calls for a limited time, and for less once one was late."""

    def __init__(self) -> None:
        self._was_late = False

    def within(self, seconds: float, work: Callable[[], T]) -> T:
        """The result of `work`, or TimeoutError."""
        try:
            return within(min(seconds, SHORT_SECONDS) if self._was_late else seconds, work)
        except TimeoutError:
            self._was_late = True
            raise

    def quietly(self, work: Callable[[], object]) -> None:
        """For what only the page needs: it may lag, and no error is reported."""
        try:
            self.within(SHORT_SECONDS, work)
        except Exception:  # noqa: BLE001
            return


class RecordWriter:
    """One training's files in the ledger."""

    def __init__(self, open_ledger: Callable[[], Ledger], limit: TimeLimit) -> None:
        self._open_ledger = open_ledger
        self._limit = limit

    def write(self, record: TrainingRecord, *, version_before: int, is_last: bool) -> None:
        """Write the record, then remove the version before it. Raises what keeps it from being written."""

        def put() -> None:
            ledger = self._open_ledger()
            name = ledger.write(record)
            if version_before:
                ledger.forget(FreshName(key=name.key, version=version_before))

        self._limit.within(LAST_WRITE_SECONDS if is_last else WRITE_SECONDS, put)

    def newest(self, key: str) -> TrainingRecord | None:
        """The record, if it is not merged. Raises what keeps it from being read."""
        return within(WRITE_SECONDS, lambda: newest_record(self._open_ledger(), key))

    def note(self, key: str, job: JobSnapshot, checkpoints: SeenCheckpoints | None = None) -> None:
        self._limit.quietly(lambda: self._open_ledger().note(key, job, checkpoints))

    def tidy_up(self, key: str) -> None:
        """No job is running: remove the note of it, and the money reserved for one."""

        def remove() -> None:
            ledger = self._open_ledger()
            ledger.remove_note(key)
            release(ledger, key)

        self._limit.quietly(remove)

    def keep_stop(self, job_name: str, note: StopNote) -> None:
        LedgerStops(self._open_ledger).keep(job_name, note)

    def why_stopped(self, job_name: str) -> StopNote | None:
        return LedgerStops(self._open_ledger).note_of(job_name)


class PricesOfTraining:
    """The prices of a training's instance types in its region. What is not available is asked once."""

    def __init__(self, price_of: PriceOf, region: str, warn: Callable[[str], None], limit: TimeLimit) -> None:
        self._price_of = price_of
        self._region = region
        self._warn = warn
        self._limit = limit
        self._unpriced: set[str] = set()

    def ask(self, instance_types: Iterable[str | None], *, known: Iterable[str]) -> tuple[Price, ...]:
        """The prices that are not known yet, as far as there are any."""
        wanted = {kind for kind in instance_types if kind} - set(known) - self._unpriced
        return tuple(price for kind in sorted(wanted) if (price := self._ask(kind)))

    def _ask(self, instance_type: str) -> Price | None:
        try:
            price = self._limit.within(WRITE_SECONDS, lambda: self._price_of(self._region, instance_type))
        except Exception as error:  # noqa: BLE001 - an unknown price fails nothing
            price = None
            self._warn(f"The price of {instance_type} is not known, so no dollars are recorded: {error}")
        if price is None:
            self._unpriced.add(instance_type)
        return price
