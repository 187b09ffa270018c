"""What several tests of the package in a fresh environment need."""

from __future__ import annotations

import json

from .conftest import ROOT, Environment

#: Where MWAA unpacks plugins.zip. Here it is a folder of the test.
PLUGINS = "/usr/local/airflow/plugins"
#: No wheels of this machine either.
NO_INDEX = {"PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": "/dev/null"}


def list_installed(environment: Environment) -> dict[str, str]:
    """The packages of an environment, with their versions."""
    listed = json.loads(environment.run("python", "-m", "pip", "list", "--format=json", env=NO_INDEX))
    return {each["name"]: each["version"] for each in listed}


def build_configuration() -> dict[str, str]:
    """The configuration options as MWAA hands them to every component: as variables."""
    options = json.loads((ROOT / "deploy" / "mwaa" / "airflow-configuration-options.json").read_text())
    return {f"AIRFLOW__{name.replace('.', '__')}".upper(): value for name, value in options.items()}
