"""The host name that Airflow's components of a local stack report: it needs no DNS."""

from __future__ import annotations


def get_loopback_name() -> str:
    return "localhost"
