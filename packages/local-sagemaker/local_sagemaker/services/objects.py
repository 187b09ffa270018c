"""S3 as the server uses it: whole objects, in the moto of this process, without HTTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol
from urllib.parse import urlsplit

from local_sagemaker.account import ACCOUNT


class NoSuchBucketError(LookupError):
    """A job names a bucket that does not exist."""


class Objects(Protocol):
    """What the server needs of S3."""

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """All keys with the prefix, sorted."""

    def has_any(self, bucket: str, prefix: str) -> bool:
        """Whether there is a key with the prefix."""

    def read(self, bucket: str, key: str) -> bytes | None:
        """The object, or None."""

    def write(self, bucket: str, key: str, content: bytes) -> None:
        """Put a whole object."""

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object, if it exists."""


#: S3's own hosts, of every partition: `s3.eu-west-1.amazonaws.com`, `bucket.s3.cn-north-1.amazonaws.com.cn`.
_S3_HOST = re.compile(r"((?P<bucket>[a-z0-9][a-z0-9.-]*)\.)?s3[.-]([a-z0-9-]+\.)*amazonaws\.com(\.cn)?")


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/a/b`, or the same as an https address of S3 -> (`bucket`, `a/b`)."""
    parts = urlsplit(uri, allow_fragments=False)
    query = f"?{parts.query}" if parts.query else ""
    key = (parts.path + query).lstrip("/")
    host = _S3_HOST.fullmatch(parts.netloc) if parts.scheme == "https" else None
    if host is None:
        return parts.netloc, key
    if host["bucket"]:
        return host["bucket"], key
    bucket, _, key = key.partition("/")
    return bucket, key


def folder_prefix(uri: str) -> tuple[str, str]:
    """Bucket and prefix of what is below `uri`: `s3://b/run` never means `s3://b/run2`."""
    bucket, key = split_uri(uri)
    key = key.rstrip("/")
    return bucket, f"{key}/" if key else ""


@cache
def let_moto_forget() -> None:
    """Make moto keep no reference to deleted and overwritten objects.

    moto keeps everything it ever made for its dashboard, so a checkpoint that is written a thousand times
    needs a thousand times its memory.
    """
    from moto.core.common_models import BaseModel

    def new(cls: type, *_: object, **__: object) -> Any:
        return super(BaseModel, cls).__new__(cls)

    BaseModel.__new__ = new


class MotoObjects:
    """S3 in moto's backend, one call at a time: moto cannot list keys while another thread writes.

    What SageMaker writes is modified at SageMaker's time. What clients put has the machine's time.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.RLock()

    def keys(self, bucket: str, prefix: str) -> list[str]:
        with self._lock:
            names = list(self._bucket(bucket).keys.keys())
            return sorted(k for k in names if k.startswith(prefix) and self._key(bucket, k) is not None)

    def has_any(self, bucket: str, prefix: str) -> bool:
        with self._lock:
            names = list(self._bucket(bucket).keys.keys())
            return any(k.startswith(prefix) and self._key(bucket, k) is not None for k in names)

    def read(self, bucket: str, key: str) -> bytes | None:
        with self._lock:
            found = self._key(bucket, key)
            return None if found is None else bytes(found.value)

    def write(self, bucket: str, key: str, content: bytes) -> None:
        with self._lock:
            self._bucket(bucket)
            written = self._backend().put_object(bucket, key, content)
            written.last_modified = self._now().replace(tzinfo=None)

    def delete(self, bucket: str, key: str) -> None:
        with self._lock:
            self._bucket(bucket)
            self._backend().delete_object(bucket, key)

    def _key(self, bucket: str, key: str) -> Any:
        self._bucket(bucket)
        return self._backend().get_object(bucket, key)

    def _bucket(self, bucket: str) -> Any:
        found = self._backend().buckets.get(bucket)
        if found is None:
            raise NoSuchBucketError(f"The bucket {bucket} does not exist")
        return found

    @staticmethod
    def _backend() -> Any:
        from moto.s3.models import s3_backends

        let_moto_forget()
        return s3_backends[ACCOUNT]["aws"]
