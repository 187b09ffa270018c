"""Opens the storage of a ledger: at a URL, or where Airflow's configuration says.

The only file of this folder that knows Airflow. It reads the ledger's settings and takes S3 clients from
Airflow's connections, so that everything else here works without Airflow, for whoever has a URL.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from spot_training import settings

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from .s3 import S3Files


def open_storage(url: str | Path) -> tuple[AbstractFileSystem | S3Files, str]:
    """The file system and the root of a ledger at a local folder or an object storage URL.

    A URL is written as Airflow's `ObjectStoragePath` takes it.
    """
    text = str(url)
    if text.startswith("file://"):
        text = url2pathname(urlsplit(text).path)
    if "://" not in text:
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem(), str(Path(text).expanduser().absolute())
    if text.startswith("s3://"):
        from .s3 import S3Files

        parts = urlsplit(text)
        connection, _, bucket = parts.netloc.rpartition("@")
        return S3Files(partial(_s3_client, connection or None)), bucket + parts.path
    from airflow.sdk import ObjectStoragePath

    from spot_training.compat import ask_airflow

    def find() -> tuple[AbstractFileSystem, str]:
        path = ObjectStoragePath(text)
        return path.fs, path.path

    # Asks for the connection before the `@`. It may be a thread of a triggerer that opens the ledger.
    return ask_airflow(find)


def is_merged_in_one_place() -> bool:
    """`[spot_training] ledger_is_merged_in_one_place`: nothing else merges this ledger."""
    return settings.flag("ledger_is_merged_in_one_place")


def prices_file() -> Path | None:
    """`[spot_training] prices_file`, if it is set."""
    file = settings.text("prices_file")
    return Path(file).expanduser() if file else None


def keep_months_setting() -> tuple[str, str]:
    """`[spot_training] ledger_keep_months` as text, "" if it is not set, and its name in errors."""
    return settings.text("ledger_keep_months"), settings.field("ledger_keep_months")


def configured_url() -> str:
    """`[spot_training] ledger`, else the folder `spot_ledger` in AIRFLOW_HOME."""
    return settings.text("ledger") or (_airflow_home() / "spot_ledger").as_uri()


def _airflow_home() -> Path:
    return Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()


def folder_of_one_machine() -> Path | None:
    """The configured ledger, if it is a folder in AIRFLOW_HOME that other machines do not see.

    A mounted volume, and anything outside of AIRFLOW_HOME, counts as shared.
    """
    url = configured_url()
    if "://" in url and not url.startswith("file://"):
        return None
    folder = Path(url2pathname(urlsplit(url).path) if "://" in url else url).expanduser().absolute()
    home = _airflow_home()
    if not folder.is_relative_to(home):
        return None
    inside = [folder, *(parent for parent in folder.parents if parent.is_relative_to(home))]
    return None if any(map(os.path.ismount, inside)) else folder


def _s3_client(connection: str | None) -> Any:
    """With an Airflow connection, or with boto3's own credential chain, which needs no Airflow."""
    if connection:
        from spot_training.connections import AwsAccess

        return AwsAccess(aws_conn_id=connection).s3()
    import boto3
    from botocore.config import Config

    # A new session looks for credentials again. The default session keeps what it once found.
    return boto3.Session().client("s3", config=Config(retries={"mode": "standard"}))
