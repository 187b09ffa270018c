"""What the files in deploy/ are compared with."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from spot_training.provider_info import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGE: str = PROJECT["name"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
#: How a wheel of the package begins.
WHEEL = f"{PACKAGE.replace('-', '_')}-"


def brought_by(extras: Iterable[str]) -> set[str]:
    """The packages that extras of the package bring."""
    found = set()
    for extra in extras:
        for line in EXTRAS[extra]:
            requirement = Requirement(line)
            if canonicalize_name(requirement.name) == PACKAGE:
                found |= brought_by(requirement.extras)
            else:
                found.add(requirement.name)
    return found


def is_option(section: str, name: str) -> bool:
    """Whether the package or Airflow has this option."""
    from airflow.configuration import conf

    return (
        name in OPTIONS
        if section == "spot_training"
        else name in conf.configuration_description[section]["options"]
    )


def installed_extras(dockerfile: str) -> set[str]:
    """The extras that a Dockerfile installs the wheel with."""
    (named,) = re.findall(r"\[([\w,]+)\]\"", dockerfile)
    return set(named.split(","))
