"""The report as CSV, with one line for each attempt, read page by page from the ledger."""

# ruff: noqa: S608 - the SQL is made of this file's own text; all values are parameters

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spot_training.ledger import LedgerReader, Selection

#: Columns of the training, then of the attempt.
_TRAINING = (
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "model",
    "team",
    "region",
    "state",
    "is_test",
    "local_cloud",
    "currency",
)
#: Of the training, on the line of its last attempt, so that a column adds up to the report's figure.
_ONCE = (
    "spot_failed_usd",
    "net_saved_usd",
    "billed_in_currency",
    "clean_run_in_currency",
    "saved_in_currency",
)
_ATTEMPT = (
    "job_name",
    "purchase",
    "instance_type",
    "instance_count",
    "ending",
    "created_at",
    "started_at",
    "ended_at",
    "max_wait_seconds",
    "wait_seconds",
    "interruptions",
    "training_seconds",
    "billable_seconds",
    "billed_usd",
    "savings_percent",
    "reason",
)
CSV_COLUMNS = (*_TRAINING, "attempt", *_ATTEMPT, *_ONCE)
#: How many trainings are read at a time, to limit the memory for a large report.
PAGE_TRAININGS = 10_000
#: With these a spreadsheet reads text as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def to_csv(reader: LedgerReader, selection: Selection) -> Iterator[str]:
    """The CSV in pieces: a header, then a line for each attempt, oldest trainings first."""
    yield as_lines([CSV_COLUMNS])
    after = (datetime.min.replace(tzinfo=UTC), "")
    while rows := _page(reader, selection, after):
        last = rows[-1]
        after = (last["ordered_at"], last["key"])
        attempts = [row for row in rows if row["attempt"] is not None]
        yield as_lines([[safe_cell(row[column]) for column in CSV_COLUMNS] for row in attempts])


def _page(reader: LedgerReader, selection: Selection, after: tuple[datetime, str]) -> list[dict[str, Any]]:
    where, parameters = selection.where()
    began = "coalesce(began_at, TIMESTAMPTZ '1970-01-01 00:00:00+00')"
    columns = ", ".join(f"a.{name} AS {name}" for name in _ATTEMPT)
    # As in the sums: each job once, and only of trainings that are over.
    sums = ", ".join(f"CASE WHEN counts AND state <> 'running' THEN {name} END AS {name}" for name in _ONCE)
    once = ", ".join(f"CASE WHEN a.number = last THEN {name} END AS {name}" for name in _ONCE)
    return reader.query(
        f"""
        WITH page AS (
            SELECT key, {began} AS ordered_at, {", ".join(_TRAINING)}, attempts,
                   list_max([a.number FOR a IN attempts]) AS last, {sums}
            FROM trainings WHERE {where} AND ({began}, key) > (?::TIMESTAMPTZ, ?)
            ORDER BY ordered_at, key LIMIT {PAGE_TRAININGS}
        )
        SELECT page.* EXCLUDE (attempts, last, {", ".join(_ONCE)}), a.number AS attempt, {columns}, {once}
        FROM page LEFT JOIN LATERAL (SELECT unnest(attempts) AS a) ON true
        ORDER BY ordered_at, key, a.number
        """,
        [*parameters, *after],
    )


def safe_cell(value: Any) -> Any:
    """A value for the CSV: a time as ISO 8601, and text that cannot be read as a formula."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case str() if value.lstrip(" ").startswith(_FORMULA):
            return f"'{value}"
        case _:
            return value


def as_lines(rows: Any) -> str:
    """Rows as lines of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
