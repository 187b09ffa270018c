"""Every argument, policy and ending is documented, and importing the operator and the sensor is cheap."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spot_training.domain.lifecycle import Ending
from spot_training.domain.policy_specs import LADDERS
from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from spot_training.task.notices import ARGUMENTS

DOCS = Path(__file__).resolve().parents[1] / "docs" / "operator.md"
ENDINGS = DOCS.parent / "reference" / "endings.md"


def _arguments(cls: type) -> set[str]:
    names = inspect.signature(inspect.unwrap(cls.__init__)).parameters  # type: ignore[misc]
    return set(names) - {"self", "kwargs"}


@pytest.mark.parametrize("cls", [SpotTrainingOperator, SpotTrainingSensor])
def test_every_argument_is_documented(cls: type) -> None:
    section = DOCS.read_text().split(f"## {cls.__name__}", 1)[1].split("\n## ", 1)[0]
    missing = {name for name in _arguments(cls) if f"| `{name}` |" not in section}
    assert missing == set()


def _read_section(heading: str) -> str:
    return re.split(r"\n#+ ", DOCS.read_text().split(f"\n{heading}\n", 1)[1])[0]


def test_every_policy_is_documented() -> None:
    section = _read_section("## Policies")
    assert {name for name in LADDERS if f"`{name}`" not in section and f'"{name}"' not in section} == set()


def test_every_ending_is_documented_and_no_other() -> None:
    assert set(re.findall(r"^\| `([^`]+)` \|", ENDINGS.read_text(), re.MULTILINE)) == {
        str(ending) for ending in Ending
    }


@pytest.mark.parametrize("cls", [SpotTrainingOperator, SpotTrainingSensor])
def test_every_argument_but_the_authors_own_caps_and_code_is_templated(cls: type) -> None:
    """A pattern or a function that came from a run's parameters would run in triggerer and worker."""
    own = {"caps", "checkpoint_pattern", *ARGUMENTS}
    assert _arguments(cls) - own == set(cls.template_fields)  # type: ignore[attr-defined]


def test_importing_them_loads_neither_boto_nor_the_provider() -> None:
    probe = (
        "import sys, airflow.sdk; from airflow.sdk import BaseOperator, BaseSensorOperator;"
        "before = set(sys.modules); import spot_training.operators, spot_training.sensors;"
        "new = set(sys.modules) - before;"
        "heavy = {m.split('.')[0] for m in new} & {'boto3', 'botocore', 'pandas', 'matplotlib', 'jinja2'};"
        "provider = [m for m in new if m.startswith('airflow.providers.amazon')"
        " or m in ('spot_training.task.training', *('spot_training.domain.' + name for name in"
        " ('deadline', 'records', 'savings', 'lifecycle', 'policy')))];"
        "sys.exit(f'{heavy} {provider}' if heavy or provider else 0)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
