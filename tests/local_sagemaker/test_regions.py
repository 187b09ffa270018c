"""Several regions in one server: what a client sees that changes its region."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from local_sagemaker.services.objects import split_uri

from .support import Server, on_demand_request_for, request_for, running_server, wait_until

LONG = {"LOCAL_TRAINING_SECONDS": "7000"}


OPTIONS = (
    *(f"--region={name}" for name in ("eu-west-1", "cn-north-1", "us-gov-west-1")),
    *(f"--allow-host=*.{name}" for name in ("amazonaws.com", "amazonaws.com.cn")),
)


@pytest.fixture(scope="module")
def two_regions() -> Iterator[Server]:
    with running_server(*OPTIONS) as server:
        yield server


@pytest.fixture(scope="module")
def fast_regions() -> Iterator[Server]:
    with running_server(*OPTIONS, "--speed=600") as server:
        yield server


def _client(server: Server, region: str, service: Any = "sagemaker") -> Any:
    session = boto3.Session("test", "test", region_name=region)
    return session.client(service, endpoint_url=server.url)


def _client_by_name(server: Server, region: str, service: Any) -> Any:
    """A client that finds the server under AWS's own name for the service, as with DNS."""
    of_aws = boto3.Session("test", "test", region_name=region).client(service).meta.endpoint_url
    client = _client(server, region, service)

    def rename(request: Any, **_: Any) -> None:
        request.headers["Host"] = urlsplit(of_aws).netloc

    client.meta.events.register("before-send", rename)
    return client


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


@pytest.mark.parametrize("make_client", [_client, _client_by_name])
@pytest.mark.parametrize(
    ("region", "home", "partition"),
    [
        ("us-east-1", "us-east-1", "aws"),
        ("ap-south-1", "us-east-1", "aws"),  # there is no --region for it: it is as the first
        ("eu-west-1", "eu-west-1", "aws"),
        ("cn-north-1", "cn-north-1", "aws-cn"),
        ("us-gov-west-1", "us-gov-west-1", "aws-us-gov"),
    ],
)
@pytest.mark.usefixtures("training_python")
def test_every_service_of_a_region_knows_its_jobs(
    fast_regions: Server, region: str, home: str, partition: str, make_client: Callable[..., Any]
) -> None:
    """A job reads S3, its log is in CloudWatch Logs and its events reach SQS, all with ARNs of the region."""
    assert fast_regions.control("POST", "reset")[0] == 200
    of = partial(make_client, fast_regions, region)
    assert of("sts").get_caller_identity()["Arn"].startswith(f"arn:{partition}:sts:")
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    of("s3").create_bucket(Bucket="bucket", **where)
    of("s3").put_object(Bucket="bucket", Key="data/x", Body=b"1")
    url = of("sqs").create_queue(QueueName="changes")["QueueUrl"]
    queue = f"arn:{partition}:sqs:{home}:123456789012:changes"
    of("events").put_rule(Name="changes", EventPattern='{"source": ["aws.sagemaker"]}')
    of("events").put_targets(Rule="changes", Targets=[{"Id": "queue", "Arn": queue}])
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data"}}
    program = ["python", "-c", "import os; print(os.environ['AWS_REGION'])"]
    image = {"TrainingImage": "own", "TrainingInputMode": "File", "ContainerEntrypoint": program}
    request = on_demand_request_for(
        InputDataConfig=[{"ChannelName": "train", "DataSource": source}],
        AlgorithmSpecification=image,
        Environment=None,
    )
    sagemaker = of("sagemaker")
    sagemaker.create_training_job(**request)
    describe = partial(sagemaker.describe_training_job, TrainingJobName="job")
    wait_until(lambda: describe()["TrainingJobStatus"] != "InProgress")
    job = describe()
    assert job["TrainingJobStatus"] == "Completed", job
    arn = f"arn:{partition}:sagemaker:{home}:123456789012:training-job/job"
    assert job["TrainingJobArn"] == arn
    found = of("logs").filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs")["events"]
    assert [each["message"] for each in found] == [home]
    (message,) = of("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=1)["Messages"]
    event = json.loads(message["Body"])
    assert (event["region"], event["resources"]) == (home, [arn])


@pytest.mark.parametrize(
    ("host", "path", "region"),
    [
        ("s3.us-east-1.amazonaws.com", "/bucket/key", "us-east-1"),
        ("bucket.s3.eu-west-1.amazonaws.com", "/key", "eu-west-1"),
        ("s3.cn-north-1.amazonaws.com.cn", "/bucket/key", "cn-north-1"),
        ("bucket.s3.cn-north-1.amazonaws.com.cn", "/key", "cn-north-1"),
        ("s3.us-gov-west-1.amazonaws.com:443", "/bucket/key", "us-gov-west-1"),
        ("bucket.s3-us-gov-west-1.amazonaws.com", "/key", "us-gov-west-1"),
        ("bucket.s3.ap-south-1.amazonaws.com", "/key", "ap-south-1"),
    ],
)
def test_s3_has_one_namespace_under_all_its_names(
    two_regions: Server, host: str, path: str, region: str
) -> None:
    assert two_regions.control("POST", "reset")[0] == 200
    s3 = _client_by_name(two_regions, region, "s3")
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket="bucket", **where)
    s3.put_object(Bucket="bucket", Key="key", Body=b"content")
    assert two_regions.get("s3://bucket/key") == b"content"
    scope = f"Credential=any/20260301/{region}/s3/aws4_request"
    signed = {"Host": host, "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"}
    assert two_regions.send("GET", path, headers=signed) == (200, b"content")


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
