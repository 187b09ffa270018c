"""The control API, which other tests and people rely on."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from .support import Server, on_demand_request_for, request_for, running_server, wait_until

LONG = {"LOCAL_TRAINING_SECONDS": "7000"}
ONE_TRY = {"retries": {"total_max_attempts": 1, "mode": "standard"}}


FAULT = {"operation": "StopTrainingJob", "error": "InternalFailure"}


def _fail(server: Server, operation: str, error: str, count: int = 1) -> None:
    body = {"operation": operation, "error": error, "count": count}
    assert server.control("POST", "faults", body)[0] == 200


def test_the_clock_runs_at_its_speed(server: Server) -> None:
    _, first = server.control("GET", "clock")
    assert first["speed"] == 600
    started = datetime.fromisoformat(first["now"])
    assert started.tzinfo is not None
    wait_until(
        lambda: (
            (datetime.fromisoformat(server.control("GET", "clock")[1]["now"]) - started).total_seconds() > 120
        )
    )


def test_the_clock_can_run_at_another_speed_from_now_on() -> None:
    def now(server: Server) -> datetime:
        return datetime.fromisoformat(server.control("GET", "clock")[1]["now"])

    with running_server("--speed", "1") as server:
        server.client("sagemaker").create_training_job(**request_for(Environment=LONG))
        before = now(server)
        status, answer = server.control("PUT", "clock", {"speed": 6000})
        assert (status, answer["speed"]) == (200, 6000)
        assert (datetime.fromisoformat(answer["now"]) - before).total_seconds() < 600
        server.wait_for_end("job")
        server.control("PUT", "clock", {"speed": 0.5})
        slow = now(server)
        assert (now(server) - slow).total_seconds() < 5


def test_the_announced_speed_is_what_clients_are_told() -> None:
    with running_server("--speed", "60") as server:
        server.control("PUT", "clock", {"speed": 1, "announced": 600})
        before, real_before = server.control("GET", "clock")[1], time.monotonic()
        answer = server.client("sagemaker").list_training_jobs()
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-clock-speed"] == "600"
        passed = datetime.fromisoformat(server.control("GET", "clock")[1]["now"]) - datetime.fromisoformat(
            before["now"]
        )
        assert passed.total_seconds() == pytest.approx(time.monotonic() - real_before, abs=1)


def test_a_clock_that_jumps_keeps_its_speed() -> None:
    with running_server("--speed", "max") as server:
        status, content = server.control("PUT", "clock", {"speed": 60})
        assert status == 400
        assert content["error"] == "The clock jumps (--speed max): its speed cannot be set."


def test_capacity_can_be_taken_and_given_back(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_training_job(
        **request_for("runs", Environment=LONG, CheckpointConfig={"S3Uri": "s3://bucket/r"})
    )
    server.wait_for_status("runs", "Training")
    assert server.control("PUT", "capacity", {"instance_type": "ml.m5.xlarge", "available": False})[0] == 200
    assert (
        server.wait_for("runs", lambda job: len(job["SecondaryStatusTransitions"]) > 3)[
            "SecondaryStatusTransitions"
        ][3]["Status"]
        == "Interrupted"
    )
    client.create_training_job(**request_for("waits", Environment=LONG))
    waiting = server.wait_for_status("runs", "Starting")
    assert "Insufficient capacity" in waiting["SecondaryStatusTransitions"][-1]["StatusMessage"]
    server.control("PUT", "capacity", {"instance_type": "ml.m5.xlarge", "available": True})
    server.wait_for_status("runs", "Training")
    server.wait_for_status("waits", "Training")


def test_a_running_spot_job_can_be_interrupted_by_name(server: Server) -> None:
    server.client("sagemaker").create_training_job(**request_for(Environment=LONG))
    server.wait_for_status("job", "Training")
    assert server.control("POST", "interrupt", {"training_job_name": "job"})[0] == 200
    job = server.client("sagemaker").describe_training_job(TrainingJobName="job")
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]][3] == "Interrupted"
    assert job["TrainingJobStatus"] == "InProgress"


def test_uploads_of_checkpoints_can_be_stalled_and_go_on(server: Server) -> None:
    named = {"Environment": LONG, "CheckpointConfig": {"S3Uri": "s3://bucket/stalled"}}
    other = {"Environment": LONG, "CheckpointConfig": {"S3Uri": "s3://bucket/other"}}
    assert server.control("POST", "stalls", {"job_names": "churn-*"})[0] == 200
    server.client("sagemaker").create_training_job(**request_for("churn-1", **named))
    server.client("sagemaker").create_training_job(**request_for("fraud-1", **other))
    wait_until(lambda: bool(server.keys("other/")))
    assert server.keys("stalled/") == []
    assert server.control("DELETE", "stalls")[0] == 200
    wait_until(lambda: bool(server.keys("stalled/")))


def test_what_cannot_be_interrupted_is_a_400_with_a_reason(server: Server) -> None:
    client = server.client("sagemaker")
    status, message = server.control("POST", "interrupt", {"training_job_name": "nobody"})
    assert (status, message) == (400, {"error": "There is no training job nobody."})
    client.create_training_job(**on_demand_request_for("paid", Environment=LONG))
    server.wait_for_status("paid", "Training")
    status, message = server.control("POST", "interrupt", {"training_job_name": "paid"})
    assert status == 400
    assert "paid is an on-demand job" in message["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        (
            "PUT",
            "capacity",
            {"instance_type": "ml.m5.xlarge"},
            400,
            "available is missing: give true or",
        ),
        (
            "PUT",
            "capacity",
            {"instance_type": "m5.xlarge", "available": True},
            400,
            "instance_type is 'm5.xlarge': SageMaker has no such training instance type; ml.m5.xlarge is one",
        ),
        (
            "PUT",
            "capacity",
            {"instance_type": "ml.m5.xlarge", "available": None},
            400,
            "available is null: give true or false",
        ),
        (
            "PUT",
            "capacity",
            {"instance_typ": "ml.m5.xlarge"},
            400,
            "instance_typ is unknown. Known: inst",
        ),
        (
            "POST",
            "stalls",
            {"job_names": "churn_*"},
            400,
            "job_names is 'churn_*': give letters, digits and hyphens of job names, with *, ? and [...]",
        ),
        ("POST", "stalls", {"job_names": ""}, 400, "job_names is '': give letters"),
        ("POST", "stalls", {"instance_type": "m5.xlarge"}, 400, "has no such training instance type"),
        ("POST", "stalls", {"seconds": 0}, 400, "seconds is 0: give 1 to 2419200"),
        ("POST", "stalls", {"seconds": "1h"}, 400, 'seconds is "1h": give a number'),
        (
            "POST",
            "stalls",
            {"until": "1h"},
            400,
            "until is unknown. Known: job_names, instance_type, seconds",
        ),
        ("PUT", "clock", {"speed": 0}, 400, "speed is 0: give a number above 0, at most 10000"),
        ("PUT", "clock", {"speed": 6, "announced": 1e5}, 400, "announced is 100000.0: give a number"),
        ("PUT", "clock", {"speed": "max"}, 400, 'speed is "max": give a number'),
        ("POST", "interrupt", {}, 400, "training_job_name is missing: give a text"),
        ("POST", "interrupt", [], 400, "must be a JSON object"),
        (
            "POST",
            "faults",
            {"operation": "Nap", "error": "InternalFailure", "count": 1},
            400,
            "give one of Create",
        ),
        (
            "POST",
            "faults",
            {"operation": "StopTrainingJob", "error": "Bored", "count": 1},
            400,
            "LoseResponse",
        ),
        (
            "POST",
            "faults",
            {"operation": "StopTrainingJob", "error": "InternalFailure", "count": 0},
            400,
            "count is 0",
        ),
        ("POST", "faults", FAULT | {"count": 1.5}, 400, "count is 1.5: give a whole number"),
        ("POST", "faults", FAULT | {"seconds": 0}, 400, "seconds is 0: give 0.001 to 86400"),
        ("POST", "faults", FAULT | {"seconds": "1"}, 400, 'seconds is "1": give a number'),
        ("POST", "faults", FAULT | {"probability": 1.5}, 400, "probability is 1.5: give 0.001 to 1"),
        ("POST", "faults", FAULT | {"probability": True}, 400, "probability is true: give a number"),
        ("POST", "faults", FAULT | {"delay_seconds": 1}, 400, "give it with SlowResponse"),
        ("POST", "faults", FAULT | {"error": "SlowResponse"}, 400, "delay_seconds is None: give it"),
        ("POST", "faults", FAULT | {"until": 1}, 400, "until is unknown"),
        ("GET", "nonsense", None, 404, "Known: GET /_local/"),
        ("DELETE", "health", None, 405, "Known: GET /_local/"),
    ],
)
def test_a_wrong_control_request_is_refused_with_the_reason(
    server: Server, method: str, path: str, body: Any, status: int, message: str
) -> None:
    answered, content = server.control(method, path, body)
    assert answered == status
    assert message in content["error"]


def test_a_body_that_is_not_json_is_refused(server: Server) -> None:
    status, content = server.send("POST", "/_local/interrupt", b"{")
    assert status == 400
    assert b"not JSON" in content


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [("ThrottlingException", "ThrottlingException", 400), ("InternalFailure", "InternalFailure", 500)],
)
def test_the_next_calls_fail_as_asked_and_then_no_more(
    server: Server, error: str, code: str, status: int
) -> None:
    client = server.client("sagemaker", **ONE_TRY)
    _fail(server, "ListTrainingJobs", error, 2)
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            client.list_training_jobs()
        assert caught.value.response["Error"]["Code"] == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert client.list_training_jobs()["TrainingJobSummaries"] == []


def test_a_fault_hits_its_own_operation_alone(server: Server) -> None:
    _fail(server, "StopTrainingJob", "InternalFailure")
    server.client("sagemaker", **ONE_TRY).list_training_jobs()


def test_a_fault_of_every_operation_hits_them_all(server: Server) -> None:
    _fail(server, "*", "InternalFailure", 2)
    client = server.client("sagemaker", **ONE_TRY)
    with pytest.raises(ClientError):
        client.list_training_jobs()
    with pytest.raises(ClientError):
        client.describe_training_job(TrainingJobName="nobody")
    client.list_training_jobs()


def test_faults_still_to_come_can_be_forgotten(server: Server) -> None:
    _fail(server, "ListTrainingJobs", "InternalFailure", 100)
    assert server.control("DELETE", "faults")[0] == 200
    server.client("sagemaker", **ONE_TRY).list_training_jobs()


def test_a_slow_answer_did_its_work_long_before(server: Server) -> None:
    slow = {"operation": "CreateTrainingJob", "error": "SlowResponse", "delay_seconds": 30}
    assert server.control("POST", "faults", slow)[0] == 200
    impatient = server.client("sagemaker", **ONE_TRY, read_timeout=0.5)
    with pytest.raises(ReadTimeoutError):
        impatient.create_training_job(**request_for())
    assert impatient.list_training_jobs()["TrainingJobSummaries"][0]["TrainingJobName"] == "job"


def test_a_dropped_connection_does_no_work(server: Server) -> None:
    client = server.client("sagemaker", **ONE_TRY)
    _fail(server, "CreateTrainingJob", "DropConnection")
    with pytest.raises(ConnectionClosedError):
        client.create_training_job(**request_for())
    assert client.list_training_jobs()["TrainingJobSummaries"] == []


def test_a_lost_response_did_its_work(server: Server) -> None:
    client = server.client("sagemaker", **ONE_TRY)
    _fail(server, "CreateTrainingJob", "LoseResponse")
    with pytest.raises(ConnectionClosedError):
        client.create_training_job(**request_for())
    assert client.list_training_jobs()["TrainingJobSummaries"][0]["TrainingJobName"] == "job"


def test_the_retry_of_a_create_with_a_lost_answer_meets_its_own_job(server: Server) -> None:
    _fail(server, "CreateTrainingJob", "LoseResponse")
    with pytest.raises(ClientError) as caught:
        server.client("sagemaker").create_training_job(**request_for())
    assert caught.value.response["Error"]["Code"] == "ResourceInUse"


def test_a_throttled_call_succeeds_on_the_clients_own_retry(server: Server) -> None:
    _fail(server, "ListTrainingJobs", "ThrottlingException", 1)
    assert server.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


def test_reset_forgets_everything(server: Server) -> None:
    server.client("sagemaker").create_training_job(**request_for())
    server.put("s3://bucket/key", b"x")
    server.client("sqs").create_queue(QueueName="q")
    server.control("PUT", "capacity", {"instance_type": "ml.m5.xlarge", "available": False})
    _fail(server, "ListTrainingJobs", "InternalFailure")
    assert server.control("POST", "reset")[0] == 200
    client = server.client("sagemaker", **ONE_TRY)
    assert client.list_training_jobs()["TrainingJobSummaries"] == []
    assert server.client("s3").list_buckets()["Buckets"] == []
    assert "QueueUrls" not in server.client("sqs").list_queues()
    client.create_training_job(**request_for(Environment=LONG))
    server.wait_for_status("job", "Training")


def test_the_page_for_people_lists_the_jobs(server: Server) -> None:
    assert b"No training jobs yet." in server.send("GET", "/_local/")[1]
    assert b"No training jobs yet." in server.send("GET", "/_local")[1]
    failing = {"LOCAL_TRAINING_SECONDS": "1", "LOCAL_TRAINING_FAILURE": "<script>alert(1)</script>"}
    server.client("sagemaker").create_training_job(**request_for("shown", Environment=failing))
    server.wait_for_end("shown")
    status, page = server.send("GET", "/_local/")
    assert status == 200
    assert b"shown" in page
    assert b"Uploading" in page
    assert b"<script>" not in page
