"""Whatever people put into the operator and the sensor: a clear error, no job, no traceback of ours."""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, TaskDeferred
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spot_training.connections import DEFAULT_BOTOCORE_CONFIG, AwsAccess
from spot_training.domain.errors import AlgorithmFailed, InvalidInput, SpotTrainingError
from spot_training.operators import SpotTrainingOperator
from spot_training.sagemaker.roles import arn_of_role
from spot_training.sensors import SpotTrainingSensor
from spot_training.task import policy_file
from spot_training.task.access import access_of, botocore_config_from
from spot_training.task.options import TaskOptions
from spot_training.task.specification import WatchedJob
from spot_training.training.state import MemoryStore
from tests.cloud import Cloud, make_config

from .support import rendered

FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

hostile = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**18, 10**30),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(
        [
            "",
            "None",
            "$(reboot)",
            "'; DROP TABLE",
            "../../x",
            "arn:aws:iam::1:role/x",
            "ml.m5.xlarge",
            "x" * 5000,
        ]
    ),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.binary(max_size=5),
)


_runs = itertools.count()


def _context() -> Any:
    ti = SimpleNamespace(
        dag_id="fuzz",
        run_id=f"run {next(_runs)}",
        task_id="task",
        map_index=-1,
        try_number=1,
        max_tries=0,
        xcom_push=lambda **_kwargs: None,
    )
    now = datetime.now(UTC)
    dag_run = SimpleNamespace(start_date=now, run_after=now)
    return {"ti": ti, "dag_run": dag_run, "task_state_store": MemoryStore()}


@pytest.fixture
def waiting_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A cloud where jobs wait; operators reach it without an Airflow connection."""
    cloud.set_capacity(available=False)
    jobs = cloud.jobs()
    monkeypatch.setattr(AwsAccess, "jobs", lambda _self: jobs)
    monkeypatch.setattr(
        AwsAccess, "role_arn", lambda _self, name: arn_of_role(name, lambda: cloud.client("iam"))
    )
    logging.getLogger("airflow").setLevel(logging.CRITICAL)
    return cloud


def _operator(**values: Any) -> SpotTrainingOperator:
    """An operator whose arguments came out of templates."""
    return rendered(SpotTrainingOperator(task_id="t", config={}), **{"config": make_config(), **values})


def _sensor(**values: Any) -> SpotTrainingSensor:
    """The same of a sensor; what Airflow's own sensor takes is not templated."""
    own = {name: values.pop(name) for name in ("timeout", "poke_interval") if name in values}
    return rendered(SpotTrainingSensor(task_id="t", training_job_name="nowhere", **own), **values)


def _attempt(cloud: Cloud, make: Any) -> None:
    """Run a task; it may work, or fail with a sentence that names what was wrong, having created nothing."""
    before = _names(cloud)
    try:
        make().execute(_context())
    except TaskDeferred:
        return
    except AirflowFailException as refused:
        assert isinstance(refused.__cause__, SpotTrainingError)  # noqa: PT017 - it may also succeed
        assert len(str(refused)) > 20  # noqa: PT017
        assert _names(cloud) == before


def _names(cloud: Cloud) -> set[str]:
    pages = cloud.client("sagemaker").get_paginator("list_training_jobs").paginate()
    return {summary["TrainingJobName"] for page in pages for summary in page["TrainingJobSummaries"]}


FIELDS = (
    "RoleArn",
    "AlgorithmSpecification",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "CheckpointConfig",
    "HyperParameters",
    "InputDataConfig",
    "TrainingJobName",
    "Tags",
    "Environment",
    "Nonsense",
)


@FUZZ
@given(field=st.sampled_from(FIELDS), value=hostile)
def test_whatever_is_in_the_config(waiting_cloud: Cloud, field: str, value: Any) -> None:
    config = make_config(**{field: value})
    _attempt(waiting_cloud, lambda: _operator(config=config, wait_for_completion=False))


ARGUMENTS = (
    "policy",
    "wait_for_completion",
    "check_interval",
    "deferrable",
    "print_log",
    "stop_job_on_kill",
    "training_timeout",
    "retry_failed_script",
    "keep_checkpoints",
)
DEADLINE_ARGUMENTS = ("deadline", "expected_runtime", "deadline_reserve", "on_missed_deadline", "policy")


@FUZZ
@given(name=st.sampled_from(ARGUMENTS), value=hostile)
def test_whatever_is_in_the_operators_arguments(waiting_cloud: Cloud, name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"wait_for_completion": False, name: value}
    if name == "wait_for_completion":
        arguments["deferrable"] = True
    _attempt(waiting_cloud, lambda: _operator(**arguments))


@FUZZ
@given(name=st.sampled_from(DEADLINE_ARGUMENTS), value=hostile)
def test_whatever_is_said_of_a_deadline(waiting_cloud: Cloud, name: str, value: Any) -> None:
    arguments = {
        "deadline": "2d",
        "expected_runtime": "1h",
        "on_missed_deadline": "late",
        "deferrable": True,
        name: value,
    }
    _attempt(waiting_cloud, lambda: _operator(**arguments))


@pytest.mark.parametrize("waits", [False, "False", "no"])
def test_a_deadline_that_nobody_would_guard_is_refused(waiting_cloud: Cloud, waits: Any) -> None:
    task = _operator(deadline="2d", expected_runtime="1h", wait_for_completion=waits)
    before = _names(waiting_cloud)
    with pytest.raises(AirflowFailException, match=r"wait_for_completion is .*nobody would hold .* \(2d\)"):
        task.execute(_context())
    assert _names(waiting_cloud) == before


@pytest.mark.parametrize(("retries_it", "error"), [(False, AirflowFailException), ("True", AlgorithmFailed)])
def test_a_failed_script_is_left_to_airflows_retries_only_by_choice(
    waiting_cloud: Cloud, retries_it: Any, error: type[Exception]
) -> None:
    waiting_cloud.set_capacity(available=True)
    environment = {"LOCAL_TRAINING_SECONDS": "60", "LOCAL_TRAINING_FAILURE": "no label column"}
    task = SpotTrainingOperator(
        task_id="t",
        config=make_config(Environment=environment),
        retry_failed_script=retries_it,
        check_interval=1,
    )
    with pytest.raises(error, match="no label column"):
        task.execute(_context())


@FUZZ
@given(
    name=st.sampled_from(["training_job_name", "policy", "deferrable", "check_interval", "print_log"]),
    value=hostile,
)
def test_whatever_is_in_the_sensors_arguments(waiting_cloud: Cloud, name: str, value: Any) -> None:
    arguments = {"training_job_name": "nowhere", "deferrable": True, name: value}
    _attempt(waiting_cloud, lambda: _sensor(timeout=1, poke_interval=0.1, **arguments))


@pytest.fixture
def reached_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A cloud where jobs wait; operators reach it as they reach AWS, with the connections there are: none."""
    cloud.set_capacity(available=False)
    for name, value in {
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)

    def no_connection(_hook: object, conn_id: str) -> None:
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")

    monkeypatch.setattr(AwsBaseHook, "get_connection", no_connection)
    monkeypatch.setitem(DEFAULT_BOTOCORE_CONFIG, "retries", {"total_max_attempts": 1})
    logging.getLogger("airflow").setLevel(logging.CRITICAL)
    logging.getLogger("task").setLevel(logging.CRITICAL)
    return cloud


ACCESS_ARGUMENTS = ("aws_conn_id", "region_name", "verify", "botocore_config", "events_queue_url")
#: By name, so that it reaches what is behind the names.
botocore_options = st.dictionaries(
    st.sampled_from(
        [
            "nonsense",
            "retries",
            "connect_timeout",
            "read_timeout",
            "max_pool_connections",
            "proxies",
            "proxies_config",
            "s3",
            "region_name",
            "user_agent",
            "user_agent_extra",
            "signature_version",
            "defaults_mode",
            "client_cert",
            "tcp_keepalive",
            "parameter_validation",
            "inject_host_prefix",
            "account_id_endpoint_mode",
        ]
    ),
    hostile,
    max_size=2,
)


@FUZZ
@given(name=st.sampled_from(ACCESS_ARGUMENTS), value=hostile)
def test_whatever_is_said_of_reaching_aws(reached_cloud: Cloud, name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"wait_for_completion": False, name: value}
    _attempt(reached_cloud, lambda: _operator(**arguments))


@FUZZ
@given(options=botocore_options)
def test_whatever_is_in_botocores_options(reached_cloud: Cloud, options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"wait_for_completion": False, "botocore_config": options}
    _attempt(reached_cloud, lambda: _operator(**arguments))


@FUZZ
@given(value=hostile)
def test_whatever_is_said_of_a_budget(waiting_cloud: Cloud, value: Any) -> None:
    _attempt(
        waiting_cloud,
        lambda: _operator(budget=value, wait_for_completion=False),
    )


@FUZZ
@given(name=st.sampled_from([*ACCESS_ARGUMENTS, "stop_job_on_kill", "caps"]), value=hostile)
def test_whatever_reaches_the_sensor_by_template(reached_cloud: Cloud, name: str, value: Any) -> None:
    arguments = {"training_job_name": "nowhere", "policy": "widen", "deferrable": True, name: value}
    _attempt(reached_cloud, lambda: _sensor(timeout=60, **arguments))


@FUZZ
@given(timeout=st.one_of(st.floats(60, 10**13), st.timedeltas(timedelta(minutes=1)), st.integers(60, 10**13)))
def test_whatever_the_sensors_timeout(waiting_cloud: Cloud, timeout: Any) -> None:
    """What Airflow itself refuses when the Dag is parsed is not ours to refuse."""
    name = f"watched-{next(_runs)}"
    waiting_cloud.client("sagemaker").create_training_job(
        **{**make_config(), "TrainingJobName": name, "EnableManagedSpotTraining": True}
    )
    _attempt(
        waiting_cloud,
        lambda: SpotTrainingSensor(task_id="t", training_job_name=name, timeout=timeout, deferrable=True),
    )


@pytest.mark.parametrize(
    ("argument", "value", "field"),
    [
        ("aws_conn_id", 7, "aws_conn_id"),
        ("aws_conn_id", "two words", "aws_conn_id"),
        ("region_name", "../../x", "region_name"),
        ("region_name", 7, "region_name"),
        ("verify", "no/such/bundle.pem", "verify"),
        ("verify", 7, "verify"),
        ("botocore_config", "abc", "botocore_config"),
        ("botocore_config", {"nonsense": 1}, "botocore_config.nonsense"),
        ("botocore_config", {"retries": "x"}, "botocore_config.retries"),
        ("botocore_config", {"retries": {"mode": "eager"}}, "botocore_config.retries"),
        ("botocore_config", {"read_timeout": "soon"}, "botocore_config.read_timeout"),
        ("events_queue_url", "https://", "events_queue_url"),
        ("events_queue_url", "sqs.us-east-1.amazonaws.com/1/q", "events_queue_url"),
    ],
)
@pytest.mark.parametrize("is_sensor", [False, True])
def test_what_cannot_reach_aws_is_refused_by_its_name(
    reached_cloud: Cloud, argument: str, value: Any, field: str, is_sensor: bool
) -> None:
    task = (_sensor if is_sensor else _operator)(**{argument: value})
    with pytest.raises(AirflowFailException, match=f"^{field} is ") as refused:
        task.execute(_context())
    assert isinstance(refused.value.__cause__, InvalidInput)
    assert _names(reached_cloud) == set()


def test_a_budget_that_is_none_is_refused_by_its_name(reached_cloud: Cloud) -> None:
    with pytest.raises(AirflowFailException, match=r"^budget is 'plenty'"):
        _operator(budget="plenty").execute(_context())
    assert _names(reached_cloud) == set()


def test_a_connection_without_a_region_is_refused_and_not_retried(
    reached_cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(AirflowFailException, match="region"):
        SpotTrainingOperator(task_id="t", config=make_config()).execute(_context())


@pytest.mark.parametrize(
    ("said", "meant"),
    [("False", False), ("True", True), (False, False), (None, None), ("None", None), ("/", "/")],
)
def test_verify_that_came_out_of_a_template_is_no_path(said: Any, meant: Any) -> None:
    task = SpotTrainingOperator(task_id="t", config={}, verify=said)
    assert access_of(task).verify == meant


def test_botocores_options_are_cast_from_text() -> None:
    text = '{"read_timeout": "30", "retries": {"total_max_attempts": "5"}, "tcp_keepalive": "yes"}'
    assert botocore_config_from(text) == {
        "read_timeout": 30.0,
        "retries": {"total_max_attempts": 5},
        "tcp_keepalive": True,
    }


def test_a_proxys_password_is_not_told_in_an_error() -> None:
    with pytest.raises(InvalidInput) as refused:
        botocore_config_from({"proxies": ["http://me:secret@proxy"]})
    assert "secret" not in str(refused.value)


def test_the_sensor_goes_on_with_nothing_above_its_caps(waiting_cloud: Cloud) -> None:
    """Its policy comes out of a template, and may ask for anything."""
    name = f"watched-{next(_runs)}"
    waiting_cloud.client("sagemaker").create_training_job(
        **{
            **make_config(StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600}),
            "TrainingJobName": name,
            "EnableManagedSpotTraining": True,
        }
    )
    sensor = SpotTrainingSensor(
        task_id="t",
        training_job_name=name,
        policy=[{"spot": "ml.m5.xlarge"}, {"on_demand": ["ml.p5.48xlarge"]}],
        caps={"instance_types": ["ml.m5.*"]},
        poke_interval=0.1,
        timeout=60,
        deferrable=False,
    )
    before = _names(waiting_cloud)
    with pytest.raises(AirflowFailException, match=r"ml.p5.48xlarge': the Dag allows ml.m5.\*"):
        sensor.execute(_context())
    assert _names(waiting_cloud) == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"policy": "patiently"}, "choose one of"),
        ({"policy": "rule"}, "give `deadline`"),
        ({"policy": {"name": "widen", "firstwait": "2h"}}, r"policy\.firstwait"),
        ({"policy": [{"on_demand": "m5.xlarge"}]}, r"policy\.steps\[0\]\.on_demand"),
        ({"caps": {"instance_type": ["ml.m5.*"]}}, r"caps\.instance_type"),
    ],
)
@pytest.mark.parametrize("deferrable", [True, False])
def test_the_sensor_tells_what_it_could_not_go_on_with_before_it_waits(
    waiting_cloud: Cloud, given: dict[str, Any], said: str, deferrable: bool
) -> None:
    sensor = _sensor(deferrable=deferrable, **given)
    with pytest.raises(AirflowFailException, match=said):
        sensor.execute(_context())


def test_the_sensor_knows_the_policies_of_the_policy_file(
    waiting_cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        policy_file, "named_policies", lambda: {"patient": {"name": "widen", "first_wait": "8h"}}
    )
    name = f"watched-{next(_runs)}"
    waiting_cloud.client("sagemaker").create_training_job(
        **make_config(), TrainingJobName=name, EnableManagedSpotTraining=True
    )
    sensor = SpotTrainingSensor(task_id="t", training_job_name=name, policy="patient", deferrable=True)
    with pytest.raises(TaskDeferred):
        sensor.execute(_context())
    watched = WatchedJob(AwsAccess().jobs(), name, policy_spec="patient")
    assert watched.policy(None).steps[0].max_wait_seconds == 8 * 3600


def test_what_may_be_a_password_is_not_returned(waiting_cloud: Cloud) -> None:
    """Whoever may read the Dag may read its XCom."""
    waiting_cloud.set_capacity(available=True)
    environment = {"LOCAL_TRAINING_SECONDS": "60", "TOKEN": "hunter2"}
    for waits in (True, False):
        task = SpotTrainingOperator(
            task_id="t",
            config=make_config(Environment=environment),
            wait_for_completion=waits,
            check_interval=1,
            deferrable=False,
        )
        description = task.execute(_context())["Training"]
        assert description["Environment"] == {"LOCAL_TRAINING_SECONDS": "***", "TOKEN": "***"}
        described = waiting_cloud.client("sagemaker").describe_training_job(
            TrainingJobName=description["TrainingJobName"]
        )
        assert described["Environment"] == environment


@FUZZ
@given(
    caps=st.dictionaries(
        st.sampled_from(["instance_types", "instance_count", "max_runtime", "max_wait", "keep_alive", "x"]),
        hostile,
        max_size=2,
    )
)
def test_whatever_is_in_the_caps(waiting_cloud: Cloud, caps: dict[str, Any]) -> None:
    _attempt(
        waiting_cloud,
        lambda: _operator(caps=caps, wait_for_completion=False),
    )


@pytest.mark.parametrize("value", ["liv", "", 3, []])
def test_what_print_log_takes_is_said(value: object) -> None:
    task = _operator(print_log=value)
    with pytest.raises(InvalidInput, match=r'^print_log .*give true, false or "live"'):
        TaskOptions.of_operator(task)
