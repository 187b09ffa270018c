"""Notices and asset events of a training in a real Airflow, deferred and resumed."""

from __future__ import annotations

import json

import pytest

from .conftest import Site
from .heard import FILE

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


def test_a_fallback_is_told_once_and_the_asset_has_what_the_training_cost(site: Site) -> None:
    site.set_capacity("ml.r5.large", available=False)
    run_id = site.start("train_with_notices", seconds=300)
    run = site.stack.api.wait_for_run("train_with_notices", run_id, timeout_seconds=240)
    log = site.stack.api.task_log("train_with_notices", run_id, "train")
    assert run["state"] == "success", log

    lines = (site.stack.airflow_home / FILE).read_text().splitlines()
    heard = [line for line in map(json.loads, lines) if line["run_id"] == run_id]
    # Two attempts, told to a function and to a path, and one fallback. What cannot be called fails nothing.
    assert sorted(line["event"] for line in heard) == 4 * ["attempt_over"] + ["fallback"]
    assert "on_attempt_over (no_such_package.tell) failed" in log
    assert any("never got capacity" in line["text"] for line in heard)

    events = site.stack.api.request("GET", "assets/events", params={"source_dag_id": "train_with_notices"})
    (event,) = events["asset_events"]
    savings = event["extra"]["savings"]
    assert (savings["completed"], savings["attempts"]) == (True, 2)
    assert event["extra"]["model"].startswith("s3://models/models/")
