"""The columns of the ledger, as DuckDB and Parquet name their types.

The order is the order of the columns in the Parquet files. `docs/ledger.md` explains each (a test compares).
"""

from __future__ import annotations

from typing import Any

from spot_training.domain.packages import needed_by

VISIT: dict[str, str] = {
    "status": "VARCHAR",
    "started_at": "TIMESTAMPTZ",
    "ended_at": "TIMESTAMPTZ",
}
TRANSITION: dict[str, str] = {"attempt": "INTEGER", **VISIT}
DECISION: dict[str, str] = {
    "decided_at": "TIMESTAMPTZ",
    "action": "VARCHAR",
    "reason": "VARCHAR",
    "attempt": "INTEGER",
}
PRICE: dict[str, str] = {
    "instance_type": "VARCHAR",
    "usd_per_hour": "DOUBLE",
    "as_of": "TIMESTAMPTZ",
    "source": "VARCHAR",
    "discount_percent": "DOUBLE",
    "currency": "VARCHAR",
}

ATTEMPT: dict[str, str] = {
    "number": "INTEGER",
    "rung": "INTEGER",
    "job_name": "VARCHAR",
    "purchase": "VARCHAR",
    "reason": "VARCHAR",
    "ending": "VARCHAR",
    "created_at": "TIMESTAMPTZ",
    "started_at": "TIMESTAMPTZ",
    "ended_at": "TIMESTAMPTZ",
    "instance_type": "VARCHAR",
    "instance_count": "INTEGER",
    "max_runtime_seconds": "BIGINT",
    "max_wait_seconds": "BIGINT",
    "has_checkpoints": "BOOLEAN",
    "interruptions": "INTEGER",
    "wait_seconds": "BIGINT",
    "training_seconds": "BIGINT",
    "billable_seconds": "BIGINT",
    "work_seconds": "BIGINT",
    "launch_seconds": "BIGINT",
    "message": "VARCHAR",
    "job_arn": "VARCHAR",
    "savings_percent": "DOUBLE",
    "billed_usd": "DOUBLE",
}


def _struct(columns: dict[str, str]) -> str:
    return f"STRUCT({', '.join(f'{name} {kind}' for name, kind in columns.items())})"


CURRENT_JOB: dict[str, str] = {
    "job_name": "VARCHAR",
    "number": "INTEGER",
    "reason": "VARCHAR",
    "purchase": "VARCHAR",
    "instance_type": "VARCHAR",
    "instance_count": "INTEGER",
    "status": "VARCHAR",
    "secondary_status": "VARCHAR",
    "created_at": "TIMESTAMPTZ",
    "started_at": "TIMESTAMPTZ",
    "max_runtime_seconds": "BIGINT",
    "max_wait_seconds": "BIGINT",
    "transitions": f"{_struct(VISIT)}[]",
    "seen_at": "TIMESTAMPTZ",
    "saved_at": "TIMESTAMPTZ",
    "stalled_at": "TIMESTAMPTZ",
}


COLUMNS: dict[str, str] = {
    "format": "INTEGER",
    "key": "VARCHAR",
    "version": "BIGINT",
    "installation": "VARCHAR",
    "dag_id": "VARCHAR",
    "run_id": "VARCHAR",
    "task_id": "VARCHAR",
    "map_index": "INTEGER",
    "generation": "INTEGER",
    "state": "VARCHAR",
    "reason": "VARCHAR",
    "model": "VARCHAR",
    "team": "VARCHAR",
    "tags": "MAP(VARCHAR, VARCHAR)",
    "region": "VARCHAR",
    "instance_type": "VARCHAR",
    "instance_count": "INTEGER",
    "began_at": "TIMESTAMPTZ",
    "ended_at": "TIMESTAMPTZ",
    "deadline_at": "TIMESTAMPTZ",
    "latest_on_demand_at": "TIMESTAMPTZ",
    "watches": "VARCHAR",
    "is_resumed": "BOOLEAN",
    "is_test": "BOOLEAN",
    "endpoint_url": "VARCHAR",
    "local_cloud": "VARCHAR",
    "checkpoint_uri": "VARCHAR",
    "model_uri": "VARCHAR",
    "metrics": "MAP(VARCHAR, DOUBLE)",
    "completed": "BOOLEAN",
    "attempt_count": "INTEGER",
    "interruptions": "INTEGER",
    "wait_seconds": "BIGINT",
    "training_seconds": "BIGINT",
    "billable_seconds": "BIGINT",
    "training_instance_seconds": "BIGINT",
    "billable_instance_seconds": "BIGINT",
    "abandoned_instance_seconds": "BIGINT",
    "clean_run_seconds": "BIGINT",
    "clean_run_instance_seconds": "BIGINT",
    "clean_run_basis": "VARCHAR",
    "savings_percent": "DOUBLE",
    "job_savings_percent": "DOUBLE",
    "billed_usd": "DOUBLE",
    "clean_run_usd": "DOUBLE",
    "saved_usd": "DOUBLE",
    "abandoned_usd": "DOUBLE",
    "spot_failed_instance_seconds": "BIGINT",
    "spot_failed_usd": "DOUBLE",
    "net_saved_usd": "DOUBLE",
    "net_savings_percent": "DOUBLE",
    "scout_instance_seconds": "BIGINT",
    "scout_usd": "DOUBLE",
    "currency": "VARCHAR",
    "billed_in_currency": "DOUBLE",
    "clean_run_in_currency": "DOUBLE",
    "saved_in_currency": "DOUBLE",
    "replaced_instance_seconds": "BIGINT",
    "replaced_usd": "DOUBLE",
    "replaced_spot_failed_instance_seconds": "BIGINT",
    "replaced_spot_failed_usd": "DOUBLE",
    "attempts": f"{_struct(ATTEMPT)}[]",
    "scouts": f"{_struct(ATTEMPT)}[]",
    "scouts_out": "VARCHAR[]",
    "transitions": f"{_struct(TRANSITION)}[]",
    "decisions": f"{_struct(DECISION)}[]",
    "current_job": _struct(CURRENT_JOB),
    "prices": f"{_struct(PRICE)}[]",
    "written_at": "TIMESTAMPTZ",
    "unknown": "VARCHAR",
}
#: The nested members of a record, and theirs: a list of such members, or one.
NESTED: dict[str, Any] = {
    "attempts": [ATTEMPT],
    "scouts": [ATTEMPT],
    "transitions": [TRANSITION],
    "decisions": [DECISION],
    "current_job": {**CURRENT_JOB, "transitions": [VISIT]},
    "prices": [PRICE],
}


def json_columns() -> str:
    """The columns as `read_json` takes them."""
    return f"{{{', '.join(f'{name!r}: {kind!r}' for name, kind in COLUMNS.items())}}}"


def table_columns() -> str:
    """The columns as `CREATE TABLE` takes them."""
    return ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())


def sql_text(text: str) -> str:
    """Text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def connect() -> Any:
    """A DuckDB in this process's memory, in UTC, without a progress bar and without fetching extensions.

    Raises `MissingPackage` if duckdb is not installed.
    """
    with needed_by("reading the ledger (page, reports, budgets, deadlines)"):
        import duckdb

    quiet: Any = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    connection = duckdb.connect(":memory:", config=quiet)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return connection
