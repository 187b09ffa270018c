"""Which types a training asks last: what the configured ledger says, and nothing if it does not answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.errors import MissingPackage
from spot_training.domain.type_history import asked_last
from spot_training.ledger import Ledger
from spot_training.task import type_history
from spot_training.task.type_history import histories_of_types, known_histories
from tests.records import T0, make_attempt, make_record

A, B = "ml.m5.xlarge", "ml.m5.2xlarge"


@pytest.fixture(autouse=True)
def configured(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    attempts = tuple(make_attempt(number=n, job_name=f"job-{n}", interruptions=1) for n in range(1, 5))
    ledger.write(make_record(dag_id="another_dag", attempts=attempts))
    return ledger


def _ask(**question: Any) -> Mapping[str, str]:
    asked: dict[str, Any] = {
        "region": "us-east-1",
        "installation": "airflow",
        "is_simulated": False,
        "now": T0,
    }
    return asked_last((A, B), histories_of_types((A, B), **{**asked, "now": T0, **question}))


def test_all_dags_of_this_airflow_in_this_region_count() -> None:
    assert _ask() == {A: "4 of 4 spot attempts in 14 days were interrupted"}
    assert _ask(region="eu-west-1") == {}
    assert _ask(is_simulated=True) == {}
    assert _ask(now=T0 + timedelta(days=15)) == {}


def test_without_an_answer_the_order_of_the_policy_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise OSError("no such bucket")

    monkeypatch.setattr(type_history, "read_histories", fail)
    assert _ask() == {}
    assert "no such bucket" in caplog.text
    monkeypatch.setattr(type_history, "ANSWER_WITHIN_SECONDS", 0.05)
    monkeypatch.setattr(type_history, "read_histories", lambda **_: time.sleep(2))
    began = time.monotonic()
    assert _ask() == {}
    assert time.monotonic() - began < 1.5
    assert not known_histories(["airflow"])


def test_without_duckdb_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(**_: object) -> None:
        raise MissingPackage("duckdb", needed_by="reading the ledger", extra="page")

    monkeypatch.setattr(type_history, "read_histories", missing)
    assert _ask() == {}
    assert caplog.text == ""
