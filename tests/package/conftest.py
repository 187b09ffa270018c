"""The wheels as people install them, in an environment without this repository."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from include.local_stack.environment import keep_from_machine

ROOT = Path(__file__).parents[2]
PROJECTS = (ROOT, ROOT / "packages" / "local-sagemaker")
LOCK = ROOT / "locks" / "dev.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment, and a folder to work in that is not this repository."""

    folder: Path
    work: Path

    @property
    def env(self) -> dict[str, str]:
        """This process's variables, without what leads to this repository, to AWS or to another Airflow."""
        kept = keep_from_machine(os.environ)
        return {**kept, "PATH": f"{self.folder / 'bin'}:{kept['PATH']}", "NO_COLOR": "1"}

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def run(self, *command: str, env: dict[str, str] | None = None) -> str:
        """What a program of the environment prints. Fails the test with it if the program fails."""
        done = subprocess.run(
            [self.program(command[0]), *command[1:]],
            cwd=self.work,
            env=self.env | (env or {}),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *requirements: str) -> None:
        _run_uv("pip", "install", "--quiet", "--python", self.program("python"), *requirements)

    def uninstall(self, package: str) -> None:
        _run_uv("pip", "uninstall", "--quiet", "--python", self.program("python"), package)


def _run_uv(*arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")  # locks/dev.lock has it
    env = {**os.environ, **_index_settings(), "VIRTUAL_ENV": ""}
    done = subprocess.run([uv, *arguments], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@cache
def _index_settings() -> dict[str, str]:
    """Where this machine's pip finds packages, for uv: as in the set-up."""
    base = getattr(sys, "_base_executable", sys.executable)
    script = ROOT / "scripts" / "_pip_settings.py"
    told = subprocess.run([base, str(script)], capture_output=True, text=True, check=True).stdout
    lines = (line.removeprefix("export ").partition("=") for line in told.splitlines())
    return {name: "".join(shlex.split(value)) for name, _, value in lines}


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source archive and a wheel of each package. The wheel is built from the archive: it is complete."""
    folder = tmp_path_factory.mktemp("dist")
    for project in PROJECTS:
        _run_uv(
            "build",
            "--quiet",
            "--no-build-isolation",
            "--python",
            sys.executable,
            "-o",
            str(folder),
            str(project),
        )
    return folder


def make_environment(folder: Path, *, python: str = sys.executable) -> Environment:
    _run_uv("venv", "--quiet", "--python", python, str(folder / "venv"))
    (folder / "work").mkdir()
    return Environment(folder=folder / "venv", work=folder / "work")
