"""Unlucky sequences: a process dies or an answer is wrong at just the moment at which it hurts most."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from spot_training.domain.errors import StoppedBySomeone, TrainingNotCompleted
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.identity import TAG_STOPPED_AT
from spot_training.training.driver import Completed, Waiting
from spot_training.training.host import OnRecord
from spot_training.training.state import MemoryStore
from tests.cloud import SPEED, Cloud, answer_with, live_jobs

from .support import (
    NOT_FOUND,
    PATIENT,
    Died,
    MemoryRecorder,
    Task,
    die,
    die_after_creating,
    lose_state_with_second_attempt_alive,
)


def _waiting(step: object) -> Waiting:
    assert isinstance(step, Waiting)
    return step


# A person's stop ------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", [StopReason.TASK_KILLED, StopReason.TASK_ENDED, StopReason.DEADLINE])
@pytest.mark.parametrize("is_over", [False, True])
def test_a_stop_of_ours_that_comes_after_a_persons_does_not_override_it(
    drought: Cloud, why: StopReason, is_over: bool
) -> None:
    """The console's stop, and within the look interval the worker shuts down (or the deadline is due)."""
    task = Task(drought, config=PATIENT)
    step = _waiting(task.step())
    driver = task.driver()
    task.stop_as_a_person(step.job.name)
    if is_over:
        task.wait(step)
    driver.stop(why)
    task.wait(step)
    task.retry()
    with pytest.raises(StoppedBySomeone):
        task.step()
    assert len(task.created()) == 1


def test_a_reason_that_was_followed_by_no_stop_does_not_explain_a_persons_stop_later(
    drought: Cloud,
) -> None:
    task = Task(drought, config=PATIENT)
    step = _waiting(task.step())
    driver = task.driver()
    task.jobs._stop = die  # type: ignore[method-assign]  # SIGKILL between AddTags and StopTrainingJob
    with pytest.raises(Died):
        driver.kill()
    task.jobs = drought.jobs()
    task.retry()
    again = _waiting(task.step())
    assert again.job.name == step.job.name
    # ... a quarter of an hour ago, on this cloud's quick clock
    ago = task.jobs.now() - timedelta(seconds=SPEED * 15 * 60)
    tags = [{"Key": TAG_STOPPED_AT, "Value": ago.isoformat()}]
    drought.client("sagemaker").add_tags(ResourceArn=step.job.arn, Tags=tags)
    task.stop_as_a_person(step.job.name)
    task.wait(step)
    with pytest.raises(StoppedBySomeone):
        task.step()
    assert len(task.created()) == 1


def test_a_persons_stop_is_respected_by_the_retry_of_a_worker_that_died_before_it_could_say_so(
    drought: Cloud,
) -> None:
    task = Task(drought, config=PATIENT)
    step = _waiting(task.step())
    task.stop_as_a_person(step.job.name)
    task.wait(step)
    with pytest.raises(StoppedBySomeone):
        task.step()  # is_over is saved; SIGKILL before `end_for_good`, or before Airflow hears of it
    task.retry()
    with pytest.raises(StoppedBySomeone):
        task.step()
    assert len(task.created()) == 1


# Not found ------------------------------------------------------------------------------------------


def test_one_not_found_after_a_lost_state_makes_no_second_job(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    first = _waiting(task.step())
    task.store = MemoryStore()
    # Describe 1: the name is taken. Describe 2: looking for the training's own jobs.
    answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND, times=1, after=1)
    step = task.step()
    assert live_jobs(drought) == [first.job.name]
    assert _waiting(step).job.name == first.job.name


def test_one_not_found_makes_no_second_job_where_the_ledger_knows_the_job_and_the_first_one_was_deleted(
    cloud: Cloud,
) -> None:
    task, alive = lose_state_with_second_attempt_alive(cloud, remembers=True)
    answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND, times=1, after=1)
    task.step()
    assert live_jobs(cloud) == [alive]


def test_one_not_found_forgets_no_job_whose_creation_was_not_confirmed(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    die_after_creating(task.jobs)
    with pytest.raises(Died):
        task.step()
    (name,) = live_jobs(drought)
    task.jobs = drought.jobs()
    task.retry()
    task.out_of_time = "the task's time limit of 1 h passed"
    answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND, times=1)
    said = ""
    try:
        task.step()
    except TrainingNotCompleted as error:
        said = str(error)
    assert task.driver().live_job == name or live_jobs(drought) == [], said


def test_one_not_found_after_a_lost_reply_ends_no_try(drought: Cloud) -> None:
    """On the last try the task then stops the job, although it is healthy and nobody acted."""
    drought.fail("CreateTrainingJob", "LoseResponse")
    task = Task(drought, config=PATIENT)
    answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND, times=1)
    assert isinstance(task.step(), Waiting)


def test_one_not_found_by_add_tags_loses_no_reason(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    step = _waiting(task.step())
    answer_with(task.jobs, "AddTags", 400, *NOT_FOUND, times=1)
    assert task.driver().stop(StopReason.TASK_ENDED)
    task.wait(step)
    task.retry()
    assert isinstance(task.step(), Waiting)


def test_one_not_found_where_the_arn_is_looked_up_loses_no_reason(drought: Cloud) -> None:
    """The trigger of 0.1.0's payload, and the sweeper, do not know the ARN."""
    task = Task(drought, config=PATIENT)
    step = _waiting(task.step())
    stops = MemoryRecorder()
    answer_with(task.jobs, "DescribeTrainingJob", 400, *NOT_FOUND, times=1)
    assert task.jobs.stop(
        step.job.name, StopReason.TASK_ENDED, keep_reason=lambda why: stops.keep_stop(step.job.name, why)
    )
    tagged = "spot-training:stopped-for" in drought.jobs().tags(step.job.arn)
    assert tagged or stops.kept


# A stop that is held back -----------------------------------------------------------------------------


class _Away(MemoryStore):
    def set(self, key: str, value: Any, *, retention: Any = None) -> None:  # noqa: ARG002
        raise RuntimeError("API server away")


def test_a_state_that_cannot_be_written_does_not_hold_the_stop_back(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    step = _waiting(task.step())
    task.store = _Away(task.store.values)
    answer_with(task.jobs, "AddTags", 400, "AccessDeniedException", "not authorized")
    stopped: list[str] = []
    task.jobs.listen(
        lambda client: client.meta.events.register(
            "before-send.sagemaker.StopTrainingJob", lambda **_: stopped.append(step.job.name)
        )
    )
    try:
        task.driver().stop(StopReason.DEADLINE)
    finally:
        assert stopped == [step.job.name]


# Clears and tries ---------------------------------------------------------------------------------------


def test_a_clear_of_a_task_that_did_not_wait_trains_anew(cloud: Cloud) -> None:
    """wait_for_completion=False: the task is green once the job is created, and nobody says `is_over`."""
    task = Task(cloud)
    task.max_tries = 0
    step = _waiting(task.step())
    task.driver().hand_over()
    task.wait(step)
    task.clear(retries=0)
    again = _waiting(task.step())  # and not green at once, with the old outcome
    assert again.job.name != step.job.name


def test_a_clear_of_a_task_that_did_not_wait_goes_on_with_a_job_that_is_alive(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    step = _waiting(task.step())
    task.driver().hand_over()
    task.clear(retries=0)
    assert _waiting(task.step()).job.name == step.job.name


def test_a_retry_of_a_task_that_did_not_wait_trains_nothing_again(cloud: Cloud) -> None:
    """Its process died after the hand-over, before Airflow heard of the success."""
    task = Task(cloud)
    step = _waiting(task.step())
    task.driver().hand_over()
    task.wait(step)
    task.retry()
    assert isinstance(task.step(), Completed)


def test_a_try_that_the_scheduler_repeats_is_no_clear(cloud: Cloud) -> None:
    """Airflow gives a running task of a lost scheduler one try more, also after the last; nobody cleared."""
    task = Task(cloud)
    task.max_tries = 0
    done = task.finish()  # saved as over; the process is lost before Airflow hears of the success
    task.retry()
    again = task.step()
    assert isinstance(again, Completed)
    assert task.created() == [done.attempts[0].job_name]


def test_a_clear_while_the_job_stops_at_the_time_limit_gives_the_task_its_time(drought: Cloud) -> None:
    task = Task(drought, config=PATIENT)
    step = _waiting(task.step())
    task.driver().give_up("the task's time limit of 1 h passed")
    task.clear()
    task.wait(step)
    assert isinstance(task.step(), Waiting)


def test_a_job_of_a_later_generation_is_found_where_the_first_ones_was_deleted(cloud: Cloud) -> None:
    task = Task(cloud)
    first = task.finish().attempts[0].job_name
    task.clear()
    cloud.set_capacity(available=False)
    task.config = PATIENT
    alive = _waiting(task.step()).job.name
    task.recorder.on_record = OnRecord(generation=1, current_job=alive)
    cloud.client("sagemaker").delete_training_job(TrainingJobName=first)
    task.store = MemoryStore()
    task.step()
    assert live_jobs(cloud) == [alive]
