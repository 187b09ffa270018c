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
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.records import CurrentJob, Totals, TrainingRecord

from .manifest import Manifest
from .schema import ATTEMPT, COLUMNS, connect, json_columns, sql_text
from .store import FRESH, NOTES, FreshName

if TYPE_CHECKING:
    from .store import Ledger

#: What totals can be grouped by, and records selected by.
GROUPS = ("dag_id", "model", "instance_type", "team", "region")
ORDERS = ("began_at", "ended_at", "billed_usd", "saved_usd", "wait_seconds", "interruptions", "dag_id")
#: How often the small files are listed again when some were replaced while they were read.
LOOKS = 5
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

    def __init__(self, connection: Any, notes: Mapping[str, CurrentJob]) -> None:
        self._connection = connection
        self._notes = notes

    @classmethod
    def load(cls, ledger: Ledger) -> LedgerReader:
        """Read the ledger as it is now."""
        connection = connect()
        _load_fresh(connection, _read_fresh(ledger))
        manifest = Manifest.newest(ledger)
        _unite(connection, [ledger.local_copy(path) for path in manifest.paths])
        _count_jobs_once(connection)
        _create_views(connection)
        return cls(connection, _read_notes(ledger, connection))

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
        return _totals(row)

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
        return {row.pop("name"): _totals(row) for row in rows}

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
        return [self._with_note(record_of(row)) for row in rows]

    def record(self, key: str) -> TrainingRecord | None:
        """One training, or None."""
        return next(iter(self.records(Selection(keys=(key,)))), None)

    def _with_note(self, record: TrainingRecord) -> TrainingRecord:
        note, current = self._notes.get(record.key), record.current_job
        if note is None or current is None or note.job_name != current.job_name:
            return record
        return replace(record, current_job=replace(note, number=current.number, reason=current.reason))


def record_of(row: Mapping[str, Any]) -> TrainingRecord:
    """A row of `trainings` as a record."""
    return TrainingRecord.from_json(_plain(row))


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


def _totals(row: Mapping[str, Any]) -> Totals:
    whole = {f.name: row[f.name] for f in fields(Totals) if f.name in row}
    known = {name: round(value, 6) if name.endswith("_usd") else int(value) for name, value in whole.items()}
    billed, clean = known["billable_seconds"], known["clean_run_seconds"]
    return Totals(**known, savings_percent=round((1 - billed / clean) * 100, 1) if clean else None)


# Loading -------------------------------------------------------------------------------------------


def _read_fresh(ledger: Ledger) -> list[bytes]:
    """The newest version of every record that is not merged.

    A file that is gone when it is to be read was replaced by a newer one or merged: look again. What was
    merged is in the manifest, which is read after this.
    """
    found: dict[str, bytes] = {}
    for _ in range(LOOKS):
        newest: dict[str, FreshName] = {}
        for name in sorted(ledger.fresh_names()):
            newest[name.key] = name
        wanted = {ledger.path(FRESH, str(name)) for name in newest.values()}
        found = {path: content for path, content in found.items() if path in wanted}
        found.update(ledger.fetch(wanted - found.keys()))
        if found.keys() == wanted:
            break
    return list(found.values())


def _load_fresh(connection: Any, lines: Sequence[bytes]) -> None:
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(b"".join(lines))
        file.flush()
        connection.execute(
            f"CREATE TABLE fresh AS SELECT * FROM read_json(?, format = 'newline_delimited', "
            f"columns = {json_columns()})",
            [file.name],
        )


def _unite(connection: Any, merged_files: Sequence[str]) -> None:
    """The view of all records: of a key that is merged and fresh, the higher version."""
    if not merged_files:
        connection.execute("CREATE VIEW all_records AS SELECT * FROM fresh")
        return
    files = ", ".join(sql_text(path) for path in merged_files)
    source = f"read_parquet([{files}], union_by_name = true)"
    there = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    columns = ", ".join(
        name if name in there else f"NULL::{kind} AS {name}" for name, kind in COLUMNS.items()
    )
    connection.execute(f"CREATE VIEW merged AS SELECT {columns} FROM {source}")
    connection.execute(
        "CREATE TABLE both_places AS SELECT f.key, m.version >= f.version AS is_merged "
        "FROM fresh f JOIN merged m USING (key)"
    )
    connection.execute("DELETE FROM fresh WHERE key IN (SELECT key FROM both_places WHERE is_merged)")
    (replaced,) = connection.execute("SELECT count(*) FROM both_places WHERE NOT is_merged").fetchone()
    kept = " WHERE key NOT IN (SELECT key FROM both_places WHERE NOT is_merged)" if replaced else ""
    connection.execute(f"CREATE VIEW all_records AS SELECT * FROM merged{kept} UNION ALL SELECT * FROM fresh")


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


def _read_notes(ledger: Ledger, connection: Any) -> dict[str, CurrentJob]:
    running = [
        key for (key,) in connection.execute("SELECT key FROM fresh WHERE state = 'running'").fetchall()
    ]
    paths = {ledger.path(NOTES, f"{key}.json"): key for key in running}
    return {
        paths[path]: CurrentJob.from_json(json.loads(content))
        for path, content in ledger.fetch(paths).items()
    }
