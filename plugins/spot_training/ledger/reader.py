"""The one reader of the ledger, on DuckDB: for reports, the page and the advisor.

A reader is one consistent view. Its tables:

    trainings     one row per training task: all columns of `docs/ledger.md`, and `counts`: false where
                  another record has the same job and as much or more (a sensor that watches what an operator
                  started), so that sums take each job once
    attempts      one row per attempt: its own columns, and those that say whose it is
    transitions   one row per visit of an attempt's job to a secondary status
    decisions     one row per decision

Instants are UTC. Text in records is what people typed: pass values as parameters, never into the SQL.
"""

# ruff: noqa: S608 - the SQL is made of column names of this package; all values are parameters

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import NewerFormat
from spot_training.domain.records import RECORD_FORMAT, CurrentJob, Totals, TrainingRecord

from .fresh import load_lines, read_fresh, read_newest, read_notes
from .manifest import MONTHS
from .merged import Merged, columns_of, find_merged, source_of
from .schema import ATTEMPT, connect
from .set_aside import CannotRead, SetAside
from .unknown import joined

if TYPE_CHECKING:
    from .store import Ledger

#: What totals can be grouped by, and records selected by.
GROUPS = ("dag_id", "model", "instance_type", "team", "region")
ORDERS = ("began_at", "ended_at", "billed_usd", "saved_usd", "wait_seconds", "interruptions", "dag_id")
_WHOSE = ("key", "installation", "dag_id", "run_id", "task_id", "map_index", "model", "team", "region")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which trainings: those that began in [since, until) and match every tuple given; None matches all.

    An empty tuple matches none: a user who may read no Dag sees nothing.
    """

    since: datetime | None = None
    until: datetime | None = None
    dag_ids: tuple[str, ...] | None = None
    task_ids: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    instance_types: tuple[str, ...] | None = None
    teams: tuple[str, ...] | None = None
    states: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    installations: tuple[str, ...] | None = None

    def where(self) -> tuple[str, list[Any]]:
        """As a condition on `trainings` and its parameters."""
        conditions = ["true"]
        parameters: list[Any] = []
        for column, operator, moment in (("began_at", ">=", self.since), ("began_at", "<", self.until)):
            if moment is not None:
                conditions.append(f"{column} {operator} ?")
                parameters.append(moment)
        for column, values in (
            ("dag_id", self.dag_ids),
            ("task_id", self.task_ids),
            ("model", self.models),
            ("instance_type", self.instance_types),
            ("team", self.teams),
            ("state", self.states),
            ("key", self.keys),
            ("installation", self.installations),
        ):
            if values is not None:
                conditions.append(f"list_contains(?::VARCHAR[], {column})")
                parameters.append([str(value) for value in values])
        return " AND ".join(conditions), parameters


EVERYTHING = Selection()


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
        for trouble in set_aside:
            self._set_it_aside(trouble)

    @classmethod
    def load(cls, ledger: Ledger) -> LedgerReader:
        """Read the ledger as it is now. Raises `LedgerBusy`, and what the file system raises."""
        connection = connect()
        fresh = read_fresh(ledger)
        set_aside = [*fresh.set_aside, *load_lines(connection, fresh.lines)]
        # After the small files: what was merged meanwhile is in one of the two places.
        merged = find_merged(ledger)
        newer = [trouble.key for trouble in set_aside if trouble.is_newer and trouble.key]
        set_aside += [*merged.set_aside, *_unite(connection, merged, hidden=newer)]
        _count_jobs_once(connection)
        _create_views(connection)
        notes, torn = read_notes(ledger, _running_keys(connection))
        return cls(connection, notes, root=ledger.root, set_aside=[*set_aside, *torn])

    @property
    def set_aside(self) -> tuple[SetAside, ...]:
        """Files that are left out because they are torn, or of a newer version: figures are incomplete."""
        return tuple(sorted(self._set_aside))

    @property
    def keys_of_newer(self) -> frozenset[str]:
        """Records that a newer version wrote: not read here, and not to be written over."""
        return frozenset(trouble.key for trouble in self._set_aside if trouble.is_newer and trouble.key)

    def _set_it_aside(self, trouble: SetAside) -> None:
        self._set_aside[trouble] = None
        trouble.tell(self._root)

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # Questions -------------------------------------------------------------------------------------

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of any SELECT over the tables above, as dictionaries by column name.

        Parameters stand for `?` in their order, or for `$name` by name.
        """
        cursor = self._connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def totals(self, selection: Selection = EVERYTHING) -> Totals:
        """The sums over the selected trainings."""
        where, parameters = selection.where()
        (row,) = self.query(f"SELECT {_TOTALS} FROM trainings WHERE counts AND {where}", parameters)
        return self._totals(row)

    def _totals(self, row: Mapping[str, Any]) -> Totals:
        return _totals(row, left_out=tuple(str(trouble) for trouble in self.set_aside))

    def totals_by(self, group: str, selection: Selection = EVERYTHING) -> dict[str | None, Totals]:
        """The sums by one of `GROUPS`, the dearest first; None for trainings that have none."""
        if group not in GROUPS:
            raise ValueError(f"group is {group!r}: give one of {', '.join(GROUPS)}.")
        where, parameters = selection.where()
        rows = self.query(
            f"SELECT {group} AS name, {_TOTALS} FROM trainings WHERE counts AND {where} "
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
        """The selected trainings in full, those under way with what was last noted of their job.

        `order` is one of `ORDERS`; give a `limit` where there may be many.
        """
        if order not in ORDERS:
            raise ValueError(f"order is {order!r}: give one of {', '.join(ORDERS)}.")
        where, parameters = selection.where()
        direction = "DESC" if descending else "ASC"
        ordered = f"ORDER BY {order} {direction} NULLS LAST, key"
        # Which rows first, from narrow columns; then all of those rows, from the few files they are in.
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
        """The row's record. None where a merged one, which nobody has looked at so far, is none."""
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


def record_of(row: Mapping[str, Any]) -> TrainingRecord:
    """A row of `trainings` as a record. Raises KeyError, TypeError or ValueError for what is none."""
    data = _plain({name: value for name, value in row.items() if name not in {"counts", "unknown"}})
    unknown = row.get("unknown")
    return TrainingRecord.from_json(joined(data, json.loads(unknown)) if unknown else data)


def newest_record(ledger: Ledger, key: str) -> TrainingRecord | None:
    """One record as it is now, read by itself; None where it is merged, or there is none that can be read.

    Raises `CannotRead` for one that a newer version wrote, and `LedgerBusy`.
    """
    found = read_newest(ledger, key)
    for line in found.lines.values():
        return record_of(json.loads(line))
    for trouble in found.set_aside:
        if trouble.is_newer:
            raise CannotRead(trouble)
    return None


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value


_DONE = "FILTER (completed)"
_COMPARED = "FILTER (completed AND savings_percent IS NOT NULL)"
_PRICED = "FILTER (completed AND savings_percent IS NOT NULL AND saved_usd IS NOT NULL)"
_UNDONE = "FILTER (NOT completed)"
_SUMS = {
    "trainings": "count(*)",
    "running": "count(*) FILTER (state = 'running')",
    "completed": f"count(*) {_DONE}",
    "failed": "count(*) FILTER (state = 'failed')",
    "attempts": "coalesce(sum(attempt_count), 0)",
    "interruptions": "coalesce(sum(interruptions), 0)",
    "wait_seconds": "coalesce(sum(wait_seconds), 0)",
    "billable_seconds": f"coalesce(sum(billable_instance_seconds) {_COMPARED}, 0)",
    "clean_run_seconds": f"coalesce(sum(clean_run_instance_seconds) {_COMPARED}, 0)",
    "failed_billable_seconds": f"coalesce(sum(billable_instance_seconds) {_UNDONE}, 0)",
    "abandoned_billable_seconds": f"coalesce(sum(abandoned_instance_seconds) {_DONE}, 0)",
    "replaced_billable_seconds": "coalesce(sum(replaced_instance_seconds), 0)",
    "unknown": "count(*) FILTER (completed AND savings_percent IS NULL)",
    "billed_usd": f"coalesce(sum(billed_usd) {_PRICED}, 0)",
    "clean_run_usd": f"coalesce(sum(clean_run_usd) {_PRICED}, 0)",
    "saved_usd": f"coalesce(sum(saved_usd) {_PRICED}, 0)",
    "failed_usd": f"coalesce(sum(billed_usd) {_UNDONE}, 0)",
    "abandoned_usd": f"coalesce(sum(abandoned_usd) {_DONE}, 0)",
    "replaced_usd": "coalesce(sum(replaced_usd), 0)",
    "unpriced": "count(*) FILTER (billed_usd IS NULL)",
}
_TOTALS = ", ".join(f"{expression} AS {name}" for name, expression in _SUMS.items())


def _totals(row: Mapping[str, Any], *, left_out: tuple[str, ...]) -> Totals:
    whole = {f.name: row[f.name] for f in fields(Totals) if f.name in row}
    known: dict[str, Any] = {
        name: round(value, 6) if name.endswith("_usd") else int(value) for name, value in whole.items()
    }
    billed, clean = known["billable_seconds"], known["clean_run_seconds"]
    percent = round((1 - billed / clean) * 100, 1) if clean else None
    return Totals(**known, savings_percent=percent, left_out=left_out)


# Loading -------------------------------------------------------------------------------------------


def _unite(connection: Any, merged: Merged, *, hidden: Sequence[str]) -> list[SetAside]:
    """The view of all records: of a key that is merged and fresh, the higher version.

    `hidden` are keys of which a later version cannot be read here. Returns what is left out beside them:
    merged records that a newer version of this package wrote.
    """
    if not merged.local:
        connection.execute("CREATE VIEW all_records AS SELECT * FROM fresh")
        return []
    source = source_of(connection, merged)
    columns = columns_of(connection, source)
    known = f"coalesce(format, 1) <= {RECORD_FORMAT}"
    connection.execute("CREATE TABLE hidden AS SELECT unnest(?::VARCHAR[]) AS key", [list(hidden)])
    shown = f"{known} AND key NOT IN (SELECT key FROM hidden)" if hidden else known
    connection.execute(f"CREATE VIEW merged AS SELECT * FROM (SELECT {columns} FROM {source}) WHERE {shown}")
    newer = connection.execute(
        f"SELECT key, format FROM (SELECT {columns} FROM {source}) WHERE NOT ({known})"
    ).fetchall()
    connection.execute(
        "CREATE TABLE both_places AS SELECT f.key, m.version >= f.version AS is_merged "
        "FROM fresh f JOIN merged m USING (key)"
    )
    connection.execute("DELETE FROM fresh WHERE key IN (SELECT key FROM both_places WHERE is_merged)")
    (replaced,) = connection.execute("SELECT count(*) FROM both_places WHERE NOT is_merged").fetchone()
    kept = " WHERE key NOT IN (SELECT key FROM both_places WHERE NOT is_merged)" if replaced else ""
    connection.execute(
        f"CREATE VIEW all_records AS SELECT * FROM merged{kept} UNION ALL BY NAME SELECT * FROM fresh"
    )
    return [_newer_record(key, found) for key, found in newer]


def _newer_record(key: str, found: int) -> SetAside:
    why = NewerFormat("The record", found=found, newest_known=RECORD_FORMAT)
    return SetAside(path=f"{MONTHS}: record {key}", why=str(why), is_newer=True, key=key)


def _count_jobs_once(connection: Any) -> None:
    """The view of all records, with what tells whether their job is counted elsewhere."""
    (watched,) = connection.execute("SELECT count(*) FROM all_records WHERE watches IS NOT NULL").fetchone()
    if not watched:
        connection.execute("CREATE VIEW trainings AS SELECT *, true AS counts FROM all_records")
        return
    connection.execute(_SHARED_JOBS)
    connection.execute(
        "CREATE VIEW trainings AS "
        "SELECT *, key NOT IN (SELECT key FROM counted_elsewhere) AS counts FROM all_records"
    )


#: Of the records that hold the same watched job, the one with the most attempts counts.
_SHARED_JOBS = """
CREATE TABLE counted_elsewhere AS
WITH watched AS (SELECT DISTINCT watches AS job FROM all_records WHERE watches IS NOT NULL),
holding AS (
    SELECT key, len(attempts) AS attempts, unnest(list_transform(attempts, lambda a: a.job_name)) AS job
    FROM all_records
)
SELECT DISTINCT key FROM (
    SELECT key FROM holding SEMI JOIN watched USING (job)
    QUALIFY row_number() OVER (PARTITION BY job ORDER BY attempts DESC, key) > 1
)
"""


def _create_views(connection: Any) -> None:
    whose = ", ".join(_WHOSE)
    own = ", ".join(f"a.{name}" for name in ATTEMPT if name not in _WHOSE)
    for view, sql in {
        "attempts": f"SELECT {whose}, {own} FROM (SELECT {whose}, unnest(attempts) AS a FROM trainings)",
        "transitions": f"SELECT {whose}, t.* FROM (SELECT {whose}, unnest(transitions) AS t FROM trainings)",
        "decisions": f"SELECT {whose}, d.* FROM (SELECT {whose}, unnest(decisions) AS d FROM trainings)",
    }.items():
        connection.execute(f"CREATE VIEW {view} AS {sql}")


def _running_keys(connection: Any) -> list[str]:
    return [key for (key,) in connection.execute("SELECT key FROM fresh WHERE state = 'running'").fetchall()]
