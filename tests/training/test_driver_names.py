"""Whose job has the wanted name: this training's, a lost earlier one's, or somebody else's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spot_training.domain.errors import NotOurJob, OutOfSteps, TaskKilled
from spot_training.domain.lifecycle import Ending, SecondaryStatus, TrainingStatus
from spot_training.domain.savings import PurchaseOption
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.identity import TAG_INTENT, TAG_KEY, RunIdentity
from spot_training.sagemaker.request import TrainingPlan, cast_request
from spot_training.training.driver import Completed, TrainingDriver, Waiting
from spot_training.training.state import STATE_KEY, MemoryStore, load_state
from spot_training.watching.watcher import JobWatcher, follow
from tests.cloud import HOUR, Cloud, answer_with, live_jobs, make_config
from tests.records import make_attempt

from .support import (
    IDENTITY,
    Died,
    Task,
    die_after_creating,
    die_before_creating,
    lose_state_with_second_attempt_alive,
)

LONG = make_config(
    Environment={"LOCAL_TRAINING_SECONDS": "14400"},
    StoppingCondition={"MaxRuntimeInSeconds": 12 * HOUR, "MaxWaitTimeInSeconds": 24 * HOUR},
)


class _OfInstallation(Task):
    """The same Dag, run and task in another Airflow of the same account."""

    def __init__(self, cloud: Cloud, installation: str, **options: Any) -> None:
        super().__init__(cloud, **options)
        self.installation = installation

    def driver(self) -> TrainingDriver:
        driver = super().driver()
        driver.training.identity = replace(IDENTITY, installation=self.installation)
        return driver


def _plan(**identity: Any) -> TrainingPlan:
    who = replace(IDENTITY, **identity)
    return TrainingPlan.of(cast_request(make_config()), identity=who, name_prefix="model")


def _make_somebody_elses(cloud: Cloud, name: str) -> None:
    request = {**cast_request(LONG), "TrainingJobName": name, "EnableManagedSpotTraining": True}
    cloud.client("sagemaker").create_training_job(**request)


def _status(cloud: Cloud, name: str) -> str:
    described = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
    return str(described["TrainingJobStatus"])


def _wait(task: Task, step: Waiting | Completed) -> None:
    assert isinstance(step, Waiting)
    for _ in follow(JobWatcher(lambda: task.jobs), step.job.name, interval_seconds=0.1):
        pass


# Somebody else's ------------------------------------------------------------------------------------


def test_somebody_elses_job_of_our_name_is_not_stopped_with_the_task(cloud: Cloud) -> None:
    """The task that fails stops what it started, and this it did not."""
    name = _plan().job_name(1)
    _make_somebody_elses(cloud, name)
    driver = Task(cloud, config=LONG).driver()
    with pytest.raises(NotOurJob, match="left alone"):
        driver.proceed(try_number=1, max_tries=0)
    assert driver.live_job is None
    assert not driver.kill()
    assert _status(cloud, name) == "InProgress"


def test_a_name_that_somebody_took_before_the_call_is_told_by_the_next_process(cloud: Cloud) -> None:
    task = Task(cloud)
    die_before_creating(task.jobs)
    with pytest.raises(Died):
        task.step()
    task.jobs = cloud.jobs()
    name = _plan().job_name(1)
    _make_somebody_elses(cloud, name)
    assert not task.driver().stop(StopReason.TASK_ENDED)
    with pytest.raises(NotOurJob, match=TAG_KEY):
        task.step()
    assert task.driver().live_job is None
    assert _status(cloud, name) == "InProgress"


def test_two_airflows_with_the_same_dag_and_run_do_not_share_a_job(cloud: Cloud) -> None:
    one, other = (_OfInstallation(cloud, name, config=LONG) for name in ("production", "staging"))
    steps = [one.step(), other.step()]
    names = {step.job.name for step in steps if isinstance(step, Waiting)}
    assert set(live_jobs(cloud)) == names
    assert len(names) == 2
    uris = {step.job.checkpoint_uri for step in steps if isinstance(step, Waiting)}
    assert len(uris) == 2


# A reply that was lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ResourceLimitExceeded", "CapacityError"])
def test_a_job_whose_reply_was_lost_and_that_fills_the_quota_itself_is_adopted(
    cloud: Cloud, code: str
) -> None:
    cloud.fail("CreateTrainingJob", "LoseResponse")
    task = Task(cloud)
    refused = answer_with(task.jobs, "CreateTrainingJob", 400, code, "No more of this instance.", after=1)
    done = task.finish()
    assert refused == [1]
    assert [a.ending for a in done.attempts] == [Ending.COMPLETED]
    assert len(task.created()) == 1


# A state that was lost ------------------------------------------------------------------------------


def test_a_run_whose_state_was_lost_trains_anew_and_hands_out_no_old_model(cloud: Cloud) -> None:
    """A run that was deleted and made again has the names of the old one."""
    task = Task(cloud)
    first = task.finish()
    task.store = MemoryStore()
    second = task.finish()
    (attempt,) = second.attempts
    assert attempt.job_name != first.attempts[0].job_name
    assert second.description["CheckpointConfig"] != first.description["CheckpointConfig"]
    assert any("this run has no state for it" in line for line in task.said)
    state = load_state(task.store)
    assert state is not None
    assert state.generation == 1


def test_every_generation_a_lost_state_had_is_left_behind(cloud: Cloud) -> None:
    task = Task(cloud)
    task.finish()
    task.clear()
    task.finish()
    task.store = MemoryStore()
    assert task.finish().attempts[0].job_name == _plan(generation=2).job_name(1)
    assert len(task.created()) == 3


def test_a_job_that_is_alive_is_adopted_although_the_state_was_lost(cloud: Cloud) -> None:
    task = Task(cloud, config=LONG)
    first = task.step()
    task.store = MemoryStore()
    second = task.step()
    assert isinstance(first, Waiting)
    assert isinstance(second, Waiting)
    assert second.job.name == first.job.name
    assert len(task.created()) == 1


def test_the_live_job_of_a_lost_state_is_found_behind_its_first_attempt_and_its_first_generation(
    cloud: Cloud,
) -> None:
    task = Task(cloud, policy={"name": "widen", "factor": 20})
    task.finish()
    task.clear()
    cloud.set_capacity(available=False)
    _wait(task, task.step())
    alive = task.step()
    assert isinstance(alive, Waiting)
    assert alive.job.name == _plan(generation=1).job_name(2)
    task.store = MemoryStore()
    found = task.step()
    assert isinstance(found, Waiting)
    assert found.job.name == alive.job.name
    assert live_jobs(cloud) == [alive.job.name]
    assert task.driver().state.current.number == 2  # type: ignore[union-attr]


def test_the_scouts_of_a_lost_state_stay_in_the_bill(cloud: Cloud) -> None:
    task, name = lose_state_with_second_attempt_alive(cloud, remembers=True)
    scout = make_attempt(job_name="model-scout-1", ending=Ending.SCOUT_DONE)
    task.recorder.on_record = replace(task.recorder.on_record, scouts=(scout,))
    found = task.step()
    assert isinstance(found, Waiting)
    assert found.job.name == name
    assert task.driver().state.scouts_over == (scout,)


def test_the_live_job_of_a_lost_state_is_found_although_its_first_attempt_was_refused(cloud: Cloud) -> None:
    """A refusal leaves no job behind: the second attempt has its name, so that names have no gaps."""
    task = Task(cloud, config=LONG)
    answer_with(task.jobs, "CreateTrainingJob", 400, "ResourceLimitExceeded", "No more of it.", times=1)
    alive = task.step()
    assert isinstance(alive, Waiting)
    assert alive.job.name == _plan().job_name(1)
    task.store = MemoryStore()
    found = task.step()
    assert isinstance(found, Waiting)
    assert found.job.name == alive.job.name
    assert live_jobs(cloud) == [alive.job.name]


def test_what_was_refused_has_no_job_and_keeps_no_name(cloud: Cloud) -> None:
    task = Task(cloud)
    answer_with(task.jobs, "CreateTrainingJob", 400, "ResourceLimitExceeded", "No more of it.", times=1)
    refused, done = task.finish().attempts
    assert (refused.number, refused.job_name, refused.ending) == (1, "", Ending.QUOTA)
    assert (done.number, done.job_name, done.ending) == (2, _plan().job_name(1), Ending.COMPLETED)


def test_a_first_submission_reads_no_list(cloud: Cloud) -> None:
    """An account's list holds all jobs it ever had, and what filters it leaves pages empty."""
    task = Task(cloud, config=LONG)
    calls: list[str] = []
    task.jobs.listen(
        lambda client: client.meta.events.register(
            "before-call.sagemaker", lambda model, **_: calls.append(model.name)
        )
    )
    task.step()
    assert calls == ["CreateTrainingJob", "DescribeTrainingJob"]


def test_a_live_job_is_found_behind_a_generation_that_never_had_one(cloud: Cloud) -> None:
    """All of it was refused, and a person cleared the task: the names were free all the time."""
    task = Task(cloud, config=LONG, policy="spot_only")
    answer_with(task.jobs, "CreateTrainingJob", 400, "ResourceLimitExceeded", "No more of it.", times=2)
    with pytest.raises(OutOfSteps):
        task.step()
    task.jobs = cloud.jobs()
    task.clear()
    alive = task.step()
    assert isinstance(alive, Waiting)
    task.store = MemoryStore()
    task.step()
    assert live_jobs(cloud) == [alive.job.name]


def test_a_process_told_to_end_while_it_finds_a_job_does_not_wait_for_it(cloud: Cloud) -> None:
    task = Task(cloud, config=LONG)
    task.step()
    task.store = MemoryStore()
    driver = task.driver()
    claim = task.jobs.claim

    def claim_and_be_told(*args: Any, **kwargs: Any) -> Any:
        driver.start_nothing_more()
        return claim(*args, **kwargs)

    task.jobs.claim = claim_and_be_told  # type: ignore[method-assign]
    with pytest.raises(TaskKilled):
        driver.proceed(try_number=1, max_tries=0)
    assert driver.is_live_job_ours  # so that the task stops it


def test_the_stop_of_a_deleted_run_does_not_end_the_run_that_was_made_again(cloud: Cloud) -> None:
    """The first run's process stops the job once it is told: the second may have taken it by then."""
    task = Task(cloud, config=LONG)
    first = task.step()
    task.store = MemoryStore()
    again = task.step()
    assert isinstance(first, Waiting)
    assert isinstance(again, Waiting)
    assert again.job.name == first.job.name
    task.jobs.stop(first.job.name, StopReason.TASK_ENDED)
    task.wait(again)
    goes_on = task.step()
    assert isinstance(goes_on, Waiting)
    assert goes_on.job.name == _plan().job_name(2)


def test_a_job_that_is_being_stopped_is_alive_for_a_run_that_was_made_again(cloud: Cloud) -> None:
    """Also where its first attempt was refused."""
    cloud.set_capacity(available=False)
    task = Task(cloud, config=LONG)
    answer_with(task.jobs, "CreateTrainingJob", 400, "ResourceLimitExceeded", "No more of it.", times=1)
    alive = task.step()
    assert isinstance(alive, Waiting)
    stopping = replace(alive.job, status=TrainingStatus.STOPPING, secondary_status=SecondaryStatus.STOPPING)
    task.store = MemoryStore()
    task.jobs.snapshot = lambda name: stopping if name == alive.job.name else None  # type: ignore[method-assign]
    found = task.step()
    assert isinstance(found, Waiting)
    assert found.job.name == alive.job.name
    assert live_jobs(cloud) == [alive.job.name]


def test_the_finished_second_attempt_of_a_lost_state_is_no_result_of_the_run_made_again(cloud: Cloud) -> None:
    task = Task(cloud)
    answer_with(task.jobs, "CreateTrainingJob", 400, "ResourceLimitExceeded", "No more of it.", times=1)
    first = task.finish()
    task.store = MemoryStore()
    (attempt,) = task.finish().attempts
    assert attempt.job_name not in {a.job_name for a in first.attempts}
    assert load_state(task.store).generation == 1  # type: ignore[union-attr]


def test_a_sensor_whose_state_was_lost_trains_anew_after_the_job_it_watches(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    request = {**make_config(), "TrainingJobName": "elsewhere", "EnableManagedSpotTraining": True}
    cloud.client("sagemaker").create_training_job(**request)
    task = Task(cloud, policy="widen")
    task.adopt = "elsewhere"
    task.wait(task.step())
    cloud.set_capacity(available=True)
    first = task.finish()
    task.store = MemoryStore()
    second = task.finish()
    one, other = first.attempts, second.attempts
    assert one[0].job_name == other[0].job_name == "elsewhere"
    assert other[1].job_name not in {attempt.job_name for attempt in one}


def test_a_job_that_an_earlier_process_meant_to_create_is_decided_once(cloud: Cloud) -> None:
    """No policy and no budget is asked about another job while that one is alive."""
    task = Task(cloud, config=LONG)
    die_before_creating(task.jobs)
    with pytest.raises(Died):
        task.step()
    meant = task.store.get(STATE_KEY)["current"]
    task.jobs = cloud.jobs()
    task.try_number = 2
    waiting = task.step()
    assert isinstance(waiting, Waiting)
    arn = waiting.job.arn
    assert task.store.get(STATE_KEY)["current"] == {**meant, "is_created": True, "arn": arn}
    assert sum("Attempt 1" in line for line in task.said) == 2
    assert len(task.created()) == 1


def test_the_nonce_is_in_the_state_before_the_call_and_in_the_jobs_tags_after_it(cloud: Cloud) -> None:
    task = Task(cloud)
    die_before_creating(task.jobs)
    with pytest.raises(Died):
        task.step()
    nonce = task.store.get(STATE_KEY)["current"]["nonce"]
    task.jobs = cloud.jobs()
    done = task.finish()
    assert task.jobs.tags(done.description["TrainingJobArn"])[TAG_INTENT] == nonce
    assert nonce


def test_a_job_that_was_over_before_the_reply_was_seen_is_the_one_asked_for(cloud: Cloud) -> None:
    """The worker died in the call and came back late: same state, same nonce."""
    task = Task(cloud)
    die_after_creating(task.jobs)
    with pytest.raises(Died):
        task.step()
    task.jobs = cloud.jobs()
    (name,) = task.created()
    for _ in follow(JobWatcher(lambda: task.jobs), name, interval_seconds=0.1):
        pass
    task.try_number = 2
    assert [a.job_name for a in task.finish().attempts] == [name]


def test_state_that_was_written_before_there_were_nonces_is_read(cloud: Cloud) -> None:
    task = Task(cloud, config=LONG)
    task.step()
    stored = task.store.get(STATE_KEY)
    for field in ("nonce", "purchase"):
        del stored["current"][field]
    intent = task.driver().state.current
    assert intent is not None
    assert (intent.nonce, intent.purchase) == ("", PurchaseOption.SPOT)


def test_a_deleted_job_is_booked_as_what_it_was_bought_as(cloud: Cloud) -> None:
    task = Task(cloud, policy="on_demand")
    step = task.step()
    _wait(task, step)
    assert isinstance(step, Waiting)
    cloud.client("sagemaker").delete_training_job(TrainingJobName=step.job.name)
    with pytest.raises(Exception, match="deleted before its end was seen"):
        task.step()
    assert [a.purchase for a in task.driver().attempts] == [PurchaseOption.ON_DEMAND]


def test_the_key_tells_installations_apart() -> None:
    names: dict[str, Any] = {"dag_id": "d", "run_id": "r", "task_id": "t"}
    keys = {RunIdentity(**names, installation=name).key for name in ("production", "staging")}
    assert len(keys) == 2
