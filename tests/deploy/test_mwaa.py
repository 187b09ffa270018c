"""The files for Amazon MWAA, in deploy/mwaa, and the script that builds plugins.zip."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from packaging.requirements import Requirement

from spot_training.provider_info import OPTIONS

from .support import DEPLOY, EXTRAS, PACKAGE, PROJECT, ROOT, WHEEL, brought_by, is_option

FOLDER = DEPLOY / "mwaa"
REQUIREMENTS = (FOLDER / "requirements.txt").read_text()
CONFIGURATION: dict[str, str] = json.loads((FOLDER / "airflow-configuration-options.json").read_text())
SHAPES: dict[str, Any] = Loader().load_service_model("mwaa", "service-2")["shapes"]


def _load_script() -> Any:
    spec = importlib.util.spec_from_file_location("mwaa_build", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _load_script()


def _wanted(requirements: str) -> Requirement:
    (line,) = (line for line in requirements.splitlines() if line and not line.startswith(("#", "-")))
    return Requirement(line)


#: The Airflows that MWAA has an image for.
AIRFLOWS = ("3.0.6", "3.2.1", "3.3.1")


@pytest.mark.parametrize("airflow", AIRFLOWS)
def test_the_package_takes_every_airflow_that_mwaa_has(airflow: str) -> None:
    (needed,) = (each for each in map(Requirement, PROJECT["dependencies"]) if each.name == "apache-airflow")
    assert needed.specifier.contains(airflow)
    SCRIPT.check_versions([needed], {}, airflow)
    assert airflow in (ROOT / "docs" / "mwaa.md").read_text()


# requirements.txt -------------------------------------------------------------------------------------


def test_the_requirements_name_the_package_with_extras_that_there_are() -> None:
    wanted = _wanted(REQUIREMENTS)
    assert wanted.name == PACKAGE
    assert wanted.extras <= set(EXTRAS)


def test_the_requirements_bring_what_mwaas_images_lack() -> None:
    assert {"duckdb", "vl-convert-python"} <= brought_by(_wanted(REQUIREMENTS).extras)


def test_the_requirements_have_constraints_where_mwaa_looks_for_them() -> None:
    """MWAA forces its own on a file in which no line matches this."""
    assert any(re.search(r"-c |--constraint ", line) for line in REQUIREMENTS.splitlines())
    (python,) = re.findall(r"/constraints-([\d.]+)\.txt\"", REQUIREMENTS)
    assert python == SCRIPT.read_options(["--airflow", "3.3.1"]).python


def test_the_requirements_look_for_wheels_where_mwaa_unpacks_plugins_zip() -> None:
    assert f"--find-links {SCRIPT.PLUGINS}\n" in REQUIREMENTS


# airflow-configuration-options.json --------------------------------------------------------------------


def test_every_option_is_airflows_or_the_packages() -> None:
    for name in CONFIGURATION:
        section, option = name.split(".")
        assert is_option(section, option), name


def test_every_option_is_in_the_form_that_mwaas_api_takes() -> None:
    for text, shape in [
        *((name, SHAPES["ConfigKey"]) for name in CONFIGURATION),
        *((value, SHAPES["ConfigValue"]) for value in CONFIGURATION.values()),
    ]:
        assert isinstance(text, str)
        assert re.fullmatch(shape["pattern"], text)
        assert shape["min"] <= len(text) <= shape["max"]


def test_the_ledger_is_on_s3_and_nothing_is_stopped_before_people_say_so() -> None:
    assert CONFIGURATION["spot_training.ledger"].startswith("s3://")
    assert CONFIGURATION["spot_training.sweeper_stops"] == OPTIONS["sweeper_stops"]["default"]


# execution-role-policy.json ----------------------------------------------------------------------------


def test_the_execution_role_may_do_what_caller_and_ledger_need_and_nothing_else() -> None:
    """tests/sagemaker/test_iam.py compares those two policies with the calls in the code."""
    policy = json.loads((FOLDER / "execution-role-policy.json").read_text())
    parts = [
        json.loads((ROOT / "docs" / "iam" / f"{name}-policy.json").read_text())
        for name in ("caller", "ledger")
    ]
    assert policy["Version"] == "2012-10-17"
    assert policy["Statement"] == [statement for part in parts for statement in part["Statement"]]


# build.py ----------------------------------------------------------------------------------------------


def _make_wheel(folder: Path, *, name: str = PACKAGE, requires: tuple[str, ...] = ()) -> Path:
    path = folder / f"{name.replace('-', '_')}-1.2-py3-none-any.whl"
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {name}",
        "Version: 1.2",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name.replace('-', '_')}-1.2.dist-info/METADATA", "\n".join(lines) + "\n")
    return path


def _build(tmp_path: Path, wheel: Path, *more: str, constraints: str = "duckdb==1.3.2\n") -> int:
    (tmp_path / "given.txt").write_text(constraints)
    status: int = SCRIPT.main(
        [
            *("--airflow", "3.3.1", "--wheel", str(wheel), "--out", str(tmp_path / "out")),
            *("--constraints", str(tmp_path / "given.txt"), *more),
        ]
    )
    return status


REQUIRES = (
    "apache-airflow>=3.0.6",
    "boto3>=1.39.11",
    f"{PACKAGE}[page]; extra == 'report'",
    f"{PACKAGE}[ledger]; extra == 'page'",
    "vl-convert-python>=1.8; extra == 'page'",
    "duckdb>=1.3.2; extra == 'ledger'",
    "matplotlib>=3; extra == 'advise'",
)


def test_plugins_zip_holds_the_wheel_and_the_requirements_name_that_file(tmp_path: Path) -> None:
    wheel = _make_wheel(tmp_path, requires=REQUIRES)
    assert _build(tmp_path, wheel) == 0
    with zipfile.ZipFile(tmp_path / "out" / "plugins.zip") as archive:
        assert archive.namelist() == [wheel.name]
        assert archive.read(wheel.name) == wheel.read_bytes()
    written = (tmp_path / "out" / "requirements.txt").read_text()
    assert "--no-index" not in written
    wanted = _wanted(written)
    assert wanted.url == f"file:///usr/local/airflow/plugins/{wheel.name}"
    assert (wanted.name, wanted.extras) == (PACKAGE, _wanted(REQUIREMENTS).extras)


def test_the_constraints_are_those_of_the_environments_airflow(tmp_path: Path) -> None:
    wheel = _make_wheel(tmp_path, requires=REQUIRES)
    assert _build(tmp_path, wheel, "--airflow", "3.2.1") == 0
    written = (tmp_path / "out" / "requirements.txt").read_text()
    assert re.findall(r"/constraints-([\d.]+)/", written) == ["3.2.1"]


def test_the_same_wheel_gives_the_same_plugins_zip(tmp_path: Path) -> None:
    wheel = _make_wheel(tmp_path, requires=REQUIRES)
    built = []
    for made_at in (1e9, 1.5e9):
        os.utime(wheel, (made_at, made_at))
        assert _build(tmp_path, wheel) == 0
        built.append((tmp_path / "out" / "plugins.zip").read_bytes())
    assert built[0] == built[1]


def test_offline_the_wheels_of_the_extras_and_the_constraints_are_in_plugins_zip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def download(requirements: list[Requirement], constraints: Path, *, python: str, folder: Path) -> None:
        assert constraints.read_text() == "duckdb==1.3.2\n"
        for each in requirements:
            asked.append(f"{each} {python}")
            (folder / f"{each.name}-1.whl").write_bytes(b"")

    monkeypatch.setattr(SCRIPT, "download", download)
    wheel = _make_wheel(tmp_path, requires=REQUIRES)
    assert _build(tmp_path, wheel, "--offline") == 0
    assert sorted(asked) == ["duckdb>=1.3.2 3.12", "vl-convert-python>=1.8 3.12"]
    with zipfile.ZipFile(tmp_path / "out" / "plugins.zip") as archive:
        names = {wheel.name, "constraints.txt", "duckdb-1.whl", "vl-convert-python-1.whl"}
        assert set(archive.namelist()) == names
    lines = (tmp_path / "out" / "requirements.txt").read_text().splitlines()
    assert "--no-index" in lines
    assert '--constraint "/usr/local/airflow/plugins/constraints.txt"' in lines
    assert not any("https://" in line for line in lines)


def test_a_package_that_people_add_is_installed_and_offline_its_wheel_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(SCRIPT, "download", lambda each, *_, **__: asked.extend(map(str, each)))
    wheel = _make_wheel(tmp_path, requires=REQUIRES)
    assert _build(tmp_path, wheel, "--add", "s3fs>=2025", "--add", "pandas") == 0
    assert (tmp_path / "out" / "requirements.txt").read_text().endswith(".whl\ns3fs>=2025\npandas\n")
    assert _build(tmp_path, wheel, "--offline", "--add", "s3fs") == 0
    assert "s3fs" in asked


@pytest.mark.parametrize(
    ("requires", "refused"),
    [
        (("apache-airflow>=3.3.2",), "apache-airflow>=3.3.2 (is 3.3.1)"),
        (("boto3>=1.44",), "boto3>=1.44 (is 1.43.56)"),
        (("duckdb>=2; extra == 'report'",), "duckdb>=2 (is 1.3.2)"),
    ],
)
def test_a_wheel_that_does_not_fit_the_environment_is_refused_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], requires: tuple[str, ...], refused: str
) -> None:
    wheel = _make_wheel(tmp_path, requires=requires)
    assert _build(tmp_path, wheel, constraints="Boto3==1.43.56\nduckdb==1.3.2  # a remark\n") == 1
    assert refused in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_another_extra_needs_refuses_nothing(tmp_path: Path) -> None:
    wheel = _make_wheel(tmp_path, requires=("matplotlib>=4; extra == 'advise'",))
    assert _build(tmp_path, wheel, constraints="matplotlib==3.10\n") == 0


def test_a_wheel_of_another_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _build(tmp_path, _make_wheel(tmp_path, name="local-sagemaker")) == 1
    assert "is a wheel of local-sagemaker" in capsys.readouterr().err


def test_the_wheels_name_is_the_packages(tmp_path: Path) -> None:
    assert _make_wheel(tmp_path).name.startswith(WHEEL)
