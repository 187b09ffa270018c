"""What is new in a training's log, from moto's CloudWatch Logs in the local SageMaker."""

from __future__ import annotations

import time
from typing import Any

import pytest

from spot_training.sagemaker.logs import LINES_A_CALL, LOG_GROUP, MORE_LINES, LogTail, TrainingLogs
from tests.cloud import Cloud

JOB = "logged"
STREAM = f"{JOB}/algo-1"


@pytest.fixture
def logs(cloud: Cloud) -> Any:
    client = cloud.client("logs")
    groups = client.describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]
    if not any(group["logGroupName"] == LOG_GROUP for group in groups):
        client.create_log_group(logGroupName=LOG_GROUP)
    client.create_log_stream(logGroupName=LOG_GROUP, logStreamName=STREAM)
    return client


def _write(logs: Any, moment: int, *lines: str) -> None:
    events = [{"timestamp": moment, "message": line} for line in lines]
    logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=STREAM, logEvents=events)


def test_each_line_is_told_once_also_those_of_one_millisecond(logs: Any) -> None:
    now, tail = int(time.time() * 1000), LogTail(JOB)
    _write(logs, now, "epoch 1", "epoch 2")
    assert tail.new_lines(TrainingLogs(logs)) == ["epoch 1", "epoch 2"]
    _write(logs, now, "epoch 3")
    _write(logs, now + 1, "epoch 4")
    assert tail.new_lines(TrainingLogs(logs)) == ["epoch 3", "epoch 4"]
    assert tail.new_lines(TrainingLogs(logs)) == []


def test_a_millisecond_with_more_lines_than_a_call_returns_does_not_end_the_log(logs: Any) -> None:
    now, tail = int(time.time() * 1000), LogTail(JOB)
    table = [f"row {n}" for n in range(LINES_A_CALL + 50)]
    _write(logs, now, *table)
    _write(logs, now + 5, "after the table")
    assert tail.new_lines(TrainingLogs(logs)) == table[:LINES_A_CALL]
    assert tail.new_lines(TrainingLogs(logs)) == [MORE_LINES]
    assert tail.new_lines(TrainingLogs(logs)) == ["after the table"]
