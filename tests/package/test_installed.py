"""A user's first hour: a fresh environment, the two wheels, Airflow, a Dag of ten lines."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from include.local_stack import AirflowApi, wait_until
from include.local_stack.process import KeptProcess
from spot_training.provider_info import OPTIONS

from .conftest import LOCK, ROOT, Environment, make_environment

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

#: What differs from the Dag of README.md: a simulated job of ten minutes, by hand, looked at each second.
CHANGES = {
    'schedule="@weekly"': "schedule=None",
    "deferrable=True": "deferrable=True, check_interval=1",
    '{"MaxRuntimeInSeconds": 3600}': (
        '{"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600},'
        '"Environment": {"LOCAL_TRAINING_SECONDS": "600"}'
    ),
}
USER = "admin"


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Both wheels with all extras, at the versions of the lock."""
    environment = make_environment(tmp_path_factory.mktemp("installed"))
    ours, local = (
        str(next(dist.glob(f"{name}-*.whl"))) for name in ("airflow_provider_*", "local_sagemaker")
    )
    environment.install(f"{ours}[all]", local, "--constraint", str(LOCK))
    return environment


def _read_dag() -> str:
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    for written, here in CHANGES.items():
        assert written in code
        code = code.replace(written, here)
    return code


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Airflow:
    """`airflow standalone` and `local-sagemaker`, both of the fresh environment."""

    url: str
    home: Path
    api: AirflowApi


@pytest.fixture(scope="module")
def airflow(installed: Environment) -> Iterator[Airflow]:
    home = installed.work / "airflow"
    (home / "dags").mkdir(parents=True)
    (home / "passwords.json").write_text(json.dumps({USER: "secret"}))
    (home / "dags" / "retrain.py").write_text(_read_dag())
    local = KeptProcess(
        "local-sagemaker",
        [installed.program("local-sagemaker"), "--port", "0", "--speed", "600", "--market", "no-capacity"],
        env=installed.env,
        cwd=installed.work,
        log=installed.work / "local-sagemaker.log",
    )
    try:
        ready = wait_until(
            lambda: re.search(r"^ready: (\S+)$", local.read_log(), re.MULTILINE),
            "local-sagemaker",
            timeout_seconds=60,
        )
        url = f"http://127.0.0.1:{_free_port()}"
        standalone = KeptProcess(
            "airflow",
            [installed.program("airflow"), "standalone"],
            env=installed.env | _airflow_settings(home, url, aws=ready[1]),
            cwd=installed.work,
            log=installed.work / "airflow.log",
        )
        try:
            api = AirflowApi(url, USER, "secret")
            wait_until(lambda: _is_healthy(standalone, url), "Airflow to start", timeout_seconds=180)
            yield Airflow(url=url, home=home, api=api)
            api.close()
        finally:
            standalone.stop()
    finally:
        local.stop()


def _airflow_settings(home: Path, url: str, *, aws: str) -> dict[str, str]:
    port = url.rpartition(":")[2]
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(_free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(_free_port()),
        "AWS_ENDPOINT_URL": aws,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _is_healthy(standalone: KeptProcess, url: str) -> bool:
    standalone.check_runs()
    try:
        health = httpx.get(f"{url}/api/v2/monitor/health", trust_env=False, timeout=30).json()
    except (httpx.HTTPError, ValueError):
        return False
    return all(health[part]["status"] == "healthy" for part in ("scheduler", "triggerer", "dag_processor"))


def test_the_packages_have_what_an_index_asks_for(dist: Path) -> None:
    built = [*dist.glob("*.whl"), *dist.glob("*.tar.gz")]
    assert len(built) == 4
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_airflow_lists_the_provider_the_plugin_and_every_setting(installed: Environment) -> None:
    env = {"AIRFLOW_HOME": str(installed.work / "listing"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    assert "airflow-provider-spot-training" in installed.run("airflow", "providers", "list", env=env)
    plugins = json.loads(installed.run("airflow", "plugins", "--output", "json", env=env))
    assert [plugin["name"] for plugin in plugins if "spot_training" in plugin["source"]] == ["spot_training"]
    section = installed.run("airflow", "config", "list", "--section", "spot_training", "--defaults", env=env)
    assert set(re.findall(r"^# (\w+) = ", section, re.MULTILINE)) >= set(OPTIONS)


def test_the_commands_are_there(installed: Environment) -> None:
    assert installed.run("spot-training", "--version").startswith("spot-training 0.")
    assert "orphan" in installed.run("spot-training", "sweep", "--help")
    assert installed.run("local-sagemaker", "--help")
    assert installed.run("spot-drill", "--help")


def test_nothing_of_this_repository_is_installed_as_include(installed: Environment) -> None:
    """It would shadow the folder `include` that many Airflow projects have."""
    names = ("include", "dags", "tests", "spot_training")
    script = f"from importlib.util import find_spec as f; print([f(name) is not None for name in {names}])"
    assert installed.run("python", "-c", script).strip() == "[False, False, False, True]"


def test_a_training_falls_back_and_completes_and_the_page_shows_it(airflow: Airflow) -> None:
    api = airflow.api
    api.wait_for_dag("retrain")
    api.unpause("retrain")
    run_id = str(api.trigger("retrain")["dag_run_id"])
    wait_until(
        lambda: api.task_instance("retrain", run_id, "train")["state"] in {"success", "failed"},
        "the training to be over",
        timeout_seconds=180,
    )
    assert api.task_instance("retrain", run_id, "train")["state"] == "success"
    attempts = api.xcom("retrain", run_id, "train", "attempts")
    assert [attempt["purchase"] for attempt in attempts] == ["spot", "spot", "on-demand"]
    page = httpx.get(
        f"{airflow.url}/spot-training/training",
        params={"dag_id": "retrain", "run_id": run_id, "task_id": "train", "map_index": -1},
        headers={"Authorization": f"Bearer {api.login()}"},
        trust_env=False,
        timeout=60,
    )
    assert page.status_code == 200
    assert page.text.count("never got capacity") >= 2
    assert "on-demand" in page.text


def test_a_copy_of_the_plugins_folder_works_next_to_an_airflowignore_of_ones_own(
    dist: Path, tmp_path: Path
) -> None:
    """Without the package: its dependencies alone."""
    environment = make_environment(tmp_path)
    ours = str(next(dist.glob("airflow_provider_*.whl")))
    environment.install(f"{ours}[all]", "--constraint", str(LOCK))
    environment.uninstall("airflow-provider-spot-training")
    home = environment.work / "airflow"
    shutil.copytree(ROOT / "plugins", home / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "plugins" / ".airflowignore").write_text("somebody_elses_*\n")
    for syntax in ("glob", "regexp"):
        env = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX": syntax,
        }
        plugins = json.loads(environment.run("airflow", "plugins", "--output", "json", env=env))
        assert [each["name"] for each in plugins if "spot_training" in each["source"]] == ["spot_training"]
        script = "from airflow.plugins_manager import get_import_errors as e; print(e())"
        assert environment.run("python", "-c", script, env=env).splitlines()[-1] == "{}"
