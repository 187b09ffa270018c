"""The ledger's files on S3, over boto3: what fsspec's file systems offer, as far as the ledger uses it.

s3fs, which Airflow would take, needs aiobotocore, which holds botocore back. S3 is strongly consistent, a PUT
appears whole or not at all, and `If-None-Match: *` (since 2024) lets one of several writers create a name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

_NO_SUCH = frozenset({"404", "NoSuchKey", "NotFound"})
#: Somebody else created the name, or is creating it at this moment.
_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})


class S3Files:
    """Files by `bucket/key`, over a boto3 S3 client. Errors are Python's own where there is one."""

    protocol = "s3"

    def __init__(self, client: Any) -> None:
        self._client = client

    def ls(self, path: str, *, detail: bool = False) -> list[str]:  # noqa: ARG002 - as fsspec is called
        """The files and folders in a folder; empty where there is none."""
        bucket, prefix = _split(path)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{prefix}/", Delimiter="/"
        )
        found: list[str] = []
        for page in pages:
            found += [f"{bucket}/{entry['Key']}" for entry in page.get("Contents", ())]
            found += [f"{bucket}/{entry['Prefix'].rstrip('/')}" for entry in page.get("CommonPrefixes", ())]
        return found

    def cat_file(self, path: str) -> bytes:
        bucket, key = _split(path)
        with _as_os_error(path):
            content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def get_file(self, path: str, local: str) -> None:
        """Download."""
        bucket, key = _split(path)
        with _as_os_error(path), Path(local).open("wb") as file:
            shutil.copyfileobj(self._client.get_object(Bucket=bucket, Key=key)["Body"], file)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite") -> None:
        """Upload; with `mode="create"` raise FileExistsError where there is one."""
        bucket, key = _split(path)
        condition = {"IfNoneMatch": "*"} if mode == "create" else {}
        with _as_os_error(path):
            self._client.put_object(Bucket=bucket, Key=key, Body=value, **condition)

    def rm_file(self, path: str) -> None:
        """Delete; S3 does not say whether there was such a file."""
        bucket, key = _split(path)
        self._client.delete_object(Bucket=bucket, Key=key)

    def modified(self, path: str) -> datetime:
        bucket, key = _split(path)
        with _as_os_error(path):
            changed: datetime = self._client.head_object(Bucket=bucket, Key=key)["LastModified"]
        return changed

    def invalidate_cache(self) -> None:
        """Nothing is kept."""


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    return bucket, key


@contextmanager
def _as_os_error(path: str) -> Iterator[None]:
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in _NO_SUCH:
            raise FileNotFoundError(f"s3://{path}") from error
        if code in _TAKEN:
            raise FileExistsError(f"s3://{path}") from error
        raise
