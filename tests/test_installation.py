"""Which Airflow this is, and under which name a training goes on: settings, environment, states of 0.1.0."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest

from spot_training import installation as module
from spot_training.domain.errors import InstallationUnknown, InvalidInput
from spot_training.domain.record_keys import SHARED_NAME
from spot_training.installation import (
    EarlierName,
    Installation,
    InstallationListener,
    Source,
    describe,
    installation_of_training,
    names_of_own_records,
    this_installation,
)
from spot_training.sagemaker.identity import RunIdentity
from spot_training.training.state import Intent, TrainingState

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
TASK = RunIdentity(dag_id="retrain", run_id="run 1", task_id="train", installation="")


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AIRFLOW__SPOT_TRAINING__INSTALLATION")
    monkeypatch.delenv("AIRFLOW_ENV_ID", raising=False)
    module._known.forget()
    yield
    module._known.forget()


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what a task gets for the Variable: text, None where it is not there, or an error."""

    def answer(value: str | Exception | None) -> None:
        def ask() -> str | None:
            if isinstance(value, Exception):
                raise value
            return value

        monkeypatch.setattr(module, "_is_task", lambda: True)
        monkeypatch.setattr(module, "_has_database", lambda: False)
        monkeypatch.setattr(module, "_ask_api", ask)
        module._known.forget()

    return answer


# The name ---------------------------------------------------------------------------------------------


def test_the_setting_comes_before_the_environments_id_and_that_before_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: Any
) -> None:
    variable("airflow-0123456789ab")
    assert this_installation() == Installation(name="airflow-0123456789ab", source=Source.VARIABLE)
    monkeypatch.setenv("AIRFLOW_ENV_ID", "env-7")
    assert this_installation() == Installation(name="env-7", source=Source.MWAA)
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", "team B's (prod)")
    assert this_installation() == Installation(name="team B's (prod)", source=Source.SETTING)


def test_earlier_names_follow_the_name_and_may_say_until_when(variable: Any) -> None:
    variable("mine, old, airflow until 2026-11-28T12:00:00Z, waiting until dawn")
    this = this_installation()
    assert this.names == ("mine", "old", "airflow", "waiting until dawn")
    assert this.earlier[1] == EarlierName(name="airflow", until=NOON)
    assert EarlierName.parse(str(this.earlier[1])) == this.earlier[1]
    assert "airflow until 2026-11-28T12:00:00+00:00" in describe(this)


@pytest.mark.parametrize("value", [",", "mine,", "x" * 101, ", airflow"])
def test_a_setting_that_is_no_name_is_refused_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", value)
    with pytest.raises(InvalidInput, match=r"\[spot_training\] installation is"):
        this_installation()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "is not there, or could not be read"),
        ("", "holds no name"),
        (ConnectionError("the API server is away"), "the API server is away"),
    ],
)
def test_an_identity_that_cannot_be_read_says_what_to_do_and_may_be_tried_again(
    variable: Any, value: Any, told: str
) -> None:
    variable(value)
    with pytest.raises(InstallationUnknown) as failed:
        this_installation()
    assert failed.value.is_retryable
    for words in (told, "restart the scheduler", "AIRFLOW__SPOT_TRAINING__INSTALLATION"):
        assert words in str(failed.value)


def test_an_error_is_not_kept_and_a_name_is(variable: Any) -> None:
    variable(None)
    with pytest.raises(InstallationUnknown):
        this_installation()
    variable("first")
    assert this_installation().name == "first"


def test_the_variable_is_asked_for_once_in_a_while(variable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    variable("first")
    assert this_installation().name == "first"
    monkeypatch.setattr(module, "_ask_api", lambda: "second")
    assert this_installation().name == "first"
    now = time.monotonic() + module.KNOWN_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert this_installation().name == "second"


def test_own_records_are_those_of_the_training_at_least(variable: Any) -> None:
    variable("mine, airflow")
    assert names_of_own_records("airflow") == ("airflow", "mine")
    variable(None)
    assert names_of_own_records("airflow") == ("airflow",)


def test_a_task_process_makes_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow calls `on_starting` there, too, with something that is no `Job`."""

    def make(**_: Any) -> NoReturn:
        raise AssertionError("a task asked for it")

    monkeypatch.setattr(module, "this_installation", make)
    InstallationListener().on_starting(component=object())


@pytest.mark.parametrize(
    ("address", "has"), [("airflow-db-not-allowed:///", False), ("sqlite:////nowhere/airflow.db", True)]
)
def test_a_process_that_runs_tasks_has_no_database(
    monkeypatch: pytest.MonkeyPatch, address: str, has: bool
) -> None:
    """Airflow sets the address so there: such a process must not make a Variable in a file of its own."""
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", address)
    assert module._has_database() is has


@pytest.mark.parametrize("make", [True, False])
def test_a_task_whose_api_does_not_answer_makes_nothing(monkeypatch: pytest.MonkeyPatch, make: bool) -> None:
    def forbidden() -> NoReturn:
        raise AssertionError("a task's process asked the database")

    monkeypatch.setattr(module, "_is_task", lambda: True)
    monkeypatch.setattr(module, "_ask_api", lambda: None)
    monkeypatch.setattr(module, "_make_variable", forbidden)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow-db-not-allowed:///")
    with pytest.raises(InstallationUnknown):
        this_installation(make=make)


# A training's own -------------------------------------------------------------------------------------


def _refuse() -> NoReturn:
    raise InstallationUnknown("nothing")


def _state(name: str, *, generation: int = 0, **facts: Any) -> TrainingState:
    """A state as 0.1.0 wrote it: only the names of its jobs say under which installation it began."""
    who = replace(TASK, installation=name, generation=generation)
    job = Intent(job_name=who.job_name("model", 1), number=1, step=0, reason="first")
    return TrainingState(**{"generation": generation, "current": job, **facts})


def test_a_training_that_has_begun_keeps_its_name_and_asks_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "this_installation", _refuse)
    assert installation_of_training(TASK, TrainingState(installation="old")) == "old"
    assert installation_of_training(TASK, _state(SHARED_NAME)) == SHARED_NAME


def test_a_training_of_0_1_0_goes_on_under_the_name_in_its_jobs_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the setting came with the upgrade, or had been there before it."""
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", "prod")
    assert installation_of_training(TASK, _state(SHARED_NAME)) == SHARED_NAME
    assert installation_of_training(TASK, _state("prod", generation=2)) == "prod"
    assert installation_of_training(TASK, TrainingState(generation=1)) == "prod"


def test_a_job_that_a_sensor_was_given_says_nothing_of_its_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", "prod")
    given = _state(SHARED_NAME)
    assert given.current is not None
    watching = replace(given, current=replace(given.current, is_foreign=True))
    assert installation_of_training(TASK, watching) == "prod"


@pytest.mark.parametrize(
    ("began_at", "has_job", "name"),
    [
        (NOON - timedelta(hours=1), True, SHARED_NAME),
        (NOON - timedelta(hours=1), False, "mine"),
        (NOON + timedelta(hours=1), True, "mine"),
        (None, True, "mine"),
    ],
)
def test_a_lost_state_is_looked_for_under_the_first_name_only_in_runs_before_the_upgrade(
    variable: Any, began_at: datetime | None, has_job: bool, name: str
) -> None:
    variable("mine, older, airflow until 2026-11-28T12:00:00Z")
    asked: list[str] = []

    def look(who: RunIdentity) -> bool:
        asked.append(who.installation)
        return has_job

    assert installation_of_training(TASK, None, run_began_at=began_at, has_job=look) == name
    assert asked == ([SHARED_NAME] if began_at and began_at < NOON else [])
