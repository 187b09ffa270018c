"""`spot-training report`: what spot cost and saved, as the page shows it: the month, and the history.

Filters choose trainings; `--window`, `--since` and `--until` choose the history only.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from spot_training.domain.currencies import CurrencyTotals
from spot_training.domain.money import dollars

from .airflow_api import add_connection, api_of
from .jobs import NOW, add_filters, filters_of
from .output import NOTHING, cost, print_json, print_table, run

OVERVIEW = "/spot-training/api/overview"
NO_SWEEP = "unknown: no sweep yet"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    return run(lambda: _show(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spot-training report", description=__doc__)
    add_connection(parser)
    add_filters(parser)
    parser.add_argument("--window", choices=("7d", "30d", "90d", "365d", "all"), default="30d")
    parser.add_argument("--since", metavar="DATE", help="first day of the history (UTC), like 2026-11-01")
    parser.add_argument("--until", metavar="DATE", help="last day of the history (UTC)")
    parser.add_argument("--json", action="store_true", help="print JSON: `month` and `history`")
    return parser


def _show(options: argparse.Namespace) -> int:
    api = api_of(options)
    chosen = filters_of(options)
    dates = {name: getattr(options, name) for name in ("window", "since", "until")}
    now = api.get(NOW, **chosen)
    history = api.get(OVERVIEW, **chosen, **dates)
    if options.json:
        about_now = {name: value for name, value in now.items() if name != "rows"}
        print_json({"month": about_now, "history": history})
        return 0
    _print_month(now)
    _print_history(history["totals"])
    return 0


def _print_month(now: Mapping[str, Any]) -> None:
    month, running = now["month"], now["running_usd"]
    swept = now["swept_at"] is not None
    in_time = month["net_saved_hours"]
    _print_figures(
        f"Month from {month['began_at'][:10]}",
        {
            "billed": cost(month["billed_usd"], None),
            "what runs": cost(sum(running.values()), None, is_estimate=True),
            "net savings": _saved(month["net_saved_usd"], in_time, has_dollars=month["has_dollars"])
            + _percent(month["net_savings_percent"]),
            "quota refusals": month["quota_refusals"],
            "orphans": len(now["orphans"]) if swept else NO_SWEEP,
            "failed stops": sum(o["stop_failed"] for o in now["orphans"]) if swept else NO_SWEEP,
        },
    )
    billed = {dag["dag_id"]: dag["billed_usd"] for dag in month["dags"]}
    budgets = {dag_id: now["budgets"].get(dag_id, now["budget_usd"]) for dag_id in {**billed, **running}}
    rows = [
        [
            dag_id,
            cost(billed.get(dag_id), None),
            cost(running.get(dag_id), None),
            NOTHING if usd is None else dollars(usd),
        ]
        for dag_id, usd in budgets.items()
    ]
    if rows:
        print_table(("DAG", "BILLED", "RUNNING, AT MOST", "BUDGET"), rows)
        print()


def _print_history(totals: Mapping[str, Any]) -> None:
    has_dollars = totals["clean_run_usd"] > 0 or totals["billed_usd"] > 0
    states = ", ".join(f"{totals[state]} {state}" for state in ("completed", "failed", "running"))
    in_time = totals["net_saved_seconds"] / 3600
    _print_figures(
        "History",
        {
            "trainings": f"{totals['trainings']} ({states})",
            "billed": cost(totals["billed_usd"] if has_dollars else None, totals["billable_seconds"] / 3600),
            "net savings": _saved(totals["net_saved_usd"], in_time, has_dollars=has_dollars)
            + _percent(totals["net_savings_percent"]),
            "interruptions": f"{totals['interruptions']} in {totals['attempts']} attempts",
        },
    )
    for other in totals.get("currencies") or ():
        print(CurrencyTotals.from_json(other))


def _print_figures(title: str, figures: Mapping[str, Any]) -> None:
    print(title)
    for name, value in figures.items():
        print(f"  {name:<15} {value}")
    print()


def _saved(usd: float, hours: float, *, has_dollars: bool) -> str:
    return cost(usd, None) if has_dollars else cost(None, hours)


def _percent(percent: float | None) -> str:
    return "" if percent is None else f" ({percent:.0f} % of on-demand)"
