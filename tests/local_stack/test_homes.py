"""Components with homes of their own: nothing of one component's disk is seen by another."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.local_stack import LocalStack, LocalStackError
from include.local_stack.environment import Secrets
from include.local_stack.homes import build_own_env, make_own_home

SECRETS = Secrets(password="p", jwt="j", fernet="f", api="a")  # noqa: S106


def test_what_is_in_the_stacks_home_is_in_the_components_home_instead(tmp_path: Path) -> None:
    shared, home = tmp_path / "airflow", tmp_path / "homes" / "worker"
    for name in ("dags", "plugins"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.py").write_text(name)
        (tmp_path / name / "__pycache__").mkdir()
    env = {
        "AIRFLOW_HOME": str(shared),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{shared}/logs",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(tmp_path / "plugins"),
        "AIRFLOW__API__BASE_URL": "http://127.0.0.1:20001",
        "NEXT_TO_IT": f"{shared}-2",
    }
    make_own_home(env, SECRETS, home)
    assert build_own_env(env, shared_home=shared, home=home) == {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{home}/logs",
        "AIRFLOW__CORE__DAGS_FOLDER": f"{home}/dags",
        "AIRFLOW__CORE__PLUGINS_FOLDER": f"{home}/plugins",
        "AIRFLOW__API__BASE_URL": "http://127.0.0.1:20001",
        "NEXT_TO_IT": f"{shared}-2",
    }
    assert (home / "dags" / "file.py").read_text() == "dags"
    assert (home / "plugins" / "file.py").read_text() == "plugins"
    assert not (home / "dags" / "__pycache__").exists()
    assert (home / "logs").is_dir()


@pytest.mark.slow
def test_a_database_in_a_home_cannot_be_shared_by_several(tmp_path: Path) -> None:
    stack = LocalStack(Path(__file__).parents[2], tmp_path, has_own_homes=True)
    with pytest.raises(LocalStackError, match="need a database server"), stack:
        pytest.fail("the stack came up")
