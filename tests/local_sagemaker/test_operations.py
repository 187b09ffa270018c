"""The operations as a real client sees them: boto3 over HTTP, its waiters, its paginators, raw requests."""

from __future__ import annotations

import http.client
import json
import socket
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from .support import Server, on_demand_request_for, request_for, wait_until


def _refusal(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def _create_many(server: Server, count: int, **overrides: Any) -> list[str]:
    names = [f"job-{number:03d}" for number in range(count)]
    for name in names:
        server.client("sagemaker").create_training_job(**request_for(name, **overrides))
    return names


# --- create and describe ---


def test_a_job_is_created_and_described_as_asked(server: Server) -> None:
    client = server.client("sagemaker")
    request = request_for(
        "My-Job", CheckpointConfig={"S3Uri": "s3://bucket/ck"}, HyperParameters={"eta": "0.1"}
    )
    arn = client.create_training_job(**request)["TrainingJobArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:123456789012:training-job/my-job"
    described = client.describe_training_job(TrainingJobName="My-Job")
    assert described["TrainingJobName"] == "My-Job"
    assert described["TrainingJobArn"] == arn
    assert described["EnableManagedSpotTraining"] is True
    for member in (
        "HyperParameters",
        "RoleArn",
        "ResourceConfig",
        "StoppingCondition",
        "CheckpointConfig",
        "Environment",
    ):
        assert described[member] == request[member]
    assert described["OutputDataConfig"]["S3OutputPath"] == "s3://bucket/models"
    assert described["CreationTime"].tzinfo is not None
    assert abs(described["CreationTime"] - datetime.now(UTC)) < timedelta(days=400)


def test_a_simulated_job_completes_over_http_with_a_model(server: Server) -> None:
    server.client("sagemaker").create_training_job(**request_for())
    job = server.wait_for_end("job")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]] == [
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    assert job["TrainingTimeInSeconds"] == 1920
    assert job["BillableTimeInSeconds"] == 576
    assert job["TrainingEndTime"] == job["SecondaryStatusTransitions"][-1]["StartTime"]
    assert server.get(job["ModelArtifacts"]["S3ModelArtifacts"])


def test_the_waiter_of_boto3_takes_a_completed_job_for_success(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for(Environment={"LOCAL_TRAINING_SECONDS": "60"}))
    client.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName="job", WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )


def test_an_unknown_job_is_a_validation_error_as_on_the_wire(server: Server) -> None:
    client = server.client("sagemaker")
    for call in (client.describe_training_job, client.stop_training_job, client.delete_training_job):
        assert _refusal(call, TrainingJobName="nobody") == (
            "ValidationException",
            "Requested resource not found.",
        )


def test_a_taken_name_is_refused(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for())
    code, text = _refusal(client.create_training_job, **request_for())
    assert code == "ResourceInUse"
    assert text.startswith(
        "Training job names must be unique within an AWS account and region, and a training job with this "
        "name already exists"
    )
    with pytest.raises(client.exceptions.ResourceInUse):
        client.create_training_job(**request_for())


_GROUP = {"InstanceGroupName": "group", "InstanceType": "ml.m5.large", "InstanceCount": 1}
_CHANNEL = {
    "ChannelName": "train",
    "DataSource": {
        "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k", "InstanceGroupNames": ["group"]}
    },
}


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (  # the max runtime is a day
            {"StoppingCondition": {"MaxWaitTimeInSeconds": 7200}},
            "must be present and be greater than or equal to MaxRuntimeInSeconds",
        ),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 2419201, "MaxWaitTimeInSeconds": 2419201}}, "2419200"),
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1,
                                "KeepAlivePeriodInSeconds": 600}},
            "Warm pools cannot be used with managed spot training",
        ),
        (
            {"ResourceConfig": {"InstancePreferences": [{"InstanceType": "ml.m5.large"}]}},
            "InstancePreferences is mutually exclusive with EnableManagedSpotTraining",
        ),
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceGroups": [_GROUP]}},
            "InstanceGroups is mutually exclusive with InstanceType",
        ),
        (
            {"ResourceConfig": {"InstanceGroups": [_GROUP]}, "InputDataConfig": [_CHANNEL, _CHANNEL]},
            "The ChannelName train occurs twice",
        ),
        (
            {"ResourceConfig": {"InstanceGroups": [_GROUP | {"InstanceGroupName": "other"}]},
             "InputDataConfig": [_CHANNEL]},
            "The channel train is for the instance group group, which is not in ResourceConfig",
        ),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "either TrainingImage or AlgorithmName"),
        ({"ResourceConfig": None}, "ResourceConfig is required"),
        ({"Environment": {"LOCAL_TRAINING_SECONDS": "soon"}}, "give the simulated job's work in seconds"),
        (
            {"Environment": {"LOCAL_TRAINING_SECONDS": "9", "LOCAL_CHECKPOINT_SECONDS": "0"}},
            "LOCAL_CHECKPOINT_SECONDS is '0': give the seconds between two checkpoints",
        ),
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 0, "VolumeSizeInGB": 1}},
            "Value '0' at 'resourceConfig.instanceCount' failed to satisfy constraint: Member must have",
        ),
        (
            {"ResourceConfig": {"InstanceGroups": [_GROUP, _GROUP | {"InstanceCount": 0}]}},
            "Value '0' at 'resourceConfig.instanceGroups.2.member.instanceCount'",
        ),
        ({"ProfilerConfig": {"ProfilingIntervalInMilliseconds": 300}}, "100, 200, 500, 1000, 5000, 60000"),
        ({"Tags": [{"Key": "AWS:owner", "Value": "a"}]}, "Keys that start with aws: are reserved"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "1"}]}, "Duplicate tag key a."),
        (
            {"CheckpointConfig": {"S3Uri": "s3://bucket/ck", "LocalPath": "/opt/ml/model/"}},
            "Invalid CheckpointConfig.LocalPath /opt/ml/model/.",
        ),
    ],
)  # fmt: skip
def test_what_sagemaker_refuses_is_refused(server: Server, overrides: dict[str, Any], text: str) -> None:
    """In our words. Refusals in AWS's words are questions of the conformance command."""
    code, message = _refusal(server.client("sagemaker").create_training_job, **request_for(**overrides))
    assert code == "ValidationException"
    assert text in message


@pytest.mark.parametrize(
    "instance_type",
    ["ml.g4dn.xlarge", "ml.g5.2xlarge", "ml.p4d.24xlarge", "ml.p6-b200.48xlarge", "ml.r5d.large"],
)
def test_a_disk_of_the_instance_takes_no_key(server: Server, instance_type: str) -> None:
    client = server.client("sagemaker")
    other = {"InstanceGroupName": "other", "InstanceType": instance_type, "InstanceCount": 1}
    alone = {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": 1}
    for resources in (alone, {"InstanceGroups": [_GROUP, other], "VolumeSizeInGB": 1}):
        keyed = request_for(ResourceConfig=resources | {"VolumeKmsKeyId": "key"})
        code, message = _refusal(client.create_training_job, **keyed)
        assert code == "ValidationException"
        assert message.startswith("You can't request a VolumeKmsKeyId")
        assert instance_type in message
    client.create_training_job(**request_for(ResourceConfig=alone))


@pytest.mark.parametrize(
    "instance_type", ["ml.m5.large", "ml.p3.2xlarge", "ml.m7i-flex.large", "ml.p2.xlarge"]
)
def test_a_volume_takes_a_key(server: Server, instance_type: str) -> None:
    resources = {
        "InstanceType": instance_type,
        "InstanceCount": 1,
        "VolumeSizeInGB": 1,
        "VolumeKmsKeyId": "key",
    }
    server.client("sagemaker").create_training_job(**request_for(ResourceConfig=resources))


def test_a_job_that_runs_is_not_given_what_a_new_one_is_refused(server: Server) -> None:
    client = server.client("sagemaker")
    arn = client.create_training_job(**request_for())["TrainingJobArn"]
    for tags in ([("aws:a", "1")], [("a", "1"), ("a", "2")]):
        given = [{"Key": key, "Value": value} for key, value in tags]
        assert _refusal(client.add_tags, ResourceArn=arn, Tags=given)[0] == "ValidationException"
    assert client.list_tags(ResourceArn=arn)["Tags"] == []
    profiler = {"ProfilingIntervalInMilliseconds": 300}
    code, message = _refusal(client.update_training_job, TrainingJobName="job", ProfilerConfig=profiler)
    assert (code, "Available values are" in message) == ("ValidationException", True)


def test_retries_on_demand_may_have_a_max_wait(server: Server) -> None:
    limits = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    request = on_demand_request_for(StoppingCondition=limits, RetryStrategy={"MaximumRetryAttempts": 2})
    server.client("sagemaker").create_training_job(**request)
    assert server.wait_for_end("job")["TrainingJobStatus"] == "Completed"
    code, message = _refusal(
        server.client("sagemaker").create_training_job,
        **request
        | {"TrainingJobName": "short", "StoppingCondition": limits | {"MaxWaitTimeInSeconds": 3599}},
    )
    assert (code, "greater than or equal to MaxRuntimeInSeconds" in message) == ("ValidationException", True)


def test_a_channel_without_objects_is_refused_in_the_words_of_the_service(server: Server) -> None:
    client = server.client("sagemaker")
    for uri in ("s3://bucket/none/", "s3://missing/train"):
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
        channels = [{"ChannelName": "train", "DataSource": source}]
        # A simulated job reads no channels.
        client.create_training_job(**request_for(uri[5:11].strip("/"), InputDataConfig=channels))
        code, message = _refusal(
            client.create_training_job, **request_for(InputDataConfig=channels, Environment=None)
        )
        bucket = uri.split("/")[2]
        assert code == "ValidationException"
        assert message == (
            f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
            "bucket exists in the selected region (us-east-1), that objects exist under that S3 prefix, and "
            'that the role "arn:aws:iam::123456789012:role/SageMakerRole" has "s3:ListBucket" permissions on '
            f'bucket "{bucket}".'
        )


def test_an_image_of_ones_own_has_no_cap_on_its_wait(server: Server) -> None:
    own = {
        "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
        "TrainingInputMode": "File",
    }
    server.client("sagemaker").create_training_job(**request_for(AlgorithmSpecification=own))


def test_without_a_stopping_condition_the_limit_is_a_day(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**on_demand_request_for(StoppingCondition=None))
    described = client.describe_training_job(TrainingJobName="job")
    assert described["StoppingCondition"] == {"MaxRuntimeInSeconds": 86400}


# --- stop and delete ---


def test_a_finished_job_cannot_be_stopped_but_deleted(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for(Environment={"LOCAL_TRAINING_SECONDS": "1"}))
    assert "ResourceInUse" in _refusal(client.delete_training_job, TrainingJobName="job")
    server.wait_for_end("job")
    assert _refusal(client.stop_training_job, TrainingJobName="job") == (
        "ValidationException",
        "The request was rejected because the training job is in status Completed.",
    )
    client.delete_training_job(TrainingJobName="job")
    assert _refusal(client.describe_training_job, TrainingJobName="job")[1] == "Requested resource not found."


def test_a_stopped_job_ends_stopped(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for(Environment={"LOCAL_TRAINING_SECONDS": "7000"}))
    server.wait_for_status("job", "Training")
    client.stop_training_job(TrainingJobName="job")
    assert server.wait_for_end("job")["SecondaryStatus"] == "Stopped"


# --- list, search, tags ---


def test_lists_are_paged_without_gaps_or_repeats(server: Server) -> None:
    names = _create_many(server, 23)
    paginator = server.client("sagemaker").get_paginator("list_training_jobs")
    for order, expected in (("Ascending", names), ("Descending", names[::-1])):
        pages = paginator.paginate(SortBy="CreationTime", SortOrder=order, PaginationConfig={"PageSize": 5})
        assert [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]] == expected


def test_the_default_page_holds_ten_and_is_ascending(server: Server) -> None:
    names = _create_many(server, 12)
    page = server.client("sagemaker").list_training_jobs()
    assert [job["TrainingJobName"] for job in page["TrainingJobSummaries"]] == names[:10]
    assert page["NextToken"]


def test_a_status_filter_applies_after_the_page_was_taken(server: Server) -> None:
    client = server.client("sagemaker")
    _create_many(server, 4, Environment={"LOCAL_TRAINING_SECONDS": "7000"})
    client.create_training_job(**request_for("zz-short", Environment={"LOCAL_TRAINING_SECONDS": "1"}))
    server.wait_for_end("zz-short")
    page = client.list_training_jobs(
        StatusEquals="Completed", MaxResults=2, SortBy="Name", SortOrder="Ascending"
    )
    assert page["TrainingJobSummaries"] == []
    assert page["NextToken"]
    pages = client.get_paginator("list_training_jobs").paginate(StatusEquals="Completed")
    assert [j["TrainingJobName"] for p in pages for j in p["TrainingJobSummaries"]] == ["zz-short"]


def test_a_list_can_be_narrowed_by_name_and_time(server: Server) -> None:
    client = server.client("sagemaker")
    _create_many(server, 3)
    first = client.describe_training_job(TrainingJobName="job-000")
    found = client.list_training_jobs(NameContains="B-00")["TrainingJobSummaries"]
    assert len(found) == 3
    assert (
        client.list_training_jobs(CreationTimeBefore=first["CreationTime"] - timedelta(hours=1))[
            "TrainingJobSummaries"
        ]
        == []
    )
    after = client.list_training_jobs(LastModifiedTimeAfter=first["CreationTime"] - timedelta(hours=1))
    assert len(after["TrainingJobSummaries"]) == 3


def test_summaries_tell_the_end_only_of_jobs_that_ended(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for(Environment={"LOCAL_TRAINING_SECONDS": "60"}))
    summary = client.list_training_jobs()["TrainingJobSummaries"][0]
    assert "TrainingEndTime" not in summary
    assert summary["SecondaryStatus"] == "Starting"
    server.wait_for_end("job")
    assert "TrainingEndTime" in client.list_training_jobs()["TrainingJobSummaries"][0]


def test_tags_live_beside_the_job(server: Server) -> None:
    client = server.client("sagemaker")
    tags = [{"Key": "team", "Value": "flights"}]
    arn = client.create_training_job(**request_for(Tags=tags))["TrainingJobArn"]
    assert client.list_tags(ResourceArn=arn)["Tags"] == tags
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "cost", "Value": "x"}, {"Key": "team", "Value": "delays"}])
    client.delete_tags(ResourceArn=arn, TagKeys=["cost"])
    assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "delays"}]
    assert "Tags" not in client.describe_training_job(TrainingJobName="job")


def test_search_finds_by_tag_and_property_and_returns_tags(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for("one", Tags=[{"Key": "team", "Value": "flights"}]))
    client.create_training_job(**request_for("two", HyperParameters={"eta": "0.3"}))

    def search(*filters: dict[str, str]) -> list[str]:
        found = client.search(Resource="TrainingJob", SearchExpression={"Filters": list(filters)})
        return sorted(result["TrainingJob"]["TrainingJobName"] for result in found["Results"])

    assert search({"Name": "Tags.team", "Operator": "Equals", "Value": "flights"}) == ["one"]
    assert search({"Name": "HyperParameters.eta", "Operator": "GreaterThan", "Value": "0.2"}) == ["two"]
    assert search({"Name": "TrainingJobName", "Operator": "Contains", "Value": "O"}) == ["one", "two"]
    found = client.search(Resource="TrainingJob")["Results"]
    assert [r["TrainingJob"]["TrainingJobName"] for r in found] == ["two", "one"]
    assert found[1]["TrainingJob"]["Tags"] == [{"Key": "team", "Value": "flights"}]


def test_other_sagemaker_calls_are_motos(server: Server) -> None:
    client = server.client("sagemaker")
    arn = client.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/R")["ModelArn"]
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]


# --- the wire ---


def test_timestamps_are_epoch_seconds_and_answers_have_a_request_id(server: Server) -> None:
    server.client("sagemaker").create_training_job(**request_for())
    status, described = server.call("DescribeTrainingJob", {"TrainingJobName": "job"})
    assert status == 200
    assert isinstance(described["CreationTime"], float)
    assert round(described["CreationTime"], 3) == described["CreationTime"]
    answer = server.client("sagemaker").describe_training_job(TrainingJobName="job")
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36


@pytest.mark.parametrize(
    ("operation", "body", "headers", "status", "code"),
    [
        ("MakeCoffee", {}, {}, 400, "UnknownOperationException"),
        ("DescribeTrainingJob", b"{", {}, 400, "SerializationException"),
        ("DescribeTrainingJob", b"[]", {}, 400, "SerializationException"),
        ("DescribeTrainingJob", b"\xff\xfe", {}, 400, "SerializationException"),
        ("DescribeTrainingJob", b'{"TrainingJobName": NaN}', {}, 400, "SerializationException"),
        ("DescribeTrainingJob", b"[" * 100_000, {}, 400, "SerializationException"),
        ("DescribeTrainingJob", {"TrainingJobName": 5}, {}, 400, "SerializationException"),
        ("DescribeTrainingJob", {}, {"Content-Type": "text/plain"}, 404, "UnknownOperationException"),
        ("DescribeTrainingJob", {}, {}, 400, "ValidationException"),
        ("ListTrainingJobs", {"NextToken": "nonsense"}, {}, 400, "ValidationException"),
        ("ListTrainingJobs", {"CreationTimeAfter": 1e300}, {}, 400, "ValidationException"),
        ("CreateTrainingJob", b"x" * (5 * 1024 * 1024), {}, 413, "RequestEntityTooLargeException"),
    ],
)
def test_nonsense_gets_an_aws_error_and_the_server_stays_up(
    server: Server, operation: str, body: Any, headers: dict[str, str], status: int, code: str
) -> None:
    answered, content = server.call(operation, body, **headers)
    assert (answered, content["__type"]) == (status, code)
    assert server.control("GET", "health") == (200, {"status": "ok"})


def test_bytes_that_are_no_http_do_no_harm(server: Server) -> None:
    address = urlsplit(server.url)
    for nonsense in (
        b"\r\n",
        b"HELLO\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -4\r\n\r\n",
        b"\x00" * 99,
    ):
        with socket.create_connection((str(address.hostname), address.port or 0), timeout=5) as connection:
            connection.sendall(nonsense)
    assert server.control("GET", "health")[0] == 200


def test_one_connection_carries_many_calls(server: Server) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "SageMaker.ListTrainingJobs"}
    local_ports = set()
    for _ in range(5):
        connection.request("POST", "/", body=b"{}", headers=headers)
        answer = connection.getresponse()
        assert json.loads(answer.read()) == {"TrainingJobSummaries": []}
        local_ports.add(connection.sock.getsockname()[1])
    connection.close()
    assert len(local_ports) == 1


def test_large_objects_and_odd_keys_go_through_to_s3(server: Server) -> None:
    s3 = server.client("s3")
    content = bytes(range(256)) * 80_000
    for key in ("plain", "a b+c/ä%41.bin", "//double"):
        s3.put_object(Bucket="bucket", Key=key, Body=content, Metadata={"with_underscore": "yes"})
        assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == content
        assert s3.head_object(Bucket="bucket", Key=key)["Metadata"] == {"with_underscore": "yes"}


def test_multipart_uploads_go_through_to_s3(server: Server, tmp_path: Any) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(b"0123456789" * 2_000_000)
    s3 = server.client("s3")
    s3.upload_file(str(path), "bucket", "large.bin")
    assert s3.head_object(Bucket="bucket", Key="large.bin")["ContentLength"] == 20_000_000


def test_a_body_in_chunks_is_taken(server: Server) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    connection.request("PUT", "/bucket/chunked", body=iter([b"one", b"two"]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().read() == b""
    connection.close()
    assert server.get("s3://bucket/chunked") == b"onetwo"


def test_other_services_are_at_the_same_port(server: Server) -> None:
    assert server.client("sts").get_caller_identity()["Account"] == "123456789012"
    queue = server.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    server.client("sqs").send_message(QueueUrl=queue, MessageBody="hello")
    assert server.client("sqs").receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "hello"
    server.client("secretsmanager").create_secret(Name="s", SecretString="x")
    assert server.client("secretsmanager").get_secret_value(SecretId="s")["SecretString"] == "x"


def test_many_connections_at_once_are_served(server: Server) -> None:
    address = urlsplit(server.url)
    connections = [
        socket.create_connection((str(address.hostname), address.port or 0), timeout=10) for _ in range(200)
    ]
    request = b"GET /_local/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for connection in connections:
        connection.sendall(request)
    for connection in connections:
        wait_until(lambda c=connection: b'"ok"' in c.recv(4096))  # type: ignore[misc]
        connection.close()
