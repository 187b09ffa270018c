"""Real clients against the local SageMaker, each in its own process and environment.

Where a client naps for half a minute between two looks, its clock is made to run faster; nothing else of it
is touched. The SDKs' reports of use to AWS are switched off, as their documentation says.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import ROOT, Server, on_demand_request_for, request_for

NO_TELEMETRY = """
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
"""
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
SCRIPT = """
import argparse, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
epochs = parser.parse_args().epochs
for epoch in range(epochs):
    print(f"epoch={epoch} loss={1 / (epoch + 1):.3f}", flush=True)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text("trained")
"""


def _python_of(environment: str) -> str:
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment {environment}: scripts/test makes it")
    return str(python)


def _run(
    server: Server, folder: Path, command: list[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    (folder / "config.yaml").write_text(NO_TELEMETRY)
    own = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(folder / "config.yaml"),
        # Nothing of the machine's own AWS configuration, and no look for an instance's credentials.
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return subprocess.run(
        command, cwd=folder, env=own | environment, capture_output=True, text=True, timeout=120
    )


def _write_source(folder: Path) -> None:
    (folder / "source").mkdir()
    (folder / "source" / "train.py").write_text(SCRIPT)


# --- the SageMaker SDK 2.x ---

ESTIMATOR = """
import time, types
import boto3, sagemaker, sagemaker.session
from sagemaker.analytics import TrainingJobAnalytics
from sagemaker.estimator import Estimator

sagemaker.session.time = types.SimpleNamespace(
    sleep=lambda s: time.sleep(s / 60), time=lambda: time.time() * 60
)
session = sagemaker.Session(boto_session=boto3.Session(region_name="us-east-1"))
estimator = Estimator(
    image_uri="683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1",
    role="arn:aws:iam::123456789012:role/SageMakerRole",
    instance_count=1,
    instance_type="ml.m5.xlarge",
    use_spot_instances=True,
    max_run=400_000,
    max_wait=400_000,
    checkpoint_s3_uri="s3://bucket/checkpoints",
    output_path="s3://bucket/models",
    code_location="s3://bucket/code",
    entry_point="train.py",
    source_dir="source",
    hyperparameters={"epochs": 3},
    sagemaker_session=session,
    tags=[{"Key": "team", "Value": "sea"}],
)
estimator.fit(job_name="From-The-SDK", logs="All")
print("model:", estimator.model_data)
"""


def test_the_estimator_of_the_sdk_streams_the_log_and_prints_the_savings(
    server: Server, tmp_path: Path, training_python: str
) -> None:
    _write_source(tmp_path)
    done = _run(server, tmp_path, [_python_of(".venv-clients"), "-c", ESTIMATOR])
    assert done.returncode == 0, done.stdout + done.stderr
    message = done.stdout
    for line in ("epoch=0 loss=1.000", "epoch=2 loss=0.333", "Completed - Training job completed"):
        assert line in message
    seconds = re.search(
        r"Training seconds: (\d+)\nBillable seconds: (\d+)\nManaged Spot Training savings: ([\d.]+)%", message
    )
    assert seconds, message
    assert float(seconds[3]) == pytest.approx(70, abs=1)
    described = server.client("sagemaker").describe_training_job(TrainingJobName="From-The-SDK")
    assert (int(seconds[1]), int(seconds[2])) == (
        described["TrainingTimeInSeconds"],
        described["BillableTimeInSeconds"],
    )
    assert "model: s3://bucket/models/From-The-SDK/output/model.tar.gz" in message


# --- the SageMaker SDK 3.x ---

MODEL_TRAINER = """
import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import CheckpointConfig, Compute, OutputDataConfig, SourceCode, StoppingCondition

trainer = ModelTrainer(
    training_image="683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1",
    role="arn:aws:iam::123456789012:role/SageMakerRole",
    sagemaker_session=Session(
        boto_session=boto3.Session(region_name="us-east-1"), default_bucket="bucket"
    ),
    base_job_name="from-v3",
    compute=Compute(instance_type="ml.m5.xlarge", instance_count=1, enable_managed_spot_training=True),
    source_code=SourceCode(source_dir="source", entry_script="train.py"),
    stopping_condition=StoppingCondition(max_runtime_in_seconds=400_000, max_wait_time_in_seconds=400_000),
    checkpoint_config=CheckpointConfig(s3_uri="s3://bucket/checkpoints"),
    output_data_config=OutputDataConfig(s3_output_path="s3://bucket/models"),
    hyperparameters={"epochs": 3},
)
trainer.train(wait=True, logs=True)
job = trainer._latest_training_job
seconds = (job.training_time_in_seconds, job.billable_time_in_seconds)
print(job.training_job_name, job.training_job_status, *seconds)
"""


def test_the_model_trainer_of_the_sdk_3_trains_a_script_on_spot(
    server: Server, tmp_path: Path, training_python: str
) -> None:
    _write_source(tmp_path)
    server.client("iam").create_role(
        RoleName="SageMakerRole", AssumeRolePolicyDocument=json.dumps(TRUST), Path="/"
    )
    done = _run(server, tmp_path, [_python_of(".venv-clients-v3"), "-c", MODEL_TRAINER])
    assert done.returncode == 0, done.stdout + done.stderr
    name, status, training_seconds, billable_seconds = done.stdout.split("\n")[-2].split()
    assert status == "Completed"
    assert 0 < int(billable_seconds) < int(training_seconds)
    (lines,) = server.log_of(name).values()
    assert "epoch=2 loss=0.333" in lines
    assert f"models/{name}/output/model.tar.gz" in server.keys("models/")


def test_the_sdk_3_gets_an_error_when_its_role_does_not_exist(server: Server, tmp_path: Path) -> None:
    _write_source(tmp_path)
    done = _run(server, tmp_path, [_python_of(".venv-clients-v3"), "-c", MODEL_TRAINER])
    assert done.returncode != 0
    assert "RoleValidationError" in done.stderr


# --- the AWS CLI ---


def _aws(server: Server, folder: Path, *arguments: str) -> Any:
    done = _run(server, folder, [_python_of(".venv-clients"), "-m", "awscli", "sagemaker", *arguments])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_the_command_line_creates_follows_and_finds_a_training_job(server: Server, tmp_path: Path) -> None:
    request = request_for("by-hand", Tags=[{"Key": "team", "Value": "sea"}])
    created = _aws(server, tmp_path, "create-training-job", "--cli-input-json", json.dumps(request))
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/by-hand"
    assert created == {"TrainingJobArn": arn}
    server.wait_for_end("by-hand")
    _aws(server, tmp_path, "wait", "training-job-completed-or-stopped", "--training-job-name", "by-hand")
    described = _aws(server, tmp_path, "describe-training-job", "--training-job-name", "by-hand")
    assert described["TrainingJobStatus"] == "Completed"
    assert described["TrainingStartTime"] < described["TrainingEndTime"]
    listed = _aws(server, tmp_path, "list-training-jobs", "--name-contains", "hand")
    assert [job["TrainingJobName"] for job in listed["TrainingJobSummaries"]] == ["by-hand"]
    tags = _aws(server, tmp_path, "list-tags", "--resource-arn", arn)
    assert tags == {"Tags": [{"Key": "team", "Value": "sea"}]}


def test_the_command_line_stops_a_training_job_and_reads_the_refusal_of_a_second_stop(
    server: Server, tmp_path: Path
) -> None:
    request = request_for("long", Environment={"LOCAL_TRAINING_SECONDS": "7000"})
    server.client("sagemaker").create_training_job(**request)
    _aws(server, tmp_path, "stop-training-job", "--training-job-name", "long")
    assert server.wait_for_end("long")["TrainingJobStatus"] == "Stopped"
    again = ["sagemaker", "stop-training-job", "--training-job-name", "long"]
    done = _run(server, tmp_path, [_python_of(".venv-clients"), "-m", "awscli", *again])
    assert done.returncode == 255
    assert "(ValidationException) when calling the StopTrainingJob operation" in done.stderr
    assert "The request was rejected because the training job is in status Stopped." in done.stderr


# --- the Amazon provider's own operator and sensor ---

PROVIDER = """
import json, sys, time, types
from airflow.providers.amazon.aws.hooks import sagemaker as hook
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerTrainingSensor

hook.time = types.SimpleNamespace(
    **{**vars(time), "sleep": lambda s: time.sleep(s / 60), "monotonic": lambda: time.monotonic() * 60}
)
what, config = sys.argv[1], json.loads(sys.argv[2])
if what == "sensor":
    task = SageMakerTrainingSensor(
        task_id="task", job_name=config["TrainingJobName"], print_log=True, poke_interval=0.2
    )
else:
    task = SageMakerTrainingOperator(
        task_id="task", config=config, print_log=what == "with log", check_interval=10
    )
result = task.execute({})
print("result:", json.dumps(result and result["Training"]["TrainingJobStatus"]))
"""


def _run_provider(
    server: Server, folder: Path, what: str, config: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    connection = {
        "conn_type": "aws",
        "login": "any",
        "password": "any",
        "extra": {"region_name": "us-east-1"},
    }
    return _run(
        server,
        folder,
        [sys.executable, "-c", PROVIDER, what, json.dumps(config)],
        AIRFLOW_HOME=str(folder / "airflow"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW_CONN_AWS_DEFAULT=json.dumps(connection),
    )


@pytest.mark.parametrize("what", ["with log", "without log"])
def test_the_providers_operator_runs_a_spot_job_to_its_end(server: Server, tmp_path: Path, what: str) -> None:
    done = _run_provider(server, tmp_path, what, request_for("from-airflow"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'result: "Completed"' in done.stdout
    assert server.wait_for_end("from-airflow")["TrainingJobStatus"] == "Completed"


def test_the_providers_operator_says_why_a_job_failed(server: Server, tmp_path: Path) -> None:
    failing = {"LOCAL_TRAINING_SECONDS": "60", "LOCAL_TRAINING_FAILURE": "out of ideas"}
    config = on_demand_request_for("from-airflow", Environment=failing)
    done = _run_provider(server, tmp_path, "without log", config)
    assert done.returncode != 0
    assert "AlgorithmError: out of ideas" in done.stdout + done.stderr


def test_the_providers_sensor_waits_for_a_job_somebody_else_started(server: Server, tmp_path: Path) -> None:
    server.client("sagemaker").create_training_job(**request_for("watched"))
    done = _run_provider(server, tmp_path, "sensor", request_for("watched"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.wait_for_end("watched")["TrainingJobStatus"] == "Completed"
