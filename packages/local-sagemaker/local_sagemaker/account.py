"""The account of the local cloud, and what keeps the user's own out: profiles, keys, endpoints, proxies."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any

ACCOUNT = "123456789012"
REGION = "us-east-1"

#: The beginning of a region's name -> its partition, as in ARNs. All other regions are in `aws`.
_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def partition_of(region: str) -> str:
    """The partition of a region: `aws-cn` for `cn-north-1`."""
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


def forget_account(environment: MutableMapping[str, str]) -> None:
    """Remove AWS's variables, configuration files and proxies from an environment.

    moto calls boto3, which fails on a profile that it cannot find.
    """
    for name in [n for n in environment if n.startswith("AWS_") or n.lower() in _PROXIES]:
        del environment[name]
    environment["AWS_CONFIG_FILE"] = environment["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    environment["AWS_EC2_METADATA_DISABLED"] = "true"


def make_client(service: str, url: str, **options: Any) -> Any:
    """A boto3 client of a local cloud. It ignores the environment and configuration files."""
    make: Any = make_session().client
    return make(service, endpoint_url=url, **options)


def make_session() -> Any:
    """A boto3 session for `make_client`."""
    import boto3
    import botocore.session

    ignored: dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    keys: dict[str, Any] = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.Session(
        botocore_session=botocore.session.Session(session_vars=ignored), region_name="us-east-1", **keys
    )
