"""A ledger that each machine has for itself is warned of, once, in the task log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from spot_training.operators import SpotTrainingOperator
from spot_training.task.beginning import private_ledger_warning
from tests.cloud import Cloud

from .support import Run, make_operator

LOCAL = ["LocalExecutor", "", "airflow.executors.local_executor.LocalExecutor", "mine:LocalExecutor"]
REMOTE = [
    "CeleryExecutor",
    "KubernetesExecutor",
    "LocalExecutor,CeleryExecutor",
    "LocalExecutor;team=CeleryExecutor",
    "airflow.providers.celery.executors.celery_executor.CeleryExecutor",
    "mine:my_company.executors.EdgeExecutor",
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("executor", REMOTE)
def test_a_folder_in_airflow_home_is_warned_of_where_tasks_run_on_other_machines(
    home: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    warning = private_ledger_warning()
    assert warning is not None
    assert str(home / "spot_ledger") in warning
    assert "AIRFLOW__SPOT_TRAINING__LEDGER" in warning


@pytest.mark.parametrize("executor", LOCAL)
def test_nothing_is_said_where_tasks_run_on_one_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    if executor:
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    assert private_ledger_warning() is None


@pytest.mark.parametrize("url", ["s3://bucket/ledger", "file:///mnt/shared/ledger", "/mnt/shared/ledger"])
def test_nothing_is_said_of_storage_that_machines_share(
    home: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", url)
    assert private_ledger_warning() is None


def test_nothing_is_said_of_a_volume_that_is_mounted_there(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == home / "spot_ledger")
    assert private_ledger_warning() is None


def test_it_is_said_once_of_a_training(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")

    def make() -> SpotTrainingOperator:
        return make_operator(deferrable=True)

    run = Run()
    task: Any = run.deferred(make)
    with pytest.raises(TaskDeferred):
        task.resume(run.context())
    assert capsys.readouterr().out.count("AIRFLOW__SPOT_TRAINING__LEDGER") == 1
