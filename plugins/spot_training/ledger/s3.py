"""The ledger's files on S3, with boto3: the part of fsspec's interface that the ledger uses.

s3fs, which Airflow would use, needs aiobotocore, which restricts botocore's version. S3 is strongly
consistent, a PUT appears whole or not at all, and `If-None-Match: *` (since 2024) lets only one of several
writers create a name. Other stores may ignore that: see `Ledger.has_conditional_writes`.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

_NO_SUCH = frozenset({"404", "NoSuchKey", "NotFound"})
#: Another writer has created the name, or is creating it at this moment.
_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
#: The store does not know a header that was sent: the condition.
_NOT_KNOWN = frozenset({"NotImplemented", "501"})
#: The credentials are not valid, or no longer. A new client asks the connection for its present ones.
_STALE = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
        "400",  # the answer to HEAD, which has no body, for an expired token
    }
)
#: These may mean stale credentials or a missing permission: a new client is tried, and not often.
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "403", "Forbidden"})
RENEW_WHEN_DENIED_SECONDS = 60.0


class S3Files:
    """Files by `bucket/key`, with a boto3 S3 client. Errors are Python's own if there is one.

    If the credentials are refused, `make_client` makes a new client and the call is repeated once: a
    connection's key may be rotated while this process runs.
    """

    protocol = "s3"

    def __init__(
        self, make_client: Callable[[], Any], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._make_client = make_client
        self._monotonic = monotonic
        self._client = make_client()
        self._renewed_at = float("-inf")
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """Where the store is."""
        return str(self._client.meta.endpoint_url)

    def ls(self, path: str, *, detail: bool = False, beginning: str = "") -> list[str]:  # noqa: ARG002 - fsspec's
        """The files and folders in a folder with names that begin so. Empty if there is none."""
        bucket, prefix = _split(path)

        def listed(client: Any) -> list[str]:
            found: list[str] = []
            for page in client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=f"{prefix}/{beginning}", Delimiter="/"
            ):
                found += [f"{bucket}/{entry['Key']}" for entry in page.get("Contents", ())]
                found += [
                    f"{bucket}/{entry['Prefix'].rstrip('/')}" for entry in page.get("CommonPrefixes", ())
                ]
            return found

        return self._call(listed)

    def stamps(self, path: str) -> dict[str, Hashable]:
        """The names of the files in a folder, each with what changes when it is written again."""
        bucket, prefix = _split(path)

        def listed(client: Any) -> dict[str, Hashable]:
            return {
                entry["Key"].rsplit("/", 1)[-1]: (entry.get("ETag"), str(entry.get("LastModified")))
                for page in client.get_paginator("list_objects_v2").paginate(
                    Bucket=bucket, Prefix=f"{prefix}/", Delimiter="/"
                )
                for entry in page.get("Contents", ())
            }

        return self._call(listed)

    def cat_file(self, path: str) -> bytes:
        bucket, key = _split(path)
        with _as_os_error(path):
            content: bytes = self._call(
                lambda client: client.get_object(Bucket=bucket, Key=key)["Body"].read()
            )
        return content

    def get_file(self, path: str, local: str) -> None:
        """Download."""
        bucket, key = _split(path)

        def download(client: Any) -> None:
            with Path(local).open("wb") as file:
                shutil.copyfileobj(client.get_object(Bucket=bucket, Key=key)["Body"], file)

        with _as_os_error(path):
            self._call(download)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite") -> None:
        """Upload. With `mode="create"` raises FileExistsError if the file exists.

        Raises NotImplementedError if the store refuses conditions.
        """
        bucket, key = _split(path)
        condition = {"IfNoneMatch": "*"} if mode == "create" else {}
        with _as_os_error(path):
            self._call(lambda client: client.put_object(Bucket=bucket, Key=key, Body=value, **condition))

    def rm_file(self, path: str) -> None:
        """Delete. S3 does not say whether the file existed."""
        bucket, key = _split(path)
        self._call(lambda client: client.delete_object(Bucket=bucket, Key=key))

    def modified(self, path: str) -> datetime:
        bucket, key = _split(path)
        with _as_os_error(path):
            changed: datetime = self._call(
                lambda client: client.head_object(Bucket=bucket, Key=key)["LastModified"]
            )
        return changed

    def invalidate_cache(self) -> None:
        """Nothing is cached."""

    def _call(self, work: Callable[[Any], T]) -> T:
        """Do the work. If the credentials are refused, do it once more with a new client."""
        from botocore.exceptions import ClientError

        client = self._client
        try:
            return work(client)
        except ClientError as error:
            renewed = self._renew(client, _code(error))
            if renewed is None:
                raise
        return work(renewed)

    def _renew(self, refused: Any, code: str) -> Any:
        """A new client, or None if it would make no difference. Of many threads one makes it."""
        if code not in _STALE | _DENIED:
            return None
        with self._lock:
            if self._client is not refused:
                return self._client
            now = self._monotonic()
            if code in _DENIED and now - self._renewed_at < RENEW_WHEN_DENIED_SECONDS:
                return None
            log.info("S3 refused the ledger's credentials (%s): asking for them again", code)
            self._renewed_at = now
            self._client = self._make_client()
            return self._client


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    return bucket, key


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code"))


@contextmanager
def _as_os_error(path: str) -> Iterator[None]:
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _NO_SUCH:
            raise FileNotFoundError(f"s3://{path}") from error
        if code in _TAKEN:
            raise FileExistsError(f"s3://{path}") from error
        if code in _NOT_KNOWN:
            raise NotImplementedError(f"s3://{path}: {error}") from error
        raise
