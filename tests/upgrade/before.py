"""What a release leaves behind: run with its code, against a running local SageMaker.

    PYTHONPATH=UNPACKED-WHEEL python tests/upgrade/before.py CLOUD-URL before.json

Trainings that complete, fail, and wait. The ledger is the one of the settings; some of it is merged. The file
has for each task its state, its XComs, and the trigger of a deferred one. Nothing here is imported from this
repository.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
from airflow.sdk.exceptions import TaskDeferred

import spot_training
from spot_training.ledger import Ledger
from spot_training.ledger.compaction import compact
from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor

CONFIG = {
    "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
    "AlgorithmSpecification": {
        "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
        "TrainingInputMode": "File",
    },
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 20 * 86_400},
    "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
    "Environment": {"LOCAL_TRAINING_SECONDS": "600"},
}
IMPATIENT = {"name": "spot_only", "spot_attempts": 1, "first_wait": 3600}
#: The arguments of each training. Keys are names of Dags.
TRAININGS: dict[str, dict[str, Any]] = {
    "completed": {"deferrable": False},
    "failed": {"deferrable": False, "policy": IMPATIENT},
    "waiting": {},
    "with_a_deadline": {"deadline": "in 700 days", "expected_runtime": "1h"},
    "on_demand": {"policy": "on_demand", "budget": 50, "expected_runtime": "5h"},
}
#: The on-demand job's time: it is under way while the package is upgraded.
LONG = {
    "StoppingCondition": {"MaxRuntimeInSeconds": 20_000},
    "Environment": {"LOCAL_TRAINING_SECONDS": "10000"},
}


class Store(dict[str, Any]):
    """Airflow's task state store."""

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:  # noqa: ARG002
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


def context_of(name: str, store: Store, pushed: dict[str, Any]) -> Any:
    """The context of the first try of a Dag's one task."""

    def push(*, key: str, value: Any) -> None:
        pushed[key] = value

    ti = SimpleNamespace(
        dag_id=name,
        run_id="run 1",
        task_id="train",
        map_index=-1,
        try_number=1,
        max_tries=0,
        xcom_push=push,
        get_task_states=lambda **_: {"run 1": {"train": "running"}},
    )
    run = SimpleNamespace(start_date=datetime(2026, 11, 29, tzinfo=UTC), clear_number=0)
    return {"ti": ti, "dag_run": run, "task_state_store": store}


def make_operator(name: str) -> SpotTrainingOperator:
    arguments = {"deferrable": True, **TRAININGS[name]}
    if arguments.get("deadline"):
        arguments["deadline"] = (datetime.now(UTC) + timedelta(days=700)).isoformat()
    config = {**CONFIG, **(LONG if name == "on_demand" else {})}
    return SpotTrainingOperator(
        task_id="train", config=config, check_interval=1, print_log=False, **arguments
    )


def make_sensor(job: str) -> SpotTrainingSensor:
    return SpotTrainingSensor(
        task_id="train", training_job_name=job, deferrable=True, poke_interval=1, print_log=False
    )


def run(name: str, task: Any) -> dict[str, Any]:
    store = Store()
    pushed: dict[str, Any] = {}
    left: dict[str, Any] = {"store": store, "xcoms": pushed, "trigger": None, "error": None}
    try:
        task.execute(context_of(name, store, pushed))
    except TaskDeferred as deferred:
        left["trigger"] = list(deferred.trigger.serialize())
        left["method"] = deferred.method_name
    except Exception as error:  # noqa: BLE001 - a training that fails
        left["error"] = str(error)
    return left


def main(url: str, file: Path) -> None:
    def control(path: str, **body: Any) -> None:
        request = urllib.request.Request(f"{url}/_local/{path}", json.dumps(body).encode(), method="PUT")  # noqa: S310
        urllib.request.urlopen(request)  # noqa: S310 - loopback

    control("capacity", instance_type="ml.m5.xlarge", available=True)
    left: dict[str, Any] = {"completed": run("completed", make_operator("completed"))}
    control("capacity", instance_type="ml.m5.xlarge", available=False)
    left["failed"] = run("failed", make_operator("failed"))
    merged = compact(Ledger.configured(), settled_after=timedelta(0)).merged
    client: Any = boto3.client("sagemaker", endpoint_url=url)
    request = {**CONFIG, "TrainingJobName": "started-elsewhere", "EnableManagedSpotTraining": True}
    client.create_training_job(**request)
    left["watching"] = run("watching", make_sensor("started-elsewhere"))
    for name in ("waiting", "with_a_deadline", "on_demand"):
        left[name] = run(name, make_operator(name))
    control("clock", speed=1)  # the jobs wait for what comes next
    with Ledger.configured().read() as reader:
        totals = reader.totals().to_json()
        records = {record.dag_id: record.to_json() for record in reader.records()}
    facts = {
        "package": str(Path(spot_training.__file__).parent),
        "airflow": importlib.metadata.version("apache-airflow"),
        "merged": merged,
        "totals": totals,
        "records": records,
    }
    file.write_text(json.dumps({**facts, "tasks": left}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
