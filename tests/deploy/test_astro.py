"""The files of an Astro project, in deploy/astro."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from packaging.requirements import Requirement

from .support import DEPLOY, EXTRAS, PACKAGE, WHEEL, brought_by, installed_extras

DOCKERFILE = (DEPLOY / "astro" / "Dockerfile").read_text()


def _instructions() -> list[str]:
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [line for line in text.splitlines() if line]


def test_the_image_is_built_on_an_astro_runtime_of_airflow_3() -> None:
    (first,) = (line for line in _instructions() if line.startswith("FROM "))
    assert re.fullmatch(r"FROM \S+/runtime:3\.\d+-\d+", first)
    assert _instructions()[0] == first


def test_the_image_runs_as_the_runtimes_user() -> None:
    users = [line for line in _instructions() if line.startswith("USER ")]
    assert users[-1] == "USER astro"


def test_the_dockerfile_installs_our_wheel_with_an_extra_that_there_is() -> None:
    (pattern,) = re.findall(r"ls include/wheels/(\S+)\)", DOCKERFILE)
    assert fnmatchcase(f"{WHEEL}1.0-py3-none-any.whl", pattern)
    assert installed_extras(DOCKERFILE) <= set(EXTRAS)
    assert {"duckdb", "vl-convert-python"} <= brought_by(installed_extras(DOCKERFILE))


def test_pip_may_not_change_the_runtimes_airflow() -> None:
    (run,) = (line for line in _instructions() if line.startswith("RUN "))
    ((pattern, written),) = re.findall(r"grep -E '(\S+)' > (\S+)", run)
    assert f"--constraint {written} " in run
    held = ("apache-airflow==3.3.1", "apache-airflow-core==3.3.1", "apache-airflow-task-sdk==1.3.1")
    assert all(re.search(pattern, line) for line in held)
    assert not re.search(pattern, "apache-airflow-providers-common-compat==1.15.0")


def test_the_requirements_name_the_package_for_later_and_nothing_that_is_not_there_yet() -> None:
    """The base image installs them before it copies the project: a path in there would not exist."""
    lines = (DEPLOY / "astro" / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    later = Requirement(lines[-1].removeprefix("# "))
    assert later.name == PACKAGE
    assert later.extras == installed_extras(DOCKERFILE)


def test_no_system_package_is_needed() -> None:
    assert (DEPLOY / "astro" / "packages.txt").read_text() == ""
