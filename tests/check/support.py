"""Shapes of Dags, each with what is expected of it in the comments at its top.

# finds: TASK CODE CODE ...
# changes: TASK TASK ...            by --fix
# keeps: TASK: part of the reason   what --fix does not change
# does not load                     on this version; "..., changed neither" if the changed file does not
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from spot_training.check.checked import Checked, check

FOLDER = Path(__file__).parent / "shapes"
SHAPES = sorted(FOLDER.glob("*.py"))
#: A Dag with a task of the provider.
DAG = """import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

with DAG("x", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(
        task_id="train",
        config={"TrainingJobName": "job", "EnableManagedSpotTraining": False},
        max_attempts=5,
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    finds: dict[str, set[str]]
    changes: set[str]
    keeps: dict[str, str]
    loads: bool
    loads_changed: bool


def expected_of(path: Path) -> Expected:
    text = path.read_text()

    def lines(pattern: str) -> list[tuple[str, str]]:
        return re.findall(rf"^# {pattern}$", text, re.MULTILINE)

    loads = lines(r"(does not load)(, changed neither)?")
    return Expected(
        finds={task: set(codes.split()) for task, codes in lines(r"finds: (\S+) (.*)")},
        changes={task for tasks, _ in lines(r"changes: (.*)()") for task in tasks.split()},
        keeps=dict(lines(r"keeps: (\S+): (.*)")),
        loads=not loads,
        loads_changed=not any(neither for _, neither in loads),
    )


def check_text(folder: Path, text: str, *, spot: bool = False) -> Checked:
    """Check a file with this text."""
    path = folder / "dag.py"
    path.write_bytes(text.encode())
    return check([path], spot=spot)


def fixed(folder: Path, text: str, *, spot: bool = False) -> str:
    """The text as --write leaves it."""
    ((_, change),) = check_text(folder, text, spot=spot).plans
    return change.text


def codes_of(checked: Checked) -> set[str]:
    return {finding.code for _, finding in checked.findings}
