"""`spot-training jobs`: all trainings that wait or run, as the page shows them under *Now*."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from spot_training.domain.parsing import in_words

from .airflow_api import add_connection, api_of
from .output import NOTHING, cost, moment, print_json, print_table, run

NOW = "/spot-training/api/now"
FILTERS = ("dag_id", "model", "instance_type", "team")
TITLES = (
    "TRAINING JOB",
    "DAG",
    "PHASE",
    "FOR",
    "ATTEMPT",
    "COST SO FAR",
    "LATEST ON-DEMAND",
    "DEADLINE",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _show(options))


def add_filters(parser: argparse.ArgumentParser) -> None:
    """The page's filters as options; `filters_of` reads them."""
    for name in FILTERS:
        parser.add_argument(f"--{name.replace('_', '-')}", help="only these trainings")


def filters_of(options: argparse.Namespace) -> dict[str, str | None]:
    return {name: getattr(options, name) for name in FILTERS}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spot-training jobs", description=__doc__)
    add_connection(parser)
    add_filters(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, with the month as on the page")
    return parser


def _show(options: argparse.Namespace) -> int:
    now = api_of(options).get(NOW, **filters_of(options))
    if options.json:
        print_json(now)
        return 0
    if not now["rows"]:
        print("No training waits or runs in the Dags that you may read.")
        return 0
    print_table(TITLES, [_cells(row, now["at"]) for row in now["rows"]])
    phases = ", ".join(f"{count} {phase}" for phase, count in now["phases"].items())
    total = " and ".join(_totals(now))
    print(f"\n{now['trainings']} in all: {phases}. Cost so far {total}. Times are UTC.")
    return 0


def _totals(now: Mapping[str, Any]) -> Iterator[str]:
    others = now.get("billed_in_currencies") or {}
    if now["billed_usd"] is None:
        yield cost(None, now["billed_hours"], is_estimate=True)  # a price is not known
        return
    if now["billed_usd"] or not others:
        yield cost(now["billed_usd"], now["billed_hours"], is_estimate=True)
    for currency, amount in others.items():
        yield cost(None, now["billed_hours"], is_estimate=True, other=amount, currency=currency)


def _cells(row: Mapping[str, Any], at: str) -> list[str]:
    count = f" x {row['instance_count']}" if row["instance_count"] > 1 else ""
    bought = " ".join(filter(None, (row["purchase"], row["instance_type"]))) + count
    phase = f"{row['phase']} (task: {row['task_state']})" if row["task_state"] else row["phase"]
    return [
        row["job_name"] or f"({row['model'] or row['task_id']})",
        row["dag_id"],
        phase,
        _lasts(row["phase_since"], at),
        f"{row['attempt'] or NOTHING}, {bought}" if bought else str(row["attempt"] or NOTHING),
        cost(
            row["billed_usd"],
            row["billed_hours"],
            is_estimate=row["is_estimate"],
            other=row.get("billed_in_currency"),
            currency=row.get("currency"),
        ),
        moment(row["latest_on_demand_at"]),
        moment(row["deadline_at"]),
    ]


def _lasts(since: str | None, at: str) -> str:
    if since is None:
        return NOTHING
    seconds = (datetime.fromisoformat(at) - datetime.fromisoformat(since)).total_seconds()
    return in_words(max(0.0, seconds))
