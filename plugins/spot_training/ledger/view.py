"""Loads small files and Parquet files into DuckDB as one view, with the tables that `reader` describes."""

# ruff: noqa: S608 - the SQL is made of column names of this package; all values are parameters

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spot_training.domain.currencies import COLUMNS as CURRENCY_COLUMNS
from spot_training.domain.errors import NewerFormat
from spot_training.domain.records import FORMAT_WITH_CURRENCIES, RECORD_FORMAT, CurrentJob
from spot_training.domain.savings import ENDINGS_OF_SPOT_FAILURES

from .fresh import load_lines, read_fresh, read_notes
from .manifest import MONTHS
from .merged import Merged, columns_of, find_merged, source_of
from .rows import record_of
from .schema import ATTEMPT, COLUMNS, connect
from .set_aside import SetAside

if TYPE_CHECKING:
    from .files import LedgerFiles

_OF_TRAINING = ("key", "installation", "dag_id", "run_id", "task_id", "map_index", "model", "team", "region")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A DuckDB that has the tables, the notes of running jobs by key, and the files that are left out."""

    connection: Any
    notes: Mapping[str, CurrentJob]
    set_aside: Sequence[SetAside]


def load_view(ledger: LedgerFiles) -> View:
    """Read the ledger as it is now. Raises `LedgerBusy`, and what the file system raises."""
    connection = connect()
    fresh = read_fresh(ledger)
    set_aside = [*fresh.set_aside, *load_lines(connection, fresh.lines)]
    # After the small files: what was merged meanwhile is in one of the two places.
    merged = find_merged(ledger)
    newer = [trouble.key for trouble in set_aside if trouble.is_newer and trouble.key]
    set_aside += [*merged.set_aside, *_unite(connection, merged, hidden=newer)]
    _find_amounts(connection)
    connection.execute(
        "CREATE VIEW complete_records AS SELECT * REPLACE ("
        "coalesce(net_saved_usd, saved_usd) AS net_saved_usd, "
        "coalesce(net_savings_percent, savings_percent) AS net_savings_percent) FROM all_records"
    )
    _count_jobs_once(connection)
    _create_views(connection)
    notes, torn = read_notes(ledger, _running_keys(connection))
    return View(connection=connection, notes=notes, set_aside=[*set_aside, *torn])


def _unite(connection: Any, merged: Merged, *, hidden: Sequence[str]) -> list[SetAside]:
    """Make the view of all records: of a key that is merged and fresh, the higher version.

    `hidden` are keys with a later version that cannot be read here. Returns what else is left out: merged
    records that a newer version of this package wrote.
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


def _find_amounts(connection: Any) -> None:
    """Fill the columns of other currencies, which the first records of format 4 do not have."""
    rows = connection.execute(
        "SELECT key, dag_id, run_id, task_id, state, attempts, scouts, transitions, prices FROM all_records "
        f"WHERE currency IS NULL AND format = {FORMAT_WITH_CURRENCIES}"
    )
    names = [column[0] for column in rows.description]
    found = []
    for row in rows.fetchall():
        with suppress(Exception):  # what is no record is set aside when it is read
            if amounts := record_of(dict(zip(names, row, strict=True))).amounts:
                found.append((row[0], *amounts.to_json().values()))
    if not found:
        return
    columns = ", ".join(f"{name} {COLUMNS[name]}" for name in CURRENCY_COLUMNS)
    connection.execute(f"CREATE TABLE amounts_found (key VARCHAR, {columns})")
    connection.executemany("INSERT INTO amounts_found VALUES (?, ?, ?, ?, ?)", found)
    connection.execute("ALTER VIEW all_records RENAME TO read_records")
    filled = ", ".join(f"coalesce(r.{name}, a.{name}) AS {name}" for name in CURRENCY_COLUMNS)
    connection.execute(
        f"CREATE VIEW all_records AS SELECT r.* REPLACE ({filled}) "
        "FROM read_records r LEFT JOIN amounts_found a USING (key)"
    )


def needs_spot_failures(sql: str) -> bool:
    """Whether a query reads a column that `find_spot_failures` fills."""
    return "spot_failed" in sql or "net_saved" in sql


def find_spot_failures(connection: Any) -> None:
    """Fill the columns that follow from `savings.spot_failures`, which records up to 0.2.0 do not have.

    It reads the attempts of trainings that failed, so it is done for queries that need it.
    """
    rows = connection.execute(_WITHOUT_SPOT_FAILURES, [[str(ending) for ending in ENDINGS_OF_SPOT_FAILURES]])
    names = [column[0] for column in rows.description]
    found = []
    for row in rows.fetchall():
        with suppress(Exception):  # what is no record is set aside when it is read
            statement = record_of(dict(zip(names, row, strict=True))).statement
            found.append((statement.spot_failed_instance_seconds, statement.spot_failed_usd, row[0]))
    if not found:
        return
    connection.execute("CREATE TABLE spot_failures (seconds BIGINT, usd DOUBLE, key VARCHAR)")
    connection.executemany("INSERT INTO spot_failures VALUES (?, ?, ?)", found)
    connection.execute(
        "CREATE OR REPLACE VIEW complete_records AS SELECT r.* REPLACE ("
        "coalesce(r.spot_failed_instance_seconds, f.seconds) AS spot_failed_instance_seconds, "
        "coalesce(r.spot_failed_usd, f.usd) AS spot_failed_usd, "
        "coalesce(r.net_saved_usd, r.saved_usd, -f.usd) AS net_saved_usd, "
        "coalesce(r.net_savings_percent, r.savings_percent) AS net_savings_percent) "
        "FROM all_records r LEFT JOIN spot_failures f USING (key)"
    )


#: What `spot_failures` depends on. The key comes first.
_WITHOUT_SPOT_FAILURES = """
SELECT key, dag_id, run_id, task_id, state, attempts, scouts, transitions, prices FROM all_records
WHERE spot_failed_instance_seconds IS NULL AND state = 'failed' AND NOT completed
  AND billable_instance_seconds IS DISTINCT FROM 0
  AND list_has_any([a.ending FOR a IN attempts IF a.purchase = 'spot'], ?::VARCHAR[])
"""


def _count_jobs_once(connection: Any) -> None:
    """Make the view of all records with `counts`: false for test runs and jobs that another record counts."""
    (watched,) = connection.execute("SELECT count(*) FROM all_records WHERE watches IS NOT NULL").fetchone()
    if not watched:
        connection.execute(f"CREATE VIEW trainings AS SELECT *, {_IS_REAL} AS counts FROM complete_records")
        return
    connection.execute(_SHARED_JOBS)
    connection.execute(
        f"CREATE VIEW trainings AS SELECT *, {_IS_REAL} AND key NOT IN (SELECT key FROM counted_elsewhere) "
        "AS counts FROM complete_records"
    )


#: Records up to 0.2.0 do not say whether the run was a test.
_IS_REAL = "is_test IS NOT true"
#: Of the records that hold the same watched job, the one with the most attempts counts.
_SHARED_JOBS = """
CREATE TABLE counted_elsewhere AS
WITH watched AS (SELECT DISTINCT watches AS job FROM all_records WHERE watches IS NOT NULL),
holding AS (
    SELECT key, len(attempts) AS attempts, unnest(list_transform(attempts, lambda a: a.job_name)) AS job
    FROM all_records WHERE is_test IS NOT true
)
SELECT DISTINCT key FROM (
    SELECT key FROM holding SEMI JOIN watched USING (job)
    QUALIFY row_number() OVER (PARTITION BY job ORDER BY attempts DESC, key) > 1
)
"""


def _create_views(connection: Any) -> None:
    names = ", ".join(_OF_TRAINING)
    own = ", ".join(f"a.{name}" for name in ATTEMPT if name not in _OF_TRAINING)
    for view, sql in {
        "attempts": f"SELECT {names}, {own} FROM (SELECT {names}, unnest(attempts) AS a FROM trainings)",
        "transitions": f"SELECT {names}, t.* FROM (SELECT {names}, unnest(transitions) AS t FROM trainings)",
        "decisions": f"SELECT {names}, d.* FROM (SELECT {names}, unnest(decisions) AS d FROM trainings)",
    }.items():
        connection.execute(f"CREATE VIEW {view} AS {sql}")


def _running_keys(connection: Any) -> list[str]:
    return [key for (key,) in connection.execute("SELECT key FROM fresh WHERE state = 'running'").fetchall()]
