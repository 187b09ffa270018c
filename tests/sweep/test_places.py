"""Where the sweeper looks: several connections and regions, each with its own troubles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest

from spot_training.connections import AwsAccess
from spot_training.domain.errors import InvalidInput, ServiceFailed, SweepRefused
from spot_training.domain.records import TrainingRecord
from spot_training.domain.stop_reasons import StopReason
from spot_training.ledger import Ledger
from spot_training.ledger.stop_reasons import LedgerStops
from spot_training.ledger.sweeps import last_sweep
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sweep.command import (
    accesses_from,
    configured_places,
    settle_all,
    settle_this_airflow,
    sweep_all,
    sweep_this_airflow,
)
from spot_training.sweep.orphans import NO_SUCH_TASK
from tests.cloud import Cloud, answer_with

from .support import start_job

NOW = datetime.now(UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.at(str(tmp_path / "ledger"))


def _unreachable() -> NoReturn:
    raise ServiceFailed("there is no such connection")


def _sweep(places: Any, **overrides: Any) -> Any:
    arguments: dict[str, Any] = {
        "installation": "prod",
        "task_state_of": lambda _identity: NO_SUCH_TASK,
        "stop": True,
        "say": lambda _text: None,
    }
    return sweep_all(places, **{**arguments, **overrides})


def _running(region: str, **overrides: Any) -> TrainingRecord:
    return TrainingRecord(
        **{
            "installation": "prod",
            "dag_id": "retrain",
            "run_id": region,
            "task_id": "train",
            "version": 1,
            "region": region,
            "began_at": NOW,
            **overrides,
        }
    )


def test_a_place_that_cannot_be_reached_keeps_no_orphan_elsewhere_alive(patient: Cloud) -> None:
    start_job(patient)
    with pytest.raises(ServiceFailed, match="research: there is no such connection"):
        _sweep({"research": _unreachable, "aws_default": patient.jobs})
    assert list(patient.jobs().live()) == []


def test_the_orphans_that_a_sweep_leaves_are_in_the_ledger(patient: Cloud, ledger: Ledger) -> None:
    names = [start_job(patient, run_id=run) for run in ("first", "second")]
    places = {
        "aws_default": lambda: TrainingJobs(patient.client("sagemaker", retries={"total_max_attempts": 1}))
    }
    _sweep(places, stop=False, ledger=ledger)
    found = last_sweep(ledger, ["prod"])
    assert found is not None
    assert {(o.job_name, o.run_id, o.stop_failed) for o in found.orphans} == {
        (names[0], "first", False),
        (names[1], "second", False),
    }
    patient.fail("StopTrainingJob", "InternalFailure")
    with pytest.raises(ServiceFailed, match="could NOT be stopped"):
        _sweep(places, ledger=ledger)
    found = last_sweep(ledger, ["prod"])
    assert found is not None
    assert [(o.job_name, o.stop_failed) for o in found.orphans] == [(names[0], True)]


def test_the_reason_of_a_stop_that_cannot_be_a_tag_is_in_the_ledger(patient: Cloud, ledger: Ledger) -> None:
    """Without it a task that comes back would respect the stop as a person's."""
    name, jobs = start_job(patient), patient.jobs()
    answer_with(jobs, "AddTags", 400, "AccessDeniedException", "not authorized")
    _sweep({"aws_default": lambda: jobs}, ledger=ledger)
    note = LedgerStops(lambda: ledger).note_of(name)
    assert note is not None
    assert note.why is StopReason.SWEPT
    assert list(patient.jobs().live()) == []


def test_a_job_left_behind_is_told_from_the_ledger(patient: Cloud, ledger: Ledger) -> None:
    left = start_job(patient)
    ledger.write(_running("us-east-1", run_id="run 1", generation=1))
    _sweep({"aws_default": patient.jobs}, ledger=ledger, task_state_of=lambda _i: "deferred")
    assert left not in list(patient.jobs().live())


def test_a_ledger_that_cannot_be_read_keeps_no_orphan_alive(patient: Cloud) -> None:
    class Broken:
        def read(self) -> NoReturn:
            raise OSError("no such bucket")

    start_job(patient)
    said: list[str] = []
    _sweep({"aws_default": patient.jobs}, ledger=Broken(), say=said.append)
    assert list(patient.jobs().live()) == []
    assert any("no such bucket" in text for text in said)


def test_a_sweep_that_is_refused_everywhere_is_refused(patient: Cloud) -> None:
    with pytest.raises(SweepRefused):
        _sweep({"here": patient.jobs, "there": patient.jobs}, installation="airflow")


def test_a_job_that_two_connections_lead_to_is_told_once(patient: Cloud) -> None:
    name = start_job(patient)
    findings = _sweep({"one": patient.jobs, "the other": patient.jobs})
    assert [finding.name for finding in findings] == [name]


def test_connections_and_regions_are_configured() -> None:
    accesses = accesses_from("aws_default, research@eu-west-1, none@us-west-2")
    assert {name: (access.aws_conn_id, access.region_name) for name, access in accesses.items()} == {
        "aws_default": ("aws_default", None),
        "research@eu-west-1": ("research", "eu-west-1"),
        "none@us-west-2": (None, "us-west-2"),
    }


@pytest.mark.parametrize("setting", [" , ", "aws_default@../x", "aws_default@EU West"])
def test_connections_that_cannot_be_read_are_refused_by_name(setting: str) -> None:
    with pytest.raises(InvalidInput, match="sweeper_connections"):
        accesses_from(setting)


def test_regions_that_only_the_books_know_are_swept_too(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__SWEEPER_CONNECTIONS", "ml, ml@eu-west-1")
    monkeypatch.setenv("AIRFLOW_CONN_ML", '{"conn_type": "aws", "extra": {"region_name": "us-east-1"}}')
    long_ago = NOW - timedelta(days=60)
    for record in (
        _running("eu-west-1"),
        _running("us-east-1"),
        _running("us-west-2"),
        _running("ap-south-1", installation="staging"),
        _running("sa-east-1", state="completed", began_at=long_ago),
    ):
        ledger.write(record)
    assert set(configured_places("prod", ledger, print)) == {"ml", "ml@eu-west-1", "ml@us-west-2"}
    more = configured_places("prod", ledger, print, earlier=["staging"])
    assert set(more) == {"ml", "ml@eu-west-1", "ml@us-west-2", "ml@ap-south-1"}


def test_a_job_of_another_account_in_the_region_is_not_taken_for_deleted(
    patient: Cloud,
    ledger: Ledger,
) -> None:
    """A record does not say through which connection its job is reached."""
    name = start_job(patient)
    current: dict[str, Any] = {"job_name": name, "number": 1, "reason": "", "seen_at": NOW}
    from spot_training.domain.records import CurrentJob

    ledger.write(_running("us-east-1", run_id="run 1", current_job=CurrentJob(**current)))
    empty = patient.jobs()
    empty.describe = lambda name: None  # type: ignore[method-assign]  # noqa: ARG005
    settled = settle_all(
        {"research": lambda: empty, "aws_default": patient.jobs},
        ledger=ledger,
        installation="prod",
        task_state_of=lambda _i: "failed",
        say=lambda _text: None,
        price_of=lambda _region, _type: None,
    )
    assert settled == []


@pytest.mark.parametrize("setting", ["True", "False", None])
def test_a_sweep_stops_orphans_only_where_the_setting_says_so(
    patient: Cloud, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    """Also where a person asks for it in the Dag's form."""
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", "prod")
    monkeypatch.setattr(AwsAccess, "jobs", lambda _self: patient.jobs())
    if setting is not None:
        monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__SWEEPER_STOPS", setting)
    name = start_job(patient)
    said: list[str] = []

    def look(*, stop: bool) -> Any:
        return sweep_this_airflow(
            task_state_of=lambda _i: "failed", ledger=ledger, stop=stop, say=said.append
        )

    assert [finding.name for finding in look(stop=False)] == [name]
    assert list(patient.jobs().live()) == [name]
    if setting == "True":
        look(stop=True)
        assert list(patient.jobs().live()) == []
        return
    with pytest.raises(SweepRefused, match="AIRFLOW__SPOT_TRAINING__SWEEPER_STOPS=True"):
        look(stop=True)
    assert list(patient.jobs().live()) == [name]
    assert any(f"stop-training-job --training-job-name {name}" in text for text in said)


def test_the_books_of_other_installations_are_not_settled(
    patient: Cloud, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor those of the name that all had, where the task is not here: they may be another Airflow's."""
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", "prod, older, airflow")
    monkeypatch.setattr(AwsAccess, "jobs", lambda _self: patient.jobs())
    for name in ("prod", "older", "airflow", "staging"):
        ledger.write(_running("us-east-1", installation=name))

    def settle(state: str) -> set[str]:
        settled = settle_this_airflow(
            task_state_of=lambda _i: state,
            ledger=ledger,
            say=lambda _text: None,
            price_of=lambda _region, _type: None,
        )
        return {record.installation for record in settled}

    assert settle(NO_SUCH_TASK) == {"prod", "older"}
    assert settle("failed") == {"airflow"}
