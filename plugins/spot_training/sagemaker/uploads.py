"""`S3Operations` of the SageMaker SDK's `training_config`: what to put into S3 before a job is created.

The SDK's export tells the Amazon provider's operator to create buckets and to upload the script. Nothing here
creates a job.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from spot_training.domain.errors import EmptyValue, InvalidInput
from spot_training.domain.json_text import as_items, as_mapping, did_you_mean
from spot_training.domain.parsing import as_bool, is_left_out

from .calls import for_certain, translated, unreachable

if TYPE_CHECKING:
    from botocore.client import BaseClient

#: The key of a config that is no field of CreateTrainingJob.
FIELD = "S3Operations"
_OPERATIONS = ("S3CreateBucket", "S3Upload")
_UPLOAD = ("Path", "Bucket", "Key", "Tar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A local file or folder, and where it goes. `is_tar`: as a `.tar.gz` of the folder's content."""

    path: Path
    bucket: str
    key: str
    is_tar: bool
    field: str

    @contextmanager
    def body(self) -> Iterator[IO[bytes]]:
        """What is uploaded. Raises `InvalidInput` for a file that cannot be read."""
        try:
            if not self.is_tar:
                with self.path.open("rb") as file:
                    yield file
                return
            with tempfile.TemporaryFile() as archive:
                with tarfile.open(mode="w:gz", fileobj=archive) as tar:
                    for each in sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]:
                        tar.add(each, arcname=each.name)
                archive.seek(0)
                yield archive
        except OSError as error:
            way_out = (
                f"it cannot be read on the machine of this task, in {Path.cwd()} ({error.strerror}). Give an "
                "absolute path that all workers have, or upload it in a task before."
            )
            raise for_certain(InvalidInput(f"{self.field}.Path", str(self.path), way_out)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Operations:
    """Buckets to create, and files to upload, in this order."""

    buckets: tuple[str, ...] = ()
    uploads: tuple[Upload, ...] = ()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> S3Operations:
        """The operations of a config, none without `S3Operations`. Raises `InvalidInput`."""
        if (value := config.get(FIELD)) is None:
            return cls()
        operations = _known(value, _OPERATIONS, FIELD)
        buckets = _items(operations, "S3CreateBucket", ("Bucket",))
        uploads = _items(operations, "S3Upload", _UPLOAD)
        return cls(
            buckets=tuple(_text(each, "Bucket", field) for field, each in buckets),
            uploads=tuple(
                Upload(
                    path=Path(_text(each, "Path", field)),
                    bucket=_text(each, "Bucket", field),
                    key=_text(each, "Key", field),
                    is_tar=as_bool(each.get("Tar", False), field=f"{field}.Tar"),
                    field=field,
                )
                for field, each in uploads
            ),
        )

    def carry_out(self, make_client: Callable[[], BaseClient], *, say: Callable[[str], None]) -> None:
        """Create the buckets and upload the files; what is there is replaced.

        Raises `InvalidInput` for a file that cannot be read, and what AWS's refusals are translated to.
        """
        if not (self.buckets or self.uploads):
            return
        client: Any = make_client()
        for bucket in self.buckets:
            _create_bucket(client, bucket)
        for upload in self.uploads:
            with upload.body() as body, _calling(f"PutObject s3://{upload.bucket}/{upload.key}"):
                client.put_object(Bucket=upload.bucket, Key=upload.key, Body=body)
            say(f"Uploaded {upload.path} to s3://{upload.bucket}/{upload.key} ({FIELD}).")


def _create_bucket(client: Any, bucket: str) -> None:
    region = client.meta.region_name
    # S3 takes every region but its first as a constraint.
    where = {} if region == "us-east-1" else {"LocationConstraint": region}
    with _calling(f"CreateBucket {bucket}", nothing_at="BucketAlreadyOwnedByYou"):
        client.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": where} if where else {}))


@contextmanager
def _calling(call: str, *, nothing_at: str = "") -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != nothing_at:
            raise for_certain(translated(error, call, created_nothing=True)) from error
    except BotoCoreError as error:
        raise for_certain(unreachable(error, call, created_nothing=True)) from error


def _known(value: Any, names: tuple[str, ...], field: str) -> Mapping[str, Any]:
    mapping = as_mapping(value, field=field)
    for name in mapping:
        if name not in names:
            way_out = f"the SageMaker SDK writes {', '.join(names)}.{did_you_mean(name, names)}"
            raise InvalidInput(f"{field}.{name}", mapping[name], way_out)
    return mapping


def _items(
    operations: Mapping[str, Any], name: str, names: tuple[str, ...]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Each operation of that name, with its field."""
    field = f"{FIELD}.{name}"
    items = as_items(operations.get(name, []), field=field)
    return [(f"{field}[{i}]", _known(item, names, f"{field}[{i}]")) for i, item in enumerate(items)]


def _text(item: Mapping[str, Any], name: str, field: str) -> str:
    value = item.get(name)
    if is_left_out(value):
        raise EmptyValue(f"{field}.{name}", value, "give a value.")
    if not isinstance(value, str):
        raise InvalidInput(f"{field}.{name}", value, "give text.")
    return value
