"""Answers that are wrong on demand: what a client of an eventually consistent service can get."""

from __future__ import annotations

import random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker.api.faults import Fault, Faults, Order

from .support import Server, request_for, wait_until

LONG = {"LOCAL_TRAINING_SECONDS": "7000"}


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _faults(clock: _Clock, **order: Any) -> Faults:
    faults = Faults(now=clock, rng=random.Random(1))  # noqa: S311 - a sequence that can be repeated
    settings: dict[str, Any] = {"operation": "DescribeTrainingJob", "fault": Fault.NOT_FOUND, "count": None}
    faults.add(Order(**(settings | order)))
    return faults


def _is_hidden(faults: Faults, job: str) -> bool:
    return faults.take_wrong_answer("DescribeTrainingJob", job) is Fault.NOT_FOUND


def test_each_job_gets_one_burst_and_is_left_alone_after_it() -> None:
    clock = _Clock()
    faults = _faults(clock, burst_seconds=0.5)
    assert [_is_hidden(faults, "a") for _ in range(3)] == [True, True, True]
    clock.now += 0.4
    assert _is_hidden(faults, "a")
    assert _is_hidden(faults, "b"), "its own burst begins with its own first wrong answer"
    clock.now += 0.2
    assert not _is_hidden(faults, "a")
    assert _is_hidden(faults, "b")
    clock.now += 100
    assert not _is_hidden(faults, "a")
    assert not _is_hidden(faults, "b")


def test_chance_decides_when_a_burst_begins_and_not_within_it() -> None:
    faults = _faults(_Clock(), burst_seconds=1, probability=0.1)
    seen = [_is_hidden(faults, "a") for _ in range(200)]
    assert not seen[0]
    assert all(seen[seen.index(True) :])


def test_a_wrong_answer_fails_no_call_and_a_failing_call_is_no_wrong_answer() -> None:
    faults = _faults(_Clock())
    assert faults.take("DescribeTrainingJob") is None
    faults.clear()
    faults.add(Order(operation="*", fault=Fault.THROTTLING))
    assert faults.take_wrong_answer("DescribeTrainingJob", "a") is None


def _ask_for(server: Server, operation: str, error: str, **how: float) -> None:
    body = {"operation": operation, "error": error, **how}
    assert server.control("POST", "faults", body) == (200, {"count": 1, **body})


def test_a_job_that_is_there_is_said_not_to_be(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for(Environment=LONG))
    _ask_for(server, "DescribeTrainingJob", "NotFound")
    with pytest.raises(ClientError) as caught:
        client.describe_training_job(TrainingJobName="job")
    assert caught.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "Requested resource not found.",
    }
    assert client.describe_training_job(TrainingJobName="job")["TrainingJobName"] == "job"


def test_tags_that_are_there_are_not_shown(server: Server) -> None:
    client = server.client("sagemaker")
    tags = [{"Key": "owner", "Value": "me"}]
    arn = client.create_training_job(**request_for(Environment=LONG), Tags=tags)["TrainingJobArn"]
    _ask_for(server, "ListTags", "NoTags")
    assert client.list_tags(ResourceArn=arn)["Tags"] == []
    assert client.list_tags(ResourceArn=arn)["Tags"] == tags


def test_a_job_is_left_out_of_the_list(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for(Environment=LONG))
    _ask_for(server, "ListTrainingJobs", "LeftOut")
    assert client.list_training_jobs()["TrainingJobSummaries"] == []
    assert len(client.list_training_jobs()["TrainingJobSummaries"]) == 1


def test_a_status_that_nobody_knows_is_shown(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for(Environment=LONG))
    _ask_for(server, "DescribeTrainingJob", "UnknownStatus")
    _ask_for(server, "ListTrainingJobs", "UnknownStatus")
    described = client.describe_training_job(TrainingJobName="job")
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Reviewing", "Reviewing")
    (listed,) = client.list_training_jobs()["TrainingJobSummaries"]
    assert listed["TrainingJobStatus"] == "Reviewing"
    assert client.describe_training_job(TrainingJobName="job")["TrainingJobStatus"] == "InProgress"


def test_a_burst_ends_in_real_time(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for(Environment=LONG))
    body = {"operation": "DescribeTrainingJob", "error": "UnknownStatus", "seconds": 60, "burst_seconds": 0.3}
    assert server.control("POST", "faults", body)[0] == 200

    def status() -> str:
        return str(client.describe_training_job(TrainingJobName="job")["TrainingJobStatus"])

    assert status() == "Reviewing"
    wait_until(lambda: status() == "InProgress")
    assert server.control("DELETE", "faults")[0] == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"operation": "ListTags", "error": "NotFound"}, "NotFound is an answer of DescribeTrainingJob"),
        ({"operation": "*", "error": "LeftOut"}, "LeftOut is an answer of ListTrainingJobs"),
        (
            {"operation": "ListTags", "error": "InternalFailure", "burst_seconds": 1},
            "give it with NotFound, NoTags, LeftOut, UnknownStatus only",
        ),
        ({"operation": "ListTags", "error": "NoTags", "burst_seconds": 0}, "burst_seconds is 0: give 0.001"),
    ],
)
def test_a_wrong_answer_that_cannot_be_given_is_refused(
    server: Server, body: dict[str, Any], message: str
) -> None:
    status, content = server.control("POST", "faults", body)
    assert status == 400
    assert message in content["error"]
