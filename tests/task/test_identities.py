"""Under which identity a task trains: upgraded in the middle, cleared after that, or with none to be read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from spot_training import installation as identities
from spot_training.domain.errors import InstallationUnknown
from spot_training.domain.record_keys import record_key
from spot_training.domain.records import RecordState, TrainingRecord
from spot_training.ledger import Ledger
from spot_training.sagemaker.identity import TAG_INSTALLATION
from spot_training.task.training import TrainingTask
from spot_training.training.recorder import MEMORY_KEY
from spot_training.training.state import STATE_KEY
from tests.cloud import Cloud

from .support import Run, going_on, make_operator

SETTING = "AIRFLOW__SPOT_TRAINING__INSTALLATION"


def _as_0_1_0_wrote_it(run: Run) -> None:
    """Take out of what the task has stored all that 0.1.0 did not know."""
    state = run.store.get(STATE_KEY)
    for name in ("installation", "first_installation"):
        del state[name]
    run.store.get(MEMORY_KEY).pop("installation")


def _records(tmp_path: Path) -> dict[str, TrainingRecord]:
    """The records of the run's task, by installation."""
    with Ledger.at(tmp_path / "spot_ledger").read() as reader:
        return {record.installation: record for record in reader.records()}


def _tag(cloud: Cloud, job: str) -> str:
    jobs = cloud.jobs()
    description = jobs.describe(job)
    assert description is not None
    return jobs.tags(description["TrainingJobArn"])[TAG_INSTALLATION]


def _no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING)
    monkeypatch.setattr(identities, "_is_task", lambda: True)
    monkeypatch.setattr(identities, "_ask_api", lambda: None)
    monkeypatch.setattr(identities, "_has_database", lambda: False)
    identities._known.forget()


def test_an_upgrade_in_the_middle_of_a_training_goes_on_with_its_job_and_its_record(
    drought: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run()
    run.deferred(lambda: make_operator(deferrable=True))
    _as_0_1_0_wrote_it(run)
    (job,) = going_on(drought)
    monkeypatch.setenv(SETTING, "airflow-0123456789ab")
    drought.set_capacity(available=True)
    done = make_operator().execute(run.context())
    assert done["Training"]["TrainingJobName"] == job
    record = _records(tmp_path)["airflow"]
    assert (record.state, [a.job_name for a in record.attempts]) == (RecordState.COMPLETED, [job])
    assert list(_records(tmp_path)) == ["airflow"]


def test_a_next_try_after_the_upgrade_adopts_the_job_and_stops_it_when_it_is_killed(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(max_tries=1)
    run.deferred(lambda: make_operator(deferrable=True))
    _as_0_1_0_wrote_it(run)
    (job,) = going_on(drought)
    monkeypatch.setenv(SETTING, "airflow-0123456789ab")
    run.try_number = 2
    task = run.deferred(lambda: make_operator(deferrable=True))
    task.deferrable = False
    assert going_on(drought) == [job]
    assert run.store.get(STATE_KEY)["installation"] == "airflow"
    monkeypatch.setattr(TrainingTask, "wait", lambda *_: task.on_kill())
    with pytest.raises(Exception, match="Airflow ended this task"):
        task.execute(run.context())
    assert going_on(drought) == []


def test_a_clear_after_the_upgrade_begins_under_the_new_identity_and_keeps_both_records(
    drought: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drought.set_capacity(available=True)
    run = Run()
    first = make_operator().execute(run.context())["Training"]
    _as_0_1_0_wrote_it(run)
    monkeypatch.setenv(SETTING, "airflow-0123456789ab")
    run.try_number, run.max_tries = 2, 1
    second = make_operator(keep_checkpoints=True).execute(run.context())["Training"]
    assert _tag(drought, first["TrainingJobName"]) == "airflow"
    assert _tag(drought, second["TrainingJobName"]) == "airflow-0123456789ab"
    assert second["CheckpointConfig"] == first["CheckpointConfig"], "it goes on from the first one's"
    records = _records(tmp_path)
    assert {name: [a.job_name for a in record.attempts] for name, record in records.items()} == {
        "airflow": [first["TrainingJobName"]],
        "airflow-0123456789ab": [second["TrainingJobName"]],
    }
    new = records["airflow-0123456789ab"]
    assert (new.generation, new.model, new.replaced_instance_seconds) == (1, "failing-task", 0)


def test_a_clear_without_an_upgrade_keeps_one_record(drought: Cloud, tmp_path: Path) -> None:
    drought.set_capacity(available=True)
    run = Run()
    make_operator().execute(run.context())
    run.try_number, run.max_tries = 2, 1
    make_operator().execute(run.context())
    (record,) = _records(tmp_path).values()
    assert record.generation == 1
    assert record.replaced_instance_seconds


@pytest.mark.parametrize("began", [-1, 1])
def test_a_job_whose_state_was_lost_in_the_upgrade_is_found_by_runs_that_began_before_it(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch, began: int
) -> None:
    """A run that began after it never trained under the first name: what has it is another Airflow's job."""
    run = Run()
    run.deferred(lambda: make_operator(deferrable=True))
    (job,) = going_on(drought)
    upgraded_at = datetime.now(UTC)
    monkeypatch.setenv(SETTING, f"mine, airflow until {upgraded_at.isoformat()}")
    again = Run()
    again.began_at = upgraded_at + timedelta(hours=began)
    again.deferred(lambda: make_operator(deferrable=True))
    if began < 0:
        assert going_on(drought) == [job]
        assert again.store.get(STATE_KEY)["current"]["job_name"] == job
    else:
        assert {_tag(drought, name) for name in going_on(drought)} == {"airflow", "mine"}


def test_without_an_identity_no_job_is_created_and_a_retry_may_follow(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_identity(monkeypatch)
    with pytest.raises(InstallationUnknown, match="no training job is created") as failed:
        make_operator().execute(Run(max_tries=2).context())
    assert not isinstance(failed.value, AirflowFailException)
    assert drought.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


def test_a_job_that_is_alive_is_looked_after_while_the_identity_cannot_be_read(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run()
    run.deferred(lambda: make_operator(deferrable=True))
    _no_identity(monkeypatch)
    drought.set_capacity(available=True)
    done = make_operator().execute(run.context())
    assert done["Training"]["TrainingJobStatus"] == "Completed"


def test_a_clear_while_the_identity_cannot_be_read_starts_nothing_and_changes_nothing(
    drought: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drought.set_capacity(available=True)
    run = Run()
    make_operator().execute(run.context())
    before, records = dict(run.store.values[STATE_KEY]), _records(tmp_path)
    _no_identity(monkeypatch)
    run.try_number, run.max_tries = 2, 3
    with pytest.raises(InstallationUnknown):
        make_operator().execute(run.context())
    assert run.store.values[STATE_KEY] == before
    assert _records(tmp_path) == records
    monkeypatch.setenv(SETTING, "airflow")
    run.try_number = 3
    done = make_operator().execute(run.context())
    assert run.store.values[STATE_KEY]["generation"] == 1
    assert len(done["attempts"]) == 1


def test_the_trigger_notes_in_the_record_of_the_name_the_training_began_under(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(max_tries=1)
    run.deferred(lambda: make_operator(deferrable=True))
    _as_0_1_0_wrote_it(run)
    monkeypatch.setenv(SETTING, "mine")
    keys: list[Any] = []
    monkeypatch.setattr(
        "spot_training.triggers.TrainingJobTrigger.__init__",
        lambda _self, **arguments: keys.append(arguments["record_key"]),
    )
    task = make_operator(deferrable=True)
    monkeypatch.setattr(task, "defer", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        task.execute(run.context())
    assert keys == [record_key(installation="airflow", dag_id="failing", run_id="run 1", task_id="task")]
