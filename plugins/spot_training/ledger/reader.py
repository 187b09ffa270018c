"""The one reader of the ledger, on DuckDB: for reports, the page and the advisor.

A reader is one consistent view. Its tables:

    trainings     one row per training task: all columns of `docs/ledger.md`, and `counts`: false for test
                  runs (`airflow dags test`), and where another record has the same job and at least as many
                  attempts (a sensor that watches what an operator started), so that sums count each job once
    attempts      one row per attempt: its own columns, and those that name its training
    transitions   one row per visit of an attempt's job to a secondary status
    decisions     one row per decision

Instants are UTC. Records contain text that people typed: pass values as parameters, never in the SQL.
"""

# ruff: noqa: S608 - the SQL is made of column names of this package; all values are parameters

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spot_training.domain.currencies import CurrencyTotals
from spot_training.domain.totals import Totals, totals_from

from .fresh import read_newest
from .manifest import MONTHS
from .rows import record_of
from .selection import EVERYTHING, Selection
from .set_aside import CannotRead, SetAside
from .totals import currency_sums_sql, sums_sql, tests_sql
from .view import find_spot_failures, load_view, needs_spot_failures

if TYPE_CHECKING:
    from spot_training.domain.records import CurrentJob, TrainingRecord

    from .files import LedgerFiles

__all__ = ["GROUPS", "ORDERS", "LedgerReader", "Selection", "newest_record", "record_of"]

#: What totals can be grouped by, and records ordered by.
GROUPS = ("dag_id", "model", "instance_type", "team", "region")
ORDERS = ("began_at", "ended_at", "billed_usd", "saved_usd", "wait_seconds", "interruptions", "dag_id")


class LedgerReader:
    """A consistent view of the ledger; close it, or use it in a `with`. One thread at a time."""

    def __init__(
        self,
        connection: Any,
        notes: Mapping[str, CurrentJob],
        *,
        root: str = "",
        set_aside: Iterable[SetAside] = (),
    ) -> None:
        self._connection = connection
        self._notes = notes
        self._root = root
        self._set_aside: dict[SetAside, None] = {}
        self._knows_spot_failures = False
        for trouble in set_aside:
            self._set_it_aside(trouble)

    @classmethod
    def load(cls, ledger: LedgerFiles) -> LedgerReader:
        """Read the ledger as it is now. Raises `LedgerBusy`, and what the file system raises."""
        view = load_view(ledger)
        return cls(view.connection, view.notes, root=ledger.root, set_aside=view.set_aside)

    @property
    def set_aside(self) -> tuple[SetAside, ...]:
        """Files that are left out because they are torn, or of a newer version: sums are incomplete."""
        return tuple(sorted(self._set_aside))

    @property
    def keys_of_newer(self) -> frozenset[str]:
        """Records that a newer version wrote: they are not read here, and must not be overwritten."""
        return frozenset(trouble.key for trouble in self._set_aside if trouble.is_newer and trouble.key)

    def _set_it_aside(self, trouble: SetAside) -> None:
        self._set_aside[trouble] = None
        trouble.warn(self._root)

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # Questions -------------------------------------------------------------------------------------

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of any SELECT over the tables above, as dictionaries by column name.

        Parameters replace `?` in their order, or `$name` by name.
        """
        if not self._knows_spot_failures and needs_spot_failures(sql):
            self._knows_spot_failures = True
            find_spot_failures(self._connection)
        cursor = self._connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def totals(self, selection: Selection = EVERYTHING) -> Totals:
        """The sums over the selected trainings."""
        where, parameters = selection.where()
        (row,) = self.query(f"SELECT {sums_sql()} FROM trainings WHERE counts AND {where}", parameters)
        (tests,) = self.query(f"SELECT {tests_sql()} FROM trainings WHERE is_test AND {where}", parameters)
        return replace(self._totals(row), **tests, currencies=self._currencies(where, parameters))

    @cached_property
    def _has_currencies(self) -> bool:
        (row,) = self.query("SELECT count(currency) AS records FROM all_records")
        return bool(row["records"])

    def _currencies(self, where: str, parameters: Sequence[Any]) -> tuple[CurrencyTotals, ...]:
        if not self._has_currencies:
            return ()
        rows = self.query(
            f"SELECT {currency_sums_sql()} FROM trainings "
            f"WHERE counts AND currency IS NOT NULL AND state <> 'running' AND {where} "
            "GROUP BY currency ORDER BY currency",
            parameters,
        )
        return tuple(CurrencyTotals(**row) for row in rows)

    def _totals(self, row: Mapping[str, Any]) -> Totals:
        return totals_from(row, left_out=tuple(str(trouble) for trouble in self.set_aside))

    def totals_by(self, group: str, selection: Selection = EVERYTHING) -> dict[str | None, Totals]:
        """The sums by one of `GROUPS`, the most expensive first. None for trainings that have none."""
        if group not in GROUPS:
            raise ValueError(f"group is {group!r}: give one of {', '.join(GROUPS)}.")
        where, parameters = selection.where()
        rows = self.query(
            f"SELECT {group} AS name, {sums_sql()} FROM trainings WHERE counts AND {where} "
            "GROUP BY 1 ORDER BY billed_usd DESC, billable_seconds DESC, 1",
            parameters,
        )
        return {row.pop("name"): self._totals(row) for row in rows}

    def records(
        self,
        selection: Selection = EVERYTHING,
        *,
        order: str = "began_at",
        descending: bool = True,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[TrainingRecord]:
        """The selected trainings in full. Running ones have the latest note of their job.

        `order` is one of `ORDERS`. Give a `limit` if there may be many.
        """
        if order not in ORDERS:
            raise ValueError(f"order is {order!r}: give one of {', '.join(ORDERS)}.")
        where, parameters = selection.where()
        direction = "DESC" if descending else "ASC"
        ordered = f"ORDER BY {order} {direction} NULLS LAST, key"
        # First which rows, from few columns; then all columns of these rows, from the few files they are in.
        chosen = self.query(
            f"SELECT key, began_at FROM trainings WHERE {where} {ordered} LIMIT ? OFFSET ?",
            [*parameters, 2**62 if limit is None else limit, offset],
        )
        moments = [row["began_at"] for row in chosen if row["began_at"]]
        if len(moments) < len(chosen):
            within, bounds = "true", []
        elif moments:
            within, bounds = "began_at BETWEEN ? AND ?", [min(moments), max(moments)]
        else:
            return []
        rows = self.query(
            f"SELECT * FROM trainings WHERE {within} AND key IN (SELECT unnest(?::VARCHAR[])) {ordered}",
            [*bounds, [row["key"] for row in chosen]],
        )
        return [self._with_note(record) for row in rows if (record := self._record_of(row))]

    def record(self, key: str) -> TrainingRecord | None:
        """One training, or None."""
        return next(iter(self.records(Selection(keys=(key,)))), None)

    def _record_of(self, row: Mapping[str, Any]) -> TrainingRecord | None:
        """The row's record. None if a merged row, which is read for the first time, is not a record."""
        try:
            return record_of(row)
        except Exception as error:  # noqa: BLE001 - garbage may raise anything
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            path = f"{MONTHS}/{row['began_at']:%Y-%m}" if row["began_at"] else MONTHS
            self._set_it_aside(SetAside(path=f"{path}: record {row['key']}", why=why, key=row["key"]))
            return None

    def _with_note(self, record: TrainingRecord) -> TrainingRecord:
        note, current = self._notes.get(record.key), record.current_job
        if note is None or current is None or note.job_name != current.job_name:
            return record
        return replace(record, current_job=replace(note, number=current.number, reason=current.reason))


def newest_record(ledger: LedgerFiles, key: str) -> TrainingRecord | None:
    """One record as it is now. None if it is merged, or there is none that can be read.

    Raises `CannotRead` if a newer version wrote it, and `LedgerBusy`.
    """
    found = read_newest(ledger, key)
    for line in found.lines.values():
        return record_of(json.loads(line))
    for trouble in found.set_aside:
        if trouble.is_newer:
            raise CannotRead(trouble)
    return None
