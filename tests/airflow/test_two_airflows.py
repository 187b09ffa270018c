"""Two Airflows in one AWS account, with one ledger and the same Dag, run and task: each has its own job."""

from __future__ import annotations

import json
import subprocess
import textwrap
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.local_stack import LocalStack, wait_until
from include.local_stack.environment import airflow_python
from spot_training.sagemaker.identity import TAG_INSTALLATION, RunIdentity

from .conftest import live_jobs, set_capacity

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
DAG, RUN, TASK = "twins", "the-same-run", "train"
#: Capacity never comes: the jobs live until somebody stops them.
RARE = "ml.m5.24xlarge"
SOURCE = f"""
    import pendulum
    from airflow.sdk import dag
    from spot_training.operators import SpotTrainingOperator


    @dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"))
    def {DAG}():
        SpotTrainingOperator(
            task_id="{TASK}",
            config={{
                "TrainingJobName": "twins",
                "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
                "AlgorithmSpecification": {{
                    "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
                    "TrainingInputMode": "File",
                }},
                "OutputDataConfig": {{"S3OutputPath": "s3://twins/models"}},
                "ResourceConfig": {{"InstanceType": "{RARE}", "InstanceCount": 1, "VolumeSizeInGB": 10}},
                "StoppingCondition": {{"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 2000000}},
                "Environment": {{"LOCAL_TRAINING_SECONDS": "600"}},
            }},
            policy="spot_only",
            check_interval=1,
            deferrable=True,
        )


    {DAG}()
"""


@dataclass(frozen=True, kw_only=True)
class Twin:
    """One of the two."""

    stack: LocalStack
    installation: str

    @property
    def job(self) -> str:
        """The name that the run's first job has here."""
        who = RunIdentity(dag_id=DAG, run_id=RUN, task_id=TASK, installation=self.installation)
        return who.job_name("twins", 1)

    def ask_page(self, path: str) -> Any:
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.stack.airflow_url}/spot-training/api/{path}",
            headers={"Authorization": f"Bearer {self.stack.api.login()}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def run(self, *arguments: str, **env: str) -> str:
        """Run one of the package's commands in this Airflow's environment."""
        done = subprocess.run(
            [airflow_python(), "-m", *arguments],
            env=self.stack.env | env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _twin(stack: LocalStack) -> Twin:
    stack.api.wait_for_dag(DAG)
    stack.api.unpause(DAG)
    variable = stack.api.request("GET", "variables/spot_training_installation")
    return Twin(stack=stack, installation=variable["value"])


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Twin, Twin]]:
    """Two Airflows without any setting of theirs, on one local SageMaker, with databases of their own."""
    folder = tmp_path_factory.mktemp("twins")
    (folder / "dags").mkdir()
    (folder / "dags" / "twins.py").write_text(textwrap.dedent(SOURCE))
    env = {
        "AIRFLOW__SPOT_TRAINING__LEDGER": f"file://{folder / 'ledger'}",
        "AIRFLOW__SPOT_TRAINING__SWEEPER_STOPS": "True",
    }
    shared: dict[str, Any] = {"dags_folder": folder / "dags", "start_timeout_seconds": 240}
    airflow = ("api-server", "scheduler", "dag-processor", "triggerer")
    with LocalStack(ROOT, folder / "production", env=env, speed=600, **shared) as production:
        env["AWS_ENDPOINT_URL"] = production.sagemaker_url
        with LocalStack(ROOT, folder / "staging", env=env, components=airflow, **shared) as staging:
            set_capacity(production, RARE, available=False)
            yield _twin(production), _twin(staging)


def test_each_airflow_has_its_own_job_and_stops_no_other(twins: tuple[Twin, Twin]) -> None:
    production, staging = twins
    assert production.installation != staging.installation
    for twin in twins:
        twin.stack.api.trigger(DAG, run_id=RUN)
    for twin in twins:
        twin.stack.api.wait_for_task(DAG, RUN, TASK, states={"deferred"}, timeout_seconds=90)
    assert sorted(live_jobs(production.stack)) == sorted([production.job, staging.job])
    _check_what_each_shows(twins)

    staging.stack.api.set_task_state(DAG, RUN, TASK, "failed")
    wait_until(
        lambda: live_jobs(production.stack) == [production.job], "staging's job to stop", timeout_seconds=60
    )
    # To staging the task of that Dag, run and name has failed: its sweeper must not look at production's job.
    login = {
        "AIRFLOW_USERNAME": staging.stack.login.username,
        "AIRFLOW_PASSWORD": staging.stack.login.password,
    }
    said = staging.run("spot_training.sweep", "--airflow-url", staging.stack.airflow_url, "--stop", **login)
    assert f"0 live training job(s) of installation '{staging.installation}'" in said
    assert live_jobs(production.stack) == [production.job]
    assert production.stack.api.task_instance(DAG, RUN, TASK)["state"] == "deferred"


def _check_what_each_shows(twins: tuple[Twin, Twin]) -> None:
    """Tags, page and command of each name this one alone."""
    sagemaker = twins[0].stack.boto3_client("sagemaker")
    for twin in twins:
        arn = sagemaker.describe_training_job(TrainingJobName=twin.job)["TrainingJobArn"]
        tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
        assert tags[TAG_INSTALLATION] == twin.installation
        assert twin.ask_page("installation")["installation"] == twin.installation
        assert len(twin.ask_page("trainings?window=all")) == 1
        task = f"dag_id={DAG}&run_id={RUN}&task_id={TASK}"
        shown = json.dumps(twin.ask_page(f"training?{task}"))
        assert [other.job for other in twins if other.job in shown] == [twin.job]
        assert twin.run("spot_training.installation").splitlines()[0] == twin.installation


def test_without_an_identity_a_task_creates_no_job_and_a_new_scheduler_makes_one(
    twins: tuple[Twin, Twin],
) -> None:
    _, staging = twins
    api = staging.stack.api
    before = set(live_jobs(twins[0].stack))
    staging.stack.run_airflow("variables", "delete", "spot_training_installation")
    api.trigger(DAG, run_id="nobody")
    api.wait_for_task(DAG, "nobody", TASK, states={"failed"}, timeout_seconds=60)
    log = api.task_log(DAG, "nobody", TASK)
    assert "Until it is, no training job is created" in log
    assert "restart the scheduler" in log
    assert set(live_jobs(twins[0].stack)) == before
    staging.stack.restart("scheduler")
    made = api.request("GET", "variables/spot_training_installation")["value"]
    assert made not in {twin.installation for twin in twins}
    api.clear(DAG, "nobody")
    api.wait_for_task(DAG, "nobody", TASK, states={"deferred"}, timeout_seconds=90)
    who = RunIdentity(dag_id=DAG, run_id="nobody", task_id=TASK, installation=made)
    assert set(live_jobs(twins[0].stack)) == before | {who.job_name("twins", 1)}
