"""`spot-training stop`: end one training. Its task is marked as failed in Airflow, which stops the job.

With `--aws`, the job is stopped in SageMaker instead, as a person does in the console: the task then fails
with "stopped by a user", and starts no other job.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from .airflow_api import AirflowApi, ApiFailed, Task, add_connection, api_of
from .choosing import add_training, check_training, task_of
from .output import print_json, run

#: Airflow changes the state of a task in one of these at once. What else is over.
OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.aws and not options.job_name:
        parser.error("--aws needs JOB, the name of the training job.")
    check_training(parser, options)
    return run(lambda: _stop_in_aws(options) if options.aws else _stop_in_airflow(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spot-training stop", description=__doc__)
    add_connection(parser)
    add_training(parser)
    parser.add_argument("--aws", action="store_true", help="stop the job in SageMaker, with AWS credentials")
    parser.add_argument("--region", help="with --aws: the AWS region (default: boto3's own)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _stop_in_airflow(options: argparse.Namespace) -> int:
    api = api_of(options)
    task = task_of(api, options)
    state = api.get(task.mapped_path)["state"]
    if state in OVER:
        raise ApiFailed(
            f"The {task} is over already ({state}). If its job still runs, the sweeper stops it, or "
            "`spot-training stop JOB --aws`."
        )
    _mark_failed(api, task)
    said = f"The {task} is marked as failed. Airflow ends it, and it stops its job."
    _say(options, said, {"stopped": "task", "dag_id": task.dag_id, "run_id": task.run_id})
    return 0


def _mark_failed(api: AirflowApi, task: Task) -> None:
    api.call("PATCH", task.mapped_path, {"new_state": "failed"})


def _stop_in_aws(options: argparse.Namespace) -> int:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client: Any = boto3.client("sagemaker", region_name=options.region)
        client.stop_training_job(TrainingJobName=options.job_name)
    except (BotoCoreError, ClientError) as error:
        raise ApiFailed(f"SageMaker did not stop {options.job_name}: {error}") from error
    said = f"{options.job_name} is being stopped. It is billed until it has uploaded its output."
    _say(options, said, {"stopped": "job", "job_name": options.job_name})
    return 0


def _say(options: argparse.Namespace, text: str, facts: dict[str, Any]) -> None:
    if options.json:
        print_json(facts)
    else:
        print(text)
