"""The stack's variables: cut off from the machine, and each one a setting that Airflow knows."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.local_stack import COMPONENTS, DEFAULT_COMPONENTS, LocalStack
from include.local_stack.environment import (
    Secrets,
    build_airflow_env,
    build_aws_env,
    find_free_port,
    keep_from_machine,
)

VARIABLE = re.compile(r"AIRFLOW__(?P<section>[A-Z_]+?)__(?P<key>[A-Z0-9_]+)")


def _build_env(**overrides: object) -> dict[str, str]:
    arguments: dict[str, Any] = {
        "root": Path("/project"),
        "home": Path("/state/airflow"),
        "dags_folder": Path("/project/dags"),
        "plugins_folder": Path("/project/plugins"),
        "airflow_url": "http://127.0.0.1:20001",
        "port": 20001,
        "locks": Secrets(password="p", jwt="j", fernet="f", api="a"),  # noqa: S106
        "parallelism": 4,
    } | overrides
    return build_airflow_env(**arguments)


def test_every_setting_of_the_stack_is_one_that_this_airflow_knows() -> None:
    spec = find_spec("airflow")
    assert spec is not None
    config = Path(str(spec.origin)).parent / "config_templates" / "config.yml"
    known = yaml.safe_load(config.read_text())
    for variable in _build_env():
        match = VARIABLE.fullmatch(variable)
        if match:
            assert match["key"].lower() in known[match["section"].lower()]["options"], variable


def test_no_aws_or_airflow_setting_of_the_machine_reaches_the_stack() -> None:
    machine = {
        "AWS_PROFILE": "production",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://real",
        "PATH": "/bin",
    }
    kept = keep_from_machine(machine)
    assert kept.keys() & machine.keys() == {"PATH"}


def test_the_stack_talks_to_itself_past_any_proxy() -> None:
    kept = keep_from_machine({"NO_PROXY": "example.org"})
    assert kept["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    assert kept["no_proxy"] == "127.0.0.1,localhost"


def test_aws_clients_find_the_local_cloud_and_no_files_of_the_user(tmp_path: Path) -> None:
    env = build_aws_env(tmp_path, "http://127.0.0.1:20002")
    assert env["AWS_ENDPOINT_URL"] == "http://127.0.0.1:20002"
    assert Path(env["AWS_CONFIG_FILE"]).parent == tmp_path


def test_secrets_are_made_once_and_only_the_user_can_read_them(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    made = Secrets.load_or_make(path)
    assert Secrets.load_or_make(path) == made
    assert path.stat().st_mode & 0o077 == 0
    assert Secrets.load_or_make(tmp_path / "others.json") != made


@pytest.mark.slow
def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    assert 20_000 <= find_free_port() < 32_000


def test_an_unknown_component_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such components: \['webserver'\]"):
        LocalStack(tmp_path, tmp_path, components=["webserver"])


def test_every_default_component_is_known() -> None:
    assert {name for name in DEFAULT_COMPONENTS if name != "local-sagemaker"} <= COMPONENTS.keys()
