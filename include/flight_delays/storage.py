"""S3 for the flight-delay model."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlparse

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def use_bucket(client: S3Client, bucket: str) -> None:
    """Create the bucket on a local cloud. On AWS, the owner creates it."""
    host = urlparse(client.meta.endpoint_url).hostname or ""
    if not host.endswith(("amazonaws.com", "amazonaws.com.cn")):
        client.create_bucket(Bucket=bucket)
