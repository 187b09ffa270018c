"""SageMaker's container contract: a job's hosts, the files in /opt/ml/input/config, and the environment.

    /opt/ml/input/config    hyperparameters.json, resourceconfig.json, inputdataconfig.json, and, only with a
                            CheckpointConfig, checkpointconfig.json
    /opt/ml/input/data      a folder for each channel
    /opt/ml/checkpoints     or CheckpointConfig.LocalPath
    /opt/ml/model, /opt/ml/output/data, /opt/ml/output/failure, /opt/ml/code

SM_CHECKPOINT_DIR is an extra of this server, not of AWS: the checkpoint folder, whether the paths are literal
or not. The environment is made here: nothing of the server's own gets into it but PATH.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .inputs import InputError

if TYPE_CHECKING:
    from local_sagemaker.jobs.job import TrainingJob

DEFAULT_CHECKPOINT_PATH = "/opt/ml/checkpoints"


@dataclass(frozen=True, kw_only=True)
class Host:
    """One instance of the job."""

    name: str
    index: int
    instance_type: str
    group: str
    folder: Path

    @property
    def base(self) -> Path:
        """What the script sees as /opt/ml."""
        return self.folder / "ml"


def hosts_of(job: TrainingJob, folder: Path) -> tuple[Host, ...]:
    """The hosts `algo-1` to `algo-n`, over all instance groups."""
    groups = job.resources.get("InstanceGroups") or [
        {
            "InstanceGroupName": "homogeneousCluster",
            "InstanceType": job.instance_type,
            "InstanceCount": job.instance_count,
        }
    ]
    slots = [group for group in groups for _ in range(int(group["InstanceCount"]))]
    return tuple(
        Host(
            name=f"algo-{index + 1}",
            index=index,
            instance_type=group["InstanceType"],
            group=group["InstanceGroupName"],
            folder=folder / f"algo-{index + 1}",
        )
        for index, group in enumerate(slots)
    )


def checkpoint_folder(job: TrainingJob) -> str:
    """The checkpoint folder, relative to /opt/ml. Raises `InputError` for a path elsewhere or in use."""
    local_path = (job.request.get("CheckpointConfig") or {}).get("LocalPath") or DEFAULT_CHECKPOINT_PATH
    relative = os.path.relpath(local_path, "/opt/ml")
    if relative.split("/")[0] in ("..", ".", "input", "output", "model", "code"):
        raise InputError(
            f"ClientError: CheckpointConfig.LocalPath is {local_path}: the local SageMaker syncs only a "
            "separate folder below /opt/ml, such as /opt/ml/checkpoints."
        )
    return relative


def volumes_of(job: TrainingJob, host: Host) -> list[str]:
    """The folders that SageMaker mounts, relative to /opt/ml."""
    channels = [f"input/data/{channel['ChannelName']}" for channel in channels_of(job, host)]
    return [*written_folders(job), *channels]


def written_folders(job: TrainingJob) -> list[str]:
    """The folders that go to S3, relative to /opt/ml."""
    return ["model", "output/data", *([] if job.checkpoint_uri is None else [checkpoint_folder(job)])]


def source_uri(job: TrainingJob) -> str | None:
    """Where the archive of the job's script is. The SageMaker SDK writes the hyperparameter as JSON."""
    text = job.hyperparameters.get("sagemaker_submit_directory", "")
    with contextlib.suppress(ValueError):
        text = json.loads(text)
    return text if isinstance(text, str) and text.startswith("s3://") else None


def write_config(
    job: TrainingJob, host: Host, hosts: tuple[Host, ...], *, visible_base: str = "/opt/ml"
) -> None:
    """The JSON files of /opt/ml/input/config."""
    groups: dict[str, list[Host]] = {}
    for each in hosts:
        groups.setdefault(each.group, []).append(each)
    files: dict[str, object] = {
        "hyperparameters": dict(job.hyperparameters),
        "resourceconfig": {
            "current_host": host.name,
            "current_instance_type": host.instance_type,
            "current_group_name": host.group,
            "hosts": sorted(h.name for h in hosts),
            "instance_groups": [
                {
                    "instance_group_name": name,
                    "instance_type": members[0].instance_type,
                    "hosts": [h.name for h in members],
                }
                for name, members in groups.items()
            ],
            "network_interface_name": "eth0",
        },
        "inputdataconfig": {
            channel["ChannelName"]: channel_config(job, channel) for channel in channels_of(job, host)
        },
    }
    if job.checkpoint_uri is not None:
        files["checkpointconfig"] = {"LocalPath": f"{visible_base}/{checkpoint_folder(job)}"}
    for name, content in files.items():
        (host.base / "input" / "config" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def channels_of(job: TrainingJob, host: Host) -> list[dict[str, Any]]:
    """The channels of a host: all except those for other instance groups."""
    channels = job.request.get("InputDataConfig") or ()
    return [channel for channel in channels if host.group in (_groups_of(channel) or {host.group})]


def _groups_of(channel: dict[str, Any]) -> set[str]:
    return set((channel["DataSource"].get("S3DataSource") or {}).get("InstanceGroupNames") or ())


def input_mode(job: TrainingJob, channel: dict[str, Any]) -> str:
    """The input mode of the channel, or else of the algorithm."""
    return str(channel.get("InputMode") or job.request["AlgorithmSpecification"]["TrainingInputMode"])


def channel_config(job: TrainingJob, channel: dict[str, Any]) -> dict[str, str]:
    source = channel["DataSource"].get("S3DataSource") or {}
    config = {
        "TrainingInputMode": input_mode(job, channel),
        "S3DistributionType": source.get("S3DataDistributionType") or "FullyReplicated",
        "RecordWrapperType": channel.get("RecordWrapperType") or "None",
    }
    if channel.get("ContentType"):
        config["ContentType"] = channel["ContentType"]
    return config


def container_environment(
    job: TrainingJob, host: Host, *, endpoint_url: str, bin_folder: str | None, visible_base: str
) -> dict[str, str]:
    """The complete environment of a container's first process."""
    path = os.environ.get("PATH", os.defpath)
    environment = {
        "PATH": f"{bin_folder}{os.pathsep}{path}" if bin_folder else path,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TRAINING_JOB_NAME": job.name,
        "TRAINING_JOB_ARN": job.arn,
        "AWS_REGION": job.region,
        "AWS_DEFAULT_REGION": job.region,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    if job.checkpoint_uri is not None:
        environment["SM_CHECKPOINT_DIR"] = f"{visible_base}/{checkpoint_folder(job)}"
    if visible_base != "/opt/ml":
        environment["SAGEMAKER_BASE_DIR"] = visible_base
        environment["HOME"] = str(host.folder / "home")
        environment["TMPDIR"] = str(host.folder / "tmp")
        # Otherwise the toolkit waits for a host named algo-1, which has no address outside a container.
        environment["SM_STUDIO_LOCAL_MODE"] = "true"
    return environment | dict(job.environment)
