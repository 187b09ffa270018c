"""The main job, end to end: Airflow retrains the flight-delay model on local managed spot.

Starts Airflow and the local SageMaker in their own state folder, waits until the scheduler starts this week's
run, prints what happens, and ends with the savings report. See `scripts/demo --help`.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from include.local_stack import LocalStack, LocalStackError, wait_until
from spot_training.domain.lifecycle import Ending
from spot_training.domain.messages import TransitionTracker, transition_line
from spot_training.ledger import Ledger, Selection
from spot_training.report import TrainingRecord, to_text
from spot_training.sagemaker.descriptions import snapshot_of

ROOT = Path(__file__).resolve().parent.parent
DAG, TASK, REPORT_DAG = "retrain_flight_delays", "train.train", "spot_savings_report"
MARKET = "first-week"
RUN_TIMEOUT_SECONDS = 300
LOOK_EVERY_SECONDS = 0.5
MAX_SPEED = 10_000


class DemoError(RuntimeError):
    """The demo did not run as expected."""


class Printer:
    """Prints what happens, with the real time since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str = "") -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        print(f"[{minutes}:{seconds:02d}] {text}" if text else "", flush=True)


def main() -> int:
    options = parse_arguments()
    printer = Printer()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with running_stack(options, printer) as stack:
            run_the_demo(stack, printer, speed=options.speed)
            if options.ui:
                keep_open(stack)
    except KeyboardInterrupt:
        printer.say("Stopped; nothing is left running.")
        return 0 if options.ui else 130
    except (LocalStackError, DemoError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    printer.say("Stopped Airflow and the local SageMaker; nothing is left running.")
    print("\nNext: scripts/demo --ui for Airflow's pages; README.md, 'A first Dag', for your training.")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--ui", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument(
        "--speed", type=_speed, default=150, help="simulated seconds per real second (default: %(default)g)"
    )
    parser.add_argument(
        "--state", type=Path, default=ROOT / ".demo", help="folder for databases, logs and reports"
    )
    return parser.parse_args()


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed <= MAX_SPEED:
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0, at most {MAX_SPEED}")
    return speed


def _interrupt(_signal: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def running_stack(options: argparse.Namespace, printer: Printer) -> Iterator[LocalStack]:
    printer.say(f"Starting Airflow and a local SageMaker; their state is in {options.state}")
    stack = LocalStack(
        ROOT,
        options.state,
        speed=options.speed,
        market=MARKET,
        env={
            "AIRFLOW_VAR_SPOT_TRAINING_CHECK_INTERVAL": "1",
            "AIRFLOW_VAR_SPOT_REPORT_FOLDER": f"file://{(options.state / 'reports').resolve()}",
        },
        say=lambda text: printer.say(f"  {text}"),
    )
    with stack:
        yield stack


# The run -------------------------------------------------------------------------------------------


def run_the_demo(stack: LocalStack, printer: Printer, *, speed: float) -> None:
    for dag_id in (REPORT_DAG, DAG):
        stack.api.wait_for_dag(dag_id)
        stack.api.unpause(dag_id)
    run_id = find_scheduled_run(stack)
    printer.say(f"Airflow's scheduler started {DAG}, run {run_id}.")
    printer.say(f"A simulated hour takes {3600 / speed:.0f} s. Spot capacity is scripted ({MARKET}).")
    printer.say("Times below are simulated hours and minutes since the first training job.")
    printer.say()
    follow_run(stack, run_id, printer)
    record = read_record(stack, run_id)
    check_the_record(record)
    report = wait_for_report(stack)
    printer.say()
    print_the_result(stack, run_id, record, report)


def find_scheduled_run(stack: LocalStack) -> str:
    def newest() -> str | None:
        runs = stack.api.list_runs(DAG, run_type="scheduled")
        return str(runs[0]["dag_run_id"]) if runs else None

    return str(wait_until(newest, f"a scheduled run of {DAG}", timeout_seconds=60))


def follow_run(stack: LocalStack, run_id: str, printer: Printer) -> None:
    """Print changes of tasks and jobs until the run is over."""
    deadline = time.monotonic() + RUN_TIMEOUT_SECONDS
    tasks: dict[str, str] = {}
    jobs = JobFollower(stack, printer)
    while True:
        jobs.look()
        for task in stack.api.task_instances(DAG, run_id):
            name, state = str(task["task_id"]), str(task["state"])
            if state in {"success", "failed", "skipped"} and tasks.get(name) != state:
                printer.say(f"task {name}: {state}")
                tasks[name] = state
        state = str(stack.api.get_run(DAG, run_id)["state"])
        if state == "success":
            return
        if state == "failed":
            raise DemoError(f"run {run_id} failed:\n{_last_lines(stack, run_id, tasks)}")
        if time.monotonic() > deadline:
            raise DemoError(f"run {run_id} is still {state} after {RUN_TIMEOUT_SECONDS} s")
        time.sleep(LOOK_EVERY_SECONDS)


class JobFollower:
    """Prints each transition of each training job once, in simulated time since the first job."""

    def __init__(self, stack: LocalStack, printer: Printer) -> None:
        self._sagemaker = stack.boto3_client("sagemaker")
        self._printer = printer
        self._trackers: dict[str, TransitionTracker] = {}
        self._over: set[str] = set()
        self._first_job_at: datetime | None = None

    def look(self) -> None:
        jobs = self._sagemaker.list_training_jobs(SortBy="CreationTime", SortOrder="Ascending")
        for summary in jobs["TrainingJobSummaries"]:
            if (name := summary["TrainingJobName"]) not in self._over:
                self._print_news(name)

    def _print_news(self, name: str) -> None:
        job = snapshot_of(self._sagemaker.describe_training_job(TrainingJobName=name))
        if name not in self._trackers:
            self._trackers[name] = TransitionTracker()
            bought = "spot" if job.is_spot else "on-demand"
            self._printer.say(f"SageMaker job {name}: {bought} {job.instance_type}")
        for visit in self._trackers[name].news(job):
            self._first_job_at = self._first_job_at or visit.started_at
            minutes = round((visit.started_at - self._first_job_at).total_seconds() / 60)
            self._printer.say(f"  {minutes // 60:3}h{minutes % 60:02}  {transition_line(job, visit)}")
        if job.is_terminal:
            self._over.add(name)


def _last_lines(stack: LocalStack, run_id: str, tasks: dict[str, str]) -> str:
    failed = next((name for name, state in tasks.items() if state == "failed"), TASK)
    log = stack.api.task_log(DAG, run_id, failed)
    return "\n".join(log.splitlines()[-25:])


def read_record(stack: LocalStack, run_id: str) -> TrainingRecord:
    with Ledger.at(stack.airflow_home / "spot_ledger").read() as reader:
        records = reader.records(Selection(dag_ids=(DAG,), task_ids=(TASK,)))
    for record in records:
        if record.run_id == run_id:
            return record
    raise DemoError(f"the ledger has no record of run {run_id}")


def check_the_record(record: TrainingRecord) -> None:
    """Fail if the demo did not show what it should."""
    endings = [attempt.ending for attempt in record.attempts]
    if endings != [Ending.NO_CAPACITY, Ending.COMPLETED] or record.statement.interruptions != 1:
        raise DemoError(
            f"the attempts ended {[str(e) for e in endings]} with {record.statement.interruptions} "
            "interruption(s), instead of one without capacity and one that was interrupted once and completed"
        )


def wait_for_report(stack: LocalStack) -> dict[str, Any]:
    def newest() -> str | None:
        runs = stack.api.list_runs(REPORT_DAG, run_type="asset_triggered")
        return str(runs[0]["dag_run_id"]) if runs else None

    run_id = str(wait_until(newest, f"a run of {REPORT_DAG}", timeout_seconds=60))
    run = stack.api.wait_for_run(REPORT_DAG, run_id, timeout_seconds=120)
    if run["state"] != "success":
        raise DemoError(f"the report failed:\n{stack.api.task_log(REPORT_DAG, run_id, 'report')[-2000:]}")
    report: dict[str, Any] = stack.api.xcom(REPORT_DAG, run_id, "report", "return_value")
    return report


def print_the_result(stack: LocalStack, run_id: str, record: TrainingRecord, report: dict[str, Any]) -> None:
    compared = stack.api.xcom(DAG, run_id, "evaluate.compare", "return_value")
    print("The savings report\n")
    print(to_text([record]))
    print(f"\nModel:  AUC {compared['auc']:.4f} on {compared['rows']} flights. {compared['reason']}")
    print(f"Report: {str(report['html']).removeprefix('file://')}")
    print(f"        {str(report['csv']).removeprefix('file://')}\n", flush=True)


def keep_open(stack: LocalStack) -> None:
    login = stack.login
    print(f"Airflow:          {stack.airflow_url}  (user {login.username}, password {login.password})")
    print(f"Local SageMaker:  {stack.sagemaker_url}/_local/  (AWS_ENDPOINT_URL={stack.sagemaker_url})")
    print(f"Trigger {DAG} with other parameters there. Ctrl-C stops everything.\n", flush=True)
    while True:
        for process in stack.processes.values():
            process.check_runs()
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
