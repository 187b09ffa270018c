"""A real spot job against a deadline, on a real local SageMaker: on-demand comes in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from spot_training.domain.errors import (
    DeadlineCannotBeKept,
    InvalidInput,
    OnDemandRefused,
    StoppedBySomeone,
    TaskKilled,
    TimedOutWaiting,
)
from spot_training.domain.lifecycle import Ending, JobSnapshot
from spot_training.domain.policy_specs import DEADLINE_POLICIES, policy_from
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.clock import ServiceClock
from spot_training.sagemaker.identity import RunIdentity
from spot_training.sagemaker.request import TrainingPlan, cast_request, defaults_of
from spot_training.task.deadline import DeadlineOptions
from spot_training.training.driver import Completed, TrainingDriver, Waiting
from spot_training.training.host import NoRecorder, Recorder
from spot_training.training.state import MemoryStore, load_state
from spot_training.watching import deadline_stop as punctual
from spot_training.watching.deadline_stop import (
    DeadlineStop,
    follow_with_deadline,
    guard_from_json,
    guard_to_json,
)
from spot_training.watching.watcher import JobWatcher, follow
from tests.cloud import Cloud, answer_with, live_jobs, make_config

from .support import FakeHost, MemoryRecorder

HOUR = 3600
#: At an hour a second, what takes the machine half a second takes half an hour.
RESERVE = "3h"


class Task:
    """A task with a deadline, in one process."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        deadline: str = "7h",
        policy: object = "deadline",
        work_seconds: int = HOUR,
        checkpoints: bool = True,
        run_id: str = "one",
        **terms: Any,
    ) -> None:
        self.jobs = cloud.jobs()
        self.store = MemoryStore()
        self.recorder = MemoryRecorder()
        self.said: list[str] = []
        self.policy = policy
        self.identity = RunIdentity(dag_id="retrain", run_id=run_id, task_id="train")
        self.terms = DeadlineOptions(
            deadline=deadline,
            **{"expected_runtime": {"mean": work_seconds, "high": 2 * HOUR}, "reserve": RESERVE, **terms},
        )
        config = make_config(
            StoppingCondition={"MaxRuntimeInSeconds": 4 * HOUR},
            Environment={"LOCAL_TRAINING_SECONDS": str(work_seconds)},
        )
        if not checkpoints:
            del config["CheckpointConfig"]
        self.request = cast_request(config)
        self.driver = self._driver()

    def _driver(self, recorder: Recorder | None = None) -> TrainingDriver:
        def plan(who: RunIdentity) -> TrainingPlan:
            return TrainingPlan.of(self.request, identity=who, name_prefix="model")

        def settle(now: datetime) -> Any:
            made = plan(self.identity)
            return self.terms.settle(
                made, now=now, run_began_at=now, check_interval=60, learned=lambda **_: None
            )

        self.host = FakeHost(
            make_plan=plan,
            make_policy=lambda left: policy_from(
                self.policy, replace(defaults_of(self.request), deadline_in_seconds=left)
            ),
            make_deadline=settle,
            said=self.said,
        )
        return TrainingDriver(
            jobs=self.jobs,
            store=self.store,
            identity=self.identity,
            host=self.host,
            recorder=recorder or self.recorder,
        )

    def step(self) -> Waiting | Completed:
        return self.driver.proceed(try_number=1, max_tries=0)

    def finish(self) -> Completed:
        while isinstance(step := self.step(), Waiting):
            self.follow(step)
        return step

    def follow(self, step: Waiting) -> None:
        # as between the task and the trigger: the guard goes as JSON
        guard = guard_from_json(guard_to_json(step.guard)) if step.guard else None
        reports = follow_with_deadline(
            JobWatcher(lambda: self.jobs),
            step.job.name,
            interval_seconds=0.1,
            deadline_stop=DeadlineStop(guard, lambda: self.jobs.clock) if guard else None,
            stop=self.stop_for_deadline,
            say=self.said.append,
        )
        for _ in reports:
            pass

    def stop_for_deadline(self, job: JobSnapshot) -> bool:
        """As the trigger does."""
        return self.jobs.stop(
            job.name,
            StopReason.DEADLINE,
            keep_reason=lambda note: self.recorder.keep_stop(job.name, note),
        )

    @property
    def deadline(self) -> Any:
        state = load_state(self.store)
        assert state is not None
        assert state.deadline is not None
        return state.deadline


def endings(done: Completed) -> list[tuple[str, Ending]]:
    return [(str(attempt.purchase), attempt.ending) for attempt in done.attempts]


@pytest.mark.parametrize("policy", DEADLINE_POLICIES)
def test_spot_that_never_comes_makes_room_for_on_demand_in_time(cloud: Cloud, policy: str) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud, policy=policy)
    done = task.finish()
    assert endings(done) == [("spot", Ending.STOPPED_FOR_DEADLINE), ("on-demand", Ending.COMPLETED)]
    assert done.attempts[-1].ended_at <= task.deadline.at
    (sentence,) = [line for line in task.said if "to make room for on-demand" in line]
    assert "Deadline:" in sentence
    deprecations = [line for line in task.said if "deprecated" in line]
    assert len(deprecations) == (policy != "deadline")


@pytest.mark.parametrize("policy", ["deadline", "uniform_progress", {"name": "rule", "wait_work": 5}])
def test_every_name_waits_for_spot_as_long_as_the_guard_allows(cloud: Cloud, policy: object) -> None:
    """Options that one of the names took change nothing."""
    cloud.set_capacity(available=False)
    task = Task(cloud, policy=policy, deadline="9h", work_seconds=2 * HOUR)
    step = task.step()
    assert isinstance(step, Waiting)
    assert step.guard is not None
    a_tick_before = task.deadline.latest_on_demand_start(0) - timedelta(seconds=step.guard.tick_seconds)
    assert step.guard.outlook(task.deadline.submitted_at, step.job).on_demand_at == a_tick_before
    spot = task.finish().attempts[0]
    assert spot.created_at is not None
    assert spot.created_at + timedelta(seconds=spot.wait_seconds + 1) >= a_tick_before


def test_a_deadline_is_kept_without_checkpoints(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud, checkpoints=False)
    done = task.finish()
    assert endings(done) == [("spot", Ending.STOPPED_FOR_DEADLINE), ("on-demand", Ending.COMPLETED)]
    assert any("runs on spot without checkpoints" in line for line in task.said)


@pytest.mark.parametrize(
    "policy",
    [
        {"name": "deadline", "instance_types": {"ml.m5.xlarge": 1, "ml.m5.2xlarge": 0.5}},
        [{"spot": {"ml.m5.xlarge": 1, "ml.m5.2xlarge": 0.5}, "max_wait": "20h"}, "on_demand"],
    ],
)
def test_a_slower_type_is_refused_because_its_hours_count_as_full_ones(cloud: Cloud, policy: Any) -> None:
    task = Task(cloud, policy=policy)
    with pytest.raises(InvalidInput, match=r"ml\.m5\.2xlarge is 0\.5: with a deadline"):
        task.step()
    assert live_jobs(cloud) == []


def test_a_ladder_is_stopped_before_its_max_wait_costs_the_deadline(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud, policy=[{"spot": "ml.m5.xlarge", "max_wait": "20h"}, "on_demand"])
    done = task.finish()
    assert endings(done) == [("spot", Ending.STOPPED_FOR_DEADLINE), ("on-demand", Ending.COMPLETED)]
    assert done.attempts[-1].ended_at <= task.deadline.at


def test_work_kept_in_checkpoints_lets_on_demand_start_later(cloud: Cloud) -> None:
    task = Task(cloud, deadline="9h", work_seconds=2 * HOUR)
    step = task.step()
    assert isinstance(step, Waiting)
    for report in follow(JobWatcher(lambda: task.jobs), step.job.name, interval_seconds=0.05):
        if report.secondary_status == "Training":  # type: ignore[union-attr]
            break
    _wait_for_work(task, step.job.name, seconds=HOUR)
    cloud.set_capacity(available=False)
    done = task.finish()
    assert endings(done) == [("spot", Ending.STOPPED_FOR_DEADLINE), ("on-demand", Ending.COMPLETED)]
    spot, on_demand = done.attempts
    assert spot.work_seconds is not None
    assert on_demand.work_seconds is not None
    assert spot.work_seconds >= HOUR
    assert on_demand.work_seconds < 2 * HOUR
    assert on_demand.ended_at <= task.deadline.at


def _wait_for_work(task: Task, name: str, *, seconds: float) -> None:
    began = task.jobs.snapshot(name).transitions[-1].started_at  # type: ignore[union-attr]
    while task.jobs.now() < began + timedelta(seconds=seconds):
        task.jobs.describe(name)


def test_spot_that_trains_is_left_alone(cloud: Cloud) -> None:
    done = Task(cloud, work_seconds=HOUR).finish()
    assert endings(done) == [("spot", Ending.COMPLETED)]


def test_no_slack_from_the_start_means_on_demand_at_once(cloud: Cloud) -> None:
    task = Task(cloud, deadline="3h 30m")
    done = task.finish()
    assert endings(done) == [("on-demand", Ending.COMPLETED)]
    assert "the last moment for the deadline" in done.attempts[0].reason


def test_a_deadline_that_cannot_be_kept_creates_no_job(cloud: Cloud) -> None:
    task = Task(cloud, deadline="30m")
    with pytest.raises(DeadlineCannotBeKept, match=r"deadline is '30m'.*earliest possible finish is .* UTC"):
        task.step()
    assert not live_jobs(cloud)
    assert load_state(task.store) is None


def test_finishing_late_goes_on_demand_at_once_and_says_so(cloud: Cloud) -> None:
    task = Task(cloud, deadline="30m", on_missed="late")
    assert endings(task.finish()) == [("on-demand", Ending.COMPLETED)]
    assert any("CANNOT be met" in line for line in task.said)


def test_a_policy_without_on_demand_cannot_keep_a_deadline(cloud: Cloud) -> None:
    with pytest.raises(InvalidInput, match="only on-demand can meet a deadline"):
        Task(cloud, policy="spot_only").step()
    assert not live_jobs(cloud)


def test_a_refused_on_demand_launch_is_tried_again(cloud: Cloud) -> None:
    task = Task(cloud, deadline="3h 30m")
    refusals = _refuse_launches(task, 2)
    done = task.finish()
    assert refusals == [1, 2]
    assert endings(done) == [
        ("on-demand", Ending.CAPACITY_ERROR),
        ("on-demand", Ending.CAPACITY_ERROR),
        ("on-demand", Ending.COMPLETED),
    ]
    pauses = [line for line in task.said if line.startswith("Asking again")]
    assert pauses == ["Asking again in 1 min.", "Asking again in 2 min."]


def test_a_task_that_is_killed_while_it_pauses_asks_for_nothing_more(cloud: Cloud) -> None:
    task = Task(cloud, deadline="3h 30m")
    refusals = _refuse_launches(task, 99)
    task.driver.training.sleep = lambda _seconds: task.driver.start_nothing_more()
    with pytest.raises(TaskKilled):
        task.finish()
    assert refusals == [1]


def test_a_pause_between_refusals_ends_with_the_time_limit(cloud: Cloud) -> None:
    task = Task(cloud, deadline="3h 30m")
    refusals = _refuse_launches(task, 99)
    limit: list[str] = []
    task.host.is_out_of_time = lambda: limit[0] if limit else None
    task.driver.training.sleep = lambda _seconds: limit.append("the task's time limit of 1 h passed")
    with pytest.raises(TimedOutWaiting, match="time limit of 1 h passed"):
        task.finish()
    assert (refusals, limit) == ([1], limit[:1])


def test_on_demand_that_is_refused_for_ever_gives_up(cloud: Cloud) -> None:
    task = Task(cloud, deadline="3h 30m")
    _refuse_launches(task, 99)
    with pytest.raises(OnDemandRefused, match="Allow other instance types"):
        task.finish()
    assert len(task.driver.attempts) == 5


def _refuse_launches(task: Task, count: int) -> list[int]:
    """Answer the first calls as AWS does for want of capacity."""
    text = "Unable to provision ML compute capacity."
    return answer_with(task.jobs, "CreateTrainingJob", 400, "CapacityError", text, times=count)


def test_a_worker_that_dies_after_the_stop_knows_from_the_tag_what_it_was_for(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud)
    step = task.step()
    assert isinstance(step, Waiting)
    task.follow(step)
    task.driver = task._driver()
    assert endings(task.finish())[0] == ("spot", Ending.STOPPED_FOR_DEADLINE)


def test_where_tagging_is_refused_the_guards_own_stop_is_still_told_from_a_persons(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud)
    answer_with(
        task.jobs, "AddTags", 400, "AccessDeniedException", "not authorized to perform: sagemaker:AddTags"
    )
    assert endings(task.finish())[0] == ("spot", Ending.STOPPED_FOR_DEADLINE)
    assert set(task.recorder.reasons.values()) == {StopReason.DEADLINE}


def test_a_stop_whose_reason_nobody_kept_is_a_persons_also_where_the_guard_had_to_stop(
    cloud: Cloud,
) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud)
    answer_with(task.jobs, "AddTags", 400, "AccessDeniedException", "not authorized")
    task.driver = task._driver(recorder=NoRecorder())
    task.stop_for_deadline = lambda job: task.jobs.stop(job.name, StopReason.DEADLINE)  # type: ignore[method-assign]
    with pytest.raises(StoppedBySomeone):
        task.finish()


def test_a_stop_for_the_deadline_that_fails_is_tried_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(punctual, "STOP_AGAIN_SECONDS", 0)
    cloud.set_capacity(available=False)
    task = Task(cloud)
    failures = answer_with(
        task.jobs, "StopTrainingJob", 400, "AccessDeniedException", "not authorized", times=2
    )
    assert endings(task.finish())[0] == ("spot", Ending.STOPPED_FOR_DEADLINE)
    assert failures == [1, 2]


def test_a_person_who_stops_the_job_is_not_taken_for_the_guard(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud)
    step = task.step()
    assert isinstance(step, Waiting)
    cloud.client("sagemaker").stop_training_job(TrainingJobName=step.job.name)
    with pytest.raises(Exception, match="stopped by a user"):
        task.finish()


def test_the_service_clock_follows_the_date_of_any_answer(cloud: Cloud) -> None:
    clock = ServiceClock()
    client = cloud.client("sagemaker")
    clock.listen_to(client)
    with pytest.raises(client.exceptions.ClientError):
        client.describe_training_job(TrainingJobName="nobody")
    simulated = datetime.fromisoformat(cloud.control("GET", "clock")["now"])
    assert abs(clock.now() - simulated) < timedelta(hours=1)  # a second, at this speed
    assert clock.real_seconds(3600) == pytest.approx(3600 / cloud.control("GET", "clock")["speed"])
