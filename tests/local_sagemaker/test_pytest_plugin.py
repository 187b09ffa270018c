"""The pytest plugin as people use it: in another project, in a separate pytest process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from local_sagemaker.process import ControlError, ServerStartError, serve

from .support import ROOT, wait_until

PACKAGE = ROOT / "packages" / "local-sagemaker"
TRAINEE = Path(__file__).with_name("trainee.py")
CONFTEST = 'pytest_plugins = ["spot_drill.pytest_plugin"]\n'


def _pytest(folder: Path, tests: str, *, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_theirs.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_theirs.py"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "AWS_PROFILE": "somebody"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


SERVER_TESTS = """
import os
import boto3
import pytest

REQUEST = {
    "TrainingJobName": "job",
    "RoleArn": "arn:aws:iam::123456789012:role/Any",
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600},
    "EnableManagedSpotTraining": True,
    "Environment": {"LOCAL_TRAINING_SECONDS": "300"},
}

def test_any_client_finds_it_by_the_environment(local_sagemaker):
    assert os.environ["AWS_ENDPOINT_URL"] == local_sagemaker.url
    boto3.client("s3").create_bucket(Bucket="bucket")
    boto3.client("sagemaker").create_training_job(**REQUEST)

def test_it_is_empty_before_each_test(local_sagemaker):
    assert local_sagemaker.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
    assert local_sagemaker.client("s3").list_buckets()["Buckets"] == []

@pytest.mark.local_sagemaker(market="no-capacity", speed=3000)
def test_a_marker_chooses_the_market(local_sagemaker):
    sagemaker = local_sagemaker.client("sagemaker")
    sagemaker.create_training_job(**REQUEST)
    waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName="job", WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    job = sagemaker.describe_training_job(TrainingJobName="job")
    assert job["SecondaryStatus"] == "MaxWaitTimeExceeded"

def test_nothing_is_left_in_the_environment():
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert os.environ["AWS_PROFILE"] == "somebody"
"""


def test_the_fixture_gives_a_server_of_ones_own(tmp_path: Path) -> None:
    done = _pytest(tmp_path, SERVER_TESTS)
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_a_plugin_that_nobody_uses_loads_nothing_and_starts_nothing() -> None:
    """pytest loads it in every session of an environment that has it."""
    heavy = ("boto3", "botocore", "moto", "psutil", "yaml", "local_sagemaker.server")
    code = f"import sys, spot_drill.pytest_plugin; sys.exit(' '.join({{*{heavy}}} & sys.modules.keys()) or 0)"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


DRILL_TESTS = """
import pytest
from spot_drill.pytest_plugin import DrillNotRunError, DrillNotShownError

#: it ends before every interruption
NEVER = {"interrupt_at": ["60s"], "hyperparameters": {"fault": "stops-early", "steps": 12}}

def test_it_resumes(spot_drill):
    verdict = spot_drill(SCRIPT, python=PYTHON, interrupt_at=["70%"], hyperparameters={"steps": 15})
    assert verdict.passed
    assert verdict.resumed
    assert verdict.lost_share < 0.9

def test_it_does_not_even_start(spot_drill):
    assert spot_drill(SCRIPT, python=PYTHON, hyperparameters={"fault": "fails"}).completed

def test_nobody_saw_whether_it_resumes(spot_drill):
    spot_drill(SCRIPT, python=PYTHON, **NEVER)

def test_that_is_accepted(spot_drill):
    verdict = spot_drill(SCRIPT, python=PYTHON, accept_not_shown=True, **NEVER)
    assert verdict.passed
    assert verdict.not_shown == ("resume", "torn checkpoint", "sigkill")
    assert not verdict.resumed

def test_there_is_no_such_script(spot_drill):
    with pytest.raises(DrillNotRunError, match="^The drill cannot run: .*There is no missing.py"):
        spot_drill("missing.py")
"""


def test_a_drill_is_something_to_assert_on_and_a_failed_assertion_tells_why(
    tmp_path: Path, training_python: str
) -> None:
    names = f"SCRIPT, PYTHON = {str(TRAINEE)!r}, {training_python!r}\n"
    done = _pytest(tmp_path, names + DRILL_TESTS)
    said = " ".join(done.stdout.split())
    assert "2 failed, 3 passed" in said, done.stdout + done.stderr
    assert "Make the script run without interruptions first" in said
    assert "DrillNotShownError: Spot drill of trainee.py: NOT SHOWN" in said
    assert "Not shown: interrupted at 60s: the script ended first" in said
    assert "accept_not_shown=True) accepts it for one drill" in said


NOT_SHOWN_TEST = """
EARLY = {"fault": "stops-early", "steps": 12}

def test_nobody_saw_whether_it_resumes(spot_drill):
    verdict = spot_drill(SCRIPT, python=PYTHON, interrupt_at=["60s"], hyperparameters=EARLY)
    assert verdict.passed and not verdict.resumed
"""


def test_an_option_of_pytest_accepts_what_is_not_shown_for_all_drills(
    tmp_path: Path, training_python: str
) -> None:
    names = f"SCRIPT, PYTHON = {str(TRAINEE)!r}, {training_python!r}\n"
    done = _pytest(tmp_path, names + NOT_SHOWN_TEST, options=("--spot-drill-accept-not-shown",))
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_what_a_server_refuses_is_reported() -> None:
    message = r"^The local SageMaker did not start: argument --speed: 0: give a number above 0, [^\n]*$"
    with pytest.raises(ServerStartError, match=message), serve(speed=0):
        pass
    with serve(speed=600) as server:
        with pytest.raises(ControlError, match="There is no training job nobody"):
            server.interrupt("nobody", notice_seconds=0)
        with pytest.raises(ControlError, match="notice_seconds is -1: give 0 or more"):
            server.interrupt("nobody", notice_seconds=-1)
    wait_until(lambda: not psutil.pid_exists(server.pid))
