"""Trainings that decide at the same time stay within one budget, and what has no job costs nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.budget import Budget, BudgetCheck, MonthSpending
from spot_training.domain.deadline import Runtime
from spot_training.domain.errors import (
    CredentialsExpired,
    InvalidInput,
    OutOfSteps,
    RequestRefused,
    ServiceFailed,
    SpotTrainingError,
)
from spot_training.domain.ladder import Step
from spot_training.domain.records import Price, RecordState
from spot_training.domain.savings import PurchaseOption
from spot_training.ledger import Ledger
from spot_training.ledger.compaction import compact
from spot_training.ledger.reservations import HELD_FOR, RESERVATIONS, Reservation, reservations, reserve
from spot_training.sagemaker.identity import RunIdentity
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sagemaker.request import TrainingPlan, cast_request
from spot_training.task import budget as budget_terms
from spot_training.task import month_spending as month_spending_module
from spot_training.task.budget import UNSEEN_FOR, check_budget, month_spending
from spot_training.training.driver import Waiting
from spot_training.training.state import STATE_KEY
from tests.cloud import Cloud, answer_with, make_config
from tests.records import T0, make_record
from tests.training.support import Died, Training, die_before_creating

HOUR = 3600
#: Four hours with the launch, at $10 an hour: $40.
RUNTIME = Runtime(mean_seconds=4 * HOUR - 300, high_seconds=4 * HOUR)
TEN = Price(instance_type="ml.m5.xlarge", usd_per_hour=10.0, as_of=T0, source="a test")
ON_DEMAND_FIRST = [{"on_demand": "ml.m5.xlarge"}, {"spot": "ml.m5.xlarge", "max_wait": "20d"}]
ON_DEMAND = Step(purchase=PurchaseOption.ON_DEMAND)


@pytest.fixture(autouse=True)
def configured(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    return ledger


def _decide(run_id: str, budget: float, *, usd: float = 40.0, now: datetime = T0, **more: Any) -> BudgetCheck:
    """What a training is told that is about to buy for so much."""
    identity = RunIdentity(dag_id="retrain", run_id=run_id, task_id="train", installation="mine")
    plan = TrainingPlan.of(cast_request(make_config()), identity=identity, name_prefix="model")
    return check_budget(
        Budget(usd=budget),
        plan,
        ON_DEMAND,
        attempts=more.get("attempts", ()),
        runtime=RUNTIME,
        price_of=lambda _kind: usd / 4,
        now=now,
        is_to_reserve=more.get("is_to_reserve", True),
    )


def _at_once(count: int, decide: Callable[[int], BudgetCheck]) -> list[BudgetCheck]:
    barrier = threading.Barrier(count)

    def together(number: int) -> BudgetCheck:
        barrier.wait(60)
        return decide(number)

    with ThreadPoolExecutor(max_workers=count) as pool:
        return list(pool.map(together, range(count)))


def _bought(checks: list[BudgetCheck]) -> float:
    return sum(check.cost.usd or 0.0 for check in checks if check.objection is None)


@pytest.mark.parametrize(("budget", "fit"), [(39, 0), (60, 1), (80, 2), (130, 3), (240, 6)])
def test_of_six_that_decide_at_once_as_many_buy_as_fit(budget: float, fit: int) -> None:
    checks = _at_once(6, lambda number: _decide(f"run {number}", budget))
    assert sum(check.objection is None for check in checks) == fit
    assert len(Ledger.configured().list_names(RESERVATIONS)) == fit, "the others hold nothing"


def test_of_six_on_object_storage_as_many_buy_as_fit(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AIRFLOW__SPOT_TRAINING__LEDGER": f"s3://bucket/{tmp_path.name}",
    }.items():
        monkeypatch.setenv(name, value)
    checks = _at_once(6, lambda number: _decide(f"run {number}", 100))
    assert sum(check.objection is None for check in checks) == 2


def _decide_in_process(folder: str, number: int, barrier: Any, told: Any) -> None:
    os.environ["AIRFLOW__SPOT_TRAINING__LEDGER"] = folder
    barrier.wait(60)
    told.put(_decide(f"run {number}", 60).objection)


def test_of_six_processes_as_many_buy_as_fit(configured: Ledger) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(6), context.Queue()
    processes = [
        context.Process(target=_decide_in_process, args=(configured.root, number, barrier, told))
        for number in range(6)
    ]
    for process in processes:
        process.start()
    objections = [told.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    assert objections.count(None) == 1
    assert all("budget" in objection for objection in objections if objection)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_they_cost_those_that_buy_stay_within_the_budget(seed: int) -> None:
    costs = [10 + 17 * ((seed * 7 + number * number) % 5) for number in range(6)]
    checks = _at_once(6, lambda number: _decide(f"run {number}", 100, usd=costs[number]))
    assert 100 - max(costs) < _bought(checks) <= 100


def test_who_only_asks_reserves_nothing(configured: Ledger) -> None:
    assert _decide("a", 60, is_to_reserve=False).objection is None
    assert configured.list_names(RESERVATIONS) == []


def test_who_only_asks_does_not_count_what_may_still_give_way(configured: Ledger) -> None:
    """The deadline's guard asks once for a spot job: what is undecided now is no answer for hours."""
    assert _decide("a", 60).objection is None
    (held,) = reservations(configured)
    assert held.is_decided
    reserve(configured, replace(held, is_decided=False))
    assert _decide("b", 60, is_to_reserve=False).objection is None
    reserve(configured, held)
    assert _decide("b", 60, is_to_reserve=False).objection is not None


def test_a_reservation_is_told_of_and_holds_for_its_dag_only(configured: Ledger) -> None:
    assert _decide("a", 60).objection is None
    assert "$40.00 for what is about to start" in str(_decide("b", 60).objection)
    (held,) = reservations(configured)
    for other in (replace(held, dag_id="another"), replace(held, installation="staging")):
        reserve(configured, other)
        assert _decide("b", 60, is_to_reserve=False).objection is None


def test_a_reservation_that_ended_in_no_job_expires(
    configured: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process died between the decision and the record that names the job."""
    assert _decide("a", 60).objection is None
    assert _decide("b", 60).objection is not None
    later = datetime.now(UTC) + HELD_FOR + timedelta(seconds=1)
    monkeypatch.setattr(month_spending_module, "real_now", lambda: later)
    assert _decide("b", 60).objection is None


def test_a_process_that_fails_while_it_decides_holds_nothing(
    configured: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    look = budget_terms._Month.look

    def failing(month: Any, ledger: Ledger) -> Any:
        looks.append(1)
        if len(looks) == 2:
            raise OSError("no answer")
        return look(month, ledger)

    monkeypatch.setattr(budget_terms._Month, "look", failing)
    assert "the ledger could not be read" in str(_decide("a", 60).objection)
    assert configured.list_names(RESERVATIONS) == []


@pytest.mark.parametrize("garbage", [b"", b"{", b'{"usd": "x"}', b"[]"])
def test_a_reservation_that_cannot_be_read_holds_the_budget_until_it_would_have_expired(
    configured: Ledger, garbage: bytes
) -> None:
    path = configured.path(RESERVATIONS, f"{'0' * 32}.json")
    configured.put(path, garbage)
    assert "could not be read" in str(_decide("a", 60).objection)
    os.utime(path, (1, 1))
    assert _decide("a", 60).objection is None


def test_a_reservation_of_a_newer_format_holds_the_budget(configured: Ledger) -> None:
    assert _decide("a", 60).objection is None
    (name,) = configured.list_names(RESERVATIONS)
    path = configured.path(RESERVATIONS, name)
    newer = {**json.loads(configured.fetch([path])[path]), "format": 99}
    configured.put(path, json.dumps(newer).encode())
    assert "could not be read" in str(_decide("b", 60).objection)


amounts = st.floats(0.01, 100)


@given(st.lists(amounts, min_size=1, max_size=8), st.floats(0, 300))
def test_those_that_have_their_turn_fit_together_and_the_first_that_fits_is_among_them(
    costs: list[float], left: float
) -> None:
    held = [
        Reservation(
            key=f"{number:032}",
            installation="mine",
            dag_id="retrain",
            generation=0,
            attempt=1,
            usd=usd,
            made_at=T0 + timedelta(seconds=number // 2),
        )
        for number, usd in enumerate(costs)
    ]
    have_turn = [
        mine
        for mine in held
        if budget_terms._has_its_turn(mine, [other for other in held if other is not mine], left_usd=left)
    ]
    assert sum(mine.usd for mine in have_turn) <= left + 1e-9
    if first := next((mine for mine in held if mine.usd <= left), None):
        assert first in have_turn


# With real jobs ----------------------------------------------------------------------------------------


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    """What a test spends is in one month."""
    cloud.wait_for_a_month_with_a_day_left()
    return cloud


def _buyer(cloud: Cloud, ledger: Ledger, run_id: str, *, budget: float = 60.0) -> Training:
    training = Training(
        cloud, ledger, run_id=run_id, policy=ON_DEMAND_FIRST, price_of=lambda _region, _type: TEN
    )
    training.budget, training.runtime = Budget(usd=budget), RUNTIME
    return training


def _spending(ledger: Ledger, training: Training) -> MonthSpending:
    with ledger.read() as reader:
        return month_spending(
            reader,
            replace(training.identity, run_id="who asks"),
            (),
            now=training.jobs.now(),
            price_of=lambda _kind: 10.0,
            reserved=reservations(ledger),
        )


def test_of_six_trainings_that_start_together_one_runs_on_demand_and_five_wait_for_spot(
    cloud: Cloud, ledger: Ledger
) -> None:
    cloud.set_capacity(available=False)
    barrier = threading.Barrier(6)
    trainings = [_buyer(cloud, ledger, f"run {number}") for number in range(6)]

    def start(training: Training) -> Waiting:
        training.on_deciding = lambda: barrier.wait(60)
        step = training.step()
        assert isinstance(step, Waiting)
        return step

    with ThreadPoolExecutor(max_workers=6) as pool:
        steps = list(pool.map(start, trainings))
    assert sum(not step.job.is_spot for step in steps) == 1
    assert _spending(ledger, trainings[0]).usd <= 60


def test_what_was_reserved_is_what_its_job_counts_for_until_it_is_over(
    cloud: Cloud, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No past run says how long it takes, and it has hardly begun: it counts for what was decided on."""
    training = _buyer(cloud, ledger, "first")
    step = training.step()
    assert isinstance(step, Waiting)
    assert not step.job.is_spot
    later = datetime.now(UTC) + 10 * HELD_FOR
    for now in (datetime.now(UTC), later):
        monkeypatch.setattr(month_spending_module, "real_now", lambda now=now: now)
        spending = _spending(ledger, training)
        assert spending.running_usd + spending.reserved_usd == pytest.approx(40, rel=0.2)
    training.wait(step)
    training.finish()
    assert ledger.list_names(RESERVATIONS) == []
    spending = _spending(ledger, training)
    assert spending.running_usd == spending.reserved_usd == 0
    record = training.record()
    assert record is not None
    assert spending.billed_usd == pytest.approx(record.statement.billed_usd)


def test_a_job_that_could_not_be_noted_counts_for_as_long_as_it_runs(
    cloud: Cloud, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: Any, **_named: Any) -> None:
        raise PermissionError("no write access to notes")

    monkeypatch.setattr(Ledger, "note", refuse)
    training = _buyer(cloud, ledger, "first")
    step = training.step()
    assert isinstance(step, Waiting)
    later = datetime.now(UTC) + 10 * UNSEEN_FOR
    monkeypatch.setattr(month_spending_module, "real_now", lambda: later)
    assert _spending(ledger, training).running_usd >= 40


def test_a_task_that_ends_before_it_is_on_record_holds_nothing(cloud: Cloud, ledger: Ledger) -> None:
    """Bad input may be found after the decision, and before there is an intent."""
    training = _buyer(cloud, ledger, "first")
    driver, books = training.process()
    step = Step(purchase=PurchaseOption.ON_DEMAND)
    assert training._check_budget(driver, step) is not None
    assert len(reservations(ledger)) == 1
    books.end(driver.state, "what it asks for is above the Dag's caps")
    assert ledger.fresh_names() == []
    assert reservations(ledger) == []


def test_a_launch_that_is_refused_for_capacity_holds_nothing_for_the_attempt_after_it(
    cloud: Cloud, ledger: Ledger
) -> None:
    training = _buyer(cloud, ledger, "first")
    cloud.set_capacity(available=False)
    answer_with(training.jobs, "CreateTrainingJob", 400, "ResourceLimitExceeded", "no quota", times=1)
    step = training.step()
    assert isinstance(step, Waiting)
    assert step.job.is_spot
    spending = _spending(ledger, training)
    assert spending.usd == 0


# Creations that were refused ----------------------------------------------------------------------------

REFUSALS: list[tuple[int, str, type[SpotTrainingError]]] = [
    (400, "AccessDeniedException", RequestRefused),
    (403, "AccessDenied", RequestRefused),
    (400, "ExpiredTokenException", CredentialsExpired),
    (400, "ValidationException", RequestRefused),
]


@pytest.mark.parametrize(("status", "code", "error"), REFUSALS)
def test_five_runs_that_were_refused_and_have_no_job_cost_nothing(
    cloud: Cloud, ledger: Ledger, status: int, code: str, error: type[SpotTrainingError]
) -> None:
    for number in range(5):
        training = _buyer(cloud, ledger, f"run {number}", budget=1000)
        answer_with(training.jobs, "CreateTrainingJob", status, code, "you may not")
        with pytest.raises(error):
            training.step()
        record = training.record()
        assert record is not None
        assert (record.state, record.current_job) == (RecordState.FAILED, None)
        assert "you may not" in record.reason
    assert ledger.list_names(RESERVATIONS) == []
    assert _spending(ledger, training).usd == 0
    assert cloud.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


def test_a_run_that_was_refused_trains_on_its_next_try_and_is_on_record(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    answer_with(training.jobs, "CreateTrainingJob", 400, "AccessDeniedException", "not yet", times=1)
    with pytest.raises(RequestRefused):
        training.step()
    training.try_number = 2
    training.finish()
    record = training.record()
    assert record is not None
    assert (record.state, len(record.attempts)) == (RecordState.COMPLETED, 1)
    assert [decision.action for decision in record.decisions] == ["start", "give up", "finish"]
    assert training.warned == []


def test_a_request_that_botocore_refuses_closes_the_record(cloud: Cloud, ledger: Ledger) -> None:
    training = _buyer(cloud, ledger, "run", budget=1000)
    create = training.jobs._client.create_training_job
    training.jobs._client.create_training_job = lambda **request: create(**{**request, "RoleArn": 7})
    with pytest.raises(InvalidInput):
        training.step()
    record = training.record()
    assert record is not None
    assert (record.state, record.current_job) == (RecordState.FAILED, None)


def test_a_call_without_an_answer_may_have_made_a_job_and_counts_until_nobody_can_believe_it(
    cloud: Cloud, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = _buyer(cloud, ledger, "run", budget=1000)
    once = {"mode": "standard", "total_max_attempts": 1}
    training.jobs = TrainingJobs(cloud.client("sagemaker", retries=once))
    answer_with(training.jobs, "CreateTrainingJob", 500, "InternalFailure", "try again")
    with pytest.raises(ServiceFailed):
        training.step()
    record = training.record()
    assert record is not None
    assert record.state is RecordState.RUNNING
    assert _spending(ledger, training).usd == pytest.approx(40)
    later = datetime.now(UTC) + UNSEEN_FOR + timedelta(seconds=1)
    monkeypatch.setattr(month_spending_module, "real_now", lambda: later)
    assert _spending(ledger, training).usd == 0


def test_a_refusal_after_a_lost_reply_closes_nothing(cloud: Cloud, ledger: Ledger) -> None:
    """The first try of the call may have made the job: its reply is what was lost."""
    training = _buyer(cloud, ledger, "run", budget=1000)
    answer_with(training.jobs, "CreateTrainingJob", 500, "InternalFailure", "lost", times=1)
    answer_with(training.jobs, "CreateTrainingJob", 400, "ExpiredTokenException", "over", after=1)
    with pytest.raises(CredentialsExpired):
        training.step()
    assert training.store.get(STATE_KEY)["current"] is not None
    record = training.record()
    assert record is not None
    assert record.state is RecordState.RUNNING


def test_a_spot_job_that_was_not_seen_yet_counts_for_nothing(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger, price_of=lambda _region, _type: TEN)
    die_before_creating(training.jobs)
    with pytest.raises(Died):
        training.step()
    record = training.record()
    assert record is not None
    assert record.current_job is not None
    assert record.current_job.purchase is PurchaseOption.SPOT
    assert _spending(ledger, training).usd == 0


# Files that cannot be read ------------------------------------------------------------------------------


def test_a_torn_record_is_told_of_and_holds_nothing_back(configured: Ledger) -> None:
    configured.write(make_record(dag_id="retrain", installation="mine"))
    name = configured.write(make_record(run_id="torn"))
    path = Path(configured.path("fresh", str(name)))
    path.write_bytes(path.read_bytes()[:50])
    os.utime(path, (1, 1))
    assert _decide("a", 1000).objection is None
    assert "1 record that cannot be read not counted" in str(_decide("b", 1).objection)


@pytest.mark.parametrize(("month", "is_known"), [("this", False), ("last", False), ("long ago", True)])
def test_a_month_that_cannot_be_read_holds_on_demand_back_while_it_matters(
    configured: Ledger, month: str, is_known: bool
) -> None:
    began = {
        "this": T0,
        "last": T0.replace(day=1) - timedelta(days=1),
        "long ago": T0 - timedelta(days=200),
    }[month]
    configured.write(make_record(began_at=began))

    compact(configured, settled_after=timedelta(0))
    (path,) = Path(configured.root, "months").rglob("*.parquet")
    path.write_bytes(b"PAR1")
    objection = _decide("a", 1000, now=T0).objection
    assert (objection is None) is is_known
    if not is_known:
        assert f"the ledger's {path.relative_to(configured.root)} cannot be read" in str(objection)


def test_out_of_steps_leaves_no_reservation(cloud: Cloud, ledger: Ledger) -> None:
    cloud.set_capacity(available=False)
    training = _buyer(cloud, ledger, "run", budget=1000)
    training.policy = [{"spot": "ml.m5.xlarge", "max_wait": "1h"}, {"on_demand": "ml.m5.xlarge"}]
    answer_with(training.jobs, "CreateTrainingJob", 400, "ResourceLimitExceeded", "no quota", after=1)
    with pytest.raises(OutOfSteps):
        training.finish()
    assert ledger.list_names(RESERVATIONS) == []
