"""The login of Airflow 3.0, which keeps it in the browser's storage, without an Airflow around it."""

from __future__ import annotations

import asyncio
import re
import warnings
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import httpx
import pytest

PATHS = ("/", "/api/installation")
TASK = {"dag_id": "predict_churn", "run_id": "r", "task_id": "t"}


@dataclass(kw_only=True)
class AuthManager:
    """Knows one token, and keeps what it is asked."""

    asked: list[Any] = field(default_factory=list)
    login: str = "http://airflow/auth/login"

    async def get_user_from_token(self, token: str) -> str:
        from jwt import InvalidTokenError

        if token != "good":  # noqa: S105 - not a password
            raise InvalidTokenError
        return "somebody"

    def get_authorized_dag_ids(self, **_: Any) -> set[str]:
        return {"predict_churn"}

    def is_authorized_dag(self, *, details: Any, **_: Any) -> bool:
        self.asked.append(details.id)
        return bool(details.id == "predict_churn")

    def get_url_login(self, **_: Any) -> str:
        return self.login


@dataclass(kw_only=True)
class Page:
    app: Any
    manager: AuthManager

    def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
                return await client.get(path, params=query, headers=headers)

        return asyncio.run(ask())


@pytest.fixture(params=[True, False], ids=["in the storage", "in a cookie"])
def keeps_in_storage(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def page(keeps_in_storage: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Page:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Airflow's API imports warns about itself
        from airflow.api_fastapi.core_api import security
        from airflow.models.dag import DagModel

        from spot_training.dashboard import access, app, stored

    manager = AuthManager()
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", f"file://{tmp_path}")
    for module in (security, access):
        monkeypatch.setattr(module, "get_auth_manager", lambda: manager)
    monkeypatch.setattr(DagModel, "get_team_name", lambda _: None)
    monkeypatch.setattr(stored, "_load", lambda _: None)
    monkeypatch.setattr(app, "keeps_login_in_storage", lambda: keeps_in_storage)
    return Page(app=app.create_app(), manager=manager)


@pytest.mark.parametrize("path", PATHS)
def test_the_cookie_of_the_page_is_a_login_only_where_airflow_has_none(
    page: Page, keeps_in_storage: bool, path: str
) -> None:
    answer = page.get(path, headers={"Cookie": "spot_training_login=good"})
    assert answer.status_code == (200 if keeps_in_storage else 401)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cookie", ["_token=good", "_token=bad; spot_training_login=good"])
def test_the_cookie_that_airflows_login_sets_counts_too(
    page: Page, keeps_in_storage: bool, path: str, cookie: str
) -> None:
    status = 403 if "bad" in cookie and not keeps_in_storage else 200
    assert page.get(path, headers={"Cookie": cookie}).status_code == status


def test_a_token_in_the_header_wins(page: Page) -> None:
    headers = {"Authorization": "Bearer bad", "Cookie": "spot_training_login=good"}
    assert page.get("/api/installation", headers=headers).status_code == 403
    assert page.get("/api/installation", headers={"Cookie": "spot_training_login=bad"}).status_code != 200


def test_who_is_not_logged_in_gets_one_script_and_no_other_may_run(
    page: Page, keeps_in_storage: bool
) -> None:
    answer = page.get("/")
    policy = answer.headers["Content-Security-Policy"]
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", answer.text, re.DOTALL)
    assert answer.status_code == 401
    assert 'href="http://airflow/auth/login?next=http%3A%2F%2Fairflow%2F"' in answer.text
    if not keeps_in_storage:
        assert scripts == []
        assert "script-src 'self';" in policy
        return
    (script,) = scripts
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "'self'" not in policy.partition("script-src")[2].partition(";")[0]
    assert page.get("/api/installation").headers["Content-Type"] == "application/json"


def test_a_way_back_that_the_auth_manager_adds_is_not_added_again(page: Page) -> None:
    page.manager.login = "http://airflow/auth/login?next=there"
    assert 'href="http://airflow/auth/login?next=there"' in page.get("/").text


@pytest.mark.parametrize("path", ["/training", "/api/training"])
def test_airflow_is_asked_for_the_dag_in_the_request_wherever_its_check_looks(
    page: Page, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spot_training.dashboard import access

    def check_of_3_0(request: Any, user: Any) -> None:
        page.manager.asked.append(request.path_params.get("dag_id"))

    headers = {"Authorization": "Bearer good"}
    assert page.get(path, headers, **TASK).status_code in {200, 404}
    assert page.get(path, headers, **{**TASK, "dag_id": "rank_search"}).status_code == 403
    monkeypatch.setattr(access, "_requires_task", check_of_3_0)
    page.get(path, headers, **TASK)
    assert page.manager.asked == ["predict_churn", "rank_search", "predict_churn"]
