"""Where the Dags write reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath


def report_folder(url: str) -> ObjectStoragePath:
    """The folder at `url`, or `reports` next to the Dags folder. It is created if it does not exist."""
    from airflow.sdk import ObjectStoragePath

    from spot_training.compat import conf

    folder = ObjectStoragePath(url or f"file://{Path(conf.get('core', 'dags_folder')).parent / 'reports'}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
