"""A home for each component, as in containers, which share no disk."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from include.local_stack import environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDERS = {"AIRFLOW__CORE__DAGS_FOLDER": "dags", "AIRFLOW__CORE__PLUGINS_FOLDER": "plugins"}


def build_own_env(env: Mapping[str, str], *, shared_home: Path, home: Path) -> dict[str, str]:
    """A component's variables, with the paths in `shared_home` changed to paths in `home`.

    The Dags and the plugins are copied into the home, as a container gets them.
    """
    own = {
        name: str(home / value.removeprefix(f"{shared_home}").lstrip("/"))
        if value == str(shared_home) or value.startswith(f"{shared_home}/")
        else value
        for name, value in env.items()
    }
    return own | {name: str(home / folder) for name, folder in FOLDERS.items()}


def make_own_home(env: Mapping[str, str], locks: environment.Secrets, home: Path) -> None:
    """Create the home of a component, with copies of the folders in the stack's `env`."""
    environment.prepare_home(home, locks)
    for name, folder in FOLDERS.items():
        shutil.copytree(
            env[name], home / folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
