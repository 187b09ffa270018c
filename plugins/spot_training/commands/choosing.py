"""Which training a command is about: the name of its job, or its task."""

from __future__ import annotations

import argparse
from typing import Any

from .airflow_api import AirflowApi, ApiFailed, Task
from .jobs import NOW


def add_training(parser: argparse.ArgumentParser) -> None:
    """The options that name one training."""
    parser.add_argument(
        "job_name", nargs="?", metavar="JOB", help="the training's job, as `spot-training jobs` lists it"
    )
    parser.add_argument("--dag-id", help="instead of JOB, with --run-id and --task-id: the training's task")
    parser.add_argument("--run-id", help="its Dag run")
    parser.add_argument("--task-id", help="its task")
    parser.add_argument("--map-index", type=int, default=-1, help="its map index, if the task is mapped")


def check_training(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with a usage error unless the options name one training."""
    named = (options.dag_id, options.run_id, options.task_id)
    if bool(options.job_name) == any(named) or (any(named) and not all(named)):
        parser.error("name the training: JOB, or all of --dag-id, --run-id and --task-id.")


def task_of(api: AirflowApi, options: argparse.Namespace) -> Task:
    """The task. Raises `ApiFailed` if no training that runs has the job."""
    if not options.job_name:
        return Task(
            dag_id=options.dag_id,
            run_id=options.run_id,
            task_id=options.task_id,
            map_index=options.map_index,
        )
    rows: list[dict[str, Any]] = api.get(NOW)["rows"]
    found = [row for row in rows if row["job_name"] == options.job_name]
    if not found:
        raise ApiFailed(
            f"No training that waits or runs has the job {options.job_name!r}, in the Dags that you may "
            "read. `spot-training jobs` lists them. For a training that is over, give --dag-id, --run-id and "
            "--task-id."
        )
    # A sensor may watch the job of an operator, which is the one that can stop it.
    row = min(found, key=lambda row: row["began_at"] or "")
    return Task(**{name: row[name] for name in ("dag_id", "run_id", "task_id", "map_index")})
