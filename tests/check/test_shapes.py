"""Dags as people write them: what is found, what --fix changes, and that Airflow loads the changed files."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from spot_training.check.checked import Checked, check
from spot_training.check.classes import Kind
from spot_training.check.fixing import plan

from .support import SHAPES, expected_of

#: Loads all files of a folder as a dag-processor does, and prints the class and arguments of each task.
PROBE = """
import json, sys, warnings
warnings.simplefilter("ignore")
from airflow.dag_processing.dagbag import DagBag
SHOWN = ("config", "training_job_name", "policy", "training_timeout", "deferrable", "wait_for_completion",
         "print_log", "check_interval", "aws_conn_id", "region_name", "retries")

def show(task):
    partial = getattr(task, "partial_kwargs", None)
    if partial is not None:
        given = {k: repr(v) for k, v in partial.items() if k in SHOWN}
        return {"class": task.operator_class.__name__} | given
    return {"class": type(task).__name__} | {k: repr(getattr(task, k)) for k in SHOWN if hasattr(task, k)}

def load(folder):
    bag = DagBag(folder)
    tasks = {}
    for dag in bag.dags.values():
        tasks.setdefault(dag.fileloc.rpartition("/")[2], {}).update({t.task_id: show(t) for t in dag.tasks})
    errors = {path.rpartition("/")[2]: text for path, text in bag.import_errors.items()}
    return {"tasks": tasks, "errors": errors}

print("RESULT" + json.dumps([load(folder) for folder in sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def checked() -> dict[Path, Checked]:
    return {path: check([path]) for path in SHAPES}


@pytest.fixture(scope="module")
def loaded(
    checked: dict[Path, Checked], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Airflow makes of the shapes, and of the changed ones."""
    folder = tmp_path_factory.mktemp("shapes")
    before, after = folder / "before", folder / "after"
    before.mkdir()
    after.mkdir()
    for path in SHAPES:
        (before / path.name).write_text(path.read_text())
        for _, change in checked[path].plans:
            (after / path.name).write_text(change.text)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(before), str(after)],
        capture_output=True,
        text=True,
        timeout=200,
        env=_environment(folder),
    )
    assert "RESULT" in done.stdout, done.stderr[-2000:]
    first, second = json.loads(done.stdout.partition("RESULT")[2])
    return first, second


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def test_there_are_more_than_thirty_shapes() -> None:
    assert len(SHAPES) > 40


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_each_task_is_listed_with_what_it_is_exposed_to(path: Path, checked: dict[Path, Checked]) -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for _, finding in checked[path].findings:
        found[finding.task.called].add(finding.code)
    assert found == expected_of(path).finds


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_a_task_is_changed_only_if_the_file_shows_that_it_may(
    path: Path, checked: dict[Path, Checked]
) -> None:
    expected = expected_of(path)
    changes = [change for _, change in checked[path].plans]
    assert {task.called for change in changes for task in change.fixed} == expected.changes
    left = {task.called: reason for change in changes for task, reason in change.left.items()}
    assert {task for task in left if not task.startswith("(")} == expected.keeps.keys()
    for task, part in expected.keeps.items():
        assert part in left[task]


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_a_second_change_changes_nothing(path: Path, checked: dict[Path, Checked], tmp_path: Path) -> None:
    for _, change in checked[path].plans:
        again = tmp_path / path.name
        again.write_text(change.text)
        for _, second in check([again]).plans:
            assert second.text == change.text
            assert second.fixed == []


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_a_finding_names_the_line_of_its_task(path: Path, checked: dict[Path, Checked]) -> None:
    lines = path.read_text().splitlines()
    for _, finding in checked[path].findings:
        if finding.task.kind in {Kind.OPERATOR, Kind.SENSOR}:
            assert "Training" in lines[finding.at_line - 1] or "Train(" in lines[finding.at_line - 1]


def test_airflow_loads_each_shape_that_is_said_to_load(
    loaded: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    before, _ = loaded
    assert set(before["errors"]) == {path.name for path in SHAPES if not expected_of(path).loads}


def test_airflow_loads_the_changed_shapes_and_their_operators_take_the_arguments(
    loaded: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    _, after = loaded
    for path in SHAPES:
        expected = expected_of(path)
        if not expected.changes:
            continue
        assert (path.name in after["errors"]) is not expected.loads_changed, after["errors"].get(path.name)
        if expected.loads_changed:
            ours = {
                name for name, task in after["tasks"][path.name].items() if task["class"].startswith("Spot")
            }
            computed = {name for name in expected.changes if name.startswith("f'")}
            assert expected.changes - computed <= ours
            assert not computed or ours


def test_what_is_not_changed_is_as_before(loaded: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Arguments keep their values, but for the sensor's job and the policy of what stays on demand."""
    before, after = loaded
    compared = 0
    for name, tasks in before["tasks"].items():
        assert after["tasks"][name].keys() == tasks.keys()
        for task_id, task in tasks.items():
            changed = after["tasks"][name][task_id]
            for argument in (
                task.keys() - {"class", "config"} if changed["class"].startswith("Spot") else task
            ):
                assert changed[argument] == task[argument], (name, task_id, argument)
                compared += 1
    assert compared > 200


def test_what_says_nothing_about_spot_stays_on_demand(loaded: tuple[dict[str, Any], dict[str, Any]]) -> None:
    _, after = loaded
    assert after["tasks"]["plain_import.py"]["train"]["policy"] == "'on_demand'"
    assert after["tasks"]["mapped.py"]["train"]["policy"] == "'on_demand'"
    assert after["tasks"]["aliased_import.py"]["train"]["policy"] == "None"
    assert after["tasks"]["import_in_function.py"]["train"]["training_timeout"] == "7200"
    assert "start" in after["tasks"]["sensor_apart.py"]["wait"]["training_job_name"]


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_with_spot_more_is_changed_and_the_file_can_be_parsed(
    path: Path, checked: dict[Path, Checked]
) -> None:
    for source, change in checked[path].plans:
        more = plan(source, [task for _, task in checked[path].tasks], spot=True)
        ast.parse(more.text)
        assert set(change.fixed) <= set(more.fixed)
        assert 'policy="on_demand"' not in more.text
