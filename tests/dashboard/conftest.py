"""One Airflow below a base path: a history in its ledger, real trainings, two users, and a real browser."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import fsspec
import httpx
import pytest

from include.local_stack import LocalStack
from spot_training.ledger import Ledger
from tests.browser import chromium

from .hostile import MARKUP, hostile_training
from .trainings import history, training

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).resolve().parents[2]
BASE_PATH = "/airflow"
#: Two minutes a second: a live training changes every few seconds.
SPEED = 120
#: What Chromium says of Airflow's own frame.
KNOWN_TROUBLE = "An iframe which has both allow-scripts and allow-same-origin"


class StackBelowBasePath(LocalStack):
    """Airflow answers below the path of its `base_url` only."""

    def _prepare_environment(self) -> None:
        super()._prepare_environment()
        self.airflow_url += BASE_PATH
        self.env["AIRFLOW__API__BASE_URL"] = self.airflow_url
        self.env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{self.airflow_url}/execution/"


@dataclass(kw_only=True)
class Site:
    """Airflow as people see it."""

    stack: LocalStack
    passwords: dict[str, str]
    ledger: Ledger
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Airflow's own address, without a slash at its end."""
        return self.stack.airflow_url

    @property
    def page(self) -> str:
        """The page's own address, outside of Airflow's frame."""
        return f"{self.url}/spot-training/"

    def training(self, run_id: str, dag_id: str = "predict_churn", task_id: str = "train") -> str:
        return f"{self.page}training?{urlencode({'dag_id': dag_id, 'run_id': run_id, 'task_id': task_id})}"

    def task_instance(self, run_id: str, dag_id: str = "predict_churn", task_id: str = "train") -> str:
        return f"{self.url}/dags/{dag_id}/runs/{quote(run_id, safe='')}/tasks/{task_id}"

    def token(self, user: str) -> str:
        if user not in self.tokens:
            answer = _send(f"{self.url}/auth/token", {"username": user, "password": self.passwords[user]})
            self.tokens[user] = answer["access_token"]
        return self.tokens[user]

    def ask(self, run_id: str) -> dict[str, Any]:
        """What the JSON API says of a training of `predict_churn`."""
        task = {"dag_id": "predict_churn", "run_id": run_id, "task_id": "train"}
        headers = {"Authorization": f"Bearer {self.token('admin')}"}
        answer = httpx.get(f"{self.page}api/training", params=task, headers=headers)
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content

    def start(self, dag_id: str, **params: Any) -> str:
        """Start a run; its id."""
        self.stack.api.wait_for_dag(dag_id)
        self.stack.api.unpause(dag_id)
        return str(self.stack.api.trigger(dag_id, params)["dag_run_id"])

    def set_capacity(self, instance_type: str, *, available: bool) -> None:
        body = {"instance_type": instance_type, "available": available}
        _send(f"{self.stack.sagemaker_url}/_local/capacity", body, method="PUT")


def _send(url: str, body: dict[str, Any], method: str = "POST") -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - loopback
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        content: dict[str, Any] = json.loads(answer.read() or b"{}")
    return content


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Airflow, up, with 400 past trainings of four models on record."""
    folder = tmp_path_factory.mktemp("dashboard")
    dags = folder / "dags"
    shutil.copytree(Path(__file__).parent / "dags", dags)
    for name in ("retrain_flight_delays", "sweep_orphaned_trainings"):
        shutil.copy(ROOT / "dags" / f"{name}.py", dags)
    ledger = Ledger(fsspec.filesystem("file"), str(folder / "ledger"))
    now = datetime.now(UTC)
    for record in history(400, until=now):
        ledger.write(record)
    ledger.write(training(began_at=now - timedelta(days=2)))
    ledger.write(hostile_training(MARKUP, dag_id="predict_churn", began_at=now - timedelta(days=60)))
    with StackBelowBasePath(
        ROOT,
        folder / "state",
        speed=SPEED,
        dags_folder=dags,
        start_timeout_seconds=280,
        env={
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.dashboard.auth.GuestAuthManager",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,guest:viewer",
            "AIRFLOW__SPOT_TRAINING__LEDGER": f"file://{ledger.root}",
            # The owner of the past trainings.
            "AIRFLOW__SPOT_TRAINING__INSTALLATION": "airflow",
        },
    ) as stack:
        passwords = json.loads((stack.airflow_home / "passwords.json").read_text())
        yield Site(stack=stack, passwords=passwords, ledger=ledger)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@dataclass(kw_only=True)
class Visitor:
    """A person with a browser, logged in to Airflow; what went wrong in it is in `troubles`."""

    context: BrowserContext
    page: Page
    troubles: list[str]


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Any]:
    """Makes visitors. Afterwards nothing may have gone wrong in their browsers, CSP violations included."""
    visitors: list[Visitor] = []

    def enter(user: str | None = "admin", *, theme: str = "light", **options: Any) -> Visitor:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        if user is not None:
            context.add_cookies([{"name": "_token", "value": site.token(user), "url": f"{site.url}/"}])
        context.add_init_script(f"localStorage.theme ??= {theme!r}")
        page = context.new_page()
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
        page.set_default_timeout(60_000)
        visitors.append(Visitor(context=context, page=page, troubles=troubles))
        return visitors[-1]

    yield enter
    for visitor in visitors:
        visitor.context.close()
        assert [t for t in visitor.troubles if not t.startswith(KNOWN_TROUBLE)] == []
