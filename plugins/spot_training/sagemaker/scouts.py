"""The CreateTrainingJob request of a scout (`domain.scouting`): the training's, without the training.

It keeps what decides where the job may run and who pays: role, network, number of instances, volume, tags.
It has no data, no checkpoints, no hyperparameters and no environment, so no secrets either.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import InvalidInput
from spot_training.domain.instance_types import check_processor
from spot_training.domain.scouting import RUN_SECONDS
from spot_training.domain.stopping import is_built_in_algorithm

if TYPE_CHECKING:
    from spot_training.domain.ladder import Step

_KEPT = (
    "RoleArn",
    "OutputDataConfig",
    "VpcConfig",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
)
_KEPT_OF_ALGORITHM = ("TrainingImage", "TrainingInputMode", "TrainingImageConfig")
_KEPT_OF_RESOURCES = ("InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId", "InstancePlacementConfig")
#: A simulated training has simulated scouts (the local SageMaker's `LOCAL_TRAINING_SECONDS`).
_SIMULATED = "LOCAL_TRAINING_SECONDS"


def entrypoint(run_seconds: int) -> list[str]:
    """Sleeps, and ends at once on SIGTERM: as the first process of a container, `sleep` alone ignores it."""
    return ["/bin/sh", "-c", f"trap 'exit 0' TERM INT; sleep {run_seconds} & wait"]


def check_can_scout(request: Mapping[str, Any], step: Step) -> None:
    """Refuse several spot types for a request that no scout can look for."""
    resources, algorithm = request["ResourceConfig"], request["AlgorithmSpecification"]
    types, field = list(step.instance_types), "step.instance_types"
    if resources.get("InstanceGroups"):
        raise InvalidInput(
            field, types, "the request has InstanceGroups, which have types of their own: give one type."
        )
    check_processor(types, own=resources.get("InstanceType") or "", field=field)
    image, name = algorithm.get("TrainingImage"), algorithm.get("AlgorithmName")
    if is_built_in_algorithm(image, name) and not step.scout_image:
        raise InvalidInput(
            field,
            types,
            f"scouts look for capacity with the training's image, and the algorithm {name or image} has no "
            "entry point that they can replace: give scout_image, or one type.",
        )


def scout_request(
    training: Mapping[str, Any],
    *,
    name: str,
    tags: list[dict[str, str]],
    step: Step,
    instance_type: str,
    wait_seconds: int,
    run_seconds: int = RUN_SECONDS,
) -> dict[str, Any]:
    """The request of a scout for one type of the step. `training` is the training's own request."""
    algorithm, resources = training["AlgorithmSpecification"], training["ResourceConfig"]
    kept = {key: algorithm[key] for key in _KEPT_OF_ALGORITHM if key in algorithm}
    if step.scout_image:
        kept = {"TrainingImage": step.scout_image, "TrainingInputMode": "File"}
    request = {
        **{key: copy.deepcopy(training[key]) for key in _KEPT if key in training},
        "TrainingJobName": name,
        "AlgorithmSpecification": {**kept, "ContainerEntrypoint": entrypoint(run_seconds)},
        "ResourceConfig": {
            **{key: resources[key] for key in _KEPT_OF_RESOURCES if key in resources},
            "InstanceType": instance_type,
        },
        "StoppingCondition": {
            "MaxRuntimeInSeconds": run_seconds,
            "MaxWaitTimeInSeconds": wait_seconds + run_seconds,
        },
        "EnableManagedSpotTraining": True,
        "Tags": [*training.get("Tags", []), *tags],
    }
    if _SIMULATED in training.get("Environment", {}):
        request["Environment"] = {_SIMULATED: str(run_seconds)}
    return request
