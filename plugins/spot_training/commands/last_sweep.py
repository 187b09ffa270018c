"""`spot-training sweep --last`: what the last sweep left, as the page shows it, without AWS credentials."""

from __future__ import annotations

import argparse

from .airflow_api import api_of
from .jobs import NOW
from .output import moment, print_json, print_table, run


def show(options: argparse.Namespace) -> int:
    """Print it. Returns the exit status."""
    return run(lambda: _show(options))


def _show(options: argparse.Namespace) -> int:
    now = api_of(options).get(NOW)
    orphans = now["orphans"]
    if options.json:
        print_json({"swept_at": now["swept_at"], "orphans": orphans})
        return 0
    if now["swept_at"] is None:
        print("No sweep has written a report into the ledger. Unpause the sweeper's Dag.")
        return 0
    if orphans:
        rows = [
            [orphan["job_name"], "yes" if orphan["stop_failed"] else "no", orphan["reason"]]
            for orphan in orphans
        ]
        print_table(("ORPHAN", "STOP FAILED", "REASON"), rows)
        print()
    print(f"Orphans left by the sweep of {moment(now['swept_at'])} UTC: {len(orphans)}.")
    return 0
