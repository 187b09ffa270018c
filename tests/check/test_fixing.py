"""What a change leaves as it is: formatting, comments, other names; and what it does not dare."""

from __future__ import annotations

from pathlib import Path

import pytest

from .support import check_text, fixed

_IMPORT = "from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator\n"
_DAG_WITH_DEADLINE = f"""from airflow.sdk import DAG
{_IMPORT}
with DAG('d', default_args={{'deadline': '1h'}}):
"""
_TWO_CONFIGS = "config=[{}, {'EnableManagedSpotTraining': True}]"
_OURS = "from spot_training.operators import SpotTrainingOperator\n"
_TASK = "SageMakerTrainingOperator(task_id='t'"
_CONFIG = 'config={"TrainingJobName": "job", "EnableManagedSpotTraining": False}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # on a line of its own, with a comment
        (
            f"(\n    task_id='t',\n    max_attempts=5,  # polls\n    {_CONFIG},\n)",
            f"(\n    task_id='t',\n    {_CONFIG},\n)",
        ),
        # the last one, with and without a comma
        (f"(task_id='t', {_CONFIG}, max_attempts=5)", f"(task_id='t', {_CONFIG})"),
        (
            f"(\n    task_id='t',\n    {_CONFIG},\n    max_attempts=5\n)",
            f"(\n    task_id='t',\n    {_CONFIG}\n)",
        ),
        (
            f"(\n    task_id='t',\n    {_CONFIG}, max_attempts=5,\n)",
            f"(\n    task_id='t',\n    {_CONFIG},\n)",
        ),
        # the first one
        (f"(max_attempts=5, task_id='t', {_CONFIG})", f"(task_id='t', {_CONFIG})"),
        (f"(max_attempts=5,\n  task_id='t', {_CONFIG})", f"(task_id='t', {_CONFIG})"),
        # several
        (
            f"(task_id='t', {_CONFIG}, max_attempts=(5), check_if_job_exists=True)",
            f"(task_id='t', {_CONFIG})",
        ),
        (
            f"(\n    {_CONFIG},\n    max_attempts=5,\n    task_id='t',\n    check_if_job_exists=(\n1),\n)",
            f"(\n    {_CONFIG},\n    task_id='t',\n)",
        ),
        # brackets, strings and comments with commas and brackets in them
        (
            f"(task_id='t',  # a, b)\n    {_CONFIG}, max_attempts=min(5, [6][0]), doc='),(')",
            f"(task_id='t',  # a, b)\n    {_CONFIG}, doc='),(')",
        ),
        # text that is put together, with commas and spaces of its own
        (
            f"(task_id=f'{{1}},{{2}} {{3}}', {_CONFIG}, max_attempts=5)",
            f"(task_id=f'{{1}},{{2}} {{3}}', {_CONFIG})",
        ),
        # renamed, not removed
        (
            f"(task_id='t', {_CONFIG}, max_ingestion_time=(60 * 60))",
            f"(task_id='t', {_CONFIG}, training_timeout=(60 * 60))",
        ),
        (f"(task_id='t', {_CONFIG}, max_ingestion_time=None)", f"(task_id='t', {_CONFIG})"),
        # text that takes more than one byte, before the argument on the same line
        (
            f"(task_id='t', doc='Übung ✓', max_attempts=5, {_CONFIG})",
            f"(task_id='t', doc='Übung ✓', {_CONFIG})",
        ),
    ],
)
def test_arguments_are_removed_and_renamed_where_they_are(tmp_path: Path, before: str, after: str) -> None:
    new = fixed(tmp_path, f"{_IMPORT}t = SageMakerTrainingOperator{before}\n")
    assert new == f"{_OURS}t = SpotTrainingOperator{after}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (_IMPORT, _OURS),
        (_IMPORT.replace("\n", "  # noqa: E501\n"), _OURS.replace("\n", "  # noqa: E501\n")),
        (f"{_IMPORT}{_OURS}", _OURS),
        (
            _IMPORT.replace("import ", "import SageMakerModelOperator, "),
            _IMPORT.replace("SageMakerTrainingOperator", "SageMakerModelOperator") + _OURS,
        ),
        (
            _IMPORT.replace(
                "import SageMakerTrainingOperator",
                "import (\n    A,  # one\n    SageMakerTrainingOperator,\n    B,\n)",
            ),
            _IMPORT.replace("import SageMakerTrainingOperator", "import (\n    A,  # one\n    B,\n)") + _OURS,
        ),
        (
            _IMPORT.replace(
                "import SageMakerTrainingOperator",
                "import (\n    A,  # one\n    SageMakerTrainingOperator\n)",
            ),
            # the comment is between what would be removed
            _IMPORT.replace(
                "import SageMakerTrainingOperator",
                "import (\n    A,  # one\n    SageMakerTrainingOperator\n)",
            )
            + _OURS,
        ),
    ],
)
def test_imports_are_replaced_where_they_are(tmp_path: Path, before: str, after: str) -> None:
    call = f"(task_id='t', {_CONFIG})\n"
    assert (
        fixed(tmp_path, f"{before}t = SageMakerTrainingOperator{call}")
        == f"{after}t = SpotTrainingOperator{call}"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{_IMPORT}isinstance(1, SageMakerTrainingOperator)\n{_TASK}, {_CONFIG})", "another way"),
        (f"if True:\n    {_IMPORT}{_TASK}, {_CONFIG})", "in a condition"),
        (f"import os; {_IMPORT}{_TASK}, {_CONFIG})", "not on a line of its own"),
        (f"{_IMPORT}T = SageMakerTrainingOperator\nT(task_id='t', {_CONFIG})", "not imported in one place"),
        (f"{_IMPORT}SageMakerTrainingOperator('t', {_CONFIG})", "without a name"),
        (f"{_IMPORT}{_TASK}, {_CONFIG}, region='x')", "region_name"),
        (f"{_IMPORT}{_TASK}, {_CONFIG}, wait_for_completion='perhaps')", "wait_for_completion"),
        (f"{_DAG_WITH_DEADLINE}    {_TASK}, {_CONFIG})", "default_args have deadline"),
        (f"{_IMPORT}p = SageMakerTrainingOperator.partial(task_id='t')\np.expand(config=[])", "elsewhere"),
        (
            f"{_IMPORT}SageMakerTrainingOperator.partial(task_id='t').expand({_TWO_CONFIGS})",
            "some of its configs",
        ),
    ],
    ids=lambda value: value if len(value) < 30 else "",
)
def test_what_is_not_sure_is_left_alone_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    ((_, change),) = check_text(tmp_path, f"{text}\n").plans
    assert change.text == f"{text}\n"
    assert any(reason in found for found in change.left.values()), change.left


def test_text_without_a_line_end_gets_none(tmp_path: Path) -> None:
    new = fixed(tmp_path, f"{_IMPORT}SageMakerTrainingOperator(task_id='t', {_CONFIG})")
    assert new == f"{_OURS}SpotTrainingOperator(task_id='t', {_CONFIG})"
