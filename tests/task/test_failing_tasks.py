"""Operator and sensor as Airflow runs them, failing or killed at every point: no job is left to nobody."""

from __future__ import annotations

import re
from typing import Any

import pytest
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRuntimeError,
    AirflowSensorTimeout,
    TaskDeferred,
)

from include.local_stack import wait_until
from spot_training.connections import WATCHING_BOTOCORE_CONFIG, AwsAccess
from spot_training.domain.errors import ServiceFailed, TaskKilled, TimedOutWaiting
from spot_training.operators import SpotTrainingOperator
from spot_training.sagemaker.identity import TAG_WITHOUT_TASK
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sensors import SpotTrainingSensor
from spot_training.task.training import TrainingTask
from spot_training.training.state import STATE_KEY
from spot_training.watching.rate_limit import RateLimit
from tests.cloud import Cloud, make_config

from .support import PATIENT, Run, fail, going_on, make_operator, rendered, start_elsewhere

#: What Airflow hands to a task whose trigger failed.
TRIGGER_FAILED: tuple[str, dict[str, Any]] = ("__fail__", {"error": "Trigger failure", "traceback": ["..."]})


# A trigger that fails -------------------------------------------------------------------------------


def test_a_trigger_that_fails_does_not_fail_the_training(
    drought: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run()
    task = run.deferred(lambda: make_operator(deferrable=True))
    drought.set_capacity(available=True)
    done = task.resume_execution(*TRIGGER_FAILED, run.context())
    assert done["Training"]["TrainingJobStatus"] == "Completed"
    said = capsys.readouterr().out
    assert "The trigger failed (Trigger failure), not the training" in said


def test_a_sensor_whose_trigger_fails_waits_on(drought: Cloud) -> None:
    run, name = Run(), start_elsewhere(drought)
    sensor = run.deferred(lambda: SpotTrainingSensor(task_id="task", training_job_name=name, deferrable=True))
    drought.set_capacity(available=True)
    done = sensor.resume_execution(*TRIGGER_FAILED, run.context())
    assert done["Training"]["TrainingJobName"] == name


# The last try ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["trigger_arguments", "wait", "started", "xcom"])
@pytest.mark.parametrize("is_last", [True, False])
def test_the_last_try_leaves_no_job_wherever_it_fails(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch, place: str, is_last: bool
) -> None:
    """Before the last try the job goes on: the next one adopts it."""
    run = Run(max_tries=0 if is_last else 1)
    if place == "xcom":
        run.push = fail
    else:
        monkeypatch.setattr(TrainingTask, place, fail)
    with pytest.raises(ConnectionError):
        make_operator(
            deferrable=place == "trigger_arguments", wait_for_completion=place != "started"
        ).execute(run.context())
    assert len(going_on(drought)) == (0 if is_last else 1)


def test_an_argument_that_went_bad_while_the_task_was_deferred_leaves_no_job(drought: Cloud) -> None:
    """It is a final failure, so on any try."""
    run = Run(max_tries=3)
    run.deferred(lambda: make_operator(deferrable=True))
    with pytest.raises(AirflowFailException, match="print_log"):
        rendered(make_operator(deferrable=True), print_log="perhaps").resume(run.context())
    assert going_on(drought) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "if it is alive, is being stopped and is billed until it ends."),
        ({"stop_job_on_kill": False}, "if it is alive, continues and is billed."),
    ],
)
def test_bad_input_says_where_the_job_of_the_task_stands(
    drought: Cloud, arguments: dict[str, Any], said: str
) -> None:
    run = Run()
    with pytest.raises(
        AirflowFailException, match=r"print_log is 'perhaps'.* No training job was created\.$"
    ):
        rendered(make_operator(), print_log="perhaps").execute(run.context())
    run.deferred(lambda: make_operator(deferrable=True))
    with pytest.raises(AirflowFailException, match=re.escape(said)) as failed:
        rendered(make_operator(**arguments), print_log="perhaps").resume(run.context())
    assert "was created" not in str(failed.value)


def test_bad_input_after_attempts_does_not_say_that_there_were_none(drought: Cloud) -> None:
    """The policy was changed to nonsense while the first job waited."""
    run = Run()
    brief = make_config(StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600})
    run.deferred(lambda: make_operator(deferrable=True, config=brief))
    changed = rendered(make_operator(config=brief), policy="nonsense")
    with pytest.raises(
        AirflowFailException, match="No training job was created after 1 attempt, and none is"
    ):
        changed.resume(run.context())


def test_state_of_other_code_is_not_taken_for_no_job(drought: Cloud) -> None:
    run = Run()
    run.store.set(STATE_KEY, {"version": 99})
    with pytest.raises(AirflowFailException, match=r"A training job of this task may be alive and billed\.$"):
        make_operator().execute(run.context())


def test_a_job_that_cannot_be_stopped_then_is_said_to_be_alive(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run()
    run.deferred(lambda: make_operator(deferrable=True))
    monkeypatch.setattr(TrainingJobs, "stop", fail)
    with pytest.raises(AirflowFailException):
        rendered(make_operator(deferrable=True), print_log="perhaps").resume(run.context())
    said = capsys.readouterr().out
    assert "could NOT be stopped and is still billed: the API server" in said
    assert "aws sagemaker stop-training-job" in said


@pytest.mark.parametrize(("action", "left"), [(RetryAction.FAIL, 0), (RetryAction.RETRY, 1)])
def test_a_retry_policy_that_wants_no_other_try_leaves_no_job(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch, action: RetryAction, left: int
) -> None:
    run = Run(max_tries=3)
    monkeypatch.setattr(TrainingTask, "wait", fail)
    policy = ExceptionRetryPolicy(rules=[RetryRule(exception=ConnectionError, action=action)])
    with pytest.raises(ConnectionError if left else AirflowFailException):
        make_operator(retries=3, retry_policy=policy).execute(run.context())
    assert len(going_on(drought)) == left


def test_a_job_that_is_to_outlive_its_task_survives_the_last_try(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run()
    monkeypatch.setattr(TrainingTask, "wait", fail)
    with pytest.raises(ConnectionError):
        make_operator(stop_job_on_kill="False").execute(run.context())
    assert len(going_on(drought)) == 1


# Told to end ----------------------------------------------------------------------------------------


def test_a_task_killed_before_it_knows_its_training_creates_no_job(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_operator()

    def jobs(_access: AwsAccess) -> TrainingJobs:
        task.on_kill()  # as the handler of SIGTERM, while the client is made
        return drought.jobs()

    monkeypatch.setattr(AwsAccess, "jobs", jobs)
    with pytest.raises(Exception, match="Airflow ended this task"):
        task.execute(Run().context())
    assert going_on(drought) == []


def test_a_resumed_task_killed_before_it_knows_its_training_stops_its_job(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run()
    task = run.deferred(lambda: make_operator(deferrable=True))

    def jobs(_access: AwsAccess) -> TrainingJobs:
        task.on_kill()
        return drought.jobs()

    monkeypatch.setattr(AwsAccess, "jobs", jobs)
    with pytest.raises((Exception, TaskDeferred)):
        task.resume(run.context())
    assert going_on(drought) == []


def test_a_killed_task_whose_job_goes_on_starts_no_other(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job ends for want of capacity just then; the next step would be another job."""
    brief = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600}
    task = make_operator(stop_job_on_kill=False, config=make_config(StoppingCondition=brief))
    wait = TrainingTask.wait

    def wait_and_be_killed(self: TrainingTask, step: Any) -> None:
        wait(self, step)
        task.on_kill()

    monkeypatch.setattr(TrainingTask, "wait", wait_and_be_killed)
    with pytest.raises(Exception, match="Airflow ended this task"):
        task.execute(Run().context())
    jobs = drought.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    assert [job["TrainingJobStatus"] for job in jobs] == ["Stopped"]


@pytest.mark.parametrize("is_waiting", [True, False])
@pytest.mark.parametrize(
    ("state", "goes_on"),
    [
        *((state, True) for state in ("up_for_retry", "queued", "running", "deferred", None)),
        *((state, False) for state in ("failed", "success", "removed", "no such task", "no answer")),
    ],
)
def test_a_process_that_a_later_try_has_replaced_leaves_it_the_job_and_pushes_nothing(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch, state: str | None, goes_on: bool, is_waiting: bool
) -> None:
    """It stood still for long: Airflow knows its try no more, and of its task the state of the later one."""
    run, task, pushed = Run(max_tries=1), make_operator(), list[str]()
    run.push = lambda **what: pushed.append(what["key"])
    place, name = (TrainingTask, "wait") if is_waiting else (TrainingJobs, "create_or_adopt")
    original = getattr(place, name)

    def stand_still(self: Any, *args: Any, **kwargs: Any) -> Any:
        done = None if is_waiting else original(self, *args, **kwargs)
        run.replace(state)
        pushed.clear()
        task.on_kill()
        return done

    monkeypatch.setattr(place, name, stand_still)
    with pytest.raises((TaskKilled, AirflowRuntimeError)):
        task.execute(run.context())
    assert pushed == []
    assert len(going_on(drought)) == goes_on


# Waiting on the worker ------------------------------------------------------------------------------


def test_a_stop_on_the_worker_waits_for_no_call_budget(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(RateLimit, "take", lambda _self: taken.append(1))
    asked_by: list[AwsAccess] = []

    def jobs(access: AwsAccess) -> TrainingJobs:
        asked_by.append(access)
        return drought.jobs()

    monkeypatch.setattr(AwsAccess, "jobs", jobs)
    task = make_operator(training_timeout=1)
    with pytest.raises(AirflowFailException, match="time limit of 1 s passed"):
        task.execute(Run().context())
    assert taken
    assert task._training is not None
    taken.clear()
    task._training.driver.jobs.describe("nowhere")
    assert taken == []
    assert asked_by[0].botocore_config is None
    assert {access.botocore_config["retries"]["total_max_attempts"] for access in asked_by[1:]} == {  # type: ignore[index]
        WATCHING_BOTOCORE_CONFIG["retries"]["total_max_attempts"]
    }


# The opt-out ----------------------------------------------------------------------------------------


def test_a_training_out_of_time_goes_on_where_it_is_not_stopped_with_its_task(drought: Cloud) -> None:
    with pytest.raises(AirflowFailException, match="It continues: stop_job_on_kill is False") as failed:
        make_operator(stop_job_on_kill=False, training_timeout=1).execute(Run().context())
    assert isinstance(failed.value.__cause__, TimedOutWaiting)
    assert len(going_on(drought)) == 1


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_sensor_stops_its_own_job_or_not_as_it_is_told(drought: Cloud, is_stopped: bool) -> None:
    """The watched job ends for want of capacity; the sensor's own waits on demand until its time is up."""
    request = {
        **make_config(StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600}),
        "TrainingJobName": "watched",
        "Environment": {"LOCAL_TRAINING_SECONDS": "3000000"},
    }
    client = drought.client("sagemaker")
    client.create_training_job(**request, EnableManagedSpotTraining=True)
    sensor = SpotTrainingSensor(
        task_id="task",
        training_job_name="watched",
        policy={"name": "spot_only", "spot_attempts": 2, "first_wait": "20d"},
        deferrable=False,
        stop_job_on_kill=is_stopped,
        timeout=4,
        poke_interval=0.2,
        print_log=False,
    )
    with pytest.raises(AirflowSensorTimeout):
        sensor.execute(Run().context())
    assert len(going_on(drought)) == (0 if is_stopped else 1)
    own = client.list_training_jobs(NameContains="watched-")["TrainingJobSummaries"][0]
    tags = {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=own["TrainingJobArn"])["Tags"]}
    assert tags.get(TAG_WITHOUT_TASK) == (None if is_stopped else "keep")


def test_a_sensor_that_ignores_failures_goes_on_with_its_own_job(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's `silent_fail` pokes on after a failure, also on the last try."""
    request = {
        **make_config(StoppingCondition={"MaxRuntimeInSeconds": 28800, "MaxWaitTimeInSeconds": 28800}),
        "TrainingJobName": "watched",
        "Environment": {"LOCAL_TRAINING_SECONDS": "14400"},
    }
    drought.client("sagemaker").create_training_job(**request, EnableManagedSpotTraining=True)
    describe = TrainingJobs.describe
    failed: list[str] = []

    def describe_or_fail(jobs: TrainingJobs, name: str) -> Any:
        found = describe(jobs, name)
        if name != "watched" and found is not None and not failed:
            failed.append(name)
            raise ServiceFailed("SageMaker does not answer.")
        return found

    monkeypatch.setattr(TrainingJobs, "describe", describe_or_fail)
    sensor = SpotTrainingSensor(
        task_id="task",
        training_job_name="watched",
        policy={"name": "widen", "spot_attempts": 1},
        deferrable=False,
        silent_fail=True,
        poke_interval=0.2,
        print_log=False,
    )
    done = sensor.execute(Run().context())
    assert failed == [done["Training"]["TrainingJobName"]]
    assert done["Training"]["TrainingJobStatus"] == "Completed"


def test_a_policy_that_went_bad_stops_no_job_of_a_sensor(drought: Cloud) -> None:
    """With `mode="reschedule"` each look is a process of its own."""
    request = {
        **make_config(StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600}),
        "TrainingJobName": "watched",
    }
    drought.client("sagemaker").create_training_job(**request, EnableManagedSpotTraining=True)
    steps = [{"spot": "ml.m5.xlarge", "max_wait": wait} for wait in ("1h", "28d")]

    def sensor(policy: object, timeout: float) -> SpotTrainingSensor:
        return rendered(
            SpotTrainingSensor(
                task_id="task",
                training_job_name="watched",
                deferrable=False,
                poke_interval=0.1,
                timeout=timeout,
                print_log=False,
                stop_job_on_kill=False,
            ),
            policy=policy,
        )

    run, looking = Run(max_tries=1), sensor(steps, 600)

    def own_jobs() -> set[str]:
        looking.poke(run.context())
        return set(going_on(drought)) - {"watched"}

    own = wait_until(own_jobs, "a job of its own", timeout_seconds=30)
    with pytest.raises(AirflowSensorTimeout):
        sensor("typo", 1).execute(run.context())
    assert set(going_on(drought)) == own


def test_a_subclass_that_overrides_execute_has_its_say_where_the_task_resumes(drought: Cloud) -> None:
    seen: list[bool] = []

    class Telling(SpotTrainingOperator):
        def execute(self, context: Any) -> Any:
            seen.append(self._may_defer)
            return super().execute(context)

    def make() -> Telling:
        return Telling(task_id="task", config=make_config(StoppingCondition=PATIENT), deferrable=True)

    run = Run()
    task = run.deferred(make)
    drought.set_capacity(available=True)
    task.resume_execution(*TRIGGER_FAILED, run.context())
    assert seen == [True, False]


def test_a_task_told_to_end_that_fails_before_it_knows_its_training_leaves_no_job(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marked by a person, so no other try follows, whichever this is."""
    run = Run(max_tries=3)
    task = run.deferred(lambda: make_operator(deferrable=True))
    make = SpotTrainingOperator._training_of

    def told_to_end(self: Any, *_args: Any) -> None:
        self.on_kill()
        fail()

    monkeypatch.setattr(SpotTrainingOperator, "_training_of", told_to_end)
    with pytest.raises(ConnectionError):
        task.resume(run.context())
    monkeypatch.setattr(SpotTrainingOperator, "_training_of", make)
    assert going_on(drought) == []


def test_a_stop_that_found_nothing_to_stop_is_not_taken_for_one(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes before SageMaker knows the job, and the stop after its creation fails at first."""
    run, task = Run(), make_operator()
    create, stop = TrainingJobs.create_or_adopt, TrainingJobs.stop
    stops: list[str] = []

    def create_after_signal(self: TrainingJobs, *args: Any, **kwargs: Any) -> Any:
        task.on_kill()
        return create(self, *args, **kwargs)

    def fail_once(self: TrainingJobs, name: str, *args: Any, **kwargs: Any) -> bool:
        stops.append(name)
        if len(stops) == 1:
            raise ServiceFailed("StopTrainingJob failed.")
        return stop(self, name, *args, **kwargs)

    monkeypatch.setattr(TrainingJobs, "create_or_adopt", create_after_signal)
    monkeypatch.setattr(TrainingJobs, "stop", fail_once)
    with pytest.raises(ServiceFailed):
        task.execute(run.context())
    assert going_on(drought) == []


def test_a_dag_that_went_bad_stops_no_spot_job_that_a_deadline_watches(drought: Cloud) -> None:
    """It is refused once there is something to decide; until then the guard needs nothing of it."""
    run = Run(max_tries=3)
    terms: dict[str, Any] = {"deadline": "20d", "expected_runtime": "1h", "budget": {"usd": 100}}

    def make(**bad: Any) -> SpotTrainingOperator:
        return make_operator(deferrable=True, **terms, **bad)

    run.deferred(make)
    with pytest.raises(TaskDeferred):
        make(config={**make_config(StoppingCondition=PATIENT), "RoleArn": "nobody"}).resume(run.context())
    assert len(going_on(drought)) == 1
