"""Each service of docker-compose.yaml has the secrets that it uses, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .reading import (
    AIRFLOW_SERVICES,
    COMPOSE_TEXT,
    ROOT,
    SERVICES,
    SUBSTITUTION,
    fill_in,
    make_env,
    read_env,
)

SECRET = re.compile(r"PASSWORD|SECRET|FERNET")

#: Who has what, and for what. A worker of Airflow 3 reaches the metadata database only by the api-server.
HOLDERS = {
    # the metadata database; postgres is the server, and init migrates it
    "POSTGRES_PASSWORD": {"postgres", "init", "api-server", "scheduler", "dag-processor", "triggerer"},
    # the results of Celery: init makes the database, the worker writes, the scheduler reads
    "CELERY_DB_PASSWORD": {"init", "scheduler", "worker"},
    "REDIS_PASSWORD": {"redis", "scheduler", "worker"},
    # connections, variables and triggers in the database: all that read or write these there
    "AIRFLOW_FERNET_KEY": {"api-server", "scheduler", "dag-processor", "triggerer"},
    # tokens: the scheduler's executor signs those of tasks, the api-server checks them and signs people's
    "AIRFLOW_JWT_SECRET": {"api-server", "scheduler"},
    # logs of running tasks: the api-server asks the log servers of worker and triggerer
    "AIRFLOW_API_SECRET_KEY": {"api-server", "worker", "triggerer"},
    "AIRFLOW_PASSWORD": {"init"},
}
#: AWS's keys: tasks and triggers.
CALL_AWS = {"worker", "triggerer"}


def _list_example() -> list[str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _list_used(content: Any) -> set[str]:
    """The variables of `.env` anywhere in a service."""
    if isinstance(content, dict):
        return set().union(*map(_list_used, content.values()))
    if isinstance(content, list):
        return set().union(*map(_list_used, content))
    return {match["name"] for match in SUBSTITUTION.finditer(str(content))}


def test_every_secret_is_in_the_table() -> None:
    assert HOLDERS.keys() == {name for line in _list_example() if SECRET.search(name := line.split("=")[0])}


def test_the_docs_name_the_same_holders() -> None:
    section = (ROOT / "docs" / "compose.md").read_text().split("## Secrets")[1]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE))
    assert {secret: set(holders.strip().split(", ")) for secret, holders in rows.items()} == HOLDERS


@pytest.mark.parametrize("secret", HOLDERS)
def test_a_secret_is_with_those_that_use_it(secret: str) -> None:
    assert {name for name, content in SERVICES.items() if secret in _list_used(content)} == HOLDERS[secret]


def test_the_keys_of_aws_are_with_those_that_call_it() -> None:
    for service, content in SERVICES.items():
        keys = [name for name in content.get("environment", {}) if name.startswith(("AWS_", "AIRFLOW_CONN_"))]
        assert bool(keys) == (service in CALL_AWS), (service, keys)


def test_the_file_of_passwords_is_with_those_that_write_and_check_it() -> None:
    found = {
        name
        for name, content in SERVICES.items()
        if any(volume.startswith("airflow-auth:") for volume in content.get("volumes", []))
    }
    assert found == {"init", "api-server"}


def test_what_is_no_secret_is_the_same_everywhere() -> None:
    settings = [
        {
            name: value
            for name, value in content["environment"].items()
            if name in SERVICES["init"]["environment"]
        }
        for service, content in SERVICES.items()
        if service in AIRFLOW_SERVICES
    ]
    for name in set().union(*settings):
        assert len({found[name] for found in settings if name in found}) == 1, name
    assert len(set.intersection(*(set(found) for found in settings))) > 8


def test_no_secret_is_in_the_file_and_a_missing_one_stops_the_start_with_a_message() -> None:
    for service, content in SERVICES.items():
        for name, value in content.get("environment", {}).items():
            is_file_or_local = name.endswith("_FILE") or name.startswith("AWS_")
            if SECRET.search(name) and not is_file_or_local:
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{service}: {name}"
    for match in SUBSTITUTION.finditer(COMPOSE_TEXT):
        assert match["rest"].startswith((":?", ":-")), match[0]
        if SECRET.search(match["name"]):
            assert match["rest"].startswith(":?"), match[0]


def test_every_address_with_a_password_has_it_from_the_variables() -> None:
    found = re.findall(r"://[^\s@/]*:([^@\s]*)@", fill_in(COMPOSE_TEXT))
    assert found == ["given"] * 3


def test_the_example_holds_no_secret_and_a_line_of_explanation_for_each_variable() -> None:
    for block in (ROOT / ".env.example").read_text().strip().split("\n\n"):
        assert block.startswith("#"), block
    for line in _list_example():
        name, _, value = line.partition("=")
        if SECRET.search(name):
            assert value == "", name


def test_the_file_with_secrets_is_kept_out_of_git_and_out_of_images() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "*"


@pytest.mark.slow
def test_a_script_makes_new_secrets_and_never_replaces_them(tmp_path: Path) -> None:
    from cryptography.fernet import Fernet

    done = make_env(tmp_path)
    assert done.returncode == 0, done.stderr
    first = read_env(tmp_path / ".env")
    assert first.keys() == {line.split("=")[0] for line in _list_example()}
    assert all(first.values())
    secrets = [value for name, value in first.items() if SECRET.search(name)]
    assert len(set(secrets)) == len(secrets) == len(HOLDERS)
    Fernet(first["AIRFLOW_FERNET_KEY"])
    assert re.fullmatch(
        r"[a-z0-9]+", first["POSTGRES_PASSWORD"] + first["CELERY_DB_PASSWORD"] + first["REDIS_PASSWORD"]
    )
    assert int(first["AIRFLOW_UID"]) > 0
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    assert (tmp_path / "reports").is_dir()
    again = make_env(tmp_path)
    assert again.returncode == 1
    assert "stays as it is" in again.stderr
    assert read_env(tmp_path / ".env") == first
