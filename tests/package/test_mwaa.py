"""plugins.zip for Amazon MWAA, installed as MWAA does: next to an Airflow, with pip and without an index."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

from .conftest import LOCK, ROOT, Environment, make_environment
from .support import NO_INDEX, PLUGINS, build_configuration, list_installed

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

#: What is in MWAA's images, as far as the package needs it.
IN_THE_IMAGE = ("apache-airflow", "apache-airflow-providers-amazon", "apache-airflow-providers-fab", "pip")
#: What they lack, at the versions of the lock.
LACKING = {
    name: re.findall(rf"^{name}==(\S+)", LOCK.read_text(), re.MULTILINE)[0]
    for name in ("duckdb", "vl-convert-python")
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = make_environment(tmp_path_factory.mktemp("mwaa"))
    environment.install(*IN_THE_IMAGE, "--constraint", str(LOCK))
    return environment


@pytest.fixture(scope="module")
def before(image: Environment) -> dict[str, str]:
    """The packages of the image, as long as nothing is installed into it."""
    return list_installed(image)


@pytest.fixture(scope="module")
def installed(image: Environment, before: dict[str, str], dist: Path) -> Environment:
    """`plugins.zip` for a private web server, unpacked, and `requirements.txt` installed from it."""
    constraints = image.work / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in (before | LACKING).items()))
    wheel = next(dist.glob("airflow_provider_*.whl"))
    python = image.run("python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    build = str(ROOT / "deploy" / "mwaa" / "build.py")
    environment = ("--airflow", before["apache-airflow"], "--python", python)
    given = ("--wheel", str(wheel), "--constraints", str(constraints), "--out", "built")
    image.run("python", build, "--offline", *environment, *given)
    plugins = image.work / "plugins"
    with zipfile.ZipFile(image.work / "built" / "plugins.zip") as archive:
        archive.extractall(plugins)
    requirements = (image.work / "built" / "requirements.txt").read_text()
    (image.work / "requirements.txt").write_text(requirements.replace(PLUGINS, str(plugins)))
    image.run("python", "-m", "pip", "install", "-r", "requirements.txt", env=NO_INDEX)
    return image


def test_pip_installs_the_package_and_what_the_image_lacks_without_an_index(installed: Environment) -> None:
    found = list_installed(installed)
    assert "airflow-provider-spot-training" in found
    assert {name: found[name] for name in LACKING} == LACKING
    assert "No broken requirements" in installed.run("python", "-m", "pip", "check")


def test_what_the_image_has_stays_as_it_is(installed: Environment, before: dict[str, str]) -> None:
    assert list_installed(installed).items() >= before.items()


def test_airflow_finds_the_package_next_to_the_wheels_in_the_plugins_folder(installed: Environment) -> None:
    env = {
        "AIRFLOW_HOME": str(installed.work),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_ENV_ID": "11112222",
        **build_configuration(),
    }
    plugins = json.loads(installed.run("airflow", "plugins", "--output", "json", env=env))
    assert [each["name"] for each in plugins if "spot_training" in each["source"]] == ["spot_training"]
    script = "from airflow.plugins_manager import get_import_errors as e; print(e())"
    assert installed.run("python", "-c", script, env=env).splitlines()[-1] == "{}"
    assert installed.run("spot-training", "installation", env=env).startswith("11112222\n")
    ledger = installed.run("airflow", "config", "get-value", "spot_training", "ledger", env=env)
    assert ledger.splitlines()[-1] == "s3://BUCKET/PREFIX"
