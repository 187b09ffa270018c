"""A training with a deadline that leaves on-demand again for spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from spot_training.domain.budget import Budget, BudgetCheck, OnDemandCost
from spot_training.domain.checkpoint_looks import Checkpoint
from spot_training.domain.checkpoints_seen import SeenCheckpoints, SeenLaunch, last_visit
from spot_training.domain.errors import InvalidInput, StoppedBySomeone
from spot_training.domain.lifecycle import Ending, JobSnapshot, SecondaryStatus, TrainingStatus
from spot_training.domain.policy_specs import policy_from
from spot_training.domain.savings import PurchaseOption
from spot_training.domain.scouting import USEFUL_ENDINGS
from spot_training.domain.stop_reasons import StopReason
from spot_training.domain.type_history import TypeHistory
from spot_training.sagemaker.calls import Refusal
from spot_training.sagemaker.identity import RunIdentity
from spot_training.sagemaker.jobs import CapacityRefused, TrainingJobs
from spot_training.sagemaker.request import TrainingPlan, cast_request, defaults_of
from spot_training.task.deadline import DeadlineOptions
from spot_training.training import way_back
from spot_training.training.driver import Completed, TrainingDriver, Waiting
from spot_training.training.state import STATE_VERSION, MemoryStore, load_state
from spot_training.watching.deadline_stop import (
    DeadlineStop,
    follow_with_deadline,
    guard_from_json,
    guard_to_json,
)
from spot_training.watching.scout_watch import ScoutWatch, call_from_json, call_to_json
from spot_training.watching.watcher import JobWatcher
from tests.cloud import HOUR, Cloud, live_jobs, make_config, serving

from .support import FakeHost, MemoryRecorder, Mortal, finish_with_death

FIRST, SECOND = "ml.m5.xlarge", "ml.m5.2xlarge"
#: On-demand starts soon after the first launch could be over: there is little time to spare for so much work.
DEADLINE, EXPECTED = "14h30m", "12h"
#: An on-demand job that a budget of a dollar does not pay.
COST = OnDemandCost(instances=FIRST, seconds=12 * HOUR, basis="", usd_per_hour=1.0)
#: What the script really does, so that a test does not take twelve hours.
WORK_SECONDS = 2 * HOUR


#: Simulated seconds per second: until on-demand is left, and for what follows.
SLOW, FAST = 300, 3600


@pytest.fixture(scope="module")
def slow_cloud() -> Iterator[Cloud]:
    with serving("--speed", str(SLOW)) as cloud:
        yield cloud


@pytest.fixture
def fresh_cloud(slow_cloud: Cloud) -> Cloud:
    slow_cloud.control("POST", "reset")
    _set_speed(slow_cloud, SLOW)
    slow_cloud.client("s3").create_bucket(Bucket="bucket")
    for kind in (FIRST, SECOND):
        slow_cloud.set_capacity(available=False, instance_type=kind)
    return slow_cloud


def _set_speed(cloud: Cloud, speed: int) -> None:
    cloud.control("PUT", "clock", {"speed": speed})


class Task:
    """A task with a deadline, each step in a process of its own."""

    def __init__(self, cloud: Cloud, *, types: tuple[str, ...] = (), deadline: str = DEADLINE) -> None:
        self.cloud = cloud
        self.jobs: TrainingJobs = cloud.jobs()
        self.store = MemoryStore()
        self.recorder = MemoryRecorder()
        self.said: list[str] = []
        self.hurries = False
        self.histories: list[TypeHistory] = []
        self.check: BudgetCheck | None = None
        self.prices = {FIRST: 1.0}
        self.policy: dict[str, Any] = {"name": "deadline", "back_to_spot": True}
        if types:
            self.policy["instance_types"] = list(types)
        self.identity = RunIdentity(dag_id="retrain", run_id="one", task_id="train")
        self.options = DeadlineOptions(
            deadline=deadline, expected_runtime={"mean": EXPECTED, "high": EXPECTED, "checkpoint_every": "5m"}
        )
        self.config = make_config(
            StoppingCondition={"MaxRuntimeInSeconds": 20 * HOUR},
            Environment={"LOCAL_TRAINING_SECONDS": str(WORK_SECONDS)},
        )

    def driver(self) -> TrainingDriver:
        request = cast_request(self.config)

        def plan(who: RunIdentity) -> TrainingPlan:
            return TrainingPlan.of(request, identity=who, name_prefix="model")

        host = FakeHost(
            make_plan=plan,
            make_policy=lambda left: policy_from(
                self.policy, replace(defaults_of(request), deadline_in_seconds=left)
            ),
            make_deadline=lambda now: self.options.settle(
                plan(self.identity), now=now, run_began_at=now, check_interval=60, learned=lambda **_: None
            ),
            make_check=lambda _step: self.check,
            prices=self.prices,
            histories=self.histories,
            said=self.said,
        )
        return TrainingDriver(
            jobs=self.jobs, store=self.store, identity=self.identity, host=host, recorder=self.recorder
        )

    def step(self) -> Waiting | Completed:
        return self.driver().proceed(try_number=1, max_tries=0)

    def waiting(self) -> Waiting:
        step = self.step()
        assert isinstance(step, Waiting), self.said
        return step

    def finish(self) -> Completed:
        self.hurries = True
        while isinstance(step := self.step(), Waiting):
            self.wait(step)
        return step

    def wait(self, step: Waiting, *, until: Callable[[JobSnapshot], bool] = lambda _job: False) -> None:
        """As the trigger does, with what goes to it as JSON."""
        if self.hurries and step.call is None and (step.job.is_spot or not step.scouts):
            _set_speed(self.cloud, FAST)  # nothing is left that a slow machine could miss
        guard = guard_from_json(guard_to_json(step.guard)) if step.guard else None
        call = call_from_json(call_to_json(step.call)) if step.call else None
        for report in follow_with_deadline(
            JobWatcher(lambda: self.jobs),
            step.job.name,
            interval_seconds=0.1,
            deadline_stop=DeadlineStop(guard, lambda: self.jobs.clock) if guard else None,
            scouts=ScoutWatch(call, lambda: self.jobs.clock) if call else None,
            stop=self._stop_for_deadline,
            say=self.said.append,
        ):
            if isinstance(report, JobSnapshot) and until(report):
                return

    def _stop_for_deadline(self, job: JobSnapshot) -> bool:
        return self.jobs.stop(
            job.name,
            StopReason.DEADLINE,
            keep_reason=lambda note: self.recorder.keep_stop(job.name, note),
        )

    def until_on_demand_has_scouts(self) -> Waiting:
        while True:
            step = self.step()
            assert isinstance(step, Waiting), self.said
            if not step.job.is_spot and step.call is not None and step.call.scouts:
                return step
            self.wait(step)

    def created(self, *, scouts: bool) -> list[JobSnapshot]:
        page = self.cloud.client("sagemaker").list_training_jobs(SortBy="CreationTime", SortOrder="Ascending")
        names = [summary["TrainingJobName"] for summary in page["TrainingJobSummaries"]]
        return [self.jobs.snapshot(n) for n in names if ("-scout-" in n) is scouts]  # type: ignore[misc]


def _endings(done: Completed) -> list[tuple[PurchaseOption, Ending]]:
    return [(attempt.purchase, attempt.ending) for attempt in done.attempts]


WAY_BACK = [
    (PurchaseOption.SPOT, Ending.STOPPED_FOR_DEADLINE),
    (PurchaseOption.ON_DEMAND, Ending.LEFT_FOR_SPOT),
    (PurchaseOption.SPOT, Ending.COMPLETED),
]


def _check_one_at_a_time(jobs: list[JobSnapshot]) -> None:
    for before, after in pairwise(jobs):
        assert before.last_modified_at <= after.created_at, (before.name, after.name)


def test_on_demand_is_left_when_spot_capacity_comes_back(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    task.until_on_demand_has_scouts()
    fresh_cloud.set_capacity(available=True, instance_type=FIRST)
    done = task.finish()
    assert _endings(done) == WAY_BACK
    _, on_demand, spot = done.attempts
    assert on_demand.work_seconds is not None
    assert spot.work_seconds is not None
    assert spot.work_seconds < WORK_SECONDS, "it continues from the checkpoint"
    _check_one_at_a_time(task.created(scouts=False))
    assert live_jobs(fresh_cloud) == []
    assert done.scouts[-1].ending in USEFUL_ENDINGS
    (why,) = [line for line in task.said if "is left for it" in line]
    assert "$" in why
    assert "of work left" in why
    assert any("The way back to spot is on: 12 h of work are left" in line for line in task.said)


def test_on_demand_starts_early_only_with_a_way_back(fresh_cloud: Cloud) -> None:
    with_it, without = Task(fresh_cloud), Task(fresh_cloud)
    without.policy = {"name": "deadline"}
    without.identity = replace(without.identity, run_id="two")
    moments = []
    for task in (with_it, without):
        step = task.step()
        assert isinstance(step, Waiting), task.said
        assert step.guard is not None
        moments.append(step.guard.outlook(task.jobs.now(), step.job).on_demand_in_seconds)
        task.driver().stop(StopReason.TASK_ENDED)
    early, late = moments
    assert early is not None
    assert late is not None
    assert early < 900 < HOUR < late


def test_without_a_way_back_no_scout_looks(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud, deadline="12h45m")
    task.policy = {"name": "deadline"}
    done = task.finish()
    assert [purchase for purchase, _ in _endings(done)][-1] is PurchaseOption.ON_DEMAND
    assert task.created(scouts=True) == []
    assert not any("way back" in line for line in task.said)
    assert task.store.values["spot_training"]["version"] == 2


def test_scouts_that_were_called_back_wake_no_task_while_on_demand_runs(fresh_cloud: Cloud) -> None:
    """On AWS they are over within minutes. A task that looks each minute for hours costs Airflow a lot."""
    task = Task(fresh_cloud, types=(FIRST, SECOND))
    task.policy["back_to_spot"] = False
    had_scouts = False
    while (step := task.waiting()).job.is_spot:
        had_scouts = had_scouts or bool(step.scouts)
        task.wait(step)
    assert had_scouts
    looks = 0
    while step.call is not None:
        task.wait(step)
        step = task.waiting()
        looks += 1
        assert looks < 10, "until the scouts are over, and no longer"
    state = task.driver().state
    assert not state.scouts
    assert {scout.ending for scout in state.scouts_over} == {Ending.SCOUT_DONE}


def test_any_of_the_types_takes_the_training_back(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud, types=(FIRST, SECOND))
    task.until_on_demand_has_scouts()
    fresh_cloud.set_capacity(available=True, instance_type=SECOND)
    done = task.finish()
    assert _endings(done) == WAY_BACK
    assert done.attempts[-1].instance_type == SECOND
    assert {scout.instance_type for scout in done.scouts} == {FIRST, SECOND}
    assert live_jobs(fresh_cloud) == []


def test_capacity_that_is_gone_again_costs_a_pause_and_not_the_deadline(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    task.until_on_demand_has_scouts()
    fresh_cloud.set_capacity(available=True, instance_type=FIRST)
    while True:
        step = task.step()
        assert isinstance(step, Waiting), task.said
        if step.job.is_spot:
            break
        if task.driver().state.next_type:
            fresh_cloud.set_capacity(available=False, instance_type=FIRST)
        task.wait(step)
    done = task.finish()
    assert _endings(done) == [
        *WAY_BACK[:2],
        (PurchaseOption.SPOT, Ending.STOPPED_FOR_DEADLINE),
        (PurchaseOption.ON_DEMAND, Ending.COMPLETED),
    ]
    state = load_state(task.store)
    assert state is not None
    assert state.deadline is not None
    last = done.attempts[-1]
    assert last.ended_at is not None
    assert last.ended_at <= state.deadline.at
    failed = done.attempts[2]
    assert failed.created_at is not None
    later = [s for s in task.created(scouts=True) if s.created_at >= failed.created_at]
    assert all((scout.created_at - failed.created_at).total_seconds() >= 1800 for scout in later)
    assert live_jobs(fresh_cloud) == []


def test_a_person_who_stops_on_demand_is_respected_and_no_scout_stays(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    step = task.until_on_demand_has_scouts()
    fresh_cloud.client("sagemaker").stop_training_job(TrainingJobName=step.job.name)
    with pytest.raises(StoppedBySomeone):
        task.finish()
    assert live_jobs(fresh_cloud) == []


def test_a_person_who_stops_a_scout_is_respected(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    task.until_on_demand_has_scouts()
    (scout,) = task.created(scouts=True)
    fresh_cloud.client("sagemaker").stop_training_job(TrainingJobName=scout.name)
    fresh_cloud.set_capacity(available=True, instance_type=FIRST)
    done = task.finish()
    assert _endings(done) == [WAY_BACK[0], (PurchaseOption.ON_DEMAND, Ending.COMPLETED)]
    assert len(task.created(scouts=True)) == 1


def test_a_dag_without_the_way_back_calls_its_scouts_back(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    task.until_on_demand_has_scouts()
    task.policy = {"name": "deadline"}
    fresh_cloud.set_capacity(available=True, instance_type=FIRST)
    done = task.finish()
    assert _endings(done) == [WAY_BACK[0], (PurchaseOption.ON_DEMAND, Ending.COMPLETED)]
    assert live_jobs(fresh_cloud) == []


def test_a_way_back_needs_checkpoints(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    del task.config["CheckpointConfig"]
    with pytest.raises(InvalidInput, match=r"policy\.back_to_spot.*CheckpointConfig"):
        task.step()
    assert task.created(scouts=False) == []


def test_the_state_of_a_hand_over_has_its_own_format(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    step = task.until_on_demand_has_scouts()
    assert task.store.values["spot_training"]["version"] == 3
    fresh_cloud.set_capacity(available=True, instance_type=FIRST)
    while not (isinstance(step, Waiting) and step.job.is_spot):
        task.wait(step)
        step = task.step()  # type: ignore[assignment]
    assert task.store.values["spot_training"]["version"] == STATE_VERSION
    task.driver().stop(StopReason.TASK_ENDED)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("is_answered", [False, True])
def test_a_process_that_dies_at_any_call_hands_over_once(fresh_cloud: Cloud, is_answered: bool) -> None:
    for dies_at in range(1 + 4 * is_answered, 40, 8):
        fresh_cloud.control("POST", "reset")
        fresh_cloud.client("s3").create_bucket(Bucket="bucket")
        fresh_cloud.set_capacity(available=False, instance_type=FIRST)
        task = Task(fresh_cloud)
        _set_speed(fresh_cloud, SLOW)
        task.until_on_demand_has_scouts()
        fresh_cloud.set_capacity(available=True, instance_type=FIRST)
        mortal = Mortal(task.jobs, dies_at=dies_at, is_answered=is_answered)
        task.hurries = True
        done = finish_with_death(task, mortal)
        assert _endings(done) == WAY_BACK, dies_at
        assert live_jobs(fresh_cloud) == [], dies_at
        _check_one_at_a_time(task.created(scouts=False))
        if mortal.left > 0:
            assert dies_at > 10, "there are more calls than that"
            return


def test_spot_that_has_capacity_stays_on_spot(fresh_cloud: Cloud) -> None:
    """Little time is to spare, so that on-demand would start at once if there were none."""
    fresh_cloud.set_capacity(available=True, instance_type=FIRST)
    task = Task(fresh_cloud, deadline="14h")
    (attempt,) = task.finish().attempts
    assert (attempt.purchase, attempt.ending) == (PurchaseOption.SPOT, Ending.COMPLETED)


def test_on_demand_that_the_budget_would_not_buy_again_is_not_left(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    task.until_on_demand_has_scouts()
    task.check = BudgetCheck(budget=Budget(usd=1.0), spending=None, cost=COST)
    fresh_cloud.set_capacity(available=True, instance_type=FIRST)
    done = task.finish()
    assert _endings(done) == [WAY_BACK[0], (PurchaseOption.ON_DEMAND, Ending.COMPLETED)]
    assert any("on-demand could not be bought again" in line for line in task.said), task.said


def test_on_demand_with_other_checkpoints_than_the_dag_has_now_is_not_left(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    task.until_on_demand_has_scouts()
    task.config = {**task.config, "CheckpointConfig": {"S3Uri": "s3://bucket/elsewhere"}}
    fresh_cloud.set_capacity(available=True, instance_type=FIRST)
    done = task.finish()
    assert _endings(done) == [WAY_BACK[0], (PurchaseOption.ON_DEMAND, Ending.COMPLETED)]


def test_without_a_type_left_on_demand_does_not_start_early(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    task.histories = [TypeHistory(region="", instance_type=FIRST, moves=5, failed_moves=4)]
    step = task.waiting()
    assert step.guard is not None
    on_demand_in = step.guard.outlook(task.jobs.now(), step.job).on_demand_in_seconds
    assert on_demand_in is not None
    assert on_demand_in > HOUR
    assert any("The way back to spot is off" in line for line in task.said), task.said
    task.driver().stop(StopReason.TASK_ENDED)


def test_the_larger_bill_of_a_scout_of_the_way_back_is_announced(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    task.until_on_demand_has_scouts()
    (line,) = [line for line in task.said if "at most" in line]
    assert "30 min of 1 instance" in line, "two checkpoint intervals and twenty minutes"
    task.driver().stop(StopReason.TASK_ENDED)


def test_a_type_that_is_much_dearer_is_not_worth_it(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud, types=(SECOND,))
    task.prices = {FIRST: 1.0, SECOND: 3.0}
    task.until_on_demand_has_scouts()
    fresh_cloud.set_capacity(available=True, instance_type=SECOND)
    done = task.finish()
    assert _endings(done)[-1] == (PurchaseOption.ON_DEMAND, Ending.COMPLETED)


def test_a_type_found_by_a_scout_that_is_over_is_forgotten(fresh_cloud: Cloud) -> None:
    """The process died before it stopped on-demand, and the next one comes much later."""
    task = Task(fresh_cloud)
    task.until_on_demand_has_scouts()
    training = task.driver().training
    training.save(replace(training.state, next_type=FIRST))
    step = task.waiting()
    assert step.job.status is TrainingStatus.IN_PROGRESS
    assert not task.driver().state.next_type
    task.driver().stop(StopReason.TASK_ENDED)


def test_on_demand_that_uploads_its_result_is_not_left(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    step = task.until_on_demand_has_scouts()
    training = task.driver().training
    intent = training.state.current
    assert intent is not None
    way_back.look_after(training, replace(step.job, secondary_status=SecondaryStatus.UPLOADING), intent)
    assert all(scout.stopped_for is StopReason.SCOUT_DONE for scout in training.state.scouts)
    task.driver().stop(StopReason.TASK_ENDED)


def test_all_scouts_that_may_be_alive_are_stopped_with_the_task(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    step = _until_a_scout_runs(task)
    assert step.call is not None
    assert step.call.scouts == (), "it has brought its news"
    assert step.scouts == tuple(scout.name for scout in task.created(scouts=True))
    task.driver().stop(StopReason.TASK_ENDED)


def test_a_refused_scout_is_asked_for_again(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    create = task.jobs.create_or_adopt

    def refuse(request: Any, **options: Any) -> Any:
        if "-scout-" in request["TrainingJobName"]:
            raise CapacityRefused(Refusal.QUOTA, "the limit of this type is 1 Instances")
        return create(request, **options)

    task.jobs.create_or_adopt = refuse  # type: ignore[method-assign]
    while (step := task.waiting()).job.is_spot:
        task.wait(step)
    assert step.call is not None
    assert step.call.not_before is not None
    assert (step.call.not_before - task.jobs.now()).total_seconds() > 1000
    task.driver().stop(StopReason.TASK_ENDED)


# Checkpoints that are seen ---------------------------------------------------------------------------


def _seen(job: JobSnapshot, *, at: datetime) -> SeenCheckpoints:
    """What a look shows that found a checkpoint of the running launch, which arrived at `at`."""
    visit = last_visit(job)
    assert visit is not None
    saved = max(0.0, (at - visit.started_at).total_seconds())
    return SeenCheckpoints(
        launches=(SeenLaunch(began_at=visit.started_at, saved_seconds=saved, arrivals=(saved,)),),
        saved=(Checkpoint(name="progress.json", began_at=at, arrived_at=at),),
        looked_at=at + timedelta(seconds=1),
    )


def _until_a_scout_runs(task: Task) -> Waiting:
    """On-demand trains, its checkpoints are seen, and a scout has found capacity."""
    step = task.until_on_demand_has_scouts()
    while last_visit(step.job) is None:
        task.wait(step, until=lambda job: last_visit(job) is not None)
        step = task.waiting()
    visit = last_visit(step.job)
    assert visit is not None
    task.driver().saw_checkpoints(_seen(step.job, at=visit.started_at + timedelta(seconds=1)))
    task.cloud.set_capacity(available=True, instance_type=FIRST)
    while step.call is None or step.call.saved_after is None:
        task.wait(step)
        step = task.waiting()
        assert not step.job.is_spot
    return step


def test_on_demand_is_left_after_the_next_checkpoint(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    step = _until_a_scout_runs(task)
    assert step.call is not None
    assert step.checkpoints is not None
    assert step.checkpoints.wake_after == step.call.saved_after, "whoever waits looks for it"
    assert task.waiting().job.status is TrainingStatus.IN_PROGRESS, "it is not stopped before"
    saved_at = task.jobs.now() + timedelta(seconds=1)
    task.driver().saw_checkpoints(_seen(step.job, at=saved_at))
    task.step()
    done = task.finish()
    assert _endings(done) == WAY_BACK


def test_a_checkpoint_that_does_not_come_is_not_awaited_for_ever(fresh_cloud: Cloud) -> None:
    task = Task(fresh_cloud)
    step = _until_a_scout_runs(task)
    while step.call is not None and step.call.saved_after is not None:
        task.wait(step)
        step = task.waiting()
    assert any("no checkpoint has arrived" in line for line in task.said), task.said
    assert not task.driver().state.next_type
    fresh_cloud.set_capacity(available=False, instance_type=FIRST)
    _set_speed(fresh_cloud, FAST)
    done = task.finish()
    assert _endings(done)[-1] == (PurchaseOption.ON_DEMAND, Ending.COMPLETED)
    assert live_jobs(fresh_cloud) == []
