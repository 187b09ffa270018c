"""Jobs that a campaign finds in the account: of a task that 0.1.0 began, and of another Airflow's same run.

What 0.1.0 left is written down here as it was, and not asked of today's code.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from .support import HOME, TASK, Case, Lab, Run

#: The name that every Airflow with 0.1.0 went by, unless it was given another one.
SHARED_NAME = "airflow"
#: A family of which the lab uses no type, with capacity at all times.
OTHERS_TYPE = "ml.g4dn.xlarge"
DAYS = 24 * 3600


def start_as_0_1_0(lab: Lab, case: Case, run_id: str) -> Run:
    """A run whose task finds the state that 0.1.0 wrote, and its job alive."""
    instance_type = lab.next_type(available=True)
    nonce = uuid.uuid4().hex
    name = _create_job(lab, case, SHARED_NAME, run_id, instance_type, nonce)
    now = datetime.now(UTC).isoformat()
    state = {
        "version": 1,
        "generation": 0,
        "try_number": 1,
        "max_tries": 6,
        "current": {
            "job_name": name,
            "number": 1,
            "rung": 0,
            "reason": "first of 3 steps: spot",
            "is_foreign": False,
            "is_created": True,
            "nonce": nonce,
            "purchase": "spot",
        },
        "attempts": [],
        "ladder_from": 0,
        "is_over": False,
        "is_stop_expected": False,
        "has_adopted": False,
        "giving_up": None,
        "began_at": now,
        "try_began_at": now,
        "deadline": None,
    }
    return lab.start(replace(case, found_state=state), run_id, instance_type=instance_type)


def start_for_another_installation(lab: Lab, run: Run, installation: str) -> str:
    """A job of another Airflow's run with the same Dag, run id and task; its name."""
    case = replace(run.case, seconds=20 * DAYS, max_run=21 * DAYS, first_wait=27 * DAYS)
    return _create_job(lab, case, installation, run.run_id, OTHERS_TYPE, uuid.uuid4().hex)


def is_left_alone(lab: Lab, name: str) -> bool:
    """Whether a job of another installation goes on, with the tags it was given."""
    arn = f"arn:aws:sagemaker:{HOME}:123456789012:training-job/{name}"
    job = lab.sagemaker.describe_training_job(TrainingJobName=name)
    tags = {tag["Key"] for tag in lab.sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    return bool(job["TrainingJobStatus"] == "InProgress" and "spot-training:stopped-for" not in tags)


def _create_job(lab: Lab, case: Case, installation: str, run_id: str, instance_type: str, nonce: str) -> str:
    names = (installation, case.dag_id, run_id, TASK, "-1", "0")
    key = hashlib.sha256("\x1f".join(names).encode()).hexdigest()[:12]
    name = f"chaos-{key}-1"
    tags = {
        "spot-training:key": key,
        "spot-training:dag": case.dag_id,
        "spot-training:run": run_id,
        "spot-training:task": TASK,
        "spot-training:map-index": "-1",
        "spot-training:generation": "0",
        "spot-training:attempt": "1",
        "spot-training:installation": installation,
        "spot-training:without-task": "stop",
        "spot-training:intent": nonce,
    }
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": "s3://chaos/models"},
        "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": case.max_run, "MaxWaitTimeInSeconds": case.first_wait},
        "EnableManagedSpotTraining": True,
        "CheckpointConfig": {"S3Uri": f"s3://chaos/checkpoints/chaos-{key}"},
        "Environment": {"LOCAL_TRAINING_SECONDS": str(case.seconds)},
        "Tags": [{"Key": tag, "Value": value} for tag, value in tags.items()],
    }
    lab.sagemaker.create_training_job(**request)
    return name
