"""The page in an Airflow without a base path; `tests/dashboard` has all the rest, below one."""

from __future__ import annotations

import re

import httpx
import pytest

from include.local_stack import LocalStack

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


def test_the_page_and_its_files_are_served_at_the_root(stack: LocalStack) -> None:
    login = {"username": stack.login.username, "password": stack.login.password}
    token = httpx.post(f"{stack.airflow_url}/auth/token", json=login).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    page = httpx.get(f"{stack.airflow_url}/spot-training/", headers=headers)
    assert page.status_code == 200
    assert "<h1>Spot training</h1>" in page.text
    files = re.findall(r'(?:href|src)="(static/[^"]+)"', page.text)
    assert files
    for file in files:
        answer = httpx.get(f"{stack.airflow_url}/spot-training/{file}", headers=headers)
        assert answer.status_code == 200
    assert stack.api.request("GET", "plugins/importErrors")["import_errors"] == []
