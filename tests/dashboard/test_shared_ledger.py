"""Two Airflows, one ledger: the page and its API show this one's trainings, and say which one it is."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import httpx
import pytest

from spot_training import installation as identities
from spot_training.domain.records import TrainingRecord
from spot_training.ledger import Ledger
from spot_training.sagemaker.identity import RunIdentity
from spot_training.training.state import Intent, TrainingState

from .trainings import training, under_way

MINE, THEIRS, EARLIER = "airflow-0123456789ab", "airflow-ba9876543210", "airflow"
DAG = "predict_churn"
NOW = datetime.now(UTC)


@dataclass(kw_only=True)
class Page:
    """The app behind a login that lets everybody in, asked without a server."""

    app: Any
    states: dict[str, TrainingState]

    def get(self, path: str, **query: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
                return await client.get(path, params=query)

        return asyncio.run(ask())

    def training(self, run_id: str) -> httpx.Response:
        return self.get("/api/training", dag_id=DAG, run_id=run_id, task_id="train")


def _record(installation: str, run_id: str, **facts: Any) -> TrainingRecord:
    """A training; what a person could choose it by has its installation's name."""
    of = {THEIRS: "theirs", MINE: "mine", EARLIER: "earlier"}[installation]
    named = {"model": f"{of}-model", "team": f"{of}-team", "instance_type": f"ml.{of}.xlarge"}
    began = {"dag_id": DAG, "run_id": run_id, "task_id": "train", "began_at": NOW - timedelta(days=2)}
    return training(**{"installation": installation, **named, **began, **facts})


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Airflow's API imports warns about itself
        from airflow.api_fastapi.core_api.security import get_user

        from spot_training.dashboard import access, stored
        from spot_training.dashboard.app import create_app

    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path))
    for name in (MINE, THEIRS, EARLIER):
        ledger.write(_record(name, "same run"))
        ledger.write(_record(name, f"run of {name}"))
        live = under_way(began_at=NOW - timedelta(hours=2))
        task: dict[str, Any] = {"dag_id": DAG, "run_id": f"live of {name}", "task_id": "train"}
        ledger.write(replace(live, installation=name, team="from the ledger", **task))
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", f"file://{tmp_path}")
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", MINE)
    everybody = SimpleNamespace(get_authorized_dag_ids=lambda **_: {DAG})
    monkeypatch.setattr(access, "get_auth_manager", lambda: everybody)
    states: dict[str, TrainingState] = {}
    monkeypatch.setattr(stored, "_load", lambda task: states.get(task.run_id))
    app = create_app()
    for route in (get_user, access.MAY_READ_TASK.dependency):
        app.dependency_overrides[route] = lambda: None
    yield Page(app=app, states=states)
    identities._known.forget()


def _runs(rows: list[dict[str, Any]]) -> set[str]:
    return {row["run_id"] for row in rows}


@pytest.mark.parametrize(
    ("setting", "own"), [(MINE, [MINE]), (f"{MINE}, {EARLIER} until 2026-11-28", [MINE, EARLIER])]
)
def test_lists_totals_and_choices_are_this_airflows(
    page: Page, monkeypatch: pytest.MonkeyPatch, setting: str, own: list[str]
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", setting)
    runs = {"same run", *(f"run of {name}" for name in own), *(f"live of {name}" for name in own)}
    overview = page.get("/api/overview", window="all").json()
    assert overview["totals"]["trainings"] == 3 * len(own)
    assert _runs(overview["trainings"]) == runs
    assert _runs(overview["live"]) == {f"live of {name}" for name in own}
    assert _runs(page.get("/api/trainings", window="all").json()) == runs
    offered = page.get("/api/choices").json()
    shown = page.get("/", window="all").text
    for others in {"theirs", "earlier"} - ({"earlier"} if EARLIER in own else set()):
        assert f"{others}-model" not in str(offered)
        assert f"{others}-team" not in shown
        assert f"ml.{others}.xlarge" not in shown
    assert "mine-model" in offered["models"]
    assert f"Installation {MINE}" in " ".join(shown.split())


@pytest.mark.parametrize("chosen", [{"model": "theirs-model"}, {"team": "theirs-team"}, {"dag_id": DAG}])
def test_no_filter_leads_to_another_airflows_trainings(page: Page, chosen: dict[str, str]) -> None:
    for path in ("/api/overview", "/api/trainings", "/"):
        answer = page.get(path, window="all", **chosen)
        assert answer.status_code == 200
        assert THEIRS not in answer.text


def test_a_single_training_is_this_airflows(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    assert page.training("same run").json()["model"] == "mine-model"
    assert page.training(f"run of {THEIRS}").status_code == 404
    assert page.training(f"run of {EARLIER}").status_code == 404
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", f"{MINE}, {EARLIER}")
    assert page.training(f"run of {EARLIER}").json()["model"] == "earlier-model"
    assert page.training("same run").json()["model"] == "mine-model"


def test_a_tab_with_a_run_id_as_it_is_shows_the_training(page: Page) -> None:
    """In an address a + means a space, and Airflow 3.1 does not quote it."""
    run_id, unquoted = (f"manual__2026-11-29T03:20:12{sign}00:00" for sign in "+ ")
    task = {"dag_id": DAG, "task_id": "train", "map_index": "{MAP_INDEX}"}
    Ledger.configured().write(_record(MINE, run_id))
    shown = page.get("/training", **task, run_id=run_id, within="task").text
    assert "mine-model" in shown
    assert page.get("/training", **task, run_id=unquoted, within="task").text == shown
    assert "mine-model" not in page.get("/training", **task, run_id=unquoted).text


def test_a_training_of_0_1_0_that_goes_on_is_found_by_its_state(page: Page) -> None:
    """Also where its record would not be looked for: this metadata database holds its state."""
    run_id = f"live of {EARLIER}"
    who = RunIdentity(dag_id=DAG, run_id=run_id, task_id="train", installation=EARLIER)
    job = Intent(job_name=who.job_name("churn", 2), number=2, step=1, reason="no spot capacity")
    page.states[run_id] = TrainingState(current=job)
    found = page.training(run_id).json()
    assert found["team"] == "from the ledger"
    assert found["is_live"]


def test_the_api_says_which_airflow_it_is_and_whether_its_sweeper_stops(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", f"{MINE}, {EARLIER}")
    shown = {
        "installation": MINE,
        "earlier": [EARLIER],
        "determined_by": "[spot_training] installation",
        "sweeper_stops": False,
    }
    assert page.get("/api/installation").json() == shown
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__SWEEPER_STOPS", "True")
    assert page.get("/api/installation").json() == {**shown, "sweeper_stops": True}


@pytest.mark.parametrize("path", ["/", "/api/overview", "/api/installation"])
def test_an_airflow_that_cannot_be_identified_shows_nothing_and_says_what_to_do(
    page: Page, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def away(**_: Any) -> None:
        raise ConnectionError("the database is away")

    monkeypatch.delenv("AIRFLOW__SPOT_TRAINING__INSTALLATION")
    monkeypatch.setattr(identities, "_read_variable", away)
    identities._known.forget()
    answer = page.get(path)
    assert answer.status_code == 503
    assert "the database is away" in answer.text
    assert "AIRFLOW__SPOT_TRAINING__INSTALLATION" in answer.text
