"""Trainings and data of 0.2.0 under this code: what waits goes on with its job, what is recorded stays.

The code of its wheel runs here (`before.py`), so what it leaves is what it writes, with the Airflow of today.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from include.local_stack.environment import keep_from_machine
from spot_training.dashboard.source import Source
from spot_training.domain.records import RecordState
from spot_training.ledger import Ledger
from spot_training.ledger.compaction import compact
from spot_training.ledger.reservations import reservations
from spot_training.training.state import STATE_KEY, TrainingState, load_state
from spot_training.triggers import TrainingJobTrigger
from tests.cloud import ROOT, SPEED, Cloud, live_jobs, serving

from . import before
from .support import RELEASED_IN, WHEEL

HERE = Path(__file__).parent
WAITING = ("watching", "waiting", "with_a_deadline", "on_demand")


class Upgrade:
    """What 0.2.0 left: a cloud with its jobs, a ledger, and what Airflow kept of each task."""

    def __init__(self, cloud: Cloud, home: Path) -> None:
        self.cloud, self.home = cloud, home
        self.left: dict[str, Any] = json.loads((home / "before.json").read_text())
        self.stores = {name: before.Store(task["store"]) for name, task in self.left["tasks"].items()}
        self.ledger = Ledger.at(home / "ledger")

    def job_of(self, name: str) -> str:
        current = self.left["tasks"][name]["store"][STATE_KEY]["current"]
        return str(current["job_name"])

    def finish(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Let the trigger fire, and the task resume, until it is over: its result and its XComs."""
        left = self.left["tasks"][name]
        pushed, (path, payload), method = dict(left["xcoms"]), left["trigger"], left["method"]
        while True:
            assert path == "spot_training.triggers.TrainingJobTrigger"
            event = asyncio.run(_fire(TrainingJobTrigger(**payload)))
            task = (
                before.make_sensor("started-elsewhere") if name == "watching" else before.make_operator(name)
            )
            context = before.context_of(name, self.stores[name], pushed)
            try:
                return task.resume_execution(method, {"event": event}, context), pushed
            except TaskDeferred as deferred:
                (path, payload), method = deferred.trigger.serialize(), deferred.method_name


async def _fire(trigger: TrainingJobTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("never fired")


def _settings(cloud: Cloud, home: Path) -> dict[str, str]:
    connection = {
        "conn_type": "aws",
        "login": "test",
        "password": "test",
        "extra": {"region_name": "us-east-1", "endpoint_url": cloud.url},
    }
    return {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        "AIRFLOW__SPOT_TRAINING__INSTALLATION": "airflow",
        "AIRFLOW__SPOT_TRAINING__LEDGER": str(home / "ledger"),
        "AIRFLOW__SPOT_TRAINING__PRICES_FILE": str(home / "prices.yaml"),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture(scope="module")
def old_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cloud, Path]]:
    home = tmp_path_factory.mktemp("0.2.0")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(home / "code")
    (home / "prices.yaml").write_text('"*":\n  ml.m5.xlarge: 0.23\n')
    with serving("--speed", str(SPEED)) as cloud:
        cloud.client("s3").create_bucket(Bucket="bucket")
        env = {**keep_from_machine(os.environ), **_settings(cloud, home), "PYTHONPATH": str(home / "code")}
        command = [sys.executable, str(HERE / "before.py"), cloud.url, str(home / "before.json")]
        done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        yield cloud, home


@pytest.fixture
def upgrade(old_home: tuple[Cloud, Path], monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    cloud, home = old_home
    for name, value in _settings(cloud, home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("spot_training.triggers.seconds_to_settle", lambda: 0)
    return Upgrade(cloud, home)


def test_it_is_the_released_code_that_ran(upgrade: Upgrade) -> None:
    assert Path(upgrade.left["package"]) == upgrade.home / "code" / "spot_training"
    tasks = upgrade.left["tasks"]
    assert [name for name, task in tasks.items() if task["trigger"]] == [*WAITING]
    assert "no step is left" in tasks["failed"]["error"]
    assert tasks["completed"]["error"] is None


def test_the_wheel_has_the_files_of_the_commit_of_the_release() -> None:
    listed = subprocess.run(
        ["git", "ls-tree", "-r", RELEASED_IN, "plugins/spot_training/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("needs the commits of releases: this is a clone without the whole history")
    in_commit = {
        path.removeprefix("plugins/"): facts.split()[2]
        for facts, path in (line.split("\t") for line in listed.stdout.splitlines())
    }
    with zipfile.ZipFile(WHEEL) as wheel:
        names = [name for name in wheel.namelist() if name.startswith("spot_training/")]
        in_wheel = {name: _blob(wheel.read(name)) for name in names}
    assert in_wheel == in_commit


def _blob(content: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()


def test_a_ledger_of_0_2_0_reads_as_that_version_read_it_also_after_it_is_merged(
    upgrade: Upgrade, tmp_path: Path
) -> None:
    expected, totals = upgrade.left["records"], upgrade.left["totals"]
    assert upgrade.left["merged"] == 2
    shutil.copytree(upgrade.home / "ledger", tmp_path / "ledger")
    ledger = Ledger.at(tmp_path / "ledger")
    for _ in range(2):
        with ledger.read() as reader:
            assert reader.set_aside == ()
            records = {record.dag_id: json.loads(json.dumps(record.to_json())) for record in reader.records()}
            assert reader.totals().to_json().items() >= totals.items()
        assert records.keys() == expected.keys()
        for dag_id in ("completed", "failed"):
            _has_all_of(records[dag_id], expected[dag_id])
            shown = Source(lambda: ledger).training(expected[dag_id]["key"])
            assert shown is not None
            assert shown.attempts == Source(lambda: upgrade.ledger).training(expected[dag_id]["key"]).attempts  # type: ignore[union-attr]
        assert compact(ledger, settled_after=timedelta(0)).refused is None


def _has_all_of(found: Any, expected: Any) -> None:
    """Nothing of the old record is lost or different; there may be more."""
    if isinstance(expected, dict):
        assert found.keys() >= expected.keys()
        for name, value in expected.items():
            _has_all_of(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _has_all_of(one, other)
    else:
        assert found == expected


def test_a_reservation_of_0_2_0_counts_in_the_budget_of_the_month(upgrade: Upgrade) -> None:
    (held,) = reservations(upgrade.ledger)
    assert (held.dag_id, held.is_decided) == ("on_demand", True)
    assert held.usd > 0


def test_states_of_0_2_0_are_written_back_as_they_were(upgrade: Upgrade) -> None:
    for name, store in upgrade.stores.items():
        state = load_state(store)
        assert state is not None, name
        _has_all_of(json.loads(json.dumps(state.to_json())), store[STATE_KEY])
        assert TrainingState.from_json(state.to_json()) == state


def test_results_of_0_2_0_are_read_by_later_tasks(upgrade: Upgrade) -> None:
    """A downstream sensor takes the XCom of a training that completed before the upgrade."""
    xcoms = upgrade.left["tasks"]["completed"]["xcoms"]
    assert xcoms["savings"]["completed"] is True
    sensor = before.make_sensor(xcoms["training_job_name"])
    sensor.deferrable = False
    result = sensor.execute(before.context_of("downstream", before.Store(), {}))
    assert result["savings"]["attempts"] == 1


def test_trainings_that_wait_go_on_with_their_jobs(upgrade: Upgrade) -> None:
    """The trigger's payload, the state and the record are 0.2.0's: no second job is made, none is lost."""
    jobs = {name: upgrade.job_of(name) for name in WAITING}
    assert sorted(live_jobs(upgrade.cloud)) == sorted(jobs.values())
    count = len(upgrade.cloud.client("sagemaker").list_training_jobs()["TrainingJobSummaries"])
    upgrade.cloud.control("PUT", "clock", {"speed": SPEED})
    upgrade.cloud.set_capacity(available=True)
    for name in WAITING:
        result, pushed = upgrade.finish(name)
        assert [attempt["job_name"] for attempt in pushed["attempts"]] == [jobs[name]]
        assert pushed["attempts"][0]["ending"] == "completed"
        assert pushed["savings"]["completed"] is True
        assert result["Training"]["TrainingJobName"] == jobs[name]
    assert len(upgrade.cloud.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]) == count
    assert live_jobs(upgrade.cloud) == []
    with upgrade.ledger.read() as reader:
        records = {record.dag_id: record for record in reader.records()}
    for name in WAITING:
        old = upgrade.left["records"][name]
        assert records[name].state is RecordState.COMPLETED
        assert records[name].version > old["version"]
        assert records[name].key == old["key"]
    assert records["with_a_deadline"].deadline_at is not None
