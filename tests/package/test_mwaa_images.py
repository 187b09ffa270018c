"""Amazon MWAA as far as it can be tried without it, for each Airflow that it has an image for.

An environment with the package versions of the image, `plugins.zip` installed there as MWAA does, and then
Airflow's components with MWAA's auth manager and Celery, each with a home of its own: they share no disk.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from include.local_stack import (
    CELERY_COMPONENTS,
    LocalStack,
    Postgres,
    Redis,
    build_celery_env,
    describe_missing_programs,
)
from include.local_stack.environment import AIRFLOW_PYTHON, USER
from spot_training.domain.lifecycle import Ending

from .conftest import ROOT, Environment, make_environment
from .support import NO_INDEX, PLUGINS, build_configuration, list_installed

#: What each image has, and the versions that its constraints allow of what it has not.
IMAGES = ROOT.parent / "shared" / "data" / "mwaa"
VERSIONS = ("3.0.6", "3.2.1", "3.3.1")
LEDGER = ("ledger", "spot")
DAG, SWEEPER = "on_mwaa", "sweep_orphaned_trainings"
#: Ten minutes a second.
SPEED = 600

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not IMAGES.is_dir(), reason="needs the package versions of MWAA's images in ../shared/data/mwaa"
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An environment like the one in a container of MWAA."""

    environment: Environment
    airflow: str
    #: The packages of the image, before anything is installed into it.
    packages: dict[str, str]
    #: Where plugins.zip is unpacked.
    plugins: Path


def _read_image(airflow: str) -> tuple[list[str], list[str]]:
    """What the image of this Airflow has, and what it has not but constrains."""
    lines = (IMAGES / f"mwaa-{airflow}.txt").read_text().splitlines()
    pins = [line.partition("  #")[0].strip() for line in lines if re.match(r"(# )?[\w.-]+==\S+", line)]
    # The image compiles it. The versions of the wheel are others.
    installed = ["psycopg2-binary" if pin.startswith("psycopg2==") else pin for pin in pins]
    return (
        [pin for pin in installed if not pin.startswith("#")],
        [pin.removeprefix("# ") for pin in installed if pin.startswith("#")],
    )


def _find_python() -> str:
    """Python 3.12, which the images have, or else this one."""
    found = shutil.which("python3.12")
    if found is None:
        return sys.executable
    asked = [found, "-c", "import sys; print(sys.executable)"]
    done = subprocess.run(asked, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else sys.executable


@pytest.fixture(
    scope="module",
    params=[pytest.param(each, marks=() if each == VERSIONS[0] else pytest.mark.long) for each in VERSIONS],
)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, with the content of `plugins.zip` for a private web server in the plugins folder."""
    environment = make_environment(tmp_path_factory.mktemp("image"), python=_find_python())
    packages, _ = _read_image(request.param)
    # redis: MWAA's queue is SQS. The list has no click, and not every Celery runs with a later one.
    environment.install("pip", "redis", "click<8.3", *packages)
    return Image(
        environment=environment,
        airflow=request.param,
        packages=list_installed(environment),
        plugins=environment.work / "plugins",
    )


@pytest.fixture(scope="module")
def installed(image: Image, dist: Path) -> Image:
    environment, work = image.environment, image.environment.work
    _, others = _read_image(image.airflow)
    constraints = [*(f"{name}=={version}" for name, version in image.packages.items()), *others]
    (work / "constraints.txt").write_text("".join(f"{line}\n" for line in constraints))
    python = environment.run("python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    environment.run(
        *("python", str(ROOT / "deploy" / "mwaa" / "build.py"), "--offline"),
        *("--airflow", image.airflow, "--python", python, "--constraints", "constraints.txt"),
        *("--wheel", str(next(dist.glob("airflow_provider_*.whl"))), "--out", "built"),
    )
    with zipfile.ZipFile(work / "built" / "plugins.zip") as archive:
        archive.extractall(image.plugins)
    requirements = (work / "built" / "requirements.txt").read_text()
    (work / "requirements.txt").write_text(requirements.replace(PLUGINS, str(image.plugins)))
    environment.run("python", "-m", "pip", "install", "-r", "requirements.txt", env=NO_INDEX)
    return image


def test_what_the_image_has_stays_as_it_is_and_everything_fits(installed: Image) -> None:
    found = list_installed(installed.environment)
    added = found.keys() - installed.packages.keys()
    assert found.items() >= installed.packages.items()
    assert {"airflow-provider-spot-training", "duckdb", "vl-convert-python"} <= added
    assert "No broken requirements" in installed.environment.run("python", "-m", "pip", "check")


def test_the_lower_bounds_of_the_package_are_the_oldest_image(image: Image) -> None:
    """A later lower bound would keep MWAA's oldest Airflow out; an earlier one is not tried anywhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = {canonicalize_name(name): version for name, version in image.packages.items()}
    for requirement in map(Requirement, project["dependencies"]):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
        if image.airflow == VERSIONS[0]:
            assert str(requirement.specifier) == f">={version}", requirement


# Its components, without a shared disk ----------------------------------------------------------------


class MwaaStack(LocalStack):
    """Airflow with the auth manager of MWAA, which keeps its users in the database."""

    def _migrate(self) -> None:
        super()._migrate()
        names = ("--firstname", "A", "--lastname", "B", "--email", "a@example.com", "--role", "Admin")
        self.run_airflow(*("users", "create", "--username", USER, "--password", self.login.password), *names)


def _settings(image: Image) -> dict[str, str]:
    return {
        # The wheel's package, and not the one of this repository.
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "packages" / "local-sagemaker"))),
        **build_configuration(),
        "AIRFLOW__SPOT_TRAINING__LEDGER": f"s3://{'/'.join(LEDGER)}",
        "AIRFLOW_ENV_ID": "11112222",
        "AIRFLOW_ENV_NAME": "tried",
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__CORE__EXECUTE_TASKS_NEW_PYTHON_INTERPRETER": "True",
    }


@pytest.fixture(scope="module")
def stack(installed: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    if missing := describe_missing_programs():
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("mwaa-stack")
    dags = folder / "dags"
    shutil.copytree(Path(__file__).parent / "dags", dags)
    shutil.copy(ROOT / "dags" / f"{SWEEPER}.py", dags)
    with pytest.MonkeyPatch.context() as patch, Postgres() as postgres, Redis() as redis:
        patch.setenv(AIRFLOW_PYTHON, installed.environment.program("python"))
        with MwaaStack(
            ROOT,
            folder / "state",
            speed=SPEED,
            components=CELERY_COMPONENTS,
            dags_folder=dags,
            plugins_folder=installed.plugins,
            has_own_homes=True,
            start_timeout_seconds=280,
            env=build_celery_env(postgres, redis, concurrency=2) | _settings(installed),
        ) as running:
            for bucket in (LEDGER[0], "models"):
                running.boto3_client("s3").create_bucket(Bucket=bucket)
            yield running


@pytest.fixture(scope="module")
def run_id(stack: LocalStack) -> str:
    """A run whose training gets no spot capacity, and then on-demand."""
    body = {"instance_type": "ml.m5.xlarge", "available": False}
    httpx.put(f"{stack.sagemaker_url}/_local/capacity", json=body).raise_for_status()
    stack.api.wait_for_dag(DAG, timeout_seconds=120)
    stack.api.unpause(DAG)
    started = str(stack.api.trigger(DAG)["dag_run_id"])
    assert stack.api.wait_for_run(DAG, started, timeout_seconds=300)["state"] == "success"
    return started


def test_a_training_falls_back_to_on_demand_and_completes(stack: LocalStack, run_id: str) -> None:
    attempts = stack.api.xcom(DAG, run_id, "train", "attempts")
    assert [each["purchase"] for each in attempts] == ["spot", "on-demand"]
    assert [each["ending"] for each in attempts] == [Ending.NO_CAPACITY, Ending.COMPLETED]


def test_the_page_shows_it_from_the_ledger_on_s3(stack: LocalStack, run_id: str) -> None:
    headers = {"Authorization": f"Bearer {stack.api.login()}"}
    task = {"dag_id": DAG, "run_id": run_id, "task_id": "train"}

    def ask(path: str, **query: Any) -> httpx.Response:
        return httpx.get(f"{stack.airflow_url}/spot-training/{path}", params=query, headers=headers)

    training = ask("api/training", **task).json()
    assert training["state"] == "completed"
    assert [each["purchase"] for each in training["attempts"]] == ["spot", "on-demand"]
    assert ask("api/installation").json()["installation"] == "11112222"
    for answer in (ask(""), ask("training", **task)):
        assert answer.status_code == 200
        assert "churn" in answer.text
    assert httpx.get(f"{stack.airflow_url}/spot-training/").status_code == 401


def test_the_sweeper_runs(stack: LocalStack, run_id: str) -> None:
    stack.api.wait_for_dag(SWEEPER)
    stack.api.unpause(SWEEPER)
    swept = str(stack.api.trigger(SWEEPER)["dag_run_id"])
    assert stack.api.wait_for_run(SWEEPER, swept, timeout_seconds=180)["state"] == "success"


def test_no_component_had_anything_of_another_ones_disk(stack: LocalStack, run_id: str) -> None:
    homes = {name: stack.home_of(name) for name in CELERY_COMPONENTS[1:]}
    assert len(set(homes.values())) == len(homes) == 5
    logs = {name: {path.name for path in (home / "logs").rglob("*attempt=*")} for name, home in homes.items()}
    assert logs["worker"] == {"attempt=1.log"}
    assert {name for name, found in logs.items() if found} == {"worker", "triggerer"}
    for home in homes.values():
        assert not (home / "spot_ledger").exists()
    objects = stack.boto3_client("s3").list_objects_v2(Bucket=LEDGER[0], Prefix=f"{LEDGER[1]}/")
    assert objects["KeyCount"] > 0
