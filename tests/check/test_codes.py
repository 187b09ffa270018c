"""Each finding says where it is seen, and that is so in the installed provider."""

from __future__ import annotations

import ast
import inspect
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from spot_training.__main__ import main
from spot_training.check import command, fixing
from spot_training.check.classes import HOOKS, OPERATORS, OTHERS, OURS, SENSORS
from spot_training.check.codes import CODES, PROVIDER

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "check.md").read_text()
AMAZON = Path(str(find_spec("airflow.providers.amazon.aws").submodule_search_locations[0]))  # type: ignore[union-attr,index]

#: What the line of the provider says that a code names.
SAYS = {
    "SPOT001": "if status in self.failed_states:",
    "SPOT003": "{timestamp}",
    "SPOT004": "class SageMakerTrainingOperator",
    "SPOT005": "raise AirflowException",
    "SPOT006": "max_attempts or 60",
    "SPOT007": 'response["FailureReason"]',
    "SPOT008": "self.serialize_result(",
    "SPOT011": "self.integer_fields",
    "SPOT012": "AwsLogsHook(aws_conn_id=self.aws_conn_id)",
    "SPOT013": "billable_time.total_seconds()",
}


def test_the_provider_is_the_one_that_the_sources_name() -> None:
    assert version("apache-airflow-providers-amazon") == PROVIDER
    assert set(SAYS) == {code for code, meaning in CODES.items() if meaning.source.line}


@pytest.mark.parametrize("code", SAYS)
def test_the_line_says_it(code: str) -> None:
    source = CODES[code].source
    assert SAYS[code] in (AMAZON / source.where).read_text().splitlines()[source.line - 1]


def test_nothing_in_the_provider_stops_a_training_job() -> None:
    for name in ("operators", "hooks", "triggers"):
        text = (AMAZON / name / "sagemaker.py").read_text()
        assert "def on_kill" not in text
        assert "stop_training_job" not in text


def test_the_classes_are_where_the_provider_has_them() -> None:
    gone = {
        name for name in OPERATORS | SENSORS | HOOKS if "contrib" in name or "sagemaker_training." in name
    }
    for name in (OPERATORS | SENSORS | HOOKS | OTHERS.keys()) - gone:
        module, _, cls = name.rpartition(".")
        if module.startswith("airflow."):
            path = AMAZON.joinpath(*module.split(".")[4:]).with_suffix(".py")
            assert f"class {cls}(" in path.read_text()
    for name in gone:
        module = name.rpartition(".")[0]
        assert "contrib" in module or not AMAZON.joinpath(*module.split(".")[4:]).with_suffix(".py").exists()


def test_the_arguments_are_those_of_airflow_and_the_provider() -> None:
    """A new argument of either would otherwise keep a task from being changed, or be unknown to ours."""
    from airflow.sdk import BaseOperator, BaseSensorOperator

    def arguments(cls: type) -> set[str]:
        given = inspect.signature(inspect.unwrap(cls.__init__)).parameters  # type: ignore[misc]
        return set(given) - {"self", "kwargs"}

    assert arguments(BaseOperator) == fixing.TASK_ARGUMENTS
    assert arguments(BaseSensorOperator) == fixing.SENSOR_TASK_ARGUMENTS
    tree = ast.parse((AMAZON / "operators" / "sagemaker.py").read_text())
    operator = next(
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "SageMakerTrainingOperator"
    )
    init = next(
        node for node in operator.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    assert {argument.arg for argument in init.args.kwonlyargs} <= fixing.OPERATOR_ARGUMENTS


def test_our_classes_take_what_is_left_of_the_arguments() -> None:
    from spot_training.check.rewriting import REMOVED, RENAMED
    from spot_training.operators import SpotTrainingOperator
    from spot_training.sensors import SpotTrainingSensor

    for cls, given in (
        (SpotTrainingOperator, fixing.OPERATOR_ARGUMENTS),
        (SpotTrainingSensor, fixing.SENSOR_ARGUMENTS),
    ):
        assert f"{cls.__module__}.{cls.__name__}" in OURS
        takes = set(inspect.signature(inspect.unwrap(cls.__init__)).parameters)
        assert {RENAMED.get(name, name) for name in given - REMOVED} <= takes


def test_each_code_is_on_the_page() -> None:
    assert set(re.findall(r"^\| `(SPOT\d+)` \|", PAGE, re.MULTILINE)) == set(CODES)


def test_the_page_shows_what_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
    blocks, shown = dict(found), [text for language, text in found if not language]
    monkeypatch.chdir(tmp_path)
    Path("dags").mkdir()
    Path("dags/churn.py").write_text(blocks["python"])
    main(["check", "dags"])
    printed = capsys.readouterr().out
    assert printed.startswith(shown[0])
    assert printed.endswith(shown[1])
    main(["check", "--fix", "dags"])
    assert capsys.readouterr().out == blocks["diff"]


def test_the_page_has_each_option() -> None:
    options = set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', Path(command.__file__).read_text()))
    assert len(options) > 5
    assert {option for option in options if f"`{option}" not in PAGE} == set()
