"""A job takes 50 tags: the user's, few of ours, and one that stays free for the reason of a stop."""

from __future__ import annotations

from typing import Any

import pytest

from spot_training.domain.errors import InvalidInput, RequestRefused, TimedOutWaiting
from spot_training.domain.ladder import on_demand_only
from spot_training.domain.lifecycle import Ending
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.identity import (
    MOST_OUR_TAGS,
    MOST_TAGS,
    TAG_GENERATION,
    TAG_STOPPED_AT,
    TAG_STOPPED_FOR,
    TAG_WITHOUT_TASK,
    RunIdentity,
    identity_of,
    is_our_tag,
)
from spot_training.sagemaker.request import TrainingPlan
from spot_training.training.driver import Waiting
from tests.cloud import Cloud, answer_with

from .support import IDENTITY, Task, patient_config

MOST_OWN = MOST_TAGS - 1 - MOST_OUR_TAGS


def _tags(count: int) -> list[dict[str, str]]:
    return [{"Key": f"cost-{number}", "Value": "x"} for number in range(count)]


def _waiting(cloud: Cloud, tags: int, **overrides: Any) -> tuple[Task, str]:
    task = Task(cloud, config=patient_config(Tags=_tags(tags)), **overrides)
    step = task.step()
    assert isinstance(step, Waiting)
    return task, step.job.name


def _tags_of(cloud: Cloud, name: str) -> dict[str, str]:
    jobs = cloud.jobs()
    job = jobs.snapshot(name)
    assert job is not None
    return jobs.tags(job.arn)


def test_ours_are_fewer_than_ten_and_leave_forty() -> None:
    for keeps in (True, False):
        ours = IDENTITY.tags(4, is_stopped_with_task=not keeps)
        assert len(ours) + 1 == MOST_OUR_TAGS < 10, "and the intent's"
    assert MOST_OWN == 40


@pytest.mark.parametrize("generation", [0, 1, 7])
@pytest.mark.parametrize("is_stopped_with_task", [True, False])
def test_the_tags_lead_back_to_every_generation_of_a_task(
    generation: int, *, is_stopped_with_task: bool
) -> None:
    who = RunIdentity(
        dag_id="a dag", run_id="r~1", task_id="t", map_index=3, generation=generation, installation="x"
    )
    tags = {tag["Key"]: tag["Value"] for tag in who.tags(2, is_stopped_with_task=is_stopped_with_task)}
    assert (TAG_WITHOUT_TASK in tags) is not is_stopped_with_task
    assert identity_of(tags) == who
    assert identity_of({**tags, "spot-training:dag": "another"}) is None
    as_earlier = {**tags, TAG_GENERATION: str(generation), TAG_WITHOUT_TASK: "stop"}
    assert identity_of(as_earlier) == who
    assert identity_of({**as_earlier, TAG_GENERATION: str(generation + 1)}) is None


@pytest.mark.parametrize("own", [41, 49, 50, 51])
def test_too_many_tags_are_refused_before_the_call(drought: Cloud, own: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        Task(drought, config=patient_config(Tags=_tags(own))).step()
    assert refused.value.field.startswith("Tags")
    assert refused.value.value == own
    assert str(refused.value).endswith(
        "adds up to 9, and one stays free for the reason of a stop, so there may be 40: "
        f"leave out {own - 40}."
    )
    assert Task(drought).created() == []


def test_a_stop_writes_its_reason_and_its_time(drought: Cloud) -> None:
    task, name = _waiting(drought, 39)
    task.jobs.stop(name, StopReason.DEADLINE)
    assert {TAG_STOPPED_FOR, TAG_STOPPED_AT} <= _tags_of(drought, name).keys()


def test_a_job_with_forty_tags_of_the_user_has_room_for_the_reason_of_its_stop(drought: Cloud) -> None:
    task, name = _waiting(drought, 40)
    before = _tags_of(drought, name)
    assert (len(before), sum(not is_our_tag(key) for key in before)) == (MOST_TAGS - 1, 40)
    kept: list[object] = []
    assert task.jobs.stop(name, StopReason.TIME_LIMIT, keep_reason=kept.append)
    assert _tags_of(drought, name) == {**before, TAG_STOPPED_FOR: "time-limit"}
    assert kept == [], "the tag says it"
    task.out_of_time = "the time limit passed"
    with pytest.raises(TimedOutWaiting):
        task.finish()
    assert task.driver().attempts[0].ending is Ending.STOPPED_AT_TIME_LIMIT


def test_a_request_that_aws_refuses_is_not_said_to_leave_a_job_running(drought: Cloud) -> None:
    task = Task(drought)
    answer_with(task.jobs, "CreateTrainingJob", 400, "ValidationException", "Member must have length <= 50")
    with pytest.raises(
        RequestRefused, match=r"length <= 50\. No training job was created\. Correct"
    ) as refused:
        task.step()
    assert "billed" not in str(refused.value)


def test_a_plan_that_a_sensor_made_from_a_job_counts_its_tags_too() -> None:
    plan = TrainingPlan(
        request=patient_config(Tags=_tags(45)), identity=IDENTITY, name_prefix="job", checkpoint_uri=None
    )
    with pytest.raises(InvalidInput, match="leave out 5"):
        plan.check(on_demand_only())
