"""AWS says once what is not so, or the connection leads elsewhere: no second job, and none is forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from spot_training.domain.errors import (
    ConnectionChanged,
    NotOurJob,
    ServiceFailed,
    StoppedBySomeone,
    TaskKilled,
    TrainingNotCompleted,
)
from spot_training.domain.lifecycle import TERMINAL_STATUSES, Ending, TrainingStatus, ending_of
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.descriptions import summary_of
from spot_training.sagemaker.identity import TAG_STOPPED_FOR
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.training.driver import Waiting
from spot_training.training.host import OnRecord
from spot_training.training.state import STATE_KEY, MemoryStore
from tests.cloud import HOUR, Cloud, answer_with, live_jobs, make_config

from .support import NOT_FOUND, MemoryRecorder, Task, lose_state_with_second_attempt_alive, spot_step

#: Waits for as long as a test takes.
PATIENT = make_config(
    StoppingCondition={"MaxRuntimeInSeconds": HOUR, "MaxWaitTimeInSeconds": 20 * 24 * HOUR},
)


def _no_tags(jobs: TrainingJobs, *, times: int, after: int = 0) -> list[int]:
    """ListTags answers without any tag, so many times."""
    calls: list[int] = []
    real = jobs.tags

    def tags(arn: str) -> dict[str, str]:
        calls.append(len(calls) + 1)
        return {} if after < len(calls) <= after + times else real(arn)

    jobs.tags = tags  # type: ignore[method-assign]
    return calls


# Not found ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3, 5])
@pytest.mark.parametrize("again", [Task.retry, Task.clear, lambda _task: None])
def test_not_found_several_times_within_a_minute_makes_no_second_job(
    drought: Cloud, times: int, again: Callable[[Task], None]
) -> None:
    task = Task(drought, config=PATIENT)
    first = task.step()
    again(task)
    answered = answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND, times=times)
    step = task.step()
    assert isinstance(first, Waiting)
    assert isinstance(step, Waiting)
    assert step.job.name == first.job.name
    assert len(answered) == times
    assert live_jobs(drought) == [first.job.name]


@pytest.mark.parametrize("again", [Task.retry, Task.clear, lambda _task: None])
def test_a_job_that_stays_gone_is_an_error_that_says_so_and_starts_no_other(
    drought: Cloud, again: Callable[[Task], None]
) -> None:
    task = Task(drought, config=PATIENT)
    task.step()
    again(task)
    answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND)
    began = task.jobs.now()
    with pytest.raises(StoppedBySomeone, match="there is no such training job any more"):
        task.step()
    assert task.jobs.now() - began >= timedelta(seconds=60)
    assert len(task.created()) == 1


def test_a_watched_job_is_not_taken_for_missing_at_one_answer(drought: Cloud) -> None:
    task = Task(drought, policy=None, config=PATIENT)
    request = {**PATIENT, "TrainingJobName": "elsewhere", "EnableManagedSpotTraining": True}
    drought.client("sagemaker").create_training_job(**request)
    task.adopt = "elsewhere"
    answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND, times=2)
    assert isinstance(task.step(), Waiting)


def test_a_process_that_is_told_to_end_waits_for_no_certainty(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    task.step()
    answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND)
    driver = task.driver()
    driver.start_nothing_more()
    with pytest.raises(TaskKilled):
        driver.advance()
    assert task.driver().live_job is not None


# No tags --------------------------------------------------------------------------------------------


def test_one_list_of_tags_that_is_empty_makes_our_own_job_nobody_elses(drought: Cloud) -> None:
    """The reply to CreateTrainingJob was lost, so the job is claimed by its tags."""
    drought.fail("CreateTrainingJob", "LoseResponse")
    task = Task(drought, config=PATIENT)
    calls = _no_tags(task.jobs, times=3)
    step = task.step()
    assert isinstance(step, Waiting)
    assert live_jobs(drought) == [step.job.name]
    assert len(calls) == 4


def test_a_job_that_stays_without_tags_is_not_ours(drought: Cloud) -> None:
    drought.fail("CreateTrainingJob", "LoseResponse")
    task = Task(drought, config=PATIENT)
    _no_tags(task.jobs, times=99)
    with pytest.raises(NotOurJob, match="was left alone"):
        task.step()
    assert len(task.created()) == 1


def test_a_stop_of_ours_is_told_by_its_tag_although_one_list_was_empty(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    step = task.step()
    assert isinstance(step, Waiting)
    assert task.driver().stop(StopReason.TASK_ENDED)
    task.retry()
    task.wait(step)
    _no_tags(task.jobs, times=2)
    again = task.step()
    assert isinstance(again, Waiting)
    assert task.driver().attempts[0].ending is Ending.STOPPED_WITH_TASK


@pytest.mark.parametrize("trouble", ["AccessDeniedException", "no tags"])
def test_where_nobody_can_tell_who_stopped_the_job_the_task_says_so_and_starts_nothing(
    drought: Cloud, trouble: str
) -> None:
    task = Task(drought, config=PATIENT)
    step = task.step()
    assert isinstance(step, Waiting)
    task.driver().stop(StopReason.TASK_ENDED)
    task.retry()
    task.wait(step)
    if trouble == "no tags":
        _no_tags(task.jobs, times=99)
    else:
        answer_with(task.jobs, "ListTags", 400, trouble, "not authorized to perform: sagemaker:ListTags")
    with pytest.raises(StoppedBySomeone, match="who stopped it cannot be determined"):
        task.step()
    assert len(task.created()) == 1


def test_tags_that_cannot_be_read_just_now_are_read_by_the_next_try(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    step = task.step()
    assert isinstance(step, Waiting)
    task.driver().stop(StopReason.TASK_ENDED)
    task.wait(step)
    task.retry()
    task.jobs = TrainingJobs(drought.client("sagemaker", retries={"total_max_attempts": 1}))
    answer_with(task.jobs, "ListTags", 500, "InternalServerException", "We failed.", times=1)
    with pytest.raises(ServiceFailed):
        task.step()
    task.retry()
    assert isinstance(task.step(), Waiting)
    assert [a.ending for a in task.driver().attempts] == [Ending.STOPPED_WITH_TASK]


# The reason of a stop --------------------------------------------------------------------------------


def _note_calls(client: Any, *, operation: str, calls: list[str]) -> None:
    client.meta.events.register(f"before-send.sagemaker.{operation}", lambda **_: calls.append(operation))


@pytest.mark.parametrize("why", list(StopReason))
def test_every_stop_writes_its_reason_into_a_tag_before_it_stops(drought: Cloud, why: StopReason) -> None:
    task = Task(drought, config=PATIENT)
    step = task.step()
    assert isinstance(step, Waiting)
    calls: list[str] = []
    for operation in ("AddTags", "StopTrainingJob"):
        task.jobs.listen(partial(_note_calls, operation=operation, calls=calls))
    assert task.jobs.stop(step.job.name, why)
    assert calls == ["AddTags", "StopTrainingJob"]
    assert task.jobs.tags(step.job.arn)[TAG_STOPPED_FOR] == why


def test_a_status_that_nobody_knows_does_not_hold_the_stop_back(drought: Cloud) -> None:
    """What is given up waits without a limit for the job's end: one that goes on would wait for ever."""
    task = Task(drought, config=PATIENT)
    step = task.step()
    assert isinstance(step, Waiting)
    fault = {"operation": "DescribeTrainingJob", "error": "UnknownStatus", "count": 1}
    drought.control("POST", "faults", fault)
    assert task.jobs.stop(step.job.name, StopReason.TIME_LIMIT)
    assert task.jobs.tags(step.job.arn)[TAG_STOPPED_FOR] == StopReason.TIME_LIMIT


def test_a_tag_that_takes_long_does_not_hold_the_stop_back(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    step = task.step()
    assert isinstance(step, Waiting)

    def tag_slowly(*_: object) -> bool:
        time.sleep(5)
        return True

    task.jobs._tag_stop = tag_slowly  # type: ignore[method-assign,assignment]
    stops = MemoryRecorder()
    began = time.monotonic()
    assert task.jobs.stop(
        step.job.name,
        StopReason.TASK_KILLED,
        tag_within=0.2,
        keep_reason=lambda note: stops.keep_stop(step.job.name, note),
    )
    assert time.monotonic() - began < 4
    assert stops.reasons == {step.job.name: StopReason.TASK_KILLED}
    late_until = time.monotonic() + 10  # the tag comes after the stop, and still counts
    while TAG_STOPPED_FOR not in (tags := task.jobs.tags(step.job.arn)):
        assert time.monotonic() < late_until
        time.sleep(0.05)
    assert tags[TAG_STOPPED_FOR] == StopReason.TASK_KILLED


def test_a_reason_that_could_not_be_tagged_is_in_the_state(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    step = task.step()
    assert isinstance(step, Waiting)
    answer_with(task.jobs, "AddTags", 400, "AccessDeniedException", "not authorized")
    assert task.driver().stop(StopReason.TASK_ENDED)
    assert task.store.get(STATE_KEY)["current"]["stopped_for"] == "task-ended"
    task.retry()
    task.wait(step)
    assert isinstance(task.step(), Waiting)
    assert task.driver().attempts[0].ending is Ending.STOPPED_WITH_TASK


# Another region, another account ----------------------------------------------------------------------


@pytest.mark.parametrize("again", [Task.retry, Task.clear, lambda _task: None])
@pytest.mark.parametrize("is_confirmed", [True, False])
def test_a_connection_to_another_region_is_refused_by_name_and_the_job_is_not_forgotten(
    drought: Cloud, again: Callable[[Task], None], *, is_confirmed: bool
) -> None:
    task = Task(drought, config=PATIENT)
    first = task.step()
    assert isinstance(first, Waiting)
    if not is_confirmed:
        stored = task.store.get(STATE_KEY)
        current = {**stored["current"], "is_created": False, "arn": ""}
        task.store.set(STATE_KEY, {**stored, "current": current})
    again(task)
    here, task.jobs = task.jobs, _in_region(task.jobs, "eu-west-1")
    with pytest.raises(ConnectionChanged, match=r"created in us-east-1 .* now leads to eu-west-1"):
        task.step()
    assert not task.driver().stop(StopReason.TASK_ENDED)
    assert live_jobs(drought) == [first.job.name]
    task.jobs = here
    step = task.step()
    assert isinstance(step, Waiting)
    assert step.job.name == first.job.name


class _InRegion(TrainingJobs):
    """The same calls, signed for another region: the local SageMaker knows one only."""

    @property
    def region(self) -> str:
        return "eu-west-1"


def _in_region(jobs: TrainingJobs, region: str) -> TrainingJobs:
    moved = _InRegion(jobs._client)
    assert moved.region == region
    return moved


def test_credentials_of_another_account_are_refused_by_name_and_the_job_is_not_forgotten(
    drought: Cloud,
) -> None:
    task = Task(drought, config=PATIENT)
    first = task.step()
    assert isinstance(first, Waiting)
    stored = task.store.get(STATE_KEY)
    current = stored["current"]
    there = current["arn"].replace("123456789012", "210987654321")
    task.store.set(STATE_KEY, {**stored, "current": {**current, "arn": there}})
    answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND)
    with pytest.raises(ConnectionChanged, match=r"account 210987654321, .* account 123456789012"):
        task.step()
    assert task.driver().live_job == first.job.name


# A state that was lost --------------------------------------------------------------------------------


def test_a_later_job_is_found_where_the_state_is_lost_and_the_first_one_was_deleted(cloud: Cloud) -> None:
    task, alive = lose_state_with_second_attempt_alive(cloud, remembers=True)
    step = task.step()
    assert isinstance(step, Waiting)
    assert step.job.name == alive
    assert task.created() == [alive]
    (kept,) = task.driver().attempts
    assert kept.ending is Ending.NO_CAPACITY  # although SageMaker does not know its job any more


def test_jobs_after_a_gap_are_found(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud, config=make_config(), policy=[spot_step("1h"), spot_step("1h"), spot_step("20d")])
    for _ in range(2):
        task.wait(task.step())
    third = task.step()
    assert isinstance(third, Waiting)
    first, second, _ = task.created()
    cloud.client("sagemaker").delete_training_job(TrainingJobName=second)
    task.store = MemoryStore()
    step = task.step()
    assert isinstance(step, Waiting)
    assert step.job.name == third.job.name
    assert [attempt.job_name for attempt in task.driver().attempts] == [first]


# Clears and retries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("was", [0, 1, 2])
@pytest.mark.parametrize("retries", [0, 1, 2, 3])
def test_a_clear_of_a_finished_training_trains_anew_whatever_retries_are_by_now(
    cloud: Cloud, was: int, retries: int
) -> None:
    """Airflow sets `max_tries` to the last try's number and the Dag's `retries` as they are at the clear."""
    task = Task(cloud)
    task.max_tries = was
    first = task.finish()
    task.clear(retries=retries)
    second = task.finish()
    assert len(second.attempts) == 1
    assert second.attempts[0].job_name != first.attempts[0].job_name


def test_a_second_clear_is_a_clear_too(cloud: Cloud) -> None:
    task = Task(cloud)
    task.max_tries = 0
    jobs = {task.finish().attempts[0].job_name}
    for _ in range(2):
        task.clear(retries=0)
        jobs.add(task.finish().attempts[0].job_name)
    assert len(jobs) == 3


def _refuse_once(task: Task) -> None:
    answer_with(task.jobs, "CreateTrainingJob", 400, "ResourceLimitExceeded", "No more of it.", times=1)


@pytest.mark.parametrize("others_cleared", [0, 1])
def test_a_retry_after_a_failure_climbs_again_also_where_another_task_of_the_run_was_cleared(
    cloud: Cloud, others_cleared: int
) -> None:
    task = Task(cloud, policy="on_demand")
    _refuse_once(task)
    with pytest.raises(TrainingNotCompleted):
        task.finish()
    task.clear_number = (task.clear_number or 0) + others_cleared
    task.retry()
    task.finish()
    assert task.driver().state.generation == 0
    assert len(task.driver().attempts) == 2


def test_a_clear_after_the_last_try_is_a_clear_where_retries_stay(cloud: Cloud) -> None:
    task = Task(cloud, policy="on_demand")
    task.try_number, task.max_tries = 2, 1
    _refuse_once(task)
    with pytest.raises(TrainingNotCompleted):
        task.finish()
    task.max_tries = 2
    task.clear(retries=0)  # max_tries = 2 + 0: as before
    assert task.max_tries == 2
    task.finish()
    assert len(task.driver().attempts) == 1


def test_a_failure_that_airflow_does_not_retry_is_followed_by_a_clear_only(cloud: Cloud) -> None:
    task = Task(cloud, policy="on_demand")
    task.max_tries = 1
    _refuse_once(task)
    driver = task.driver()
    with pytest.raises(TrainingNotCompleted):
        driver.proceed(try_number=1, max_tries=1, clear_number=0)
    driver.end_for_good()
    task.clear(retries=0)  # max_tries = 1 + 0: as before
    assert task.max_tries == 1
    task.finish()
    assert len(task.driver().attempts) == 1


# Statuses that this code does not know ----------------------------------------------------------------


def test_a_status_of_tomorrow_breaks_no_list_and_is_not_the_end(cloud: Cloud) -> None:
    listed = {
        "TrainingJobName": "one",
        "TrainingJobStatus": "Hibernating",
        "SecondaryStatus": "Dreaming",
        "CreationTime": cloud.jobs().now(),
    }
    summary = summary_of(listed)
    assert summary.status == "Hibernating"
    assert not summary.is_terminal
    assert TrainingStatus("Hibernating") not in TERMINAL_STATUSES
    assert TrainingStatus("Completed") is TrainingStatus.COMPLETED
    with pytest.raises(ValueError, match="7 is not a valid"):
        TrainingStatus(7)  # type: ignore[arg-type]


def test_a_job_of_an_unknown_status_is_waited_for(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    step = task.step()
    assert isinstance(step, Waiting)
    assert ending_of(replace(step.job, status=TrainingStatus("Hibernating"))) is None
    real = task.jobs.describe
    task.jobs.describe = lambda name: {**(real(name) or {}), "TrainingJobStatus": "Hibernating"}  # type: ignore[method-assign]
    assert isinstance(task.step(), Waiting)


@pytest.mark.parametrize("status", ["InProgress", "Stopping", "Deleting"])
def test_only_three_statuses_are_the_end(status: str) -> None:
    assert TrainingStatus(status) not in TERMINAL_STATUSES
    assert {str(each) for each in TERMINAL_STATUSES} == {"Completed", "Failed", "Stopped"}


def test_a_clear_that_leaves_the_run_as_it_is_is_told_by_max_tries(cloud: Cloud) -> None:
    """With `reset_dag_runs` off Airflow does not count the clear in the run."""
    task = Task(cloud)
    first = task.finish()
    before = task.clear_number
    task.clear(retries=1)
    task.clear_number = before
    second = task.finish()
    assert second.attempts[0].job_name != first.attempts[0].job_name


def test_a_record_of_an_earlier_generation_is_no_lost_state(cloud: Cloud) -> None:
    """A person's clear replaced it: the ledger still has the first one when the next begins."""
    task = Task(cloud)
    first = task.finish()
    task.recorder.on_record = OnRecord(attempts=first.attempts)
    task.clear()
    second = task.finish()
    assert task.driver().state.generation == 1
    assert len(second.attempts) == 1
    assert not any("has no state for it" in line for line in task.said)


def test_attempts_that_were_refused_are_no_lost_state(cloud: Cloud) -> None:
    task = Task(cloud, policy="on_demand")
    _refuse_once(task)
    with pytest.raises(TrainingNotCompleted):
        task.finish()
    task.recorder.on_record = OnRecord(attempts=task.driver().attempts)
    task.clear()
    task.finish()
    assert task.driver().state.generation == 0
    assert not any("has no state for it" in line for line in task.said)


def test_a_lost_state_whose_jobs_were_all_deleted_is_kept_as_lost_and_trains_anew(cloud: Cloud) -> None:
    task = Task(cloud)
    (attempt,) = task.finish().attempts
    cloud.client("sagemaker").delete_training_job(TrainingJobName=attempt.job_name)
    task.store = MemoryStore()
    task.recorder.on_record = OnRecord(attempts=(attempt,))
    task.finish()
    assert task.driver().state.generation == 1
    assert len(task.created()) == 1


def test_a_job_that_is_over_on_record_is_not_taken_for_alive_at_a_status_that_nobody_knows(
    cloud: Cloud,
) -> None:
    """It would be waited for, and counted once more when it is described as it is."""
    task = Task(cloud)
    (attempt,) = task.finish().attempts
    task.store = MemoryStore()
    task.recorder.on_record = OnRecord(attempts=(attempt,))
    fault = {"operation": "DescribeTrainingJob", "error": "UnknownStatus", "count": 1}
    cloud.control("POST", "faults", fault)
    again = task.finish()
    assert task.driver().state.generation == 1
    assert [one.job_name for one in again.attempts] == [task.created()[-1]]
    assert again.attempts[0].job_name != attempt.job_name
