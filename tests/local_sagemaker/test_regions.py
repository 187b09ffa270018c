"""Several regions in one server: what a client sees that changes its region."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from .support import Server, request_for, running_server

LONG = {"LOCAL_TRAINING_SECONDS": "7000"}


@pytest.fixture(scope="module")
def two_regions() -> Iterator[Server]:
    with running_server("--region", "eu-west-1") as server:
        yield server


def _client(server: Server, region: str) -> Any:
    session = boto3.Session("test", "test", region_name=region)
    return session.client("sagemaker", endpoint_url=server.url)


def _names(client: Any) -> list[str]:
    return [each["TrainingJobName"] for each in client.list_training_jobs()["TrainingJobSummaries"]]


def test_a_job_is_known_in_its_own_region_alone(two_regions: Server) -> None:
    assert two_regions.control("POST", "reset")[0] == 200
    home, away = _client(two_regions, "us-east-1"), _client(two_regions, "eu-west-1")
    first = home.create_training_job(**request_for(Environment=LONG))["TrainingJobArn"]
    with pytest.raises(ClientError, match=r"Requested resource not found\."):
        away.describe_training_job(TrainingJobName="job")
    assert _names(away) == []
    second = away.create_training_job(**request_for(Environment=LONG))["TrainingJobArn"]
    assert [arn.split(":")[3] for arn in (first, second)] == ["us-east-1", "eu-west-1"]
    away.add_tags(ResourceArn=second, Tags=[{"Key": "where", "Value": "away"}])
    assert home.list_tags(ResourceArn=first)["Tags"] == []
    away.stop_training_job(TrainingJobName="job")
    assert home.describe_training_job(TrainingJobName="job")["TrainingJobStatus"] == "InProgress"


def test_a_region_that_was_not_asked_for_is_the_first_one(two_regions: Server) -> None:
    assert two_regions.control("POST", "reset")[0] == 200
    _client(two_regions, "us-east-1").create_training_job(**request_for(Environment=LONG))
    assert _names(_client(two_regions, "ap-south-1")) == ["job"]


def test_a_reset_forgets_the_jobs_of_every_region(two_regions: Server) -> None:
    away = _client(two_regions, "eu-west-1")
    assert two_regions.control("POST", "reset")[0] == 200
    away.create_training_job(**request_for(Environment=LONG))
    assert two_regions.control("POST", "reset")[0] == 200
    assert _names(away) == []
