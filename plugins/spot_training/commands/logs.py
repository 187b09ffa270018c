"""`spot-training logs`: the task log of one training, from Airflow.

It has each change of the job and, when an attempt is over, the end of the job's own log. With `--aws`, the
end of the job's log in CloudWatch is printed instead, also while the job runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from .airflow_api import AirflowApi, ApiFailed, Task, add_connection, api_of
from .choosing import add_training, check_training, task_of
from .output import print_json, run

#: A log has no more parts than this, whatever its server says.
MOST_PARTS = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.aws and not options.job_name:
        parser.error("--aws needs JOB, the name of the training job.")
    check_training(parser, options)
    return run(lambda: _show(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spot-training logs", description=__doc__)
    add_connection(parser)
    add_training(parser)
    parser.add_argument("--try-number", type=int, help="the try of the task (default: the newest)")
    parser.add_argument("--aws", action="store_true", help="the log in CloudWatch, with AWS credentials")
    parser.add_argument("--region", help="with --aws: the AWS region (default: boto3's own)")
    parser.add_argument("--lines", type=int, default=200, help="with --aws: how many lines (default: 200)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _show(options: argparse.Namespace) -> int:
    entries = _of_aws(options) if options.aws else _of_airflow(options)
    if options.json:
        print_json(entries)
    else:
        for entry in entries:
            print(_line(entry))
    return 0


def _of_airflow(options: argparse.Namespace) -> list[Any]:
    api = api_of(options)
    task = task_of(api, options)
    number = options.try_number or api.get(task.mapped_path)["try_number"]
    return list(_parts(api, task, number))


def _parts(api: AirflowApi, task: Task, number: int) -> Iterator[Any]:
    token = None
    for _ in range(MOST_PARTS):
        answer = api.get(
            f"{task.path}/logs/{number}", map_index=task.map_index, token=token, full_content="true"
        )
        content = answer["content"]
        yield from content if isinstance(content, list) else [content]
        before, token = token, answer.get("continuation_token")
        if token is None or token == before or not content:
            return


def _of_aws(options: argparse.Namespace) -> list[Any]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    from spot_training.sagemaker.logs import TrainingLogs

    try:
        client = boto3.client("logs", region_name=options.region)
        lines = TrainingLogs(client).tail(options.job_name, options.lines)
    except (BotoCoreError, ClientError) as error:
        raise ApiFailed(f"CloudWatch did not show the log of {options.job_name}: {error}") from error
    if not lines:
        raise ApiFailed(f"{options.job_name} has logged nothing, or there is no such training job.")
    return [{"event": line} for line in lines]


def _line(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    at, event = entry.get("timestamp"), str(entry.get("event", ""))
    return f"{at} {event}" if at else event
