"""A training that may move between instance types: scouts find out which has spot capacity."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from include.local_stack import wait_until
from spot_training.dashboard.timeline import timeline_of
from spot_training.domain.errors import RequestRefused
from spot_training.domain.ladder import Step
from spot_training.domain.lifecycle import Ending, SecondaryStatus, TrainingStatus
from spot_training.domain.savings import PurchaseOption
from spot_training.domain.scouting import ROUND_SECONDS, USEFUL_ENDINGS, found_capacity
from spot_training.domain.stop_reasons import StopReason
from spot_training.ledger import Ledger, Selection
from spot_training.report.jobs import to_jobs_csv
from spot_training.sagemaker.calls import Refusal, for_certain
from spot_training.sagemaker.identity import TAG_ATTEMPT, TAG_SCOUT
from spot_training.sagemaker.jobs import CapacityRefused
from spot_training.sweep.orphans import Verdict, survey
from spot_training.sweep.settling import Settling
from spot_training.training.driver import Completed, Waiting
from spot_training.training.scouting import STOP_TRIES
from tests.cloud import HOUR, SPEED, Cloud, live_jobs, make_config, serving
from tests.records import PRICE
from tests.watching.support import make_snapshot

from .support import IDENTITY, Died, Mortal, Task, Training, finish_with_death

FIRST, SECOND, THIRD = "ml.m5.xlarge", "ml.m5.2xlarge", "ml.c5.4xlarge"
TYPES = [FIRST, SECOND, THIRD]
LONG = {"MaxRuntimeInSeconds": HOUR, "MaxWaitTimeInSeconds": 100 * HOUR}


def _task(cloud: Cloud, *, types: list[str] = TYPES, capacity: tuple[str, ...] = (), **config: Any) -> Task:
    for kind in TYPES:
        cloud.set_capacity(available=kind in capacity, instance_type=kind)
    policy = {"name": "widen", "instance_types": types, "first_wait": "100h"}
    return Task(cloud, config=make_config(StoppingCondition=LONG, **config), policy=policy)


def _scouts(task: Task) -> list[str]:
    return [name for name in task.created() if "-scout-" in name]


def _jobs(task: Task) -> list[str]:
    return [name for name in task.created() if "-scout-" not in name]


@pytest.fixture(scope="module")
def slow_cloud() -> Iterator[Cloud]:
    """Two simulated minutes a second: no other work on the machine lets a wait seem long."""
    with serving("--speed", "120") as cloud:
        cloud.client("s3").create_bucket(Bucket="bucket")
        yield cloud


def test_a_job_with_capacity_needs_no_scout(slow_cloud: Cloud) -> None:
    task = _task(slow_cloud, capacity=(FIRST, SECOND), Environment={"LOCAL_TRAINING_SECONDS": "60"})
    (attempt,) = task.finish().attempts
    assert (attempt.instance_type, attempt.ending) == (FIRST, Ending.COMPLETED)
    assert _scouts(task) == []


def test_a_training_moves_to_the_type_that_has_capacity(cloud: Cloud) -> None:
    task = _task(cloud, capacity=(THIRD,))
    moved, done = task.finish().attempts
    assert (moved.instance_type, moved.ending, moved.billable_seconds) == (FIRST, Ending.MOVED, 0)
    assert (done.instance_type, done.ending, done.purchase) == (THIRD, Ending.COMPLETED, PurchaseOption.SPOT)
    assert moved.step == done.step
    scouts = task.driver().state.scouts_over
    # On a slow machine the new job waits for so long that some go out again.
    assert {scout.instance_type for scout in scouts} >= {SECOND, THIRD}
    assert {scout.ending for scout in scouts} <= USEFUL_ENDINGS
    assert live_jobs(cloud) == []


def test_a_scout_has_no_data_no_checkpoints_and_no_secrets(cloud: Cloud) -> None:
    data = {
        "ChannelName": "train",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data"}},
    }
    task = _task(
        cloud,
        InputDataConfig=[data],
        HyperParameters={"password": "secret"},
        Environment={"LOCAL_TRAINING_SECONDS": "600", "TOKEN": "secret"},
        Tags=[{"Key": "team", "Value": "vision"}],
        VpcConfig={"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        ResourceConfig={"InstanceType": FIRST, "InstanceCount": 2, "VolumeSizeInGB": 10},
    )
    _until_scouts_are_out(task)
    client = cloud.client("sagemaker")
    for name in _scouts(task):
        scout = client.describe_training_job(TrainingJobName=name)
        assert "secret" not in str(scout)
        assert not scout.get("InputDataConfig")
        assert "CheckpointConfig" not in scout
        assert scout["ResourceConfig"]["InstanceCount"] == 2
        assert scout["VpcConfig"]["Subnets"] == ["subnet-1"]
        assert scout["EnableManagedSpotTraining"] is True
        tags = task.jobs.tags(scout["TrainingJobArn"])
        assert tags["team"] == "vision"
        assert TAG_SCOUT in tags
    task.driver().stop(StopReason.TASK_ENDED)


def _until_scouts_are_out(task: Task) -> Waiting:
    while True:
        step = task.step()
        assert isinstance(step, Waiting)
        if step.call is not None and step.call.scouts:
            return step
        task.wait(step)


def test_one_scout_for_each_other_type(cloud: Cloud) -> None:
    task = _task(cloud)
    task.prices = {SECOND: 3.0, THIRD: 12.0}
    _until_scouts_are_out(task)
    for _ in range(3):
        task.step()
    assert len(_scouts(task)) == 2
    assert any("at most 10 min of 1 instance, on demand $2.00" in line for line in task.said), task.said


def test_the_job_that_gets_capacity_itself_calls_its_scouts_back(cloud: Cloud) -> None:
    task = _task(cloud)
    _until_scouts_are_out(task)
    cloud.set_capacity(available=True, instance_type=FIRST)
    (attempt,) = task.finish().attempts
    assert (attempt.instance_type, attempt.ending) == (FIRST, Ending.COMPLETED)
    assert live_jobs(cloud) == []


def test_after_an_interruption_the_training_moves_too(cloud: Cloud) -> None:
    task = _task(cloud, capacity=(FIRST,), Environment={"LOCAL_TRAINING_SECONDS": str(4 * HOUR)})
    task.config["StoppingCondition"] = {"MaxRuntimeInSeconds": 20 * HOUR, "MaxWaitTimeInSeconds": 100 * HOUR}
    task.step()
    (name,) = _jobs(task)
    _until(task, name, "Training")
    cloud.set_capacity(available=False, instance_type=FIRST)
    cloud.set_capacity(available=True, instance_type=SECOND)
    moved, done = task.finish().attempts
    assert (moved.instance_type, moved.ending, moved.interruptions) == (FIRST, Ending.MOVED, 1)
    assert (done.instance_type, done.ending) == (SECOND, Ending.COMPLETED)


def _until(task: Task, name: str, status: str) -> None:
    while (job := task.jobs.snapshot(name)) is None or job.secondary_status != status:
        pass


@pytest.mark.parametrize("why", [StopReason.TASK_ENDED, StopReason.TASK_KILLED])
def test_a_task_that_ends_stops_its_scouts_too(cloud: Cloud, why: StopReason) -> None:
    task = _task(cloud)
    _until_scouts_are_out(task)
    task.driver().stop(why)
    while live_jobs(cloud):
        pass
    assert len(_scouts(task)) == 2


def test_a_process_that_is_killed_stops_job_and_scouts_at_the_same_time(cloud: Cloud) -> None:
    """Airflow leaves it five seconds, and each stop may take two."""
    task = _task(cloud)
    _until_scouts_are_out(task)
    driver, stop = task.driver(), task.jobs.stop
    together = threading.Barrier(3)

    def stop_with_the_others(*args: Any, **kwargs: Any) -> bool:
        together.wait(timeout=10)
        return stop(*args, **kwargs)

    task.jobs.stop = stop_with_the_others  # type: ignore[method-assign]
    driver.kill()
    wait_until(lambda: not live_jobs(cloud), "the jobs to be over", timeout_seconds=20)


# The order of the types ------------------------------------------------------------------------------

OFTEN = "7 of 9 spot attempts in 14 days were interrupted"


def test_a_training_with_one_type_asks_nothing_of_the_ledger(slow_cloud: Cloud) -> None:
    task = _task(slow_cloud, types=[FIRST], capacity=(FIRST,), Environment={"LOCAL_TRAINING_SECONDS": "60"})
    task.finish()
    assert task.asked == []


def test_a_type_with_many_interruptions_is_asked_last(cloud: Cloud) -> None:
    task = _task(cloud)
    task.objections = {FIRST: OFTEN}
    step: Waiting | Completed = _until_scouts_are_out(task)
    while len(_scouts(task)) < 2:
        task.wait(step)
        step = task.step()
    assert isinstance(step, Waiting)
    assert step.job.instance_type == SECOND
    assert _types_of_scouts(task) == [THIRD, FIRST]
    assert task.said.count(f"{FIRST} is asked last: {OFTEN}.") == 1
    assert len(task.asked) <= 3, "one query for each job, and each time that scouts go out"
    task.driver().stop(StopReason.TASK_ENDED)


def test_a_type_that_does_not_pay_is_not_asked_before_one_that_is_asked_last(slow_cloud: Cloud) -> None:
    slow_cloud.control("POST", "reset")
    slow_cloud.client("s3").create_bucket(Bucket="bucket")
    task = _task(slow_cloud, capacity=(FIRST, SECOND), Environment={"LOCAL_TRAINING_SECONDS": "60"})
    task.policy = {"name": "widen", "instance_types": {FIRST: 1, SECOND: 0.1}, "first_wait": "100h"}
    task.prices, task.objections = {FIRST: 1.0, SECOND: 1.0}, {FIRST: OFTEN}
    (done,) = task.finish().attempts
    assert done.instance_type == FIRST


def _types_of_scouts(task: Task) -> list[str | None]:
    return [job.instance_type for name in _scouts(task) if (job := task.jobs.snapshot(name))]


def test_a_type_without_quota_is_left_out_and_the_log_says_why(cloud: Cloud) -> None:
    task = _task(cloud, capacity=(THIRD,))
    create = task.jobs.create_or_adopt
    asked: list[str] = []

    def without_quota(request: dict[str, Any], **kwargs: Any) -> Any:
        if (kind := request["ResourceConfig"]["InstanceType"]) in {FIRST, SECOND}:
            asked.append(kind)
            text = (
                f"The account-level service limit '{kind} for spot training job usage' is 0 Instances, with"
            )
            raise CapacityRefused(Refusal.QUOTA, f"ResourceLimitExceeded: {text} current utilization of 0.")
        return create(request, **kwargs)

    task.jobs.create_or_adopt = without_quota  # type: ignore[assignment]
    *refused, done = task.finish().attempts
    assert (done.instance_type, done.ending) == (THIRD, Ending.COMPLETED)
    assert [attempt.ending for attempt in refused] == [Ending.QUOTA] * 2
    assert asked == [FIRST, SECOND]


# What goes wrong with a scout ------------------------------------------------------------------------


def _refusing(task: Task, kind: str) -> list[str]:
    """SageMaker refuses scouts for this type. Returns the list of what it has refused."""
    create, refused = task.jobs.create_or_adopt, []

    def refuse(request: dict[str, Any], **kwargs: Any) -> Any:
        is_scout = TAG_SCOUT in {tag["Key"] for tag in request["Tags"]}
        if is_scout and request["ResourceConfig"]["InstanceType"] == kind:
            refused.append(kind)
            raise CapacityRefused(Refusal.CAPACITY, "CapacityError: not enough.")
        return create(request, **kwargs)

    task.jobs.create_or_adopt = refuse  # type: ignore[assignment]
    return refused


def test_a_type_that_was_refused_is_asked_again_while_another_scout_waits(cloud: Cloud) -> None:
    task = _task(cloud)
    refused = _refusing(task, SECOND)
    step = _until_scouts_are_out(task)
    task.wait(step)  # longer than a round
    again = task.step()
    assert isinstance(again, Waiting)
    assert again.call is not None
    assert step.call is not None
    assert again.call.scouts == step.call.scouts, "the other scout waits on"
    assert len(refused) == 2
    task.driver().stop(StopReason.TASK_ENDED)


def test_after_a_move_that_failed_scouts_go_out_again(cloud: Cloud) -> None:
    task = _task(cloud, types=[FIRST, SECOND], capacity=(SECOND,))
    stop = task.jobs.stop
    failures: list[str] = []

    def stop_no_job(name: str, *args: Any, **kwargs: Any) -> bool:
        if "-scout-" not in name and len(failures) < STOP_TRIES:
            failures.append(name)
            raise RequestRefused("SageMaker does not stop it.")
        return stop(name, *args, **kwargs)

    task.jobs.stop = stop_no_job  # type: ignore[method-assign]
    moved, done = task.finish().attempts
    assert len(failures) == STOP_TRIES
    assert (moved.ending, done.ending, done.instance_type) == (Ending.MOVED, Ending.COMPLETED, SECOND)
    first, second = (s for s in task.driver().state.scouts_over if s.has_started)
    assert first.ended_at is not None
    assert second.created_at is not None
    assert (second.created_at - first.ended_at).total_seconds() > ROUND_SECONDS / 2, "not at once"


def test_a_refused_scout_fails_nothing(slow_cloud: Cloud) -> None:
    slow_cloud.control("POST", "reset")
    slow_cloud.client("s3").create_bucket(Bucket="bucket")
    task = _task(slow_cloud, Environment={"LOCAL_TRAINING_SECONDS": "60"})
    create = task.jobs.create_or_adopt

    def refuse(request: dict[str, Any], **kwargs: Any) -> Any:
        if TAG_SCOUT in {tag["Key"] for tag in request["Tags"]}:
            raise for_certain(RequestRefused("SageMaker does not take this entry point."))
        return create(request, **kwargs)

    task.jobs.create_or_adopt = refuse  # type: ignore[assignment]
    task.wait(task.step())
    step = task.step()
    assert isinstance(step, Waiting)
    assert step.call is not None
    assert (step.call.scouts, _scouts(task)) == ((), [])
    assert sum("does not take this entry point" in line for line in task.said) == 2
    assert step.call.not_before is not None, "others go out later, not at once"
    task.step()
    assert sum("does not take this entry point" in line for line in task.said) == 2
    slow_cloud.set_capacity(available=True, instance_type=FIRST)
    (attempt,) = task.finish().attempts
    assert attempt.ending is Ending.COMPLETED


def test_a_scout_that_a_person_stops_is_not_sent_again(cloud: Cloud) -> None:
    task = _task(cloud, types=[FIRST, SECOND])
    step = _until_scouts_are_out(task)
    (scout,) = _scouts(task)
    task.stop_as_a_person(scout)
    task.wait(step)
    for _ in range(4):
        assert isinstance(task.step(), Waiting)
        time.sleep(ROUND_SECONDS / SPEED)
    assert _scouts(task) == [scout]
    cloud.set_capacity(available=True, instance_type=FIRST)
    assert task.finish().attempts[-1].instance_type == FIRST


def test_a_job_whose_other_types_do_not_pay_waits_without_being_looked_at(cloud: Cloud) -> None:
    task = _task(cloud, types=[FIRST, SECOND])
    task.policy = {"name": "widen", "instance_types": {FIRST: 1, SECOND: 0.1}, "first_wait": "100h"}
    task.prices = {FIRST: 1.0, SECOND: 1.0}
    task.wait(task.step())
    step = task.step()
    assert isinstance(step, Waiting)
    assert step.call is None, "or whoever waits would wake the task again and again"
    assert _scouts(task) == []


def test_a_scout_that_is_being_stopped_moves_nothing(cloud: Cloud) -> None:
    """Called back while it trains, a scout uploads for a while: that is no proof of capacity."""
    step = Step(purchase=PurchaseOption.SPOT, max_wait_seconds=HOUR, instance_types=(FIRST, SECOND))
    uploading = make_snapshot("scout", secondary_status=SecondaryStatus.UPLOADING)
    assert found_capacity(step, {SECOND: uploading}) == SECOND
    stopping = replace(uploading, status=TrainingStatus.STOPPING)
    assert found_capacity(step, {SECOND: stopping}) is None


def test_a_scout_whose_process_died_before_it_was_created_is_never_created_after_it_was_called_back(
    cloud: Cloud,
) -> None:
    task = _task(cloud, types=[FIRST, SECOND])
    create = task.jobs.create_or_adopt

    def create_no_scout(request: dict[str, Any], **kwargs: Any) -> Any:
        if TAG_SCOUT in {tag["Key"] for tag in request["Tags"]}:
            raise Died
        return create(request, **kwargs)

    task.jobs.create_or_adopt = create_no_scout  # type: ignore[assignment]
    with pytest.raises(Died):
        _until_scouts_are_out(task)
    task.jobs.create_or_adopt = create  # type: ignore[method-assign]
    assert len(task.driver().state.scouts) == 1
    cloud.set_capacity(available=True, instance_type=FIRST)
    _until(task, _jobs(task)[0], "Completed")
    done = task.finish()
    assert [attempt.instance_type for attempt in done.attempts] == [FIRST]
    assert _scouts(task) == []
    assert [scout.billable_seconds for scout in task.driver().state.scouts_over] == [0]
    assert live_jobs(cloud) == []


def test_a_full_quota_of_the_other_type_buys_nothing_on_demand(slow_cloud: Cloud) -> None:
    slow_cloud.control("POST", "reset")
    slow_cloud.client("s3").create_bucket(Bucket="bucket")
    work = {"LOCAL_TRAINING_SECONDS": "60"}
    task = _task(slow_cloud, types=[FIRST, SECOND], capacity=(SECOND,), Environment=work)
    create = task.jobs.create_or_adopt

    def without_quota(request: dict[str, Any], **kwargs: Any) -> Any:
        is_scout = TAG_SCOUT in {tag["Key"] for tag in request["Tags"]}
        if request["ResourceConfig"]["InstanceType"] == SECOND and not is_scout:
            slow_cloud.set_capacity(available=True, instance_type=FIRST)
            raise CapacityRefused(Refusal.QUOTA, "ResourceLimitExceeded: the quota is 0.")
        return create(request, **kwargs)

    task.jobs.create_or_adopt = without_quota  # type: ignore[assignment]
    attempts = task.finish().attempts
    assert [(a.instance_type, a.purchase, a.ending) for a in attempts] == [
        (FIRST, PurchaseOption.SPOT, Ending.MOVED),
        (SECOND, PurchaseOption.SPOT, Ending.QUOTA),
        (FIRST, PurchaseOption.SPOT, Ending.COMPLETED),
    ]


def test_a_dag_without_the_types_calls_the_scouts_back(cloud: Cloud) -> None:
    task = _task(cloud)
    _until_scouts_are_out(task)
    task.policy = {"name": "widen", "first_wait": "100h"}
    step = task.step()
    assert isinstance(step, Waiting)
    assert step.call is None
    wait_until(lambda: live_jobs(cloud) == [step.job.name], "the scouts to be over", timeout_seconds=20)


def test_a_quota_that_the_scouts_fill_is_no_cause_to_buy_on_demand(cloud: Cloud) -> None:
    """The quota of the second type has room for one instance: the scout's."""
    task = _task(cloud, types=[FIRST, SECOND], capacity=(SECOND,))
    create = task.jobs.create_or_adopt

    def within_quota(request: dict[str, Any], **kwargs: Any) -> Any:
        kind = request["ResourceConfig"]["InstanceType"]
        if kind == SECOND and any(_is_of(task, name, SECOND) for name in live_jobs(cloud)):
            raise CapacityRefused(Refusal.QUOTA, "ResourceLimitExceeded: the quota is 1.")
        return create(request, **kwargs)

    task.jobs.create_or_adopt = within_quota  # type: ignore[assignment]
    moved, done = task.finish().attempts
    assert (moved.ending, done.ending, done.instance_type) == (Ending.MOVED, Ending.COMPLETED, SECOND)
    assert done.purchase is PurchaseOption.SPOT


def _is_of(task: Task, name: str, kind: str) -> bool:
    job = task.jobs.snapshot(name)
    return job is not None and job.instance_type == kind


@pytest.mark.timeout(180)
@pytest.mark.parametrize("is_answered", [False, True])
def test_a_training_whose_process_dies_at_any_call_moves_once_and_leaves_no_scout(
    cloud: Cloud, is_answered: bool
) -> None:
    for dies_at in range(1 + is_answered, 26, 3):
        cloud.control("POST", "reset")
        cloud.client("s3").create_bucket(Bucket="bucket")
        task = _task(cloud, types=[FIRST, SECOND], capacity=(SECOND,))
        mortal = Mortal(task.jobs, dies_at=dies_at, is_answered=is_answered)
        done = finish_with_death(task, mortal)
        endings = [attempt.ending for attempt in done.attempts]
        assert endings == [Ending.MOVED, Ending.COMPLETED], dies_at
        assert live_jobs(cloud) == [], dies_at
        _check_one_at_a_time(task, _jobs(task))
        _check_one_at_a_time(task, _scouts(task))
        if mortal.left > 0:
            assert dies_at > 10, "there are more calls than that"
            return


def _check_one_at_a_time(task: Task, names: list[str]) -> None:
    jobs = [job for name in names if (job := task.jobs.snapshot(name))]
    for before, after in pairwise(jobs):
        assert before.last_modified_at <= after.created_at, (before.name, after.name)


@pytest.mark.parametrize("is_job_over", [False, True])
def test_scouts_of_a_lost_state_are_stopped_and_counted(cloud: Cloud, is_job_over: bool) -> None:
    task = _task(cloud)
    step = _until_scouts_are_out(task)
    first, second = sorted(_scouts(task))
    task.stop_as_a_person(first)
    if is_job_over:
        task.stop_as_a_person(step.job.name)
        cloud.set_capacity(available=True, instance_type=FIRST)
    awaited = [first, step.job.name] if is_job_over else [first]
    wait_until(lambda: all(_is_over(task, n) for n in awaited), "the jobs to be over", timeout_seconds=10)
    task.store.values.clear()
    if not is_job_over:
        task.step()  # it takes the waiting job over, before that gets capacity
        cloud.set_capacity(available=True, instance_type=FIRST)
    done = task.finish()
    assert done.attempts[-1].ending is Ending.COMPLETED
    assert live_jobs(cloud) == []
    assert _is_over(task, second)
    if not is_job_over:
        assert {first, second} <= {scout.job_name for scout in done.scouts}


def _is_over(task: Task, name: str) -> bool:
    job = task.jobs.snapshot(name)
    return job is not None and job.is_terminal


# What is on record -----------------------------------------------------------------------------------


def _training(cloud: Cloud, ledger: Ledger) -> Training:
    for kind in TYPES:
        cloud.set_capacity(available=kind == SECOND, instance_type=kind)
    policy = {"name": "widen", "instance_types": [FIRST, SECOND], "first_wait": "100h"}
    config = make_config(StoppingCondition=LONG, Environment={"LOCAL_TRAINING_SECONDS": "120"})
    return Training(
        cloud,
        ledger,
        policy=policy,
        config=config,
        price_of=lambda _region, kind: replace(PRICE, instance_type=kind),
    )


def test_the_record_and_the_bill_have_the_scouts(slow_cloud: Cloud, ledger: Ledger) -> None:
    slow_cloud.control("POST", "reset")
    slow_cloud.client("s3").create_bucket(Bucket="bucket")
    training = _training(slow_cloud, ledger)
    done = training.finish()
    record = training.record()
    assert record is not None
    assert record.format == 3
    (scout,) = record.scouts
    assert (scout.instance_type, record.scouts_out) == (SECOND, ())
    assert scout.billable_seconds
    statement = record.statement
    billed = sum(a.billable_instance_seconds or 0 for a in (*done.attempts, scout))
    assert statement.billable_instance_seconds == billed
    assert statement.scout_instance_seconds == scout.billable_seconds
    assert done.statement.billable_instance_seconds == billed
    assert statement.abandoned_instance_seconds == scout.billable_seconds
    assert statement.billed_usd == pytest.approx(billed / 3600 * PRICE.usd_per_hour, abs=1e-5)
    with ledger.read() as reader:
        assert next(iter(reader.records())) == record
        lines = list(csv.DictReader("".join(to_jobs_csv(reader, Selection())).splitlines()))
    of_scout = [line for line in lines if line[TAG_SCOUT]]
    assert [(line["job_name"], line[TAG_ATTEMPT]) for line in of_scout] == [(scout.job_name, "")]
    assert len(lines) == 3
    shown = timeline_of(record, now=training.jobs.now())
    assert [(row.instance_type, row.found_capacity) for row in shown.scouts] == [(SECOND, True)]


def test_the_sweeper_stops_a_scout_whose_task_is_over_and_records_it(cloud: Cloud, ledger: Ledger) -> None:
    training = _training(cloud, ledger)
    cloud.set_capacity(available=False, instance_type=SECOND)
    step = training.step()
    while not (isinstance(step, Waiting) and step.call and step.call.scouts):
        assert isinstance(step, Waiting)
        training.wait(step)
        step = training.step()
    record = training.record()
    assert record is not None
    assert record.scouts_out == (SECOND,)
    shown = timeline_of(record, now=training.jobs.now())
    assert shown.summary.endswith(f"Scouts look for {SECOND}.")
    jobs = cloud.jobs()
    found = survey(jobs, installation=IDENTITY.installation, task_state_of=lambda _: "failed")
    orphans = [finding.name for finding in found if finding.verdict is Verdict.ORPHAN]
    assert len(orphans) == 2
    assert sorted(orphans) == sorted(live_jobs(cloud))
    for name in orphans:
        jobs.stop(name, StopReason.SWEPT)
    wait_until(lambda: not live_jobs(cloud), "the jobs to be over", timeout_seconds=20)
    settling = Settling(
        ledger=ledger,
        jobs=jobs,
        installation=IDENTITY.installation,
        task_state_of=lambda _: "failed",
        say=print,
    )
    settling.settle()
    settled = training.record()
    assert settled is not None
    assert [scout.instance_type for scout in settled.scouts] == [SECOND]
    assert [attempt.instance_type for attempt in settled.attempts] == [FIRST]
    assert settled.scouts_out == ()
    assert settling.settle() == []
