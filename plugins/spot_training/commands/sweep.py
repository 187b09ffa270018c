"""`spot-training sweep`: find training jobs that no task uses any longer.

Starts a run of the sweeper's Dag in Airflow, with the permissions of the user who asks, waits for it, and
shows what it left. `--last` starts nothing: it shows what the last sweep left. `--stop` stops the orphans, if
the Airflow's setting `[spot_training] sweeper_stops` allows it.

`--aws` sweeps from here, with boto3's own credential chain, and asks Airflow's API about each task. With
`--ledger URL`, it also completes the records of finished tasks there, and adds jobs without a record.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from spot_training.domain.parsing import in_words, parse_seconds

from .airflow_api import AirflowApi, ApiFailed, add_connection, api_of
from .jobs import NOW
from .output import moment, print_json, print_table, run

SWEEPER = "sweep_orphaned_trainings"
#: Its tasks: one looks for orphans, and one settles the ledger, after a failure, too.
LOOK, SETTLE = "look", "settle"
OVER = frozenset({"success", "failed"})
ASK_EVERY_SECONDS = 2.0
#: How long to wait until the page has read the report of a sweep that is over.
NEWS_SECONDS = 90.0
#: The options of a sweep from here.
_FROM_HERE = ("installation", "region", "ledger")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 1 if anything failed, or was not allowed."""
    options = _parse(arguments)
    if options.aws:
        return _sweep_from_here(options)
    return run(lambda: _show(options) if options.last else _sweep_in_airflow(options))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="spot-training sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connection(parser)
    parser.add_argument("--last", action="store_true", help="only show what the last sweep left")
    parser.add_argument(
        "--stop",
        action="store_true",
        help="stop the orphans, if [spot_training] sweeper_stops is set (default: only report them)",
    )
    parser.add_argument("--dag-id", default=SWEEPER, help="the sweeper's Dag (default: %(default)s)")
    parser.add_argument(
        "--timeout", default="10m", help="how long to wait for its run (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--aws", action="store_true", help="sweep from here, with AWS credentials")
    parser.add_argument(
        "--installation", help="with --aws: the installation that the Airflow must be (default: any)"
    )
    parser.add_argument(
        "--region",
        action="append",
        help="with --aws: AWS region to sweep (default: boto3's own); may be repeated",
    )
    parser.add_argument(
        "--ledger", help="with --aws: folder or s3:// URL of the ledger to settle (default: none)"
    )
    options = parser.parse_args(arguments)
    from_here = [f"--{name}" for name in _FROM_HERE if getattr(options, name)]
    if from_here and not options.aws:
        options.aws = True
        print(f"{from_here[0]} without --aws is deprecated: add --aws.", file=sys.stderr)
    if options.aws and (options.last or options.json):
        parser.error("--last and --json are without --aws: they show what Airflow knows.")
    return options


def _sweep_from_here(options: argparse.Namespace) -> int:
    from spot_training.sweep.command import main as sweep

    login = {"AIRFLOW_API_TOKEN": options.token, "AIRFLOW_USERNAME": options.username}
    os.environ.update({name: value for name, value in login.items() if value})
    given = {"--airflow-url": options.airflow_url, "--installation": options.installation}
    given["--ledger"] = options.ledger
    arguments = [word for name, value in given.items() if value for word in (name, value)]
    arguments += [word for region in options.region or () for word in ("--region", region)]
    return sweep([*arguments, *(["--stop"] if options.stop else [])])


def _sweep_in_airflow(options: argparse.Namespace) -> int:
    seconds = parse_seconds(options.timeout, field="--timeout")
    api = api_of(options)
    path = f"/api/v2/dags/{quote(options.dag_id, safe='')}"
    if _find_dag(api, path, options.dag_id)["is_paused"]:
        raise ApiFailed(
            f"The Dag {options.dag_id} is paused, so no run begins. Unpause it: it then sweeps every hour."
        )
    body = {"logical_date": None, "conf": {"stop": options.stop}}
    run_id = str(api.call("POST", f"{path}/dagRuns", body)["dag_run_id"])
    print(f"Airflow sweeps: run {run_id} of {options.dag_id}.", file=sys.stderr)
    run_path = f"{path}/dagRuns/{quote(run_id, safe='')}"
    run = _wait_for(api, run_path, run_id, seconds=seconds)
    now = _report_of(api, since=run["start_date"])
    if now is not None:
        _say(options, now)
    states = {task: api.get(f"{run_path}/taskInstances/{task}")["state"] for task in (LOOK, SETTLE)}
    failed = [f"{task} ({state})" for task, state in states.items() if state != "success"]
    if now is None and not failed:
        failed = [f"{LOOK} (its report is not in the ledger)"]
    if failed:
        raise ApiFailed(
            f"The sweep did not do everything: see the task log in run {run_id} of {', '.join(failed)}."
        )
    return 0


def _find_dag(api: AirflowApi, path: str, dag_id: str) -> Any:
    try:
        return api.get(path)
    except ApiFailed as error:
        if error.status != 404:
            raise
        raise ApiFailed(
            f"Airflow has no Dag {dag_id}. Copy dags/{SWEEPER}.py into its Dags folder, give --dag-id, or "
            "sweep from here with --aws."
        ) from error


def _wait_for(api: AirflowApi, path: str, run_id: str, *, seconds: float) -> Any:
    """The run, once it is over."""
    until = time.monotonic() + seconds
    while (run := api.get(path))["state"] not in OVER:
        if time.monotonic() > until:
            raise ApiFailed(
                f"Run {run_id} is not over after {in_words(seconds)}. It goes on; --last shows what it left."
            )
        time.sleep(ASK_EVERY_SECONDS)
    return run


def _report_of(api: AirflowApi, *, since: str | None) -> Any:
    """What the page says of a sweep that began then or later: it may be a minute behind. None without one."""
    until = time.monotonic() + NEWS_SECONDS
    while time.monotonic() < until:
        now = api.get(NOW)
        swept_at = now["swept_at"]
        if swept_at and since and datetime.fromisoformat(swept_at) >= datetime.fromisoformat(since):
            return now
        time.sleep(ASK_EVERY_SECONDS)
    return None


def _show(options: argparse.Namespace) -> int:
    """Print what the last sweep left."""
    _say(options, api_of(options).get(NOW))
    return 0


def _say(options: argparse.Namespace, now: Any) -> None:
    orphans = now["orphans"]
    if options.json:
        print_json({"swept_at": now["swept_at"], "orphans": orphans})
        return
    if now["swept_at"] is None:
        print("No sweep has written a report into the ledger. Unpause the sweeper's Dag.")
        return
    if orphans:
        rows = [
            [orphan["job_name"], "yes" if orphan["stop_failed"] else "no", orphan["reason"]]
            for orphan in orphans
        ]
        print_table(("ORPHAN", "STOP FAILED", "REASON"), rows)
        print()
    print(f"Orphans left by the sweep of {moment(now['swept_at'])} UTC: {len(orphans)}.")
