"""What the package tells Airflow and pip about itself is true."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager

from spot_training import settings
from spot_training.__main__ import COMMANDS, main
from spot_training.domain import packages
from spot_training.domain.errors import InvalidInput, MissingPackage
from spot_training.provider_info import OPTIONS, PACKAGE, get_provider_info

ROOT = Path(__file__).parents[2]
BAD_SETTINGS = [
    (settings.flag, "sweeper_stops", "perhaps"),
    *((settings.number, "calls_per_second", value) for value in ("many", "0", "-1", "nan", "inf")),
]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_READ = re.compile(r"settings\.(text|flag|number)\(\s*\"(\w+)\"")


def test_it_has_the_form_that_airflow_asks_of_providers() -> None:
    providers = ProvidersManager()  # type: ignore[no-untyped-call]
    schema = providers._provider_schema_validator.schema
    jsonschema.validate(get_provider_info(), schema)
    assert get_provider_info()["package-name"] == PACKAGE == PROJECT["name"]


def test_it_names_every_setting_that_the_code_reads_with_its_type() -> None:
    code = "".join(path.read_text() for room in ("plugins", "dags") for path in (ROOT / room).rglob("*.py"))
    kinds = {"text": "string", "flag": "boolean", "number": "float"}
    read = {name: kinds[how] for how, name in _READ.findall(code)}
    assert read == {name: option["type"] for name, option in OPTIONS.items()}
    assert not re.search(r"conf\.get\w*\(\s*\"spot_training\"", code), (
        "settings.py reads the section, nothing else"
    )


@pytest.mark.parametrize("value", ["", "  ", "None"])
def test_an_empty_setting_has_its_default(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name, option in OPTIONS.items():
        monkeypatch.setenv(f"AIRFLOW__SPOT_TRAINING__{name.upper()}", value)
        match option["type"]:
            case "string":
                assert settings.text(name) == ""
            case "boolean":
                assert settings.flag(name) is False
            case "float":
                assert settings.number(name) == 5


@pytest.mark.parametrize(("read", "name", "value"), BAD_SETTINGS)
def test_a_setting_that_cannot_be_read_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[str], object], name: str, value: str
) -> None:
    monkeypatch.setenv(f"AIRFLOW__SPOT_TRAINING__{name.upper()}", value)
    with pytest.raises(InvalidInput, match=rf"^\[spot_training\] {name} is '{value}': give "):
        read(name)


def test_every_class_and_module_that_it_names_is_there() -> None:
    info = get_provider_info()
    for kind in ("operators", "sensors", "triggers"):
        for group in info[kind]:
            for module in group["python-modules"]:
                importlib.import_module(module)
    for path in info["extra-links"]:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("group", ["apache_airflow_provider", "airflow.plugins"])
def test_the_entry_points_lead_somewhere(group: str) -> None:
    for target in PROJECT["entry-points"][group].values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_importing_it_imports_nothing_else_of_the_package() -> None:
    """Every process of Airflow imports it. Old import paths have to work from the start: a table of names."""
    script = "import sys, spot_training.provider_info; print(*sorted(m for m in sys.modules if 'spot_' in m))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "spot_training",
        "spot_training._moved",
        "spot_training.provider_info",
    ]


@pytest.mark.parametrize("module", packages._INSTALLED_BY)
def test_a_missing_package_is_named_with_the_extra_that_installs_it(module: str) -> None:
    package, extra = packages._INSTALLED_BY[module]
    listed = [re.split(r"[\[><=]", requirement)[0] for requirement in _requirements_of(extra)]
    assert package in listed
    way_out = re.escape(f"pip install '{PACKAGE}[{extra}]'")
    with pytest.raises(MissingPackage, match=way_out), packages.needed_by("the test"):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def _requirements_of(extra: str) -> list[str]:
    extras = PROJECT["optional-dependencies"]
    found: list[str] = []
    for requirement in extras[extra]:
        inner = re.fullmatch(rf"{PACKAGE}\[([\w,]+)\]", requirement)
        found += (
            [each for name in inner[1].split(",") for each in _requirements_of(name)]
            if inner
            else [requirement]
        )
    return found


def test_all_extras_are_in_all_except_another_providers() -> None:
    """Airflow's constraints for its earlier versions have earlier OpenLineage providers."""
    extras = PROJECT["optional-dependencies"].keys() - {"openlineage"}
    every = {each for extra in extras for each in _requirements_of(extra)}
    assert set(_requirements_of("all")) == every


def test_the_command_lists_its_commands_and_refuses_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in COMMANDS)
    assert main(["retrain"]) == 2
    assert "there is no command 'retrain'" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_under_its_new_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: spot-training {name} " in capsys.readouterr().out
