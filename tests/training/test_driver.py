"""One training carried to its end, against the local SageMaker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from include.local_stack import wait_until
from spot_training.domain.errors import (
    AboveCap,
    InvalidInput,
    MaxRuntimeReached,
    NotOurJob,
    OutOfSteps,
    RequestRefused,
    ServiceFailed,
    StoppedBySomeone,
    TaskKilled,
    TimedOutWaiting,
)
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import PurchaseOption
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.identity import TAG_KEY
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sagemaker.request import TrainingPlan, cast_request
from spot_training.training.driver import Waiting
from spot_training.training.state import STATE_KEY
from spot_training.watching.watcher import JobWatcher, follow
from tests.cloud import HOUR, Cloud, live_jobs, make_config

from .support import IDENTITY, PATIENT, Died, Task, die_before_creating


def test_a_job_that_gets_capacity_completes_at_the_spot_price(cloud: Cloud) -> None:
    task = Task(cloud)
    done = task.finish()
    (attempt,) = done.attempts
    assert attempt.ending is Ending.COMPLETED
    assert done.description["TrainingJobStatus"] == "Completed"
    assert done.statement.savings_percent == attempt.savings_percent == pytest.approx(70, abs=1)


def test_no_capacity_widens_the_wait_and_then_buys_on_demand(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud)
    done = task.finish()
    assert [(a.purchase, a.max_wait_seconds, a.ending) for a in done.attempts] == [
        (PurchaseOption.SPOT, HOUR, Ending.NO_CAPACITY),
        (PurchaseOption.SPOT, 2 * HOUR, Ending.NO_CAPACITY),
        (PurchaseOption.ON_DEMAND, None, Ending.COMPLETED),
    ]
    assert done.statement.savings_percent == 0
    assert done.statement.wait_seconds >= 3 * HOUR
    assert [name.rsplit("-", 1)[1] for name in task.created()] == ["1", "2", "3"]


def test_spot_only_gives_up_and_says_where_the_bill_stands(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud, policy="spot_only")
    with pytest.raises(OutOfSteps, match=r"never got capacity.*no step is left.*billed over 2 attempts: 0 s"):
        task.finish()


def test_an_interrupted_job_goes_on_and_is_counted(cloud: Cloud) -> None:
    task = Task(
        cloud,
        config=make_config(
            Environment={"LOCAL_TRAINING_SECONDS": "14400"},
            StoppingCondition={"MaxRuntimeInSeconds": 12 * HOUR, "MaxWaitTimeInSeconds": 24 * HOUR},
        ),
    )
    step = task.step()
    assert isinstance(step, Waiting)
    for report in follow(JobWatcher(lambda: task.jobs), step.job.name, interval_seconds=0.1):
        if getattr(report, "secondary_status", None) == "Training":
            break
    cloud.control("POST", "interrupt", {"training_job_name": step.job.name})
    (attempt,) = task.finish().attempts
    assert attempt.interruptions == 1
    assert attempt.ending is Ending.COMPLETED


def test_a_person_who_stops_the_job_ends_the_training(cloud: Cloud) -> None:
    hours = {"MaxRuntimeInSeconds": 20 * HOUR, "MaxWaitTimeInSeconds": 20 * HOUR}
    long = {"LOCAL_TRAINING_SECONDS": str(16 * HOUR)}
    task = Task(cloud, config=make_config(StoppingCondition=hours, Environment=long))
    step = task.step()
    assert isinstance(step, Waiting)
    cloud.client("sagemaker").stop_training_job(TrainingJobName=step.job.name)
    with pytest.raises(StoppedBySomeone, match="stopped by a user"):
        task.finish()


def test_a_process_that_dies_before_the_call_is_followed_by_one_that_makes_it(cloud: Cloud) -> None:
    task = Task(cloud)
    die_before_creating(task.jobs)
    with pytest.raises(Died):
        task.step()
    task.jobs = cloud.jobs()
    task.finish()
    assert len(task.created()) == 1


def test_a_lost_reply_leads_to_the_one_job(cloud: Cloud) -> None:
    cloud.fail("CreateTrainingJob", "LoseResponse")
    task = Task(cloud)
    task.finish()
    assert len(task.created()) == 1
    assert any(line.startswith("Adopted training job") for line in task.said)


def test_a_process_that_dies_while_it_waits_is_followed_by_one_that_waits_for_the_same_job(
    cloud: Cloud,
) -> None:
    task = Task(cloud)
    first = task.step()
    task.try_number = 2
    second = task.step()
    assert isinstance(first, Waiting)
    assert isinstance(second, Waiting)
    assert first.job.name == second.job.name
    assert len(task.created()) == 1


def test_somebody_elses_job_of_our_name_is_left_alone(cloud: Cloud) -> None:
    request = cast_request(make_config())
    plan = TrainingPlan.of(request, identity=IDENTITY, name_prefix="model")
    cloud.client("sagemaker").create_training_job(
        **{**request, "TrainingJobName": plan.job_name(1), "EnableManagedSpotTraining": True}
    )
    with pytest.raises(NotOurJob, match=TAG_KEY):
        Task(cloud).step()


def test_a_retry_climbs_again_and_keeps_the_books(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud, policy={"name": "spot_only", "spot_attempts": 1})
    with pytest.raises(OutOfSteps):
        task.finish()
    cloud.set_capacity(available=True)
    task.try_number = 2
    done = task.finish()
    assert [a.ending for a in done.attempts] == [Ending.NO_CAPACITY, Ending.COMPLETED]


def test_a_try_that_died_after_the_training_was_done_trains_nothing_again(cloud: Cloud) -> None:
    task = Task(cloud)
    first = task.finish()
    task.try_number = 2
    assert task.finish().attempts == first.attempts
    assert len(task.created()) == 1


def test_a_person_who_clears_a_finished_training_gets_a_fresh_one(cloud: Cloud) -> None:
    task = Task(cloud)
    first = task.finish()
    task.clear()
    second = task.finish()
    assert len(second.attempts) == 1
    assert first.attempts[0].job_name != second.attempts[0].job_name
    uris = {done.description["CheckpointConfig"]["S3Uri"] for done in (first, second)}
    assert len(uris) == 2


def test_a_task_cleared_while_it_trains_goes_on_with_its_job(cloud: Cloud) -> None:
    task = Task(cloud)
    first = task.step()
    task.clear()
    done = task.finish()
    assert isinstance(first, Waiting)
    assert task.created() == [first.job.name]
    assert [a.ending for a in done.attempts] == [Ending.COMPLETED]


@pytest.mark.parametrize("why", [StopReason.TASK_ENDED, StopReason.TASK_KILLED, StopReason.SWEPT])
@pytest.mark.parametrize("comes_late", [False, True])
def test_a_job_that_was_stopped_with_its_task_is_followed_by_another_from_its_checkpoints(
    cloud: Cloud, why: StopReason, comes_late: bool
) -> None:
    """The stop of the earlier try may come after the new one has adopted the job."""
    cloud.set_capacity(available=False)
    task = Task(cloud, config=PATIENT)
    assert isinstance(task.step(), Waiting)
    earlier = task.driver()
    if not comes_late:
        assert earlier.stop(why)
    task.clear()
    if comes_late:
        assert isinstance(task.step(), Waiting)
        assert earlier.stop(why)
    cloud.set_capacity(available=True)
    done = task.finish()
    assert [a.ending for a in done.attempts] == [Ending.STOPPED_WITH_TASK, Ending.COMPLETED]
    uris = {_described(cloud, name)["CheckpointConfig"]["S3Uri"] for name in task.created()}
    assert len(uris) == 1


@pytest.mark.parametrize("again", [Task.clear, Task.retry, lambda _task: None])
def test_a_persons_stop_is_respected_at_any_moment(cloud: Cloud, again: Callable[[Task], None]) -> None:
    """Also within the minutes after a retry or a clear has adopted the job."""
    cloud.set_capacity(available=False)
    task = Task(cloud, config=PATIENT)
    assert isinstance(task.step(), Waiting)
    again(task)
    step = task.step()
    assert isinstance(step, Waiting)
    task.stop_as_a_person(step.job.name)
    with pytest.raises(StoppedBySomeone, match="a person's stop is respected"):
        task.finish()
    assert task.created() == [step.job.name]


def test_a_persons_stop_of_a_later_attempt_is_not_taken_for_that_of_an_earlier_try(cloud: Cloud) -> None:
    """The adopted job, perhaps one that SageMaker itself was stopping, ended for want of capacity."""
    cloud.set_capacity(available=False)
    task = Task(cloud, policy={"name": "widen", "factor": 20})
    task.step()
    task.retry()
    task.wait(task.step())
    second = task.step()
    assert isinstance(second, Waiting)
    task.stop_as_a_person(second.job.name)
    with pytest.raises(StoppedBySomeone):
        task.finish()
    assert len(task.created()) == 2


def test_the_owner_of_a_job_stops_it_while_the_sensors_worker_is_lost(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = _watching(cloud, config=PATIENT)
    task.step()
    task.stop_as_a_person("elsewhere")
    task.try_number = 2
    with pytest.raises(StoppedBySomeone):
        task.finish()
    assert task.created() == ["elsewhere"]


def test_the_owner_of_a_job_stops_it_while_the_sensors_process_is_told_to_end(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = _watching(cloud, config=PATIENT)
    driver = task.driver()
    step = driver.proceed(try_number=1, max_tries=1, adopt=task.adopt)
    task.stop_as_a_person("elsewhere")
    task.wait(step)
    driver.start_nothing_more()
    with pytest.raises(TaskKilled):
        driver.advance()
    task.try_number = 2
    with pytest.raises(StoppedBySomeone):
        task.finish()
    assert task.created() == ["elsewhere"]


def test_a_sensor_without_a_policy_says_on_every_try_how_the_job_ended(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = _watching(cloud, policy=None)
    for task.try_number in (1, 2):
        with pytest.raises(OutOfSteps, match="never got capacity"):
            task.finish()
    assert len(task.driver().attempts) == 1


def _described(cloud: Cloud, name: str) -> dict[str, Any]:
    described: dict[str, Any] = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
    return described


def _watching(cloud: Cloud, *, policy: object = "widen", config: dict[str, Any] | None = None) -> Task:
    """A sensor of a job that was started elsewhere."""
    request = {**(config or make_config()), "TrainingJobName": "elsewhere", "EnableManagedSpotTraining": True}
    cloud.client("sagemaker").create_training_job(**request)
    task = Task(cloud, policy=policy)
    task.adopt = "elsewhere"
    return task


def test_an_adopted_job_that_completes_is_not_trained_again(cloud: Cloud) -> None:
    task = Task(cloud)
    task.step()
    task.try_number = 2
    assert [a.ending for a in task.finish().attempts] == [Ending.COMPLETED]


def test_a_job_started_elsewhere_is_watched_to_its_end(cloud: Cloud) -> None:
    request = {**make_config(), "TrainingJobName": "elsewhere", "EnableManagedSpotTraining": True}
    cloud.client("sagemaker").create_training_job(**request)
    task = Task(cloud)
    task.adopt = "elsewhere"
    (attempt,) = task.finish().attempts
    assert (attempt.job_name, attempt.ending, attempt.step) == ("elsewhere", Ending.COMPLETED, 0)


def test_a_job_that_is_not_there_is_said_so(cloud: Cloud) -> None:
    task = Task(cloud)
    task.adopt = "nowhere"
    with pytest.raises(RequestRefused, match=r"no training job named nowhere in us-east-1"):
        task.step()


def test_no_job_is_started_after_the_time_limit(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud)
    task.wait(task.step())
    task.out_of_time = "the task's time limit of 1 h passed"
    with pytest.raises(TimedOutWaiting, match="time limit of 1 h passed"):
        task.step()
    assert len(task.created()) == 1


def test_a_job_that_was_never_created_is_not_created_after_the_time_limit(cloud: Cloud) -> None:
    task = Task(cloud)
    die_before_creating(task.jobs)
    with pytest.raises(Died):
        task.step()
    task.jobs = cloud.jobs()
    task.out_of_time = "execution_timeout of 1 h passed"
    with pytest.raises(TimedOutWaiting, match=r"timeout of 1 h passed\. No training job was created"):
        task.step()
    assert task.created() == []
    assert task.driver().live_job is None


def test_giving_up_stops_the_job_and_counts_it(cloud: Cloud) -> None:
    task = Task(cloud)
    assert isinstance(task.step(), Waiting)
    task.driver().give_up("the task's time limit of 1 h passed")
    with pytest.raises(TimedOutWaiting, match="time limit of 1 h passed") as raised:
        task.finish()
    assert "No job of this training is alive" in str(raised.value)
    (attempt,) = task.driver().attempts
    assert attempt.ending is Ending.STOPPED_AT_TIME_LIMIT
    assert live_jobs(cloud) == []


def test_a_retry_after_giving_up_tries_again(cloud: Cloud) -> None:
    task = Task(cloud)
    task.step()
    task.driver().give_up("time is up")
    with pytest.raises(TimedOutWaiting):
        task.finish()
    task.try_number = 2
    assert [a.ending for a in task.finish().attempts] == [Ending.STOPPED_AT_TIME_LIMIT, Ending.COMPLETED]


def test_a_job_that_finished_while_giving_up_is_a_finished_training(cloud: Cloud) -> None:
    task = Task(cloud)
    step = task.step()
    assert isinstance(step, Waiting)
    for _ in follow(JobWatcher(lambda: task.jobs), step.job.name, interval_seconds=0.1):
        pass
    task.driver().give_up("time is up")
    assert task.finish().statement.completed


def test_a_job_that_is_killed_while_it_is_created_is_stopped(cloud: Cloud) -> None:
    """SIGTERM arrives between the intent and the reply to CreateTrainingJob."""
    task = Task(cloud)
    driver = task.driver()
    create = driver.jobs.create_or_adopt

    def killed_in_the_middle(*args: Any, **kwargs: Any) -> Any:
        driver.kill()
        return create(*args, **kwargs)

    driver.jobs.create_or_adopt = killed_in_the_middle  # type: ignore[method-assign]
    with pytest.raises(TaskKilled, match="no other job is started"):
        driver.proceed(try_number=1, max_tries=0)
    (name,) = task.created()
    status = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
    assert status in {"Stopping", "Stopped"}


def test_a_process_that_was_told_to_end_counts_its_job_and_starts_no_other(cloud: Cloud) -> None:
    """Airflow lets it run on for some seconds after SIGTERM."""
    task = Task(cloud)
    driver = task.driver()
    step = driver.proceed(try_number=1, max_tries=1)
    assert isinstance(step, Waiting)
    driver.kill()
    for _ in follow(JobWatcher(lambda: task.jobs), step.job.name, interval_seconds=0.1):
        pass
    with pytest.raises(TaskKilled):
        driver.advance()
    assert [attempt.ending for attempt in driver.attempts] == [Ending.STOPPED_WITH_TASK]
    assert task.created() == [step.job.name]
    task.try_number = 2
    assert task.finish().statement.completed


def test_a_process_that_was_told_to_end_between_two_attempts_starts_no_other(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud)
    driver = task.driver()
    step = driver.proceed(try_number=1, max_tries=1)
    assert isinstance(step, Waiting)
    for _ in follow(JobWatcher(lambda: task.jobs), step.job.name, interval_seconds=0.1):
        pass
    driver.start_nothing_more()
    with pytest.raises(TaskKilled):
        driver.advance()
    assert task.created() == [step.job.name]
    task.try_number = 2
    assert [a.ending for a in task.finish().attempts] == [
        Ending.NO_CAPACITY,
        Ending.NO_CAPACITY,
        Ending.COMPLETED,
    ]


def test_a_process_that_died_between_giving_up_and_the_stop_is_followed_by_one_that_stops(
    cloud: Cloud,
) -> None:
    task = Task(cloud, config=make_config(Environment={"LOCAL_TRAINING_SECONDS": "3000"}))
    task.step()
    driver = task.driver()
    driver.stop = lambda *_: False  # type: ignore[method-assign]
    driver.give_up("the task's time limit of 1 h passed")
    task.try_number = 2
    with pytest.raises(TimedOutWaiting):
        task.finish()
    assert [attempt.ending for attempt in task.driver().attempts] == [Ending.STOPPED_AT_TIME_LIMIT]


def test_a_job_that_was_deleted_is_not_made_a_second_time(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud)
    step = task.step()
    assert isinstance(step, Waiting)
    cloud.set_capacity(available=True)
    for _ in follow(JobWatcher(lambda: task.jobs), step.job.name, interval_seconds=0.1):
        pass
    cloud.client("sagemaker").delete_training_job(TrainingJobName=step.job.name)
    with pytest.raises(StoppedBySomeone, match="deleted before its end was seen"):
        task.finish()
    assert task.created() == []


def test_kept_checkpoints_outlive_a_clear(cloud: Cloud) -> None:
    task = Task(cloud, keep_checkpoints=True)
    first = task.finish()
    task.clear()
    second = task.finish()
    uris = {done.description["CheckpointConfig"]["S3Uri"] for done in (first, second)}
    assert len(uris) == 1


@pytest.mark.parametrize(
    ("caps", "field"),
    [
        ({"instance_types": ["ml.c5.*"]}, "InstanceType"),
        ({"instance_count": 0}, "InstanceCount"),
        ({"max_runtime": 60}, "MaxRuntimeInSeconds"),
        ({"max_wait": "90m"}, "MaxWaitTimeInSeconds"),
    ],
)
def test_nothing_above_the_dags_caps_is_asked_for(cloud: Cloud, caps: dict[str, Any], field: str) -> None:
    task = Task(cloud, caps=caps)
    with pytest.raises(AboveCap, match=field):
        task.step()
    assert task.created() == []


def test_a_dag_that_changed_before_its_job_was_created_is_held_to_its_caps(cloud: Cloud) -> None:
    task = Task(cloud)
    die_before_creating(task.jobs)
    with pytest.raises(Died):
        task.step()
    task.jobs = cloud.jobs()
    task.caps = {"max_runtime": 60}
    with pytest.raises(AboveCap, match="MaxRuntimeInSeconds"):
        task.step()
    assert task.created() == []


@pytest.mark.parametrize(
    ("policy", "config"),
    [
        ("yolo", make_config()),
        ("widen", make_config(RoleArn="arn")),
        ({"name": "widen", "first_wait": 60}, make_config()),
    ],
)
def test_bad_input_leaves_no_job_and_no_state_of_one(
    cloud: Cloud, policy: object, config: dict[str, Any]
) -> None:
    task = Task(cloud, policy=policy)
    task.config = config
    with pytest.raises(InvalidInput):
        task.step()
    assert task.created() == []
    assert (task.store.get(STATE_KEY) or {}).get("current") is None


def test_a_throttled_poll_fails_nothing(cloud: Cloud) -> None:
    cloud.fail("DescribeTrainingJob", "ThrottlingException", count=4)
    assert Task(cloud).finish().statement.completed


def test_a_service_that_does_not_answer_is_told_with_what_becomes_of_the_job(cloud: Cloud) -> None:
    task = Task(cloud)
    task.step()
    impatient = cloud.client("sagemaker", retries={"total_max_attempts": 1})
    jobs = TrainingJobs(impatient)
    cloud.fail("DescribeTrainingJob", "DropConnection")
    with pytest.raises(ServiceFailed, match="continues and is billed; the next try finds it"):
        jobs.describe("model")
    cloud.fail("StopTrainingJob", "DropConnection")
    with pytest.raises(ServiceFailed, match="StopTrainingJob model failed"):
        jobs.stop("model", StopReason.TASK_ENDED)


@pytest.mark.parametrize("found", ["", "{}", 7, [1], {}, {"version": "1"}, {"version": 1, "current": 3}])
def test_state_that_is_none_of_ours_is_refused_with_the_way_out(cloud: Cloud, found: object) -> None:
    task = Task(cloud)
    task.store.set(STATE_KEY, found)
    with pytest.raises(InvalidInput, match="delete the task's state in Airflow's UI"):
        task.driver()


def test_state_of_a_later_version_is_refused_and_not_misread(cloud: Cloud) -> None:
    task = Task(cloud)
    task.store.set(STATE_KEY, {"version": 99})
    with pytest.raises(InvalidInput, match="written by a later version of this package"):
        task.step()


# What is said of checkpoints ------------------------------------------------------------------------


def _without_checkpoints(**overrides: Any) -> dict[str, Any]:
    config = make_config(**overrides)
    del config["CheckpointConfig"]
    return config


def test_spot_without_checkpoints_says_first_what_an_interruption_costs(cloud: Cloud) -> None:
    task = Task(cloud, config=_without_checkpoints())
    task.finish()
    assert task.said[0].startswith("This training runs on spot without checkpoints")
    assert "billed and done again from zero, up to 1 h (MaxRuntimeInSeconds) each time" in task.said[0]
    assert sum("without checkpoints" in line for line in task.said) == 1


@pytest.mark.parametrize(
    ("policy", "config"), [("widen", make_config()), ("on_demand", _without_checkpoints())]
)
def test_a_training_that_an_interruption_costs_little_or_nothing_says_none_of_it(
    cloud: Cloud, policy: str, config: dict[str, Any]
) -> None:
    task = Task(cloud, policy=policy, config=config)
    task.finish()
    assert not any("without checkpoints" in line for line in task.said)


@pytest.mark.parametrize("has_checkpoints", [True, False])
def test_checkpoints_are_said_to_be_kept_only_where_there_are_any(
    cloud: Cloud, *, has_checkpoints: bool
) -> None:
    too_long = {
        "StoppingCondition": {"MaxRuntimeInSeconds": HOUR},
        "Environment": {"LOCAL_TRAINING_SECONDS": str(4 * HOUR)},
    }
    config = make_config(**too_long) if has_checkpoints else _without_checkpoints(**too_long)
    with pytest.raises(MaxRuntimeReached) as failed:
        Task(cloud, config=config).finish()
    assert ("checkpoints are kept" in str(failed.value)) is has_checkpoints


def _lose_two_hours_of_four(cloud: Cloud, **overrides: Any) -> Task:
    """A task with a job of four hours and a limit of five that is interrupted after two."""
    four_of_five = {
        "StoppingCondition": {"MaxRuntimeInSeconds": 5 * HOUR},
        "Environment": {"LOCAL_TRAINING_SECONDS": str(4 * HOUR)},
    }
    task = Task(cloud, config=_without_checkpoints(**four_of_five), **overrides)
    step = task.step()
    assert isinstance(step, Waiting)

    def has_trained_for_two_hours() -> bool:
        job = task.jobs.snapshot(step.job.name)
        began = job.training_started_at if job else None
        return began is not None and task.jobs.now() - began > timedelta(hours=2)

    wait_until(has_trained_for_two_hours, "two hours of training", timeout_seconds=30)
    cloud.control("POST", "interrupt", {"training_job_name": step.job.name})
    return task


def test_a_job_that_only_interruptions_kept_from_finishing_is_followed_by_on_demand(cloud: Cloud) -> None:
    done = _lose_two_hours_of_four(cloud).finish()
    assert [(a.purchase, a.ending, a.interruptions) for a in done.attempts] == [
        (PurchaseOption.SPOT, Ending.MAX_RUNTIME, 1),
        (PurchaseOption.ON_DEMAND, Ending.COMPLETED, 0),
    ]
    assert "spot capacity was taken away once, and the job started again from zero" in done.attempts[1].reason


def test_without_on_demand_it_ends_as_a_training_that_spot_failed(cloud: Cloud) -> None:
    policy = {"name": "spot_only", "spot_attempts": 1}
    with pytest.raises(OutOfSteps) as failed:
        _lose_two_hours_of_four(cloud, policy=policy).finish()
    said = str(failed.value)
    assert "had passed; no step is left" in said
    assert "Train on demand, or raise MaxRuntimeInSeconds. With a CheckpointConfig" in said
    assert "capacity would not help" not in said
