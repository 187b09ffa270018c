"""Every Dag loads, does nothing at parse time, and has a good trigger form.

`LOCAL_STACK_AIRFLOW_PYTHON` names the Python of an environment with an earlier version of Airflow.
"""

from __future__ import annotations

import json
import os
import subprocess
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from include.local_stack.environment import airflow_python, airflow_version

ROOT = Path(__file__).resolve().parents[2]

#: Parses all Dags as a dag-processor does and prints what it found.
PROBE = """
import copy, json, sys
from types import SimpleNamespace
from airflow.sdk.definitions.param import process_params
try:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.exceptions import ParamValidationError
except ImportError:  # before 3.2
    from airflow.exceptions import ParamValidationError
    from airflow.models.dagbag import DagBag
bag = DagBag(sys.argv[1])

def check(dag, confs):
    # What a task of a run with this conf gets each time it starts, also after a clear.
    got = []
    for conf in confs:
        fresh = SimpleNamespace(params=copy.deepcopy(dag.params))
        try:
            got.append(process_params(fresh, SimpleNamespace(params=None), conf, suppress_exception=False))
        except ParamValidationError as error:
            got.append(str(error))
    return got

print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    "boto3": "boto3" in sys.modules, "pandas": "pandas" in sys.modules, "xgboost": "xgboost" in sys.modules,
    "include": [name for name in sys.modules if name.startswith("include")],
    "dags": {dag.dag_id: {
        "doc": dag.doc_md, "tags": sorted(dag.tags), "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "params": {name: p.schema | {"description": p.description} for name, p in dag.params.items()},
        "earlier": check(dag, json.loads(sys.argv[2]).get(dag.dag_id, [])),
        "typed": check(dag, json.loads(sys.argv[3]) if dag.dag_id == "retrain_flight_delays" else []),
        "tasks": {task.task_id: {
            "multiple_outputs": getattr(task, "multiple_outputs", False),
            "trigger_rule": task.trigger_rule.value, "is_teardown": task.is_teardown,
            "upstream": sorted(task.upstream_task_ids), "downstream": sorted(task.downstream_task_ids),
        } for task in dag.tasks},
        "defaults": {name: p.value for name, p in dag.params.items()},
        "groups": sorted({task.task_group.group_id for task in dag.tasks if task.task_group.group_id}),
    } for dag in bag.dags.values()},
}))
"""


#: What the form put into the conf of runs before its optional fields were null, and durations were text: such
#: runs are cleared, too.
EARLIER: dict[str, list[dict[str, Any]]] = {
    "retrain_flight_delays": [
        {"policy": policy, "deadline": deadline, "max_run": 3600, "first_wait": 7200}
        for policy in ("widen", "spot_only", "on_demand", "rule", "planner")
        for deadline in ("", "12h", "43200", "2026-11-23T06:00:00Z", "2026-11-23T06:00:00+01:00")
    ],
    "retrain_with_approval": [{"first_wait": 3600}, {"first_wait": 604800}],
    "advise_on_spot": [
        dict.fromkeys(("work", "model", "trace", "further_types", "max_runtime", "deadline_reserve"), "")
        | {"source": source, "scenario": "3h/40m"}
        for source in ("own history", "scenario", "trace")
    ]
    + [{"work": work, "deadline": "50400", "max_runtime": "86400"} for work in ("21600", '{"mean": "5h"}')],
    "spot_savings_report": [dict.fromkeys(("dag_id", "model", "instance_type", "team"), "")],
}

#: What people type into the form of `retrain_flight_delays`: accepted, and refused by Airflow in the form.
ACCEPTED: list[dict[str, Any]] = [
    *({"max_run": text} for text in ("2h", "90m", "1h 30m", "1h30m", "1.5h", "2 H", "7200")),
    *({"first_wait": text} for text in ("1d 6h", "7d")),
    {"deadline": "12h"},
    {"deadline": "2026-11-23T06:00:00 Europe/Berlin"},
    {"deadline": "2026-11-23 06:00 America/Argentina/Buenos_Aires"},
    {"deadline": "2026-11-23T06:00:00[Europe/Berlin]"},
]
REFUSED: list[dict[str, Any]] = [
    *({"max_run": value} for value in ("", None, "two hours", "2 hours", "h", "-1h", "2h; reboot", 1, True)),
    *({"first_wait": value} for value in (0.5, 10**9, "{{ 7 * 7 }}", "2h\n{{ 7 }}")),
    *({"deadline": text} for text in ("tomorrow", "12 hours", "{{ 7 * 7 }}", "2026-11-23'; --")),
    {"policy": "yolo"},
]


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
        [
            airflow_python(),
            "-c",
            PROBE,
            str(ROOT / "dags"),
            json.dumps(EARLIER),
            json.dumps(ACCEPTED + REFUSED),
        ],
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
    files = {file.stem for file in (ROOT / "dags").glob("*.py")}
    # Airflow before 3.1 asks nobody anything: the file says so instead of loading.
    refused = {"retrain_with_approval"} if airflow_version() < (3, 1) else set()
    assert len(files) == 5
    assert set(parsed["dags"]) == files - refused
    assert {Path(file).stem for file in parsed["errors"]} == refused
    assert all("needs Airflow 3.1 or later" in error for error in parsed["errors"].values())


def test_only_tasks_with_outputs_that_are_never_none_push_them_one_by_one(parsed: dict[str, Any]) -> None:
    """Airflow 3.0 fails a task that pushes None. A task that returns a dictionary pushes each value."""
    found = {
        task_id
        for dag in parsed["dags"].values()
        for task_id, task in dag["tasks"].items()
        if task["multiple_outputs"]
    }
    assert found == {"prepare.channels"} | ({"prepare"} if airflow_version() >= (3, 1) else set())


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


def test_every_param_has_a_type_a_title_and_a_description(parsed: dict[str, Any]) -> None:
    for dag in parsed["dags"].values():
        for name, schema in dag["params"].items():
            # Without a type, the form sends choices that were cleared, and the server refuses them.
            assert schema.get("type"), name
            assert schema.get("title"), name
            assert schema.get("description") or schema.get("description_md"), name
            if schema.get("type") == "integer":
                assert {"minimum", "maximum"} <= schema.keys(), name


def test_every_form_can_be_sent_as_it_opens(parsed: dict[str, Any]) -> None:
    """Airflow's form does not send a field that has a type, may not be null, and is empty."""
    for dag_id, dag in parsed["dags"].items():
        for name, schema in dag["params"].items():
            may_be_null = "null" in schema["type"]
            is_empty = dag["defaults"][name] in (None, "", [])
            assert may_be_null or not is_empty, f"{dag_id}: {name}"
            assert dag["defaults"][name] != "", f"{dag_id}: {name}"


def test_the_first_fields_of_a_form_have_no_section_and_each_section_is_in_one_place(
    parsed: dict[str, Any],
) -> None:
    """Airflow 3.0 shows no field at all if each has a section."""
    for dag_id, dag in parsed["dags"].items():
        sections = [schema.get("section", "") for schema in dag["params"].values()]
        assert sections[0] == "", dag_id
        in_order = [name for name, _ in groupby(sections)]
        assert len(in_order) == len(set(in_order)), dag_id


def test_fields_come_in_the_order_in_which_a_person_thinks(parsed: dict[str, Any]) -> None:
    def fields(dag_id: str) -> list[tuple[str, list[str]]]:
        params = parsed["dags"][dag_id]["params"].items()
        return [(s, [n for n, _ in of]) for s, of in groupby(params, lambda p: p[1].get("section", ""))]

    assert fields("retrain_flight_delays") == [
        ("", ["instance_type", "max_run", "deadline"]),
        ("Spot", ["use_spot", "policy", "first_wait"]),
        ("Model", ["num_round"]),
    ]
    assert [name for name, _ in fields("advise_on_spot")] == [
        "",
        "Spot market",
        "Prices",
        "The operator's options",
    ]
    assert [name for name, _ in fields("spot_savings_report")] == ["", "Which trainings", "Layout"]


def test_no_field_is_in_seconds_and_each_that_is_typed_has_an_example(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["dags"].items():
        for name, schema in dag["params"].items():
            text = schema["description"] or schema["description_md"]
            assert "seconds" not in f"{schema['title']} {text}".lower().replace("inseconds", "")
            is_chosen = bool({"enum", "format", "items", "description_md"} & schema.keys())
            if not is_chosen and "boolean" not in schema["type"] and schema["type"] != "integer":
                assert "For example: " in text, f"{dag_id}: {name}"


def test_a_field_says_on_which_other_field_it_depends(parsed: dict[str, Any]) -> None:
    others: dict[str, dict[str, tuple[str, ...]]] = {
        "retrain_flight_delays": {
            "policy": ("Managed spot", "Deadline"),
            "first_wait": ("Managed spot", "widen", "spot_only", "Max run time"),
        },
        "retrain_with_approval": {"limit_usd": ("spot capacity never comes",)},
        "advise_on_spot": {
            "model": ("Run time",),
            "scenario": ("scenario",),
            "trace": ("trace",),
            "further_types": ("own history", "scenario", "trace"),
        },
        "spot_savings_report": {"days": ("From", "To")},
        "sweep_orphaned_trainings": {"stop": ("sweeper_stops",)},
    }
    for dag_id, dag in parsed["dags"].items():
        for name, words in others[dag_id].items():
            schema = dag["params"][name]
            text = schema["description"] or schema["description_md"]
            assert "only" in text.lower(), f"{dag_id}: {name}"
            assert all(word in text for word in words), f"{dag_id}: {name}"


def test_the_form_takes_durations_as_people_type_them_and_refuses_other_text(parsed: dict[str, Any]) -> None:
    got = parsed["dags"]["retrain_flight_delays"]["typed"]
    accepted, refused = got[: len(ACCEPTED)], got[len(ACCEPTED) :]
    for conf, params in zip(ACCEPTED, accepted, strict=True):
        assert isinstance(params, dict), f"{conf}: {params}"
        assert params.items() >= conf.items()
    for conf, error in zip(REFUSED, refused, strict=True):
        assert isinstance(error, str), conf


def test_runs_of_earlier_forms_can_be_cleared(parsed: dict[str, Any]) -> None:
    for dag_id, confs in EARLIER.items():
        if dag_id not in parsed["dags"]:
            continue  # Airflow before 3.1 cannot ask a person
        for conf, got in zip(confs, parsed["dags"][dag_id]["earlier"], strict=True):
            assert isinstance(got, dict), f"{dag_id} with {conf}: {got}"
            assert got.items() >= conf.items()


def test_the_form_offers_one_deadline_policy(parsed: dict[str, Any]) -> None:
    policy = parsed["dags"]["retrain_flight_delays"]["params"]["policy"]
    assert policy["examples"] == ["widen", "spot_only", "on_demand", "deadline"]
    assert all(f"- {name}: " in policy["description_md"] for name in policy["examples"])


def test_the_report_on_the_savings_follows_the_training_and_leaves_the_state_of_the_run_to_it(
    parsed: dict[str, Any],
) -> None:
    tasks = parsed["dags"]["retrain_flight_delays"]["tasks"]
    report = tasks["report_savings"]
    assert (report["trigger_rule"], report["is_teardown"]) == ("all_done", False)
    assert (report["upstream"], report["downstream"]) == (["train.train"], [])
    # The last tasks decide on the state of the run: another one must depend on the training.
    others = set(tasks["train.train"]["downstream"]) - {"report_savings"}
    assert others
    assert {tasks[name]["trigger_rule"] for name in others} == {"all_success"}


def test_there_is_a_task_group_for_each_stage(parsed: dict[str, Any]) -> None:
    assert parsed["dags"]["retrain_flight_delays"]["groups"] == ["evaluate", "prepare", "publish", "train"]
