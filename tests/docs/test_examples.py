"""What the pages show works, as far as it goes without AWS.

Dags are made, and their trainings start on the local SageMaker. Commands are parsed by what they call: AWS's
by the service's model, Airflow's and ours by their parsers.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from scripts.docs_reference import find_parser
from spot_training.connections import AwsAccess
from spot_training.operators import SpotTrainingOperator
from tests.cloud import Cloud
from tests.task.support import Run, fail

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for folder in ("start", "how-to", "trouble") for path in (DOCS / folder).glob("*.md"))
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
#: Programs that are not here, and those of the shell.
NOT_CHECKED = {"export", "mkdir", "python", "python3", "sed", "source"}


def _blocks(page: Path, language: str) -> list[str]:
    found = _BLOCK.findall(page.read_text())
    return [
        re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        for indent, name, code in found
        if name == language
    ]


def _name(page: Path) -> str:
    return str(page.relative_to(DOCS))


# Dags --------------------------------------------------------------------------------------------------

DAGS = [
    pytest.param(code, id=f"{_name(page)} {number}")
    for page in PAGES
    for number, code in enumerate(_blocks(page, "python"))
    if re.search(r"^@dag\b", code, re.MULTILINE)
]


def test_the_examples_are_found() -> None:
    assert len(DAGS) >= 12


def _make(code: str) -> DAG:
    """The Dag of an example, which calls its function in the last line."""
    names: dict[str, Any] = {"__name__": "example_of_the_docs"}
    exec(compile(code, "example", "exec"), names)  # noqa: S102 - our own docs
    made = eval(code.strip().splitlines()[-1], names)  # noqa: S307
    assert isinstance(made, DAG)
    return made


@pytest.mark.parametrize("code", DAGS)
def test_an_example_is_a_dag_and_its_trainings_start(
    code: str, drought: Cloud, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request passes the operator's checks, botocore's model and the local SageMaker's rules."""
    monkeypatch.setattr(AwsAccess, "jobs", lambda _self: drought.jobs())
    monkeypatch.setattr(AwsAccess, "prices", fail)
    dag = _make(code)
    assert dag.tasks
    for task in dag.tasks:
        if isinstance(task, SpotTrainingOperator) and isinstance(task.config, dict):
            _fill_in(task)
            with pytest.raises(TaskDeferred):
                task.execute(Run().context())


def _fill_in(task: Any) -> None:
    """What Airflow would render, and what the reader fills in."""
    resources = task.config["ResourceConfig"]
    if resources["InstanceType"] == "{{ params.instance_type }}":
        resources["InstanceType"] = "ml.m5.xlarge"
        task.config["StoppingCondition"]["MaxRuntimeInSeconds"] = "2h"
        task.deadline = None
    task.config["OutputDataConfig"]["S3OutputPath"] = "s3://my-bucket/models"
    if task.config.get("CheckpointConfig"):
        task.config["CheckpointConfig"]["S3Uri"] = "s3://my-bucket/checkpoints"
    task.aws_conn_id = "aws_default"


IMPORTS = sorted(
    {
        (node.module, alias.name)
        for page in DOCS.rglob("*.md")
        for code in _blocks(page, "python")
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if node.module.split(".")[0] in {"airflow", "spot_training", "local_sagemaker"}
    }
)


@pytest.mark.parametrize(("module", "name"), IMPORTS)
def test_what_an_example_imports_is_there(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


# Commands ----------------------------------------------------------------------------------------------


def _list_commands(page: Path) -> Iterator[list[str]]:
    """Each line of each block without a language, with what the backslash at its end continues."""
    for block in _blocks(page, ""):
        if re.match(r"[.A-Z]", block) is None:
            for line in block.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield words


COMMANDS = sorted(
    {
        (_name(page), shlex.join(words))
        for page in [*PAGES, *(DOCS / name for name in ("mwaa.md", "reference/events.md"))]
        for words in _list_commands(page)
        if "=$(" not in words[0]
    }
)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_has_only_options_that_exist(page: str, command: str) -> None:
    words = shlex.split(command)
    if words[0] in CHECKS:
        CHECKS[words[0]](words)
    else:
        assert words[0] in NOT_CHECKED, f"{page}: {command}"


def _check_aws(words: list[str]) -> None:
    """The operation and its options by botocore's model. Commands of the AWS command line are not in it."""
    import botocore.session
    from botocore import xform_name

    service, operation = words[1:3]
    options = {word[2:] for word in words[3:] if word.startswith("--")} - OF_THE_COMMAND_LINE
    if (service, operation) in CUSTOM:
        assert options <= CUSTOM[service, operation]
        return
    model = botocore.session.get_session().get_service_model(service.removesuffix("api"))
    names = {xform_name(name, "-"): name for name in model.operation_names}
    takes: Any = model.operation_model(names[operation]).input_shape
    members = {xform_name(name, "-") for name in takes.members}
    assert options <= members, options - members


OF_THE_COMMAND_LINE = {"region", "query", "output", "max-items"}
CUSTOM: dict[tuple[str, str], set[str]] = {
    ("s3", "mb"): set(),
    ("s3", "cp"): set(),
    ("cloudformation", "deploy"): {"stack-name", "template-file"},
}


def _check_airflow(words: list[str]) -> None:
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(words[1:])


def _check_spot_training(words: list[str]) -> None:
    from spot_training.__main__ import COMMANDS as KNOWN

    if words[1] != "--version":
        find_parser(KNOWN[words[1]][0], ()).parse_args(words[2:])


def _check_local_sagemaker(words: list[str]) -> None:
    find_parser("local_sagemaker.__main__", ()).parse_args(words[1:])


def _check_pip(words: list[str]) -> None:
    assert words[1] in {"install", "wheel"}
    named = re.sub(r"^REPOSITORY", ".", words[-1])
    folder = re.sub(r"\[[a-z]+\]$", "", named) or "."
    assert (ROOT / folder / "pyproject.toml").exists(), folder


CHECKS = {
    "aws": _check_aws,
    "airflow": _check_airflow,
    "spot-training": _check_spot_training,
    "local-sagemaker": _check_local_sagemaker,
    "pip": _check_pip,
}


def test_a_file_that_a_command_names_is_there() -> None:
    for page, command in COMMANDS:
        for name in re.findall(r"(?:file://)?((?:docs|dags|deploy|include)/[\w./-]+)", command):
            assert (ROOT / name).exists(), f"{page}: {name}"
