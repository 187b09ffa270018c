"""What Dags, dashboards and scripts of 0.1.0 use by name, used by that name.

The trigger's class path and payloads: `tests/training/test_old_state.py`. `POLICIES`, their options and a
policy of one's own in `simulate`: `tests/test_policies.py`. The XComs of a task: `tests/task/test_xcoms.py`.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from spot_training import settings
from spot_training.domain.ladder import Ladder, Policy, Step
from spot_training.domain.policy_specs import Defaults, policy_from
from spot_training.domain.savings import Attempt, PurchaseOption, statement_of
from spot_training.ledger import Ledger, LedgerReader
from spot_training.operators import SpotTrainingOperator
from spot_training.policies import simulate
from spot_training.provider_info import OPTIONS
from spot_training.sagemaker.identity import TAG_INTENT, TAG_STOPPED_FOR, RunIdentity, identity_of
from spot_training.sensors import SpotTrainingSensor
from tests.records import make_attempt, make_record

# Arguments --------------------------------------------------------------------------------------------

OF_BOTH: dict[str, Any] = {
    "policy": {"name": "widen"},
    "check_interval": 5,
    "deferrable": True,
    "print_log": "live",
    "stop_job_on_kill": False,
    "caps": {"instance_types": ["ml.m5.*"]},
    "aws_conn_id": "mine",
    "region_name": "eu-west-1",
    "verify": False,
    "botocore_config": {"read_timeout": 30},
    "events_queue_url": "https://sqs.eu-west-1.amazonaws.com/1/events",
}
OF_THE_OPERATOR: dict[str, Any] = {
    "config": {"TrainingJobName": "churn"},
    "wait_for_completion": "True",
    "training_timeout": "2d",
    "deadline": "12h",
    "expected_runtime": {"mean": "3h", "high": "4h", "checkpoint_every": "10m"},
    "deadline_reserve": "10m",
    "on_missed_deadline": "late",
    "budget": {"usd": 200, "deadline_wins": True},
    "retry_failed_script": True,
    "keep_checkpoints": True,
}
ARGUMENTS: dict[type, dict[str, Any]] = {
    SpotTrainingOperator: {**OF_BOTH, **OF_THE_OPERATOR},
    SpotTrainingSensor: {**OF_BOTH, "training_job_name": "churn-1"},
}


@pytest.mark.parametrize("cls", ARGUMENTS)
def test_every_argument_is_taken_kept_and_templated(cls: Any) -> None:
    """Also in the names of the attributes: `ask_before_on_demand` and people's subclasses read them."""
    task = cls(task_id="train", **ARGUMENTS[cls])
    assert {name: getattr(task, name) for name in ARGUMENTS[cls]} == ARGUMENTS[cls]
    assert set(cls.template_fields) >= ARGUMENTS[cls].keys() - {"caps"}


@pytest.mark.parametrize("cls", ARGUMENTS)
def test_a_task_that_0_1_0_deferred_resumes(cls: Any) -> None:
    """Airflow's database has the method's name."""
    assert {"context", "event"} <= inspect.signature(cls.resume).parameters.keys()


@pytest.mark.parametrize("cls", ARGUMENTS)
def test_the_buttons_have_their_names(cls: Any) -> None:
    """Airflow keeps links as XComs under them."""
    names = {link.name for link in cls.operator_extra_links}
    assert names >= {"Training timeline", "SageMaker training job", "CloudWatch log"}


# Policies ---------------------------------------------------------------------------------------------

DEFAULTS = Defaults(max_runtime_seconds=3600, max_wait_seconds=7200, deadline_in_seconds=86400)
SPOT, ON_DEMAND = {"spot": "ml.m5.xlarge", "max_wait": "2h"}, {"on_demand": ["ml.m5.xlarge"]}
WIDENING = {"first_wait": "2h", "factor": "2", "cap": "12h", "spot_attempts": "3"}


def _waits(policy: Policy) -> list[int | None]:
    return [step.max_wait_seconds for step in policy.steps]


@pytest.mark.parametrize(
    ("spec", "waits"),
    [
        ("widen", [7200, 14400, None]),
        ({"name": "widen", **WIDENING}, [7200, 14400, 28800, None]),
        ({"name": "spot_only", **WIDENING}, [7200, 14400, 28800]),
        ("on_demand", [None]),
        ({"name": "on_demand", "instance_types": "ml.m5.xlarge,ml.m5.2xlarge", **WIDENING}, [None]),
        ([SPOT, ON_DEMAND], [7200, None]),
        ({"name": "ladder", "rungs": [SPOT, "on_demand"]}, [7200, None]),
        ('[{"spot": "ml.m5.xlarge", "max_wait": "2h"}, "on_demand"]', [7200, None]),
        (Ladder((Step(purchase=PurchaseOption.ON_DEMAND),)), [None]),
    ],
)
def test_a_policy_is_written_as_before(spec: object, waits: list[int | None]) -> None:
    assert _waits(policy_from(spec, DEFAULTS)) == waits


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("greedy", ""),
        ("uniform_progress", "hysteresis"),
        ("rule", "wait_work wait_overhead return_work return_overhead look_every_seconds"),
        ("planner", ""),
    ],
)
def test_a_policy_for_deadlines_is_the_policy_deadline_now(name: str, numbers: str) -> None:
    """Its own numbers are taken, and its instance types count."""
    options = {**dict.fromkeys(numbers.split(), "1"), "on_demand": "ml.m5.xlarge,ml.m5.2xlarge", **WIDENING}
    policy = policy_from({"name": name, **options}, DEFAULTS)
    now = policy_from({"name": "deadline", "on_demand": "ml.m5.xlarge,ml.m5.2xlarge"}, DEFAULTS)
    assert policy.steps == now.steps
    assert policy.steps[-1].instance_types == ("ml.m5.xlarge", "ml.m5.2xlarge")


def test_simulate_takes_every_argument_of_0_1_0() -> None:
    from spot_training.advise.simulator import DEFAULT_GUARD

    workload = {
        "work_seconds": 3600,
        "deadline_seconds": 9000,
        "overhead_seconds": 300.0,
        "spot_price": 0.9731,
        "on_demand_price": 3.06,
        "back_to_spot": "beside",
    }
    walked = simulate(
        policy="widen",
        workload=workload,
        trace=[1] * 30,
        tick_seconds=300.0,
        history=[(True, 600.0)],
        sees_capacity=False,
        guard=DEFAULT_GUARD,
    )
    assert (walked.missed, walked.on_demand_seconds) == (False, 0)


# Settings ---------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {
    "budget": ("200", settings.text, "200"),
    "calls_per_second": ("2.5", settings.number, 2.5),
    "events_queue_is_shared": ("True", settings.flag, True),
    "events_queue_url": ("https://queue", settings.text, "https://queue"),
    "installation": ("production", settings.text, "production"),
    "ledger": ("s3://bucket/prefix", settings.text, "s3://bucket/prefix"),
    "policy_file": ("/policies.yaml", settings.text, "/policies.yaml"),
    "prices_file": ("/prices.yaml", settings.text, "/prices.yaml"),
    "sweeper_connections": ("mine@eu-west-1", settings.text, "mine@eu-west-1"),
    "sweeper_stops": ("yes", settings.flag, True),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_read_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`tests/package/test_provider_info.py` holds that the code reads each of `OPTIONS`."""
    written, read, value = SETTINGS[name]
    monkeypatch.setenv(f"AIRFLOW__SPOT_TRAINING__{name.upper()}", written)
    assert name in OPTIONS
    assert read(name) == value


# XComs, records and columns ------------------------------------------------------------------------------

OF_AN_ATTEMPT = (
    "number rung job_name purchase reason ending created_at started_at ended_at instance_type "
    "instance_count max_runtime_seconds max_wait_seconds has_checkpoints interruptions wait_seconds "
    "training_seconds billable_seconds work_seconds launch_seconds message savings_percent"
)
OF_A_STATEMENT = (
    "completed attempts interruptions wait_seconds training_seconds billable_seconds "
    "training_instance_seconds billable_instance_seconds abandoned_instance_seconds clean_run_seconds "
    "clean_run_instance_seconds clean_run_basis savings_percent job_savings_percent billed_usd "
    "clean_run_usd saved_usd abandoned_usd"
)
OF_A_CURRENT_JOB = (
    "job_name number reason purchase instance_type instance_count status secondary_status created_at "
    "started_at max_wait_seconds transitions seen_at"
)
OF_A_RECORD = (
    "format key version installation dag_id run_id task_id map_index generation state reason model team "
    "tags region instance_type instance_count began_at ended_at deadline_at latest_on_demand_at watches "
    "is_resumed completed attempt_count interruptions wait_seconds training_seconds billable_seconds "
    "training_instance_seconds billable_instance_seconds abandoned_instance_seconds clean_run_seconds "
    "clean_run_instance_seconds clean_run_basis savings_percent job_savings_percent billed_usd "
    "clean_run_usd saved_usd abandoned_usd replaced_instance_seconds replaced_usd attempts transitions "
    "decisions current_job prices written_at"
)


def test_attempts_and_savings_have_their_keys() -> None:
    """They are XComs; `tests/task/test_xcoms.py` pushes them."""
    attempt = make_attempt()
    assert attempt.to_json(with_transitions=False).keys() >= set(OF_AN_ATTEMPT.split())
    assert statement_of([attempt]).to_json().keys() >= set(OF_A_STATEMENT.split())


def test_an_attempts_step_is_stored_as_its_rung() -> None:
    stored = make_attempt(step=1).to_json()
    assert stored["rung"] == 1
    assert Attempt.from_json(stored).step == 1


def _select(reader: LedgerReader, names: str, where: str = "") -> dict[str, Any]:
    columns = ", ".join(f"{where}{name} AS {name}" for name in names.split())
    (row,) = reader.query(f"SELECT {columns} FROM trainings")  # noqa: S608 - names of this file
    return row


def test_every_column_can_be_selected(ledger: Ledger) -> None:
    ledger.write(make_record())
    with ledger.read() as reader:
        record = _select(reader, OF_A_RECORD)
        attempt = _select(reader, f"{OF_AN_ATTEMPT} billed_usd", "attempts[1].")
        job = _select(reader, OF_A_CURRENT_JOB, "current_job.")
    assert (record["dag_id"], record["attempt_count"]) == ("retrain", 1)
    assert (attempt["rung"], attempt["job_name"]) == (0, "model-0123456789ab-1")
    assert set(job.values()) == {None}


# Tags ---------------------------------------------------------------------------------------------------


def test_a_job_has_the_tags_that_people_allocate_costs_by() -> None:
    identity = RunIdentity(dag_id="retrain", run_id="run 1", task_id="train", installation="prod")
    tags = {tag["Key"]: tag["Value"] for tag in identity.tags(2)}
    assert tags == {
        "spot-training:key": identity.key,
        "spot-training:dag": "retrain",
        "spot-training:run": "run 1",
        "spot-training:task": "train",
        "spot-training:map-index": "-1",
        "spot-training:generation": "0",
        "spot-training:attempt": "2",
        "spot-training:installation": "prod",
    }
    assert identity_of(tags) == identity
    assert (TAG_INTENT, TAG_STOPPED_FOR) == ("spot-training:intent", "spot-training:stopped-for")


# Addresses ------------------------------------------------------------------------------------------------

FILTERS = "window since until dag_id model instance_type team"
ADDRESSES = {
    "/": f"{FILTERS} order page",
    "/training": "dag_id run_id task_id map_index within",
    "/api/overview": FILTERS,
    "/api/trainings": f"{FILTERS} order page",
    "/api/choices": "",
    "/api/training": "dag_id run_id task_id map_index",
    "/api/installation": "",
    "/api/openapi.json": "",
    "/static/{digest}/{name}": "",
    "/{icon}.svg": "",
}


@pytest.mark.filterwarnings("ignore::Warning")
def test_the_page_and_its_api_have_their_addresses_and_parameters() -> None:
    """Behind Airflow's login; `tests/dashboard` asks them."""
    from fastapi.dependencies.utils import get_flat_dependant
    from fastapi.routing import APIRoute

    from spot_training.dashboard.app import URL_PREFIX, create_app

    found = {
        route.path: {parameter.alias for parameter in get_flat_dependant(route.dependant).query_params}
        for route in create_app().routes
        if isinstance(route, APIRoute) and "GET" in route.methods
    }
    assert URL_PREFIX == "/spot-training"
    assert {path: found[path] >= set(names.split()) for path, names in ADDRESSES.items()} == dict.fromkeys(
        ADDRESSES, True
    )
