"""What others can see of a job: EventBridge's events, CloudWatch's metrics, the last value of each."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_sagemaker.jobs.job import TrainingJob
from local_sagemaker.jobs.store import Store
from local_sagemaker.services.events import StateChangeEvents, event_of
from local_sagemaker.services.metrics import AlgorithmMetrics

from .support import (
    START,
    Server,
    Simulation,
    on_demand_request_for,
    request_for,
    source_archive,
    wait_until,
)

PATTERN = {"source": ["aws.sagemaker"], "detail-type": ["SageMaker Training Job State Change"]}


def _listen(server: Server, **more: Any) -> str:
    """A rule with a queue behind it; returns the queue's address."""
    queues, events = server.client("sqs"), server.client("events")
    url: str = queues.create_queue(QueueName="changes")["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="changes", EventPattern=json.dumps(PATTERN | more))
    events.put_targets(Rule="changes", Targets=[{"Id": "queue", "Arn": arn}])
    return url


def _receive(server: Server, url: str) -> list[dict[str, Any]]:
    messages = server.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    for message in messages:
        server.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in messages]


def _receive_until(server: Server, url: str, secondary: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found.extend(_receive(server, url))
        return any(event["detail"]["SecondaryStatus"] == secondary for event in found)

    wait_until(is_there, describe=lambda: str([event["detail"]["SecondaryStatus"] for event in found]))
    return found


# --- events ---


def test_every_change_of_status_reaches_a_queue_behind_a_rule(server: Server) -> None:
    url = _listen(server)
    tags = [{"Key": "team", "Value": "sea"}]
    server.client("sagemaker").create_training_job(**request_for("Seen", Tags=tags))
    found = _receive_until(server, url, "Completed")
    assert [event["detail"]["SecondaryStatus"] for event in found] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert [event["detail"]["TrainingJobStatus"] for event in found] == ["InProgress"] * 4 + ["Completed"]
    last = found[-1]
    described = server.client("sagemaker").describe_training_job(TrainingJobName="Seen")
    assert last["resources"] == [described["TrainingJobArn"]]
    assert last["account"] == "123456789012"
    assert last["region"] == "us-east-1"
    assert last["detail"]["Tags"] == {"team": "sea"}
    for name in ("CreationTime", "TrainingStartTime", "TrainingEndTime", "LastModifiedTime"):
        assert last["detail"][name] == round(described[name].timestamp() * 1000), name
    assert len(last["detail"]["SecondaryStatusTransitions"]) == 5
    assert last["detail"]["FailureReason"] is None


def test_an_interruption_is_an_event_too(server: Server) -> None:
    url = _listen(server, detail={"SecondaryStatus": ["Interrupted"]})
    server.client("sagemaker").create_training_job(
        **request_for("rough", Environment={"LOCAL_TRAINING_SECONDS": "3600"})
    )
    server.wait_for_status("rough", "Training")
    assert server.control("POST", "interrupt", {"training_job_name": "rough"})[0] == 200
    (event,) = _receive_until(server, url, "Interrupted")
    assert event["detail"]["TrainingJobName"] == "rough"
    assert event["detail"]["TrainingJobStatus"] == "InProgress"


def test_a_target_that_is_gone_does_not_end_the_events(server: Server) -> None:
    url = _listen(server)
    events = server.client("events")
    gone = "arn:aws:sqs:us-east-1:123456789012:gone"
    events.put_targets(Rule="changes", Targets=[{"Id": "gone", "Arn": gone}])
    server.client("sagemaker").create_training_job(**request_for("job"))
    assert _receive_until(server, url, "Completed")


def test_what_is_not_set_is_null_in_an_event() -> None:
    job = Simulation()
    job.create("job", EnableManagedSpotTraining=True)
    detail = json.loads(event_of(job.seen[0], {})["Detail"])
    assert detail["CreationTime"] == round(START.timestamp() * 1000)
    for name in ("TrainingStartTime", "TrainingEndTime", "FailureReason", "VpcConfig", "HyperParameters"):
        assert detail[name] is None
    assert "BillableTimeInSeconds" not in detail


def test_without_a_rule_nothing_is_kept() -> None:
    simulation = Simulation()
    simulation.create()
    events = StateChangeEvents(Store())
    for job in simulation.seen:
        events.publish(job)
    assert not events._waiting
    assert not events._published


# --- metrics ---


def _statistics(server: Server, name: str, dimension: tuple[str, str]) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    found: list[dict[str, Any]] = server.client("cloudwatch").get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs",
        MetricName=name,
        Dimensions=[{"Name": dimension[0], "Value": dimension[1]}],
        StartTime=now - timedelta(days=1),
        EndTime=now + timedelta(days=365),
        Period=60,
        Statistics=["Average", "Maximum"],
    )["Datapoints"]
    return found


LOSSES = """
for loss in (0.5, 0.25, 0.125):
    print(f"loss={loss};", flush=True)
print("accuracy: much", flush=True)
"""


def _run_script(server: Server, script: str, **algorithm: Any) -> dict[str, Any]:
    server.put("s3://bucket/source.tar.gz", source_archive(script))
    specification = {"TrainingImage": "any", "TrainingInputMode": "File", **algorithm}
    server.client("sagemaker").create_training_job(
        **on_demand_request_for(
            "measured",
            Environment=None,
            AlgorithmSpecification=specification,
            StoppingCondition={"MaxRuntimeInSeconds": 5 * 86400},
            HyperParameters={
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": "s3://bucket/source.tar.gz",
            },
        )
    )
    return server.wait_for_end("measured")


def test_metric_definitions_become_metrics_and_final_values(server: Server, training_python: str) -> None:
    definitions = [
        {"Name": "loss", "Regex": "loss=([0-9.]+);"},
        {"Name": "accuracy", "Regex": "accuracy: (.*)"},
        {"Name": "broken", "Regex": "loss=([0-9"},
        {"Name": "without group", "Regex": "loss"},
    ]
    job = _run_script(server, LOSSES, MetricDefinitions=definitions)
    assert job["TrainingJobStatus"] == "Completed"
    (final,) = job["FinalMetricDataList"]
    assert (final["MetricName"], final["Value"]) == ("loss", 0.125)
    assert job["TrainingStartTime"] < final["Timestamp"] < job["TrainingEndTime"]
    points = _statistics(server, "loss", ("TrainingJobName", "measured"))
    assert max(point["Maximum"] for point in points) == 0.5


BUSY = """
import time
stop = time.monotonic() + 1.5
while time.monotonic() < stop:
    pass
"""


def test_the_processes_of_a_script_are_measured(server: Server, training_python: str) -> None:
    job = _run_script(server, BUSY)
    assert "FinalMetricDataList" not in job
    host = ("Host", "measured/algo-1")
    assert max(point["Maximum"] for point in _statistics(server, "CPUUtilization", host)) > 5
    for name in ("MemoryUtilization", "DiskUtilization"):
        assert all(0 < point["Average"] <= 100 for point in _statistics(server, name, host))
        assert _statistics(server, name, host)


def _reader_for(regex: str) -> tuple[TrainingJob, AlgorithmMetrics]:
    definitions = [{"Name": "m", "Regex": regex}, {"Name": "n", "Regex": "n=(.*)"}]
    request = request_for(AlgorithmSpecification={"MetricDefinitions": definitions})
    job = TrainingJob(name="job", request=request, created_at=START, last_modified_at=START)
    return job, AlgorithmMetrics(job, lambda: START)


def test_a_regex_that_backtracks_without_end_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    job, metrics = _reader_for("(a|aa)+$")
    metrics.read("a" * 60 + "!")
    metrics.read("a" * 60 + " n=1")
    assert list(job.final_metrics) == ["n"]
    assert "too slow" in caplog.text


@pytest.mark.parametrize("line", ["m=nan", "m=inf", "m=", "m=one"])
def test_what_is_no_number_is_no_metric(line: str) -> None:
    job, metrics = _reader_for("m=(.*)")
    metrics.read(line)
    assert not job.final_metrics


# --- regions ---


def test_a_client_of_another_region_sees_the_one_region_there_is(server: Server) -> None:
    import boto3

    keys: dict[str, Any] = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    elsewhere: Any = boto3.Session(region_name="eu-west-1", **keys)

    def client(service: str) -> Any:
        return elsewhere.client(service, endpoint_url=server.url)

    arn = client("sagemaker").create_training_job(**request_for("far"))["TrainingJobArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:123456789012:training-job/far"
    url = client("sqs").create_queue(QueueName="far")["QueueUrl"]
    attributes = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    assert attributes["QueueArn"] == "arn:aws:sqs:us-east-1:123456789012:far"
    queues = server.client("sqs").list_queues()["QueueUrls"]
    assert [queue.rpartition("/")[2] for queue in queues] == ["far"]
    client("s3").put_object(Bucket="bucket", Key="far", Body=b"1")
    assert server.keys("far") == ["far"]
    assert client("logs").describe_log_groups()["logGroups"] == []
