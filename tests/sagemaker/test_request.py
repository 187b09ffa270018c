"""CreateTrainingJob requests: cast, checked, made again for each attempt."""

from __future__ import annotations

import copy
import json
import traceback
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.caps import Caps
from spot_training.domain.errors import (
    AboveCap,
    EmptyValue,
    InvalidInput,
    MaxWaitBelowMaxRuntime,
    RequestRefused,
    WaitTooLongForAlgorithm,
)
from spot_training.domain.ladder import Step, on_demand_only, widened_waits
from spot_training.domain.policy_specs import policy_from
from spot_training.domain.savings import PurchaseOption
from spot_training.sagemaker.identity import MAX_JOB_NAME_LENGTH, RunIdentity
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sagemaker.request import (
    TrainingPlan,
    cast_request,
    defaults_of,
    request_from_description,
    without_secrets,
)
from tests.cloud import make_config

KMEANS = "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1"

RESOURCES = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10}


def _config(**overrides: Any) -> dict[str, Any]:
    config = make_config(TrainingJobName="flight-delays", StoppingCondition={"MaxRuntimeInSeconds": 3600})
    del config["Environment"]
    return {**config, **overrides}


def _plan(config: dict[str, Any], **identity: Any) -> TrainingPlan:
    defaults = {"dag_id": "retrain", "run_id": "scheduled__2026-03-01T00:00:00+00:00", "task_id": "train"}
    return TrainingPlan.of(
        cast_request(config), identity=RunIdentity(**{**defaults, **identity}), name_prefix="flight-delays"
    )


SPOT = Step(purchase=PurchaseOption.SPOT, max_wait_seconds=7200)
ON_DEMAND = Step(purchase=PurchaseOption.ON_DEMAND)


def test_what_sagemaker_takes_in_seconds_may_be_a_duration_as_people_type_it() -> None:
    given = {
        "MaxRuntimeInSeconds": "2h",
        "MaxWaitTimeInSeconds": " 1d 6H ",
        "MaxPendingTimeInSeconds": "1.5h",
    }
    assert cast_request(_config(StoppingCondition=given))["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 7200,
        "MaxWaitTimeInSeconds": 108000,
        "MaxPendingTimeInSeconds": 5400,
    }


def test_values_that_came_out_of_a_template_are_cast_to_what_sagemaker_takes() -> None:
    request = cast_request(
        _config(
            StoppingCondition={
                "MaxRuntimeInSeconds": "3600",
                "MaxWaitTimeInSeconds": " 7200 ",
                "MaxPendingTimeInSeconds": "7200.0",
            },
            EnableManagedSpotTraining="True",
            EnableNetworkIsolation="no",
            RetryStrategy={"MaximumRetryAttempts": "2"},
            ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": "2", "VolumeSizeInGB": 10.0},
            HyperParameters={"num_round": 120, "eta": 0.1, "verbose": True, "name": "x"},
        )
    )
    assert request["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 3600,
        "MaxWaitTimeInSeconds": 7200,
        "MaxPendingTimeInSeconds": 7200,
    }
    assert request["EnableManagedSpotTraining"] is True
    assert request["EnableNetworkIsolation"] is False
    assert request["RetryStrategy"]["MaximumRetryAttempts"] == 2
    assert request["ResourceConfig"]["InstanceCount"] == 2
    assert request["HyperParameters"] == {"num_round": "120", "eta": "0.1", "verbose": "true", "name": "x"}


def test_the_users_config_is_never_changed() -> None:
    config = _config(Tags=[{"Key": "team", "Value": "air"}])
    before = copy.deepcopy(config)
    _plan(config).attempt_request(ON_DEMAND, number=3)
    assert config == before


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        ({"RoleArn": "SageMakerTraining"}, InvalidInput, r"RoleArn is 'SageMakerTraining': .*arn:aws:iam"),
        ({"RoleArn": ""}, EmptyValue, r"RoleArn is ''"),
        ({"RoleArn": None}, EmptyValue, r"RoleArn is None"),
        ({"RoleArn": "None"}, InvalidInput, r"RoleArn is 'None'"),
        ({"OutputDataConfig": {"S3OutputPath": ""}}, EmptyValue, r"OutputDataConfig\.S3OutputPath is ''"),
        ({"OutputDataConfig": {}}, EmptyValue, r"OutputDataConfig\.S3OutputPath"),
        ({"OutputDataConfig": "None"}, EmptyValue, r"OutputDataConfig"),
        (
            {"ResourceConfig": {**RESOURCES, "InstanceType": "m5.xlarge"}},
            InvalidInput,
            r"'m5\.xlarge': .*ml\.m5",
        ),
        (
            {"ResourceConfig": {**RESOURCES, "InstanceCount": 0}},
            InvalidInput,
            r"InstanceCount is 0: give 1 or more",
        ),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": ""}}, EmptyValue, r"MaxRuntimeInSeconds is ''"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": "soon"}},
            InvalidInput,
            r"InSeconds is 'soon': .*1d 12h",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": "None"}},
            EmptyValue,
            r"MaxRuntimeInSeconds is 'None'",
        ),
        ({"ResourceConfig": {**RESOURCES, "InstanceCount": "2h"}}, InvalidInput, r"InstanceCount is '2h'"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 1.5}}, InvalidInput, r"MaxRuntimeInSeconds is 1\.5"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": True}}, InvalidInput, r"MaxRuntimeInSeconds is True"),
        ({"EnableManagedSpotTraining": "maybe"}, InvalidInput, r"EnableManagedSpotTraining is 'maybe'"),
        ({"MaxWaitTimeInSeconds": 7200}, InvalidInput, r"MaxWaitTimeInSeconds .*no such field"),
        ({"ResourceConfig": ["ml.m5.xlarge"]}, InvalidInput, r"ResourceConfig .*give a dictionary"),
        ({"Tags": [{"Key": "", "Value": "x"}]}, EmptyValue, r"Tags\[0\]\.Key is ''"),
        ({"Tags": '{"a": "b"}'}, InvalidInput, r"a list, each with Key, Value, .* JSON text of a dictionary"),
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": -1}},
            InvalidInput,
            r"VolumeSizeInGB is -1: give a whole number of at least 0",
        ),
    ],
)
def test_bad_input_is_refused_by_field_value_and_way_out(
    overrides: dict[str, Any], error: type[InvalidInput], says: str
) -> None:
    with pytest.raises(error, match=says):
        cast_request(_config(**overrides))


def test_json_text_is_taken_wherever_a_mapping_or_a_list_belongs() -> None:
    config = _config(
        HyperParameters={"num_round": 120, "objective": "reg:squarederror"},
        Tags=[{"Key": "team", "Value": "air"}],
        Environment={"MODE": "fast"},
        VpcConfig={"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]},
    )
    as_text = {
        name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in config.items()
    }
    as_text["VpcConfig"] = {"SecurityGroupIds": '["sg-1"]', "Subnets": '["subnet-1", "subnet-2"]'}
    as_text["Tags"] = ['{"Key": "team", "Value": "air"}']
    expected = cast_request(config)
    assert cast_request(json.dumps(config)) == expected
    assert cast_request(as_text) == expected


@pytest.mark.parametrize("field", ["HyperParameters", "Tags", "Environment", "InputDataConfig"])
def test_what_an_upstream_task_did_not_push_is_said(field: str) -> None:
    for value in (None, "None"):
        with pytest.raises(
            EmptyValue, match=r"the upstream task pushed nothing.*render_template_as_native_obj"
        ):
            cast_request(_config(**{field: value}))
    with pytest.raises(
        EmptyValue, match=r"config is .*CreateTrainingJob.*not None: the upstream task pushed"
    ):
        cast_request(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "meant"),
    [
        ({"HyperParameter": {}}, "HyperParameters"),
        ({"hyperparameters": {}}, "HyperParameters"),
        ({"InstanceType": "ml.m5.xlarge"}, "ResourceConfig.InstanceType"),
        ({"MaxWaitTimeInSeconds": 7200}, "StoppingCondition.MaxWaitTimeInSeconds"),
        ({"ResourceConfig": {**RESOURCES, "VolumeSizeInGb": 1}}, "VolumeSizeInGB"),
        ({"ResourceConfig": {**RESOURCES, "RoleArn": "x"}}, "RoleArn"),
    ],
)
def test_an_unknown_field_comes_with_the_one_that_was_meant(config: dict[str, Any], meant: str) -> None:
    with pytest.raises(InvalidInput, match=rf"SageMaker has no such field\. Did you mean {meant}\?$"):
        cast_request(_config(**config))


@pytest.mark.parametrize("field", ["ResourceConfig", "AlgorithmSpecification", "RoleArn", "OutputDataConfig"])
def test_a_missing_part_is_named(field: str) -> None:
    config = _config()
    del config[field]
    with pytest.raises(EmptyValue, match=field):
        cast_request(config)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


@given(field=st.sampled_from([*_config(), "Environment", "Tags", "VpcConfig", "Nonsense"]), value=json_values)
def test_whatever_is_put_in_a_field_is_cast_or_refused_by_name(field: str, value: Any) -> None:
    config = _config(**{field: value})
    try:
        cast_request(config)
    except InvalidInput as refused:
        error = refused
    else:
        return
    assert error.field.startswith(field)


def test_on_demand_strips_the_wait_and_keeps_the_checkpoints() -> None:
    config = _config(StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200})
    plan = _plan(config)
    spot, on_demand = plan.attempt_request(SPOT, number=1), plan.attempt_request(ON_DEMAND, number=2)
    assert spot["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    assert on_demand["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}
    assert (spot["EnableManagedSpotTraining"], on_demand["EnableManagedSpotTraining"]) == (True, False)
    assert spot["CheckpointConfig"] == on_demand["CheckpointConfig"]


def test_several_types_on_demand_become_instance_preferences() -> None:
    step = Step(purchase=PurchaseOption.ON_DEMAND, instance_types=("ml.m5.xlarge", "ml.c5.xlarge"))
    resources = _plan(_config()).attempt_request(step, number=1)["ResourceConfig"]
    assert resources == {
        "VolumeSizeInGB": 10,
        "InstancePreferences": [
            {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
            {"InstanceType": "ml.c5.xlarge", "InstanceCount": 1},
        ],
    }


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (
            _config(StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 60}),
            MaxWaitBelowMaxRuntime,
        ),
        (
            _config(AlgorithmSpecification={"TrainingImage": KMEANS, "TrainingInputMode": "File"}),
            WaitTooLongForAlgorithm,
        ),
        (
            _config(
                ResourceConfig={
                    "InstanceType": "ml.m5.xlarge",
                    "InstanceCount": 1,
                    "VolumeSizeInGB": 1,
                    "KeepAlivePeriodInSeconds": 60,
                }
            ),
            InvalidInput,
        ),
    ],
)
def test_what_sagemaker_would_refuse_on_any_step_is_refused_before_the_first(
    config: dict[str, Any], error: type[InvalidInput]
) -> None:
    with pytest.raises(error):
        _plan(config).check(policy_from("widen", defaults_of(cast_request(config))))


def test_on_demand_has_nothing_to_wait_for() -> None:
    _plan(_config(AlgorithmSpecification={"TrainingImage": KMEANS, "TrainingInputMode": "File"})).check(
        on_demand_only()
    )


def test_two_runs_share_neither_a_name_nor_a_checkpoint_prefix() -> None:
    one, other = _plan(_config()), _plan(_config(), run_id="scheduled__2026-03-08T00:00:00+00:00")
    assert one.job_name(1) != other.job_name(1)
    assert one.checkpoint_uri != other.checkpoint_uri
    assert one.checkpoint_uri is not None
    assert one.checkpoint_uri.startswith("s3://bucket/checkpoints/flight-delays-")


def test_attempts_of_a_run_share_the_checkpoint_prefix_and_the_name_up_to_the_number() -> None:
    plan = _plan(_config())
    assert plan.job_name(1)[:-1] == plan.job_name(2)[:-1]
    uris = {plan.attempt_request(SPOT, number=n)["CheckpointConfig"]["S3Uri"] for n in (1, 2)}
    assert uris == {plan.checkpoint_uri}


@given(
    prefix=st.text(max_size=100),
    dag_id=st.text(max_size=300),
    run_id=st.text(max_size=300),
    number=st.integers(1, 999),
)
def test_every_name_and_tag_is_one_sagemaker_takes(
    prefix: str, dag_id: str, run_id: str, number: int
) -> None:
    identity = RunIdentity(dag_id=dag_id, run_id=run_id, task_id="train")
    name = identity.job_name(prefix, number)
    assert len(name) <= MAX_JOB_NAME_LENGTH
    request = cast_request(_config(Tags=identity.tags(number)))
    plan = TrainingPlan.of(cast_request(_config()), identity=identity, name_prefix=prefix)
    assert cast_request(plan.attempt_request(ON_DEMAND, number=number))["TrainingJobName"] == name
    assert len(request["Tags"]) == 8


def test_a_description_makes_the_request_again() -> None:
    plan = _plan(_config(HyperParameters={"a": "1"}))
    sent = plan.attempt_request(SPOT, number=1)
    described = {
        **copy.deepcopy(sent),
        "TrainingJobArn": "arn",
        "TrainingJobStatus": "Stopped",
        "SecondaryStatus": "MaxWaitTimeExceeded",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/models/x"},
        "OutputDataConfig": {"KmsKeyId": "", "S3OutputPath": "s3://bucket/models"},
    }
    del described["Tags"]
    again = request_from_description(described)
    expected = {key: value for key, value in sent.items() if key not in {"TrainingJobName", "Tags"}}
    assert again == expected
    assert cast_request(again) == again


def test_the_default_policy_waits_an_hour_longer_than_the_run_time() -> None:
    assert widened_waits(max_runtime_seconds=3600).steps[0].max_wait_seconds == 7200


PASSWORD = "hunter2"  # noqa: S105 - what must not be told


@pytest.mark.parametrize(
    "config",
    [
        {"Environment": {"TOKEN": PASSWORD + "x" * 600}},
        {"Environment": {"TOKEN": PASSWORD.encode()}},
        {"Environment": f"TOKEN={PASSWORD}"},
        {"Environment": [PASSWORD]},
        {"Environment": {f"{i}": PASSWORD for i in range(200)}},
        {"Environment": {f"not a name {PASSWORD}": "x"}},
        {"HyperParameters": {"token": PASSWORD + "x" * 3000}},
        {"HyperParameters": {"token": PASSWORD.encode()}},
        {"HyperParameters": {f"{i}": PASSWORD for i in range(200)}},
        {"Enviroment": {"TOKEN": PASSWORD}},
    ],
)
def test_what_may_be_a_password_is_not_told_in_an_error(config: dict[str, Any]) -> None:
    """Errors go into the task log, which masks little, and into the ledger, which masks nothing."""
    field = next(iter(config))
    with pytest.raises(InvalidInput, match=field) as refused:
        cast_request(_config(**config))
    assert PASSWORD not in str(refused.value)
    assert PASSWORD not in repr(refused.value.value)


def test_a_config_that_is_text_is_not_told_in_an_error() -> None:
    with pytest.raises(InvalidInput) as refused:
        cast_request(f'{{"Environment": {{"TOKEN": "{PASSWORD}"}}}}')
    assert PASSWORD not in str(refused.value)


def test_a_description_is_kept_without_the_values_of_its_environment() -> None:
    description: dict[str, Any] = {"TrainingJobName": "x", "Environment": {"TOKEN": PASSWORD, "MODE": "fast"}}
    assert without_secrets(description) == {
        "TrainingJobName": "x",
        "Environment": {"TOKEN": "***", "MODE": "***"},
    }
    assert description["Environment"]["TOKEN"] == PASSWORD, "the request of a next attempt is made from it"
    assert without_secrets({"TrainingJobName": "x"}) == {"TrainingJobName": "x"}


_WARM = {"ResourceConfig": {**_config()["ResourceConfig"], "KeepAlivePeriodInSeconds": 3600}}


def _rule(**overrides: Any) -> dict[str, Any]:
    return {"RuleConfigurationName": "loss", "RuleEvaluatorImage": "image", **overrides}


@pytest.mark.parametrize(
    ("config", "caps", "field"),
    [
        (
            {"DebugRuleConfigurations": [_rule(), _rule(InstanceType="ml.p5.48xlarge")]},
            {"instance_types": ["ml.m5.*"]},
            r"DebugRuleConfigurations\[1\].InstanceType",
        ),
        (
            {"ProfilerRuleConfigurations": [_rule(InstanceType="ml.p5.48xlarge")]},
            {"instance_types": ["ml.m5.*"]},
            r"ProfilerRuleConfigurations\[0\].InstanceType",
        ),
        (
            {"DebugRuleConfigurations": [_rule(InstanceType="ml.m5.large")]},
            {"instance_count": 1},
            "InstanceCount is 1: the Dag allows at most 1, including those of its 1 rule",
        ),
        (_WARM, {}, "KeepAlivePeriodInSeconds"),
        (_WARM, {"keep_alive": "30m"}, "KeepAlivePeriodInSeconds"),
    ],
)
def test_caps_hold_for_all_that_costs_beside_the_job_itself(
    config: dict[str, Any], caps: dict[str, Any], field: str
) -> None:
    plan = TrainingPlan.of(
        cast_request(_config(**config)),
        identity=RunIdentity(dag_id="d", run_id="r", task_id="t"),
        name_prefix="m",
        caps=Caps.of(caps),
    )
    with pytest.raises(AboveCap, match=field):
        plan.check(on_demand_only())


def test_a_warm_pool_within_the_caps_and_one_without_caps_are_asked_for() -> None:
    for caps in (None, {"keep_alive": "1h"}):
        plan = TrainingPlan.of(
            cast_request(_config(**_WARM)),
            identity=RunIdentity(dag_id="d", run_id="r", task_id="t"),
            name_prefix="m",
            caps=Caps.of(caps),
        )
        plan.check(on_demand_only())


def _refused(message: str) -> ClientError:
    response: Any = {"Error": {"Code": "ValidationException", "Message": message}}
    return ClientError(response, "CreateTrainingJob")


def test_what_sagemaker_quotes_of_the_environment_is_not_told() -> None:
    """`1 validation error detected: Value '{TOKEN=...}' at 'environment' failed to satisfy constraint`."""
    request = _config(Environment={"TOKEN": PASSWORD}, HyperParameters={"type": "ml.m5.xlarge"})
    error = _refused(f"Value '{{TOKEN={PASSWORD}}}' at 'environment' failed; ml.m5.xlarge is fine")
    stubbed = SimpleNamespace(create_training_job=_raising(error), meta=SimpleNamespace())
    jobs = TrainingJobs.__new__(TrainingJobs)
    jobs._client = stubbed
    with pytest.raises(RequestRefused, match=r"TOKEN=\*\*\*.*ml.m5.xlarge is fine") as refused:
        jobs.create_or_adopt(request, key="k", nonce="n")
    whole = "".join(traceback.format_exception(refused.value))
    assert PASSWORD not in whole


def _raising(error: Exception) -> Any:
    def call(**_request: Any) -> None:
        raise error

    return call
