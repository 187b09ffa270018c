"""What a task says of its deadline, and what is kept free for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spot_training.domain.deadline import runtime_from
from spot_training.domain.errors import InvalidInput
from spot_training.domain.ladder import Ladder, Policy, SpotWhileTimeAllows
from spot_training.operators import SpotTrainingOperator
from spot_training.sagemaker.identity import RunIdentity
from spot_training.sagemaker.request import TrainingPlan, cast_request
from spot_training.task import policy_file
from spot_training.task.deadline import RESUME_SECONDS, DeadlineOptions, longest_retry_delay
from spot_training.task.options import TaskOptions
from spot_training.task.past_runs import Learned, Teachers
from tests.cloud import make_config

T0 = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE = 60
DAY = 86400


def _task(**arguments: Any) -> SpotTrainingOperator:
    return SpotTrainingOperator(
        task_id="train", config=make_config(), deadline="2d", expected_runtime="1h", **arguments
    )


def _policy(task: SpotTrainingOperator) -> Policy:
    """What the task tries, two days before its deadline."""
    return task._specification(TaskOptions.of_operator(task)).policy(2 * DAY)


def _plan(**config: Any) -> TrainingPlan:
    identity = RunIdentity(dag_id="retrain", run_id="one", task_id="train")
    return TrainingPlan.of(cast_request(make_config(**config)), identity=identity, name_prefix="model")


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ({"retries": 0}, 0),
        ({"retries": 3}, 300),
        ({"retries": 3, "retry_delay": timedelta(hours=1)}, 60 * MINUTE),
        ({"retries": 1, "retry_exponential_backoff": 2.0}, 2 * 5 * MINUTE),
        ({"retries": 3, "retry_exponential_backoff": 2.0}, 2 * 20 * MINUTE),
        ({"retries": 3, "retry_exponential_backoff": 1}, 5 * MINUTE),
        (
            {"retries": 3, "retry_exponential_backoff": 2.0, "max_retry_delay": timedelta(minutes=15)},
            15 * MINUTE,
        ),
        ({"retries": 99, "retry_exponential_backoff": 3.0}, DAY),
        ({"retries": 9999, "retry_exponential_backoff": 3.0}, DAY),
    ],
)
def test_the_time_between_two_tries_is_kept_free(arguments: dict[str, Any], seconds: float) -> None:
    task = _task(**arguments)
    assert longest_retry_delay(task) == seconds
    options = DeadlineOptions.of(task)
    assert options is not None
    deadline = options.settle(_plan(), now=T0, run_began_at=T0, check_interval=30, learned=lambda **_: None)
    assert deadline.reserve.notice_seconds == 30 + RESUME_SECONDS + seconds


def test_past_runs_on_as_many_instances_are_asked_for() -> None:
    asked: list[dict[str, Any]] = []

    def learned(**about: Any) -> Learned | None:
        asked.append(about)
        return None

    plan = _plan(ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 4, "VolumeSizeInGB": 10})
    options = DeadlineOptions(deadline="2d")
    options.settle(plan, now=T0, run_began_at=T0, check_interval=30, learned=learned)
    about = {"model": "model", "instance_type": "ml.m5.xlarge", "instance_count": 4}
    assert asked == [{**about, "teachers": Teachers(installations=("airflow",), dag_ids=("retrain",))}]


@pytest.mark.parametrize(
    ("like", "dag_ids"),
    [("hourly", ("retrain", "hourly")), (["a", "retrain", "b"], ("retrain", "a", "b"))],
)
def test_the_author_may_name_other_dags_to_learn_from(like: object, dag_ids: tuple[str, ...]) -> None:
    asked: list[Any] = []
    options = DeadlineOptions(deadline="2d", expected_runtime={"like": like})
    options.settle(
        _plan(),
        now=T0,
        run_began_at=T0,
        check_interval=30,
        learned=lambda **about: asked.append(about["teachers"]),
    )
    assert [teachers.dag_ids for teachers in asked] == [dag_ids]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"like": ""}, "expected_runtime.like"),
        ({"like": [" "]}, "expected_runtime.like"),
        ({"like": 7}, "expected_runtime.like"),
        ({"like": "other", "mean": "3h"}, "expected_runtime.mean"),
        ({"alike": "other"}, "expected_runtime.alike"),
    ],
)
def test_dags_to_learn_from_that_are_none_are_refused_by_name(value: object, field: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{field} is "):
        runtime_from(value)


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({"InstanceType": "ml.m5.xlarge", "InstanceCount": 3}, 3),
        (
            {
                "InstanceGroups": [
                    {"InstanceGroupName": "a", "InstanceType": "ml.m5.xlarge", "InstanceCount": 2},
                    {"InstanceGroupName": "b", "InstanceType": "ml.p3.2xlarge", "InstanceCount": 1},
                ]
            },
            3,
        ),
    ],
)
def test_the_instances_of_all_groups_count(resources: dict[str, Any], count: int) -> None:
    assert _plan(ResourceConfig={**resources, "VolumeSizeInGB": 10}).instance_count == count


@pytest.mark.parametrize("policy", [None, "deadline"])
def test_the_default_with_a_deadline_is_the_policy_of_that_name(
    policy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy file's own `deadline` is taken where a Dag names it, and is nobody's default."""
    chosen = _policy(_task(policy=policy))
    assert isinstance(chosen, SpotWhileTimeAllows)
    assert chosen.notes == ()
    own = {"deadline": {"name": "widen", "first_wait": "30h"}}
    monkeypatch.setattr(policy_file, "named_policies", lambda: own)
    is_own = isinstance(_policy(_task(policy=policy)), Ladder)
    assert is_own is (policy is not None)
