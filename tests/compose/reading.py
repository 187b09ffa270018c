"""docker-compose.yaml as Docker Compose reads it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW_SERVICES = ["init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"]
LONG_RUNNING = sorted(SERVICES.keys() - {"init"})
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
SUBSTITUTION = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")


def fill_in(text: str, variables: Mapping[str, str] | None = None) -> str:
    """Replace `${NAME...}` by the variable or its default. Without variables, those of `.env` are "given"."""

    def fill(match: re.Match[str]) -> str:
        if variables is not None and variables.get(match["name"]):
            return variables[match["name"]]
        if match["rest"].startswith(":-"):
            return match["rest"][2:]
        assert variables is None, f"{match['name']} has no value"
        return "given"

    return SUBSTITUTION.sub(fill, text)


def read_env(path: Path) -> dict[str, str]:
    """The variables of an .env file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def find_instruction(stage: str, name: str) -> str:
    """What follows an instruction in a stage of the Dockerfile."""
    return next(
        line.partition(" ")[2]
        for line in DOCKERFILE.split(f"AS {stage}\n")[1].split("\nFROM ")[0].splitlines()
        if line.startswith(name)
    )


def read_words(stage: str, name: str) -> list[str]:
    """An instruction that is a JSON list, as ENTRYPOINT."""
    words: list[str] = json.loads(find_instruction(stage, name))
    return words


def make_env(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run scripts/make-env in a folder."""
    (folder / "scripts").mkdir(exist_ok=True)
    for name in ("scripts/make-env", ".env.example"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, str(folder / "scripts" / "make-env")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)
