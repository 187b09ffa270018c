"""Several regions in one server: what a client sees that changes its region."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local_sagemaker.services.objects import split_uri

from .support import Server, request_for, running_server

LONG = {"LOCAL_TRAINING_SECONDS": "7000"}


@pytest.fixture(scope="module")
def two_regions() -> Iterator[Server]:
    others = ("eu-west-1", "cn-north-1", "us-gov-west-1")
    with running_server(*(f"--region={name}" for name in others)) as server:
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


@pytest.mark.parametrize(
    ("region", "partition", "host"),
    [
        ("eu-west-1", "aws", "s3.eu-west-1.amazonaws.com"),
        ("cn-north-1", "aws-cn", "s3.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "s3.us-gov-west-1.amazonaws.com"),
    ],
)
def test_each_partition_is_as_the_first(two_regions: Server, region: str, partition: str, host: str) -> None:
    """ARNs of the partition in and out, and the partition's own hosts in addresses of images and objects."""
    assert two_regions.control("POST", "reset")[0] == 200
    client = _client(two_regions, region)
    two_regions.client("s3").create_bucket(Bucket="bucket")
    two_regions.put("s3://bucket/data/x", b"1")
    arn = f"arn:{partition}:sagemaker:{region}:123456789012:training-job/job"
    role = f"arn:{partition}:iam::123456789012:role/R"
    registry = host.replace("s3.", "123456789012.dkr.ecr.")

    def request(**overrides: Any) -> dict[str, Any]:
        image = {"TrainingImage": f"{registry}/mine:1", "TrainingInputMode": "File"}
        return request_for(RoleArn=role, AlgorithmSpecification=image, **overrides)

    def channel(uri: str) -> list[dict[str, Any]]:
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
        return [{"ChannelName": "train", "DataSource": source}]

    with pytest.raises(ClientError, match=f"No S3 objects found .*{region}.*{role}"):
        client.create_training_job(
            **request(InputDataConfig=channel(f"https://{host}/bucket/no"), Environment=None)
        )
    for uri in (f"https://{host}/bucket/data", f"https://bucket.{host}/data"):
        made = client.create_training_job(**request(InputDataConfig=channel(uri), Environment=None))
        assert made["TrainingJobArn"] == arn
        client.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "b"}])
        assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
        described = client.describe_training_job(TrainingJobName="job")
        assert (described["TrainingJobArn"], described["RoleArn"]) == (arn, role)
        named = {"Filters": [{"Name": "TrainingJobArn", "Operator": "Equals", "Value": arn}]}
        assert len(client.search(Resource="TrainingJob", SearchExpression=named)["Results"]) == 1
        client.stop_training_job(TrainingJobName="job")
        assert two_regions.control("POST", "reset")[0] == 200
        two_regions.client("s3").create_bucket(Bucket="bucket")
        two_regions.put("s3://bucket/data/x", b"1")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/a/b", ("bucket", "a/b")),
        ("s3://s3.amazonaws.com/a", ("s3.amazonaws.com", "a")),
        ("https://s3.amazonaws.com/bucket/a/b", ("bucket", "a/b")),
        ("https://s3-us-gov-west-1.amazonaws.com/bucket/a", ("bucket", "a")),
        ("https://my.bucket.s3.cn-northwest-1.amazonaws.com.cn/a?b", ("my.bucket", "a?b")),
        ("https://s3.dualstack.eu-west-1.amazonaws.com/bucket", ("bucket", "")),
        ("https://bucket/a", ("bucket", "a")),
    ],
)
def test_an_address_of_s3_names_bucket_and_key(uri: str, expected: tuple[str, str]) -> None:
    assert split_uri(uri) == expected
