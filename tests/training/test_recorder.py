"""What a task writes into the ledger while it trains, against the local SageMaker."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from include.local_stack import wait_until
from spot_training.domain.errors import OutOfSteps
from spot_training.domain.lifecycle import Ending, JobSnapshot, SecondaryStatus
from spot_training.domain.records import Price, RecordState
from spot_training.ledger import Ledger
from spot_training.sagemaker.local_cloud import describe_clock
from spot_training.training import record_writer
from spot_training.training import recorder as bookkeeping
from spot_training.training.driver import Completed, Waiting
from spot_training.training.record_memory import Memory, MemoryInStore
from spot_training.training.state import STATE_KEY, MemoryStore, TrainingState
from tests.cloud import HOUR, Cloud, answer_with
from tests.records import PRICE, T0, make_attempt

from .support import Died, Training, die_before_creating, patient_config


def test_a_training_is_on_record_from_its_first_submission_to_its_end(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger, config=patient_config(Tags=[{"Key": "Team", "Value": "ads"}]))
    step = training.begin()
    running = training.record()
    assert running is not None
    assert running.state is RecordState.RUNNING
    assert running.current_job is not None
    assert (running.current_job.job_name, running.current_job.number) == (step.job.name, 1)
    assert (running.model, running.team, running.region) == ("flight-delays", "ads", "us-east-1")
    assert [decision.action for decision in running.decisions] == ["start"]
    # Where it runs: on a clock that is not the world's, and with files that have addresses.
    assert running.endpoint_url == cloud.url
    assert running.local_cloud == describe_clock(cloud.url) is not None
    assert (running.checkpoint_uri or "").startswith("s3://bucket/checkpoints/")
    assert running.model_uri is None
    training.wait(step)
    training.finish()
    done = training.record()
    assert done is not None
    assert (done.state, done.current_job) == (RecordState.COMPLETED, None)
    (attempt,) = done.attempts
    assert attempt.ending is Ending.COMPLETED
    statuses = [visit.status for visit in attempt.transitions]
    assert statuses[0] is SecondaryStatus.STARTING
    assert SecondaryStatus.TRAINING in statuses
    assert done.statement.billed_usd == pytest.approx((attempt.billable_seconds or 0) * 0.23 / HOUR, abs=1e-6)
    assert done.prices == (PRICE,)
    assert done.ended_at == attempt.ended_at
    assert (done.local_cloud, done.checkpoint_uri) == (running.local_cloud, running.checkpoint_uri)
    assert (done.model_uri or "").endswith(f"/{attempt.job_name}/output/model.tar.gz")
    assert [decision.action for decision in done.decisions] == ["start", "finish"]
    assert training.warned == []


def test_the_intent_is_in_the_ledger_before_the_job_is_created(cloud: Cloud, ledger: Ledger) -> None:
    """So a worker that dies just then leaves a name to look for."""
    training = Training(cloud, ledger)

    die_before_creating(training.jobs)
    with pytest.raises(Died):
        training.step()
    record = training.record()
    assert record is not None
    assert record.current_job is not None
    assert record.current_job.job_name.startswith("flight-delays-")


def test_what_is_noted_of_the_job_under_way_is_shown_until_it_is_recorded(
    cloud: Cloud, ledger: Ledger
) -> None:
    training = Training(cloud, ledger)
    step = training.begin()
    _, books = training.process()
    last = training.wait(step)
    ledger.note(books.key, last)
    seen = training.record()
    assert seen is not None
    assert seen.current_job is not None
    assert seen.current_job.transitions[-1].status is last.transitions[-1].status
    assert seen.current_job.reason
    training.finish()
    assert ledger.list_names("notes") == []


def test_a_training_that_fails_is_on_record_with_every_attempt_and_why(cloud: Cloud, ledger: Ledger) -> None:
    cloud.set_capacity(available=False)
    training = Training(cloud, ledger, policy={"name": "spot_only", "spot_attempts": 2, "first_wait": HOUR})
    with pytest.raises(OutOfSteps):
        training.finish()
    record = training.record()
    assert record is not None
    assert record.state is RecordState.FAILED
    assert [attempt.ending for attempt in record.attempts] == [Ending.NO_CAPACITY] * 2
    assert [decision.action for decision in record.decisions] == ["start", "start", "give up"]
    assert "never got capacity" in record.reason
    assert record.statement.billed_usd == 0


def test_a_retry_goes_on_with_its_record_and_a_clear_starts_its_story_anew(
    cloud: Cloud, ledger: Ledger
) -> None:
    cloud.set_capacity(available=False)
    training = Training(cloud, ledger, policy={"name": "spot_only", "spot_attempts": 1, "first_wait": HOUR})
    with pytest.raises(OutOfSteps):
        training.finish()
    cloud.set_capacity(available=True)
    training.try_number = 2
    training.finish()
    retried = training.record()
    assert retried is not None
    assert [attempt.ending for attempt in retried.attempts] == [Ending.NO_CAPACITY, Ending.COMPLETED]
    training.try_number, training.max_tries = 3, 5
    training.finish()
    cleared = training.record()
    assert cleared is not None
    assert (cleared.generation, len(cleared.attempts)) == (1, 1)
    assert cleared.replaced_instance_seconds == retried.statement.billable_instance_seconds
    assert cleared.replaced_usd == retried.statement.billed_usd
    assert cleared.version > retried.version
    with ledger.read() as reader:
        assert reader.totals().trainings == 1


def test_a_clear_keeps_what_spot_wasted_and_not_what_a_completed_training_was_billed() -> None:
    """Otherwise a person who clears a training that spot killed makes the savings look better."""
    killed = make_attempt(job_name="a-1", ending=Ending.OUT_OF_WAIT, billable_seconds=3600)
    completed = make_attempt(number=2, job_name="a-2", billable_seconds=1800)
    price = Price(instance_type="ml.m5.xlarge", usd_per_hour=0.5, as_of=T0, source="a test")
    memory = Memory(prices=(price,)).with_bill([killed], watches=None)
    cleared = memory.of_generation(1, watches=None)
    assert cleared.replaced_spot_failed == cleared.replaced == (3600, 0.5)
    assert Memory.from_json(cleared.to_json()) == cleared
    again = cleared.with_bill([killed, completed], watches=None).of_generation(2, watches=None)
    assert (again.replaced_spot_failed, again.replaced) == ((3600, 0.5), (9000, 1.25))
    watching = Memory(prices=(price,)).with_bill([killed], watches="a-1")
    assert watching.of_generation(1, watches="a-1").replaced_spot_failed == (0, 0.0)
    assert watching.of_generation(1, watches="b-1").replaced_spot_failed == (3600, 0.5)


def test_a_record_says_whether_a_test_ran_its_training(cloud: Cloud, ledger: Ledger) -> None:
    """A clear begins anew."""
    training = Training(cloud, ledger)
    training.is_test = True
    training.finish()
    assert (tested := training.record()) is not None
    assert tested.is_test is True
    training.try_number, training.max_tries, training.is_test = 2, 5, False
    training.finish()
    assert (real := training.record()) is not None
    assert (real.generation, real.is_test) == (1, False)
    with ledger.read() as reader:
        assert (reader.totals().trainings, reader.totals().test_runs) == (1, 0)


def test_a_training_that_began_in_a_real_run_is_no_test() -> None:
    def recalled(store: MemoryStore) -> bool | None:
        memory = MemoryInStore(store)
        return memory.recall(
            first_installation="a", installation="a", generation=0, watches=None, is_test=True
        ).is_test

    store = MemoryStore()
    MemoryInStore(store).store(Memory(installation="a", version=1, is_test=False))
    assert recalled(store) is False
    assert recalled(MemoryStore()) is True
    assert Memory.from_json({"version": 1}).is_test is False, "an earlier version wrote it"


def test_a_run_whose_state_was_lost_keeps_what_it_was_billed_before(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    training.finish()
    first = training.record()
    assert first is not None
    ledger.compact()
    training.store = MemoryStore()
    training.finish()
    again = training.record()
    assert again is not None
    assert (again.generation, len(again.attempts)) == (1, 1)
    assert again.replaced_instance_seconds == first.statement.billable_instance_seconds
    assert again.replaced_usd == first.statement.billed_usd


def test_a_run_that_takes_the_live_job_of_a_lost_state_has_the_jobs_before_it_in_its_books(
    cloud: Cloud, ledger: Ledger
) -> None:
    training = _with_its_second_attempt_alive(cloud, ledger)
    training.store = MemoryStore()
    done = training.finish()
    again = training.record()
    assert again is not None
    assert [attempt.number for attempt in again.attempts] == [1, 2]
    assert again.attempts == done.attempts
    assert again.attempts[0].billable_seconds
    assert again.replaced_instance_seconds == 0


def test_a_job_that_nobody_recorded_before_the_state_was_lost_is_in_the_sum_of_the_story_before(
    cloud: Cloud, ledger: Ledger
) -> None:
    """A run is deleted while its task is deferred: its trigger stops the job, and nobody sees the end."""
    training = Training(cloud, ledger)
    step = training.begin()
    last = training.wait(step)
    training.store = MemoryStore()
    training.finish()
    again = training.record()
    assert again is not None
    assert (again.generation, len(again.attempts)) == (1, 1)
    assert last.billable_seconds
    assert again.replaced_instance_seconds == last.billable_seconds


@pytest.mark.parametrize("is_another", [False, True])
def test_a_watched_job_is_counted_once_although_its_sensor_was_cleared(
    cloud: Cloud, ledger: Ledger, is_another: bool
) -> None:
    """Where the clear made another job to be watched, the first one's bill stands beside it."""
    training = Training(cloud, ledger)
    training.adopt = _start_elsewhere(cloud, "elsewhere")
    training.finish()
    first = training.record()
    if is_another:
        training.adopt = _start_elsewhere(cloud, "elsewhere-again")
    training.try_number, training.max_tries = 2, 1
    training.finish()
    cleared = training.record()
    assert first is not None
    assert cleared is not None
    assert [attempt.job_name for attempt in cleared.attempts] == [training.adopt]
    assert first.statement.billable_instance_seconds
    billed_before = first.statement.billable_instance_seconds if is_another else 0
    assert cleared.replaced_instance_seconds == billed_before


@pytest.mark.parametrize("keeps", [True, False])
def test_a_training_that_goes_on_from_kept_checkpoints_says_so(
    cloud: Cloud, ledger: Ledger, keeps: bool
) -> None:
    config = patient_config(CheckpointConfig={"S3Uri": "s3://bucket/checkpoints"})
    training = Training(cloud, ledger, config=config)
    training.keep_checkpoints = keeps
    training.finish()
    first = training.record()
    training.try_number, training.max_tries = 2, 1
    training.finish()
    second = training.record()
    assert first is not None
    assert second is not None
    assert (first.generation, first.is_resumed) == (0, False)
    assert (second.generation, second.is_resumed) == (1, keeps)


@pytest.mark.parametrize("is_priced_late", [False, True])
def test_a_task_that_died_before_it_closed_its_books_and_was_cleared_keeps_what_it_was_billed(
    cloud: Cloud, ledger: Ledger, is_priced_late: bool
) -> None:
    """It died between saying that the training is over, and the last entry."""
    training = Training(cloud, ledger)
    training.wait(training.begin())
    if is_priced_late:
        memory = training.store.get(bookkeeping.MEMORY_KEY)
        training.store.set(bookkeeping.MEMORY_KEY, {**memory, "prices": []})
    driver, _ = training.process()
    done = driver.proceed(try_number=1, max_tries=0)
    assert isinstance(done, Completed)
    training.try_number, training.max_tries = 2, 1
    training.finish()
    cleared = training.record()
    assert cleared is not None
    assert (cleared.generation, len(cleared.attempts)) == (1, 1)
    billed = done.statement.billable_instance_seconds
    assert cleared.replaced_instance_seconds == billed
    assert cleared.replaced_usd == pytest.approx((billed or 0) * 0.23 / HOUR, abs=1e-6)


def test_a_process_that_only_looks_writes_down_all_that_was_there(cloud: Cloud, ledger: Ledger) -> None:
    """As a sensor between two looks: it saves nothing, and learns a price just now."""
    training = Training(cloud, ledger)
    training.finish()
    memory = training.store.get(bookkeeping.MEMORY_KEY)
    training.store.set(bookkeeping.MEMORY_KEY, {**memory, "prices": []})
    training.try_number, training.max_tries = 2, 1
    training.price_of = lambda _region, _type: None
    training.policy = [{"spot": "ml.m5.xlarge", "max_wait": wait} for wait in ("1h", "20d")]
    training.config = patient_config(
        StoppingCondition={"MaxRuntimeInSeconds": HOUR, "MaxWaitTimeInSeconds": HOUR}
    )
    training.wait(training.begin(is_given_capacity=False))
    step = training.begin(is_given_capacity=False)
    training.price_of = lambda _region, _type: PRICE
    driver, books = training.process()
    books.saw(step.job)
    record = training.record()
    assert record is not None
    assert record.prices == (PRICE,)
    assert (record.generation, [attempt.ending for attempt in record.attempts]) == (1, [Ending.NO_CAPACITY])
    assert record.replaced_instance_seconds == memory["billed"][0]
    assert [decision.action for decision in record.decisions] == ["start", "start"]
    assert record.current_job is not None
    assert record.current_job.job_name == driver.live_job


def test_only_the_newest_version_of_a_record_is_kept(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    training.finish()
    assert len(ledger.fresh_names()) == 1


def test_a_ledger_that_cannot_be_written_is_said_and_fails_nothing(cloud: Cloud, ledger: Ledger) -> None:
    def refuse() -> Ledger:
        raise PermissionError("no write access to s3://books")

    training = Training(cloud, ledger, open_ledger=refuse)
    training.finish()
    assert any("no write access to s3://books" in text for text in training.warned)
    assert any("[spot_training] ledger" in text for text in training.warned)


def test_a_ledger_that_does_not_answer_delays_a_training_only_so_long(
    cloud: Cloud, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("WRITE_SECONDS", "LAST_WRITE_SECONDS", "SHORT_SECONDS"):
        monkeypatch.setattr(record_writer, limit, 0.05)
    answered = threading.Event()

    def hang() -> Ledger:
        answered.wait()
        return ledger

    training = Training(cloud, ledger, open_ledger=hang)
    try:
        training.finish()
        assert any("no answer within" in text for text in training.warned)
    finally:
        answered.set()


def test_a_price_that_cannot_be_had_leaves_the_dollars_unknown(cloud: Cloud, ledger: Ledger) -> None:
    def denied(_region: str, _type: str) -> None:
        raise PermissionError("pricing:GetProducts is not allowed")

    training = Training(cloud, ledger, price_of=denied)
    training.finish()
    record = training.record()
    assert record is not None
    assert record.statement.billed_usd is None
    assert record.statement.savings_percent is not None
    assert any("pricing:GetProducts" in text for text in training.warned)


def test_a_watched_job_is_on_record_once_it_is_seen(cloud: Cloud, ledger: Ledger) -> None:
    starter = Training(cloud, ledger)
    step = starter.begin(is_given_capacity=False)
    watcher = Training(cloud, ledger, run_id="watching", policy="spot_only")
    watcher.adopt = step.job.name
    watcher.step()
    cloud.set_capacity(available=True)
    watcher.finish()
    record = watcher.record()
    assert record is not None
    assert (record.watches, record.model) == (step.job.name, "flight-delays")
    assert record.attempts[0].job_name == step.job.name


def test_a_watched_job_that_is_over_at_the_first_look_is_recorded_with_its_model(
    cloud: Cloud, ledger: Ledger
) -> None:
    starter = Training(cloud, ledger)
    step = starter.begin()
    starter.finish()
    watcher = Training(cloud, ledger, run_id="watching", policy="spot_only")
    watcher.adopt = step.job.name
    watcher.finish()
    record = watcher.record()
    assert record is not None
    assert (record.watches, record.model) == (step.job.name, "flight-delays")
    assert (record.instance_type, record.instance_count) == ("ml.m5.xlarge", 1)


@pytest.mark.parametrize("memory", ["nonsense", {"version": 1}, [], 7])
def test_a_memory_nobody_can_read_fails_nothing(cloud: Cloud, ledger: Ledger, memory: object) -> None:
    training = Training(cloud, ledger)
    training.store.set(bookkeeping.MEMORY_KEY, memory)
    training.finish()
    record = training.record()
    assert record is not None
    assert record.state is RecordState.COMPLETED


def test_the_memory_of_the_books_is_plain_json_of_bounded_size(cloud: Cloud, ledger: Ledger) -> None:
    import json

    training = Training(cloud, ledger)
    training.finish()
    assert isinstance(training.store, MemoryStore)
    assert len(json.dumps(training.store.values[bookkeeping.MEMORY_KEY])) < 2000


def _with_its_second_attempt_alive(cloud: Cloud, ledger: Ledger) -> Training:
    """Its first, on spot, was interrupted for good; the second waits for capacity."""
    policy = [{"spot": "ml.m5.xlarge", "max_wait": wait} for wait in ("12h", "20d")]
    config = patient_config(
        Environment={"LOCAL_TRAINING_SECONDS": str(8 * HOUR)},
        StoppingCondition={"MaxRuntimeInSeconds": 10 * HOUR, "MaxWaitTimeInSeconds": 12 * HOUR},
    )
    training = Training(cloud, ledger, policy=policy, config=config)
    step = training.begin()
    jobs = training.jobs
    wait_until(
        lambda: _is_training(jobs.snapshot(step.job.name)), "the first job to train", timeout_seconds=20
    )
    cloud.set_capacity(available=False)
    training.wait(step)
    assert isinstance(training.step(), Waiting)
    cloud.set_capacity(available=True)
    return training


def _is_training(job: JobSnapshot | None) -> bool:
    return job is not None and job.secondary_status is SecondaryStatus.TRAINING


def _start_elsewhere(cloud: Cloud, name: str) -> str:
    request = {**patient_config(), "TrainingJobName": name, "EnableManagedSpotTraining": True}
    cloud.client("sagemaker").create_training_job(**request)
    return name


# A state that was lost, and its seconds --------------------------------------------------------------


def _seconds_billed(cloud: Cloud) -> int:
    client = cloud.client("sagemaker")
    names = [job["TrainingJobName"] for job in client.list_training_jobs()["TrainingJobSummaries"]]
    return sum(client.describe_training_job(TrainingJobName=name)["BillableTimeInSeconds"] for name in names)


def _seconds_on_record(training: Training) -> int:
    record = training.record()
    assert record is not None
    return (record.statement.billable_instance_seconds or 0) + (record.replaced_instance_seconds or 0)


def test_a_process_that_dies_while_it_puts_a_lost_story_away_counts_nothing_twice(
    cloud: Cloud, ledger: Ledger
) -> None:
    class Deadly(MemoryStore):
        def set(self, key: str, value: Any, **_: Any) -> None:
            if key == STATE_KEY and value["generation"] == 1:
                raise Died
            super().set(key, value)

    training = Training(cloud, ledger)
    training.finish()
    training.store = Deadly()
    with pytest.raises(Died):
        training.step()
    training.store = MemoryStore(training.store.values)
    training.finish()
    assert _seconds_on_record(training) == _seconds_billed(cloud)


def test_scouts_of_a_generation_that_lost_its_state_are_in_what_was_replaced(
    cloud: Cloud, ledger: Ledger
) -> None:
    training = Training(cloud, ledger)
    training.finish()
    before = _seconds_on_record(training)
    done = training.record()
    assert done is not None
    scout = make_attempt(job_name="scout", ending=Ending.SCOUT_DONE, billable_seconds=60)
    ledger.write(replace(done, scouts=(scout,), version=done.version + 1))
    training.store = MemoryStore()
    training.step()
    assert _seconds_on_record(training) == before + 60


def test_a_hand_that_deletes_the_state_alone_has_nothing_counted_twice(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    training.finish()
    del training.store.values[STATE_KEY]
    training.finish()
    assert _seconds_on_record(training) == _seconds_billed(cloud)


def test_a_generation_that_never_had_a_job_hides_no_seconds_of_the_next(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger, policy="spot_only")
    answer_with(training.jobs, "CreateTrainingJob", 400, "ResourceLimitExceeded", "No more.", times=2)
    with pytest.raises(OutOfSteps):
        training.finish()
    training.jobs = cloud.jobs()
    training.try_number, training.max_tries = 2, 1  # cleared
    training.finish()
    training.store = MemoryStore()
    training.try_number, training.max_tries = 3, 2
    training.finish()
    assert _seconds_on_record(training) == _seconds_billed(cloud)


def test_a_task_that_ends_before_it_began_has_no_record(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    _, books = training.process()
    books.end(TrainingState(), "bad input")
    assert training.record() is None
    assert training.warned == []


@pytest.mark.parametrize(("policy", "is_written"), [("on_demand", True), ("spot_only", False)])
def test_that_on_demand_runs_is_written_down_and_not_only_noted(
    cloud: Cloud, ledger: Ledger, policy: str, *, is_written: bool
) -> None:
    """Budgets go by records."""
    training = Training(cloud, ledger, policy=policy, price_of=lambda _region, _type: None)
    cloud.set_capacity(available=False)
    driver, books = training.process()
    step = driver.proceed(try_number=1, max_tries=3)
    assert isinstance(step, Waiting)
    before = books._recall().version
    books.saw(step.job)
    assert (books._recall().version > before) is is_written
    after = books._recall().version
    books.saw(step.job)
    assert books._recall().version == after


def test_a_ledger_that_was_late_once_is_not_waited_for_as_long_again(
    cloud: Cloud, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def be_late(seconds: float, work: object) -> None:
        waited.append(seconds)
        raise TimeoutError

    monkeypatch.setattr(record_writer, "within", be_late)
    _, books = Training(cloud, ledger).process()
    record = books._record()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            books._writer.write(record, version_before=0, is_last=False)
    assert waited == [record_writer.WRITE_SECONDS, record_writer.SHORT_SECONDS]


def test_a_memory_of_nothing_begins_with_the_first_version(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    training.store.set(bookkeeping.MEMORY_KEY, {"about": None})
    _, books = training.process()
    assert books._recall().version == 0


def test_a_record_goes_on_with_what_the_ledger_has_where_state_and_memory_are_lost(
    cloud: Cloud, ledger: Ledger
) -> None:
    """What earlier generations and deleted jobs were billed stays on record."""
    training = Training(cloud, ledger)
    training.finish()
    done = training.record()
    assert done is not None
    scout = make_attempt(job_name="scout", ending=Ending.SCOUT_DONE, billable_seconds=60)
    lost = replace(done, scouts=(scout,), replaced_instance_seconds=100, replaced_usd=0.5)
    billed = lost.statement.billable_instance_seconds
    assert billed == (done.statement.billable_instance_seconds or 0) + 60
    training.store.values.clear()
    _, books = training.process()
    books._recover(lost)
    memory = books._recall()
    assert memory.version == done.version
    assert (memory.billed[0], memory.replaced) == (billed, (100, 0.5))
    assert memory.decisions == done.decisions


def test_a_change_of_the_state_after_the_end_opens_no_record_again(cloud: Cloud, ledger: Ledger) -> None:
    """What was sent of notices is remembered after the end: by a process that has saved nothing before."""
    training = Training(cloud, ledger)
    training.finish()
    driver, books = training.process()
    state = replace(driver.state, scouts_over=(make_attempt(job_name="scout"),))
    books.end(state, "done")
    books.saved(replace(state, notified=("attempt_over 1",)))
    record = training.record()
    assert record is not None
    assert record.state is RecordState.COMPLETED
