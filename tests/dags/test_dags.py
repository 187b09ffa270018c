"""Every Dag loads, does nothing at parse time, and has a good trigger form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Parses all Dags as a dag-processor does and prints what it found.
PROBE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    "boto3": "boto3" in sys.modules, "pandas": "pandas" in sys.modules, "xgboost": "xgboost" in sys.modules,
    "include": [name for name in sys.modules if name.startswith("include")],
    "dags": {dag.dag_id: {
        "doc": dag.doc_md, "tags": sorted(dag.tags), "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "params": {name: p.schema | {"description": p.description} for name, p in dag.params.items()},
        "groups": sorted({task.task_group.group_id for task in dag.tasks if task.task_group.group_id}),
    } for dag in bag.dags.values()},
}))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(ROOT / "dags")],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT"))
    return found


def test_every_dag_loads(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert set(parsed["dags"]) == {
        "advise_on_spot",
        "retrain_flight_delays",
        "retrain_with_approval",
        "spot_savings_report",
        "sweep_orphaned_trainings",
    }


def test_parsing_imports_nothing_heavy(parsed: dict[str, Any]) -> None:
    assert not parsed["boto3"]
    assert not parsed["pandas"]
    assert not parsed["xgboost"]
    assert parsed["include"] == []


def test_every_dag_is_documented_and_tagged(parsed: dict[str, Any]) -> None:
    for dag in parsed["dags"].values():
        assert len(dag["doc"]) > 200
        assert dag["tags"]
        assert dag["catchup"] is False


def test_every_param_has_a_type_or_choices_a_title_and_a_description(parsed: dict[str, Any]) -> None:
    for dag in parsed["dags"].values():
        for name, schema in dag["params"].items():
            assert schema.get("type") or schema.get("enum"), name
            assert schema.get("title"), name
            assert schema.get("description"), name
            if schema.get("type") == "integer":
                assert {"minimum", "maximum"} <= schema.keys(), name


def test_the_trigger_form_offers_what_a_person_wants_to_change(parsed: dict[str, Any]) -> None:
    params = parsed["dags"]["retrain_flight_delays"]["params"]
    wanted = {"instance_type", "use_spot", "policy", "deadline", "max_run", "first_wait", "num_round"}
    assert set(params) == wanted


def test_there_is_a_task_group_for_each_stage(parsed: dict[str, Any]) -> None:
    assert parsed["dags"]["retrain_flight_delays"]["groups"] == ["evaluate", "prepare", "publish", "train"]
