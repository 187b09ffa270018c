"""Addresses in Airflow for a report, below `[api] base_url`: the page with the same window, and a Dag run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from spot_training.addresses import run_page

if TYPE_CHECKING:
    from spot_training.ledger import Selection


def base_url() -> str:
    """Airflow's address as people open it, or nothing if it is not set."""
    from spot_training.compat import conf

    url = str(conf.get("api", "base_url", fallback="")).rstrip("/")
    return url if urlsplit(url).scheme in {"http", "https"} else ""


def page_of(selection: Selection) -> str:
    """The page *Spot training* with the trainings of the report. Empty without `[api] base_url`."""
    base = base_url()
    if not base:
        return ""
    only = {
        "dag_id": selection.dag_ids,
        "model": selection.models,
        "instance_type": selection.instance_types,
        "team": selection.teams,
    }
    asked: dict[str, Any] = {name: values[0] for name, values in only.items() if values}
    if selection.since:
        asked["since"] = selection.since.date()
    if selection.until:
        asked["until"] = (selection.until - timedelta(days=1)).date()
    if not selection.since and not selection.until:
        asked["window"] = "all"
    return f"{base}/spot-training/?{urlencode(asked)}"


def run_of(context: Mapping[str, Any]) -> str:
    """The Dag run of a task. Empty without `[api] base_url`."""
    base, run = base_url(), context.get("dag_run")
    return f"{base}/{run_page(run.dag_id, run.run_id)}" if base and run is not None else ""
