"""Jobs that nobody waits for."""

from __future__ import annotations

from typing import Any

from spot_training.sagemaker.identity import RunIdentity
from tests.cloud import Cloud, make_config


def start_job(
    cloud: Cloud, *, tags: list[dict[str, str]] | None = None, keep: bool = False, **names: Any
) -> str:
    identity = RunIdentity(
        **{"dag_id": "retrain", "run_id": "run 1", "task_id": "train", "installation": "prod", **names}
    )
    name = identity.job_name("model", 1)
    cloud.client("sagemaker").create_training_job(
        **make_config(
            Environment={"LOCAL_TRAINING_SECONDS": "1000000"},
            # Longer than any test: an hour of the local cloud is a second here.
            StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 20 * 86400},
        ),
        TrainingJobName=name,
        EnableManagedSpotTraining=True,
        Tags=identity.tags(1, is_stopped_with_task=not keep) if tags is None else tags,
    )
    return name
