"""What no scout can look for is refused before a job is created, and the caps hold for scouts."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Any

import pytest

from spot_training.domain.caps import Caps
from spot_training.domain.errors import AboveCap, InvalidInput
from spot_training.domain.ladder import Step
from spot_training.domain.policy_specs import Defaults, policy_from
from spot_training.domain.savings import PurchaseOption
from spot_training.sagemaker.identity import TAG_ATTEMPT, TAG_SCOUT, RunIdentity, is_scout_name
from spot_training.sagemaker.request import TrainingPlan, cast_request, defaults_of
from spot_training.sagemaker.scouts import entrypoint
from tests.cloud import make_config

ME = RunIdentity(dag_id="retrain", run_id="now", task_id="train")
FIRST, SECOND = "ml.m5.xlarge", "ml.m5.2xlarge"
BUILT_IN = "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1"


def _plan(caps: dict[str, Any] | None = None, **config: Any) -> TrainingPlan:
    request = cast_request(make_config(**config))
    return TrainingPlan.of(request, identity=ME, name_prefix="model", caps=Caps.of(caps))


def _check(plan: TrainingPlan, types: object = (FIRST, SECOND), **options: Any) -> None:
    spec = {"name": "widen", "instance_types": list(types), **options}  # type: ignore[call-overload]
    plan.check(policy_from(spec, defaults_of(plan.request)))


def _algorithm(**algorithm: Any) -> dict[str, Any]:
    return {"AlgorithmSpecification": {"TrainingInputMode": "File", **algorithm}}


@pytest.mark.parametrize(
    ("config", "types", "said"),
    [
        (_algorithm(TrainingImage=BUILT_IN), (FIRST, SECOND), "no entry point that they can replace"),
        ({}, ("ml.m7g.xlarge", "ml.m6g.xlarge"), r"ml\.m5\.xlarge, so its image is for x86-64, and ml\.m7g"),
        (
            {
                "ResourceConfig": {
                    "VolumeSizeInGB": 10,
                    "InstanceGroups": [
                        {"InstanceType": FIRST, "InstanceCount": 1, "InstanceGroupName": "one"}
                    ],
                }
            },
            (FIRST, SECOND),
            "InstanceGroups, which have types of their own",
        ),
    ],
)
def test_what_no_scout_can_look_for_is_refused(
    config: dict[str, Any], types: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        _check(_plan(**config), types)


def test_a_built_in_algorithm_may_be_scouted_with_another_image() -> None:
    _check(_plan(**_algorithm(TrainingImage=BUILT_IN)), scout_image="mine:1")


@pytest.mark.parametrize(
    ("needed", "types", "refused"),
    [
        (4, ["ml.g5.12xlarge", "ml.g5.4xlarge"], "needs 4, and ml.g5.4xlarge has 1"),
        ("8", ["ml.p4d.24xlarge", "ml.g6.12xlarge"], "needs 8, and ml.g6.12xlarge has 4"),
        (1, ["ml.m5.xlarge", "ml.c5.xlarge"], "needs 1, and ml.m5.xlarge has 0"),
        (1, ["ml.g5.xlarge", "ml.g6.2xlarge"], None),
        (8, ["ml.p3.16xlarge", "ml.p99.xlarge"], None),
    ],
)
def test_the_accelerators_that_the_author_states_are_needed_on_each_type(
    needed: object, types: list[str], refused: str | None
) -> None:
    for spec in (
        {"name": "widen", "instance_types": types, "accelerators": needed},
        {"name": "deadline", "instance_types": types, "accelerators": needed},
        [{"spot": types, "max_wait": "2d", "accelerators": needed}, "on_demand"],
    ):
        defaults = Defaults(deadline_in_seconds=86400, max_runtime_seconds=3600)
        if refused is None:
            policy_from(spec, defaults)
            continue
        with pytest.raises(InvalidInput, match=refused):
            policy_from(spec, defaults)


def test_the_caps_hold_for_scouts() -> None:
    with pytest.raises(AboveCap, match=SECOND):
        _check(_plan({"instance_types": [FIRST]}), first_wait="2h")
    step = Step(purchase=PurchaseOption.SPOT, max_wait_seconds=7200, instance_types=(FIRST, SECOND))

    def limits(caps: dict[str, Any] | None) -> dict[str, int]:
        made = _plan(caps).scout_request(step, SECOND, number=3, wait_seconds=7200, run_seconds=600)
        condition: dict[str, int] = made["StoppingCondition"]
        return condition

    assert limits(None) == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 7800}
    assert limits({"max_wait": "2h"}) == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 7200}
    assert limits({"max_runtime": "5m"}) == {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 7500}
    assert limits({"max_wait": "5m"}) == {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 300}


def test_a_scout_ends_at_once_when_it_is_asked_to() -> None:
    """A shell would wait for its `sleep`, and SageMaker kills what runs two minutes after SIGTERM."""
    with subprocess.Popen(entrypoint(6)) as scout:
        began = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            scout.wait(0.5)
        scout.terminate()
        assert scout.wait(timeout=4) == 0
        assert time.monotonic() - began < 4


def test_a_scout_is_named_and_tagged_as_one_of_this_training() -> None:
    step = Step(purchase=PurchaseOption.SPOT, max_wait_seconds=7200, instance_types=(FIRST, SECOND))
    made = _plan().scout_request(step, SECOND, number=3, wait_seconds=7200, run_seconds=600)
    tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
    assert is_scout_name(made["TrainingJobName"])
    assert ME.is_name(_plan().job_name(1))
    assert (tags[TAG_SCOUT], TAG_ATTEMPT in tags) == ("3", False)
    assert {tag["Key"]: tag["Value"] for tag in ME.tags(1)}.items() - tags.items() == {(TAG_ATTEMPT, "1")}
