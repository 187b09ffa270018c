"""Which Airflow this is: the name that keeps two of them from taking each other's jobs and records."""

from __future__ import annotations

from airflow.sdk.configuration import conf

DEFAULT_INSTALLATION = "airflow"


def installation() -> str:
    """This Airflow's name in the tags of its jobs: `[spot_training] installation`, else `airflow`."""
    return str(conf.get("spot_training", "installation", fallback=DEFAULT_INSTALLATION))
