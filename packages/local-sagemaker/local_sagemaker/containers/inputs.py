"""Copies the S3 objects of a channel to `/opt/ml/input/data/<channel>`. FastFile is a copy, too."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_sagemaker.account import REGION
from local_sagemaker.jobs.errors import ValidationError
from local_sagemaker.jobs.rules import has_local_storage
from local_sagemaker.jobs.work import LOCAL_TRAINING_SECONDS
from local_sagemaker.services.objects import NoSuchBucketError, Objects, split_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from local_sagemaker.jobs.job import TrainingJob


_MODES = ("File", "FastFile")


class InputError(ValueError):
    """A channel that cannot be provided. The text is the FailureReason."""


@dataclass(slots=True)
class Volume:
    """What a host still has room for. Only what SageMaker copies there takes any: not FastFile channels."""

    left_bytes: float = math.inf
    left_files: int = 1_000_000

    def take(self, length: int) -> None:
        self.left_bytes -= length
        self.left_files -= 1
        if self.left_bytes < 0:
            raise InputError(
                "ClientError: Data download failed: the channels do not fit into the volume (VolumeSizeInGB)."
            )
        if self.left_files < 0:
            raise InputError("ClientError: Data download failed: the channels have too many objects.")


def volume_of(job: TrainingJob, instance_type: str) -> Volume:
    size = job.resources.get("VolumeSizeInGB")
    return Volume(left_bytes=size * 1024**3) if size and not has_local_storage(instance_type) else Volume()


def copy_channel(
    objects: Objects,
    channel: Mapping[str, Any],
    folder: Path,
    *,
    mode: str = "File",
    host_index: int = 0,
    host_count: int = 1,
    volume: Volume | None = None,
    region: str = REGION,
    should_go_on: Callable[[], bool] = lambda: True,
) -> None:
    """Copy one channel of `InputDataConfig` into a folder."""
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise InputError("ClientError: The local SageMaker reads channels from S3DataSource only.")
    if mode not in _MODES:
        raise InputError(
            f"ClientError: The channel {channel['ChannelName']} has the input mode {mode}: the local "
            f"SageMaker has {' and '.join(_MODES)}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(set(_objects_of(objects, source)))
    if not found:
        raise InputError(
            f'ClientError: Data download failed: No S3 objects found under S3 URL "{source["S3Uri"]}" given '
            f"in input data source. Please ensure that the bucket exists in the selected region ({region}), "
            "and that objects exist under that S3 prefix."
        )
    if source.get("S3DataDistributionType") == "ShardedByS3Key":
        found = found[host_index::host_count]
    for bucket, key, name in found:
        if not should_go_on():
            return
        content = objects.read(bucket, key) or b""
        if volume is not None and mode == "File":
            volume.take(len(content))
        try:
            write_below(folder, name, content)
        except (OSError, ValueError) as exc:
            raise InputError(
                f"ClientError: Data download failed: the key {key!r} does not fit into a folder."
            ) from exc


def write_below(folder: Path, name: str, content: bytes) -> None:
    """Write a file with the name of an object. OSError or ValueError if a folder cannot have such a file."""
    path = Path(os.path.normpath(folder / name))
    if path == folder or not path.is_relative_to(folder):
        raise ValueError("the name leads out of the folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def check_inputs(objects: Objects, region: str, request: Mapping[str, Any]) -> None:
    """Raise `ValidationError`, in AWS's words, for a channel of CreateTrainingJob that has no objects.

    A simulated job reads no channels, and passes.
    """
    if LOCAL_TRAINING_SECONDS in (request.get("Environment") or {}):
        return
    for channel in request.get("InputDataConfig") or ():
        uri = (channel["DataSource"].get("S3DataSource") or {}).get("S3Uri")
        if uri is not None and not _has_objects(objects, uri):
            bucket = split_uri(uri)[0]
            raise ValidationError(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that '
                f"the bucket exists in the selected region ({region}), that objects exist under that S3 "
                f'prefix, and that the role "{request["RoleArn"]}" has "s3:ListBucket" permissions on bucket '
                f'"{bucket}".'
            )


def _has_objects(objects: Objects, uri: str) -> bool:
    try:
        return objects.has_any(*split_uri(uri))
    except NoSuchBucketError:
        return False


def _objects_of(objects: Objects, source: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(bucket, key, path in the channel) of everything a data source names."""
    bucket, key = split_uri(source["S3Uri"])
    try:
        match source["S3DataType"]:
            case "S3Prefix":
                for found in objects.keys(bucket, key):
                    if not found.endswith("/"):
                        yield bucket, found, name_in_channel(key, found)
            case "ManifestFile":
                yield from _objects_of_manifest(objects, bucket, key)
            case other:
                raise InputError(f"ClientError: The local SageMaker does not support S3DataType {other}.")
    except NoSuchBucketError as exc:
        raise InputError(f"ClientError: Data download failed: {exc}.") from exc


def _objects_of_manifest(objects: Objects, bucket: str, key: str) -> Iterator[tuple[str, str, str]]:
    try:
        entries = json.loads(objects.read(bucket, key) or b"")
        prefix_bucket, prefix = split_uri(str(entries[0]["prefix"]))
        names = [str(name) for name in entries[1:]]
    except (ValueError, LookupError, TypeError, RecursionError) as exc:
        raise InputError(
            f"ClientError: Data download failed: s3://{bucket}/{key} is not a manifest."
        ) from exc
    yield from ((prefix_bucket, f"{prefix}{name}", name) for name in names)


def name_in_channel(prefix: str, key: str) -> str:
    """The path of an object in its channel: relative to the prefix, or to the prefix's folder."""
    if key == prefix:
        return key.rpartition("/")[2]
    rest = key.removeprefix(prefix)
    if prefix.endswith("/") or not prefix:
        return rest
    return rest[1:] if rest.startswith("/") else key[len(prefix.rpartition("/")[0]) :].lstrip("/")
