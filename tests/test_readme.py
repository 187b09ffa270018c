"""README.md: its order, its Dag, and each command as people paste it; also those of docs/compose.md."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spot_training.connections import AwsAccess
from spot_training.domain.policy_specs import LADDERS
from tests.cloud import Cloud
from tests.task.support import Run, fail

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMPOSE_PAGE = (ROOT / "docs" / "compose.md").read_text()
SECTIONS = [
    "Install",
    "A first Dag",
    "What you see",
    "The commands of this repository",
    "Policies",
    "In production",
    "Versions of Airflow, and limits",
    "More",
]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`((?:scripts/|pip |docker |spot-drill|spot-training|local-sagemaker)[^`\n]*)`")


def _blocks(text: str, language: str) -> list[str]:
    return [code for name, code in _BLOCK.findall(text) if name == language]


def _section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _list_commands(text: str) -> Iterator[list[str]]:
    """Each line of each block without a language, but for what is output, and commands in sentences."""
    for block in _blocks(text, ""):
        if not block.startswith(" "):
            yield from (shlex.split(line, comments=True) for line in block.splitlines())
    yield from (shlex.split(command) for command in _INLINE.findall(_BLOCK.sub("", text)))


COMMANDS = sorted({shlex.join(words) for text in (README, COMPOSE_PAGE) for words in _list_commands(text)})


def test_the_sections_are_in_the_order_in_which_a_new_user_needs_them() -> None:
    assert re.findall(r"^## (.*)$", _BLOCK.sub("", README), re.MULTILINE) == SECTIONS
    named = re.findall(r"README.md, '([^']+)'", (ROOT / "scripts" / "demo.py").read_text())
    assert named
    assert set(named) <= set(SECTIONS)


def test_the_first_screen_says_what_it_is_and_has_both_commands_and_a_picture() -> None:
    first = README.split("\n## ")[0]
    sentences = re.findall(r"[a-z)*]\.(?=\s)", first.split("```")[0])
    assert len(sentences) == 3
    commands = _blocks(first, "")[0].splitlines()
    assert [line.split()[0] for line in commands] == ["scripts/demo", "scripts/test"]
    assert first.split("```")[0].count("\n") < 12
    assert _blocks(first, "mermaid")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 180


# The Dag -----------------------------------------------------------------------------------------------


@pytest.fixture
def example() -> str:
    (code,) = _blocks(_section("A first Dag"), "python")
    return code


def test_the_dag_has_about_ten_lines(example: str) -> None:
    lines = [line for line in example.splitlines() if line and not line.startswith("from ")]
    assert len(lines) <= 12


def test_the_dag_is_complete_and_starts_a_training_as_pasted(
    example: str, drought: Cloud, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request passes the operator's checks, botocore's model and the local SageMaker's rules."""
    from airflow.sdk import DAG
    from airflow.sdk.exceptions import TaskDeferred

    monkeypatch.setattr(AwsAccess, "jobs", lambda _self: drought.jobs())
    monkeypatch.setattr(AwsAccess, "prices", fail)
    names: dict[str, Any] = {}
    exec(compile(example, "example", "exec"), names)  # noqa: S102 - our own
    called = ast.parse(example).body[-1]
    assert ast.unparse(called) == "retrain()"
    dag = eval("retrain()", names)  # noqa: S307
    assert isinstance(dag, DAG)
    assert dag.dag_id == "retrain"
    task: Any = dag.task_dict["train"]
    with pytest.raises(TaskDeferred):
        task.execute(Run().context())
    (job,) = drought.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    assert job["TrainingJobStatus"] == "InProgress"


# Commands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_as_pasted(command: str) -> None:
    words = shlex.split(command)
    program = Path(words[0])
    if program.parts[0] == "scripts":
        _check_script(words)
    else:
        CHECKS[words[0]](words)


def _check_script(words: list[str]) -> None:
    """The scripts themselves run in tests/airflow (the demo), tests/compose (make-env) and in CI (test)."""
    script = ROOT / words[0]
    assert os.access(script, os.X_OK)
    for option in words[1:]:
        assert option in script.read_text()


def _check_pip(words: list[str]) -> None:
    """Without the network: this project's metadata, and the names of the extras."""
    action, what = words[1:]
    assert action == "install"
    folder, _, extras = what.rstrip("]").partition("[")
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    assert {*extras.split(",")} - {""} <= project.get("optional-dependencies", {}).keys()
    uv = Path(sys.executable).with_name("uv")
    options = ["--dry-run", "--no-deps", "--offline", "--no-build-isolation", "--python", sys.executable]
    done = subprocess.run(
        [uv, "pip", "install", *options, what], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert project["name"] in done.stderr, "it would be installed"


def _check_docker(words: list[str]) -> None:
    """Without Docker: its options are those of Compose, and the files and services exist."""
    assert words[1] == "compose"
    files, rest = [], words[2:]
    while rest and rest[0] == "-f":
        files.append(ROOT / rest[1])
        rest = rest[2:]
    assert all(path.exists() for path in files)
    assert rest[0] == "up"
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    for at, word in enumerate(rest[1:], 1):
        scaled = rest[at - 1] == "--scale" and word.partition("=")[0] in services
        assert scaled or word in {"--build", "--wait", "--scale"}, word


def _check_export(words: list[str]) -> None:
    text = (ROOT / "compose.aws.yaml").read_text()
    for word in words[1:]:
        assert f"${{{word.partition('=')[0]}:?" in text


def _check_drill(words: list[str]) -> None:
    from spot_drill.command import _parser

    _parser().parse_args(words[1:] or ["train.py"])


def _check_spot_training(words: list[str]) -> None:
    from spot_training.__main__ import COMMANDS as KNOWN

    assert words[1] in KNOWN


def _check_local_sagemaker(words: list[str]) -> None:
    from local_sagemaker.__main__ import _parser

    _parser().parse_args(words[1:])


CHECKS = {
    "pip": _check_pip,
    "docker": _check_docker,
    "export": _check_export,
    "spot-drill": _check_drill,
    "spot-training": _check_spot_training,
    "local-sagemaker": _check_local_sagemaker,
}


def test_the_commands_are_found() -> None:
    assert {"scripts/demo", "scripts/demo --ui", "scripts/test", "scripts/make-env"} <= set(COMMANDS)
    assert [command for command in COMMANDS if command.startswith("pip install")]


# Tables ------------------------------------------------------------------------------------------------


def test_every_policy_is_in_the_table_and_no_other() -> None:
    rows = re.findall(r"^\| `\"(\w+)\"`", _section("Policies"), re.MULTILINE)
    assert set(rows) == {"widen", "spot_only", "on_demand", "deadline"}
    assert set(rows) <= LADDERS.keys()
