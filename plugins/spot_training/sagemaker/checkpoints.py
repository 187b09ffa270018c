"""The objects below a training's checkpoint prefix, with boto3's S3 client.

Moments are `LastModified`, which S3 and SageMaker take from the same clock (the local cloud's, too).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Protocol

from spot_training.domain.checkpoint_looks import SeenObject
from spot_training.domain.errors import ServiceFailed

from .calls import calling

if TYPE_CHECKING:
    from botocore.client import BaseClient


class Client(Protocol):
    """An S3 client that is made again if its calls fail: `watching.periodic.Renewed`."""

    def get(self) -> BaseClient: ...

    def answered(self) -> None: ...

    def failed(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of S3: up to a thousand objects, and, if they were asked for, folders."""

    objects: tuple[SeenObject, ...]
    folders: tuple[str, ...]
    is_last: bool


class CheckpointPrefix:
    """One prefix. `client` makes the client when it is needed, and again with other credentials."""

    def __init__(self, client: Client, uri: str) -> None:
        self._renewed = client
        bucket, _, path = uri.removeprefix("s3://").partition("/")
        path = path.strip("/")
        self._bucket = bucket
        self._prefix = f"{path}/" if path else ""

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def pages(self, folder: str = "", *, only_top: bool = False) -> Iterator[Page]:
        """The objects below a folder of the prefix, a page at a time. Keys and folders begin at the prefix.

        With `only_top`, what is in folders is left out, and the folders are returned instead. Raises
        `RequestRefused` if that cannot change (no permission, no such bucket), and `ServiceFailed` or
        `CredentialsExpired`.
        """
        options: dict[str, Any] = {"Bucket": self._bucket, "Prefix": f"{self._prefix}{folder}"}
        if only_top:
            options["Delimiter"] = "/"
        while True:
            answer = self._call(options)
            token = answer.get("NextContinuationToken") if answer.get("IsTruncated") else None
            yield Page(
                objects=tuple(map(self._object, answer.get("Contents") or ())),
                folders=tuple(
                    each["Prefix"].removeprefix(self._prefix) for each in answer.get("CommonPrefixes") or ()
                ),
                is_last=token is None,
            )
            if token is None:
                return
            options["ContinuationToken"] = token

    def _call(self, options: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import NoCredentialsError

        client: Any = self._renewed.get()
        try:
            with calling(f"ListObjectsV2 of {self.uri}"):
                answer: dict[str, Any] = client.list_objects_v2(**options)
        except Exception as error:
            self._renewed.failed()
            if isinstance(
                error.__cause__, NoCredentialsError
            ):  # an instance's metadata may fail for a moment
                raise ServiceFailed(str(error)) from error
            raise
        self._renewed.answered()
        return answer

    def _object(self, item: dict[str, Any]) -> SeenObject:
        return SeenObject(
            key=item["Key"].removeprefix(self._prefix),
            size=item.get("Size", 0),
            etag=item.get("ETag", ""),
            modified_at=item["LastModified"].astimezone(UTC),
        )
