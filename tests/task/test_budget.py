"""What a month has cost and what on-demand would cost, read from the ledger; budgets on the local cloud."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.budget import Budget, BudgetCheck, MonthSpending
from spot_training.domain.deadline import Deadline, Runtime
from spot_training.domain.errors import BudgetSpent
from spot_training.domain.ladder import Step
from spot_training.domain.lifecycle import Ending
from spot_training.domain.policy_specs import policy_from
from spot_training.domain.records import CurrentJob, RecordState
from spot_training.domain.savings import Attempt, PurchaseOption
from spot_training.ledger import Ledger
from spot_training.sagemaker.identity import RunIdentity
from spot_training.sagemaker.request import TrainingPlan, cast_request, defaults_of
from spot_training.task import budget as budget_terms
from spot_training.task.budget import check_budget, month_spending, on_demand_cost
from spot_training.training.driver import Completed, TrainingDriver, Waiting
from spot_training.training.state import MemoryStore
from spot_training.watching.watcher import JobWatcher, follow
from tests.cloud import Cloud, make_config
from tests.records import T0, make_attempt, make_record
from tests.training.support import FakeHost

NOW = T0 + timedelta(days=1)
HOUR = 3600
FOUR_HOURS = Runtime(mean_seconds=4 * HOUR, high_seconds=4 * HOUR)
ME = RunIdentity(dag_id="retrain", run_id="now", task_id="train")
PRICES = {"ml.m5.xlarge": 0.23, "ml.p3.2xlarge": 3.825}


@pytest.fixture(autouse=True)
def configured(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    return ledger


def _spending(
    ledger: Ledger, *own: Attempt, identity: RunIdentity = ME, now: datetime = NOW
) -> MonthSpending:
    with ledger.read() as reader:
        return month_spending(reader, identity, own, now=now, price_of=PRICES.get)


def _job(number: int, **overrides: Any) -> Attempt:
    return make_attempt(
        **{"number": number, "job_name": f"job-{number}", "billable_seconds": HOUR, **overrides}
    )


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    """What a test spends is in one month."""
    cloud.wait_for_a_month_with_a_day_left()
    return cloud


def test_all_attempts_of_the_month_count_of_failed_trainings_too(configured: Ledger) -> None:
    configured.write(make_record(run_id="a", attempts=(_job(1, ending=Ending.OUT_OF_WAIT), _job(2))))
    failed = (_job(3, ending=Ending.ALGORITHM_ERROR, instance_count=2),)
    configured.write(make_record(run_id="b", attempts=failed, state=RecordState.FAILED))
    assert _spending(configured).billed_usd == pytest.approx(4 * 0.23)


def test_other_dags_other_installations_and_other_months_do_not_count(configured: Ledger) -> None:
    configured.write(make_record(dag_id="another"))
    configured.write(make_record(installation="staging"))
    before = datetime(2026, 2, 28, 23, tzinfo=UTC)
    configured.write(make_record(run_id="old", attempts=(_job(1, ended_at=before),)))
    assert _spending(configured).usd == 0
    assert _spending(configured, now=before).billed_usd == pytest.approx(0.23)


def test_a_job_that_two_tasks_watched_is_paid_once(configured: Ledger) -> None:
    configured.write(make_record(task_id="start", attempts=(_job(1),)))
    configured.write(make_record(task_id="watch", attempts=(_job(1), _job(2)), watches="job-1"))
    assert _spending(configured).billed_usd == pytest.approx(2 * 0.23)


def test_what_this_training_was_billed_counts_once_before_and_after_it_is_on_record(
    configured: Ledger,
) -> None:
    mine = {"run_id": ME.run_id, "task_id": ME.task_id}
    assert _spending(configured, _job(1)).billed_usd == pytest.approx(0.23)
    configured.write(make_record(**mine, attempts=(_job(1),), state=RecordState.RUNNING))
    assert _spending(configured, _job(1)).billed_usd == pytest.approx(0.23)


def test_what_the_own_scouts_were_billed_counts_before_they_are_on_record(configured: Ledger) -> None:
    plan = TrainingPlan.of(cast_request(make_config()), identity=ME, name_prefix="model")
    check = check_budget(
        Budget(usd=100),
        plan,
        Step(purchase=PurchaseOption.ON_DEMAND),
        attempts=(_job(1),),
        scouts=(_job(1, job_name="scout-1", billable_seconds=HOUR // 2, ending=Ending.SCOUT_DONE),),
        runtime=FOUR_HOURS,
        price_of=PRICES.get,
        now=NOW,
    )
    assert check.spending is not None
    assert check.spending.billed_usd == pytest.approx(1.5 * 0.23)


def test_what_a_person_cleared_stays_paid(configured: Ledger) -> None:
    mine = {"run_id": ME.run_id, "task_id": ME.task_id}
    configured.write(make_record(**mine, attempts=(_job(1),)))
    again = replace(ME, generation=1)
    assert _spending(configured, identity=again).billed_usd == pytest.approx(0.23)
    configured.write(
        make_record(
            **mine, version=2, generation=1, attempts=(), replaced_instance_seconds=HOUR, replaced_usd=0.23
        )
    )
    assert _spending(configured, identity=again).billed_usd == pytest.approx(0.23)


def _running(**job: Any) -> Any:
    facts = {"job_name": "live-1", "number": 1, "reason": "", "instance_type": "ml.m5.xlarge", **job}
    return make_record(
        run_id="live",
        attempts=(),
        state=RecordState.RUNNING,
        ended_at=None,
        began_at=NOW,
        written_at=datetime.now(UTC),
        current_job=CurrentJob(**facts),
    )


def test_a_spot_job_that_runs_counts_so_far_at_the_share_spot_was_billed(configured: Ledger) -> None:
    configured.write(make_record(attempts=(_job(1, training_seconds=4 * HOUR, billable_seconds=HOUR),)))
    configured.write(
        _running(purchase=PurchaseOption.SPOT, started_at=NOW - timedelta(hours=2), instance_count=3)
    )
    assert _spending(configured).running_usd == pytest.approx(2 * 3 * 0.25 * 0.23)


def test_an_on_demand_job_that_runs_counts_to_its_expected_end(configured: Ledger) -> None:
    configured.write(make_record(region="us-east-1"))
    learned = (7000 + 200) / HOUR * 0.23
    running = {"purchase": PurchaseOption.ON_DEMAND, "started_at": NOW - timedelta(hours=1)}
    configured.write(_running(**running))
    assert _spending(configured).running_usd == pytest.approx(learned)
    configured.write(replace(_running(**{**running, "started_at": NOW - timedelta(hours=5)}), version=2))
    assert _spending(configured).running_usd == pytest.approx(5 * 0.23)


def test_what_may_have_been_bought_counts_as_bought(configured: Ledger) -> None:
    configured.write(make_record(region="us-east-1"))
    configured.write(_running(instance_type=None))
    assert _spending(configured).running_usd == pytest.approx((7000 + 200) / HOUR * 0.23)


def test_jobs_without_a_price_are_told_of(configured: Ledger) -> None:
    configured.write(make_record(prices=(), attempts=(_job(1, instance_type="ml.unknown"),)))
    configured.write(_running(instance_type="ml.unknown", started_at=NOW - timedelta(hours=1)))
    spending = _spending(configured, _job(9, instance_type="ml.unknown"))
    assert (spending.usd, spending.unpriced) == (0, 3)


def test_a_ledger_that_cannot_be_read_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", "nonsense://nowhere")
    check = _check(Budget(usd=5))
    assert check.spending is None
    assert "the ledger could not be read" in str(check.objection)


# What on-demand would cost -----------------------------------------------------------------------------


def _plan(**config: Any) -> TrainingPlan:
    return TrainingPlan.of(cast_request(make_config(**config)), identity=ME, name_prefix="model")


def _check(budget: Budget) -> BudgetCheck:
    step = Step(purchase=PurchaseOption.ON_DEMAND)
    return check_budget(budget, _plan(), step, attempts=(), runtime=None, price_of=PRICES.get, now=NOW)


def _cost(
    plan: TrainingPlan, *types: str, attempts: tuple[Attempt, ...] = (), hours: float | None = 4
) -> Any:
    runtime = None if hours is None else Runtime(mean_seconds=hours * HOUR, high_seconds=hours * HOUR)
    return on_demand_cost(plan, types, attempts=attempts, runtime=runtime, now=NOW, price_of=PRICES.get)


def test_on_demand_costs_the_work_left_and_a_launch() -> None:
    cost = _cost(_plan())
    assert (cost.seconds, cost.usd_per_hour, cost.instances) == (4 * HOUR + 300, 0.23, "1 x ml.m5.xlarge")
    carried = _job(1, work_seconds=2 * HOUR + 600)
    assert _cost(_plan(), attempts=(carried,)).seconds == 2 * HOUR + 300
    no_checkpoints = replace(_plan(), checkpoint_uri=None)
    assert _cost(no_checkpoints, attempts=(carried,)).seconds == 4 * HOUR + 300


def test_without_a_word_on_it_past_runs_or_the_longest_run_say_how_long(configured: Ledger) -> None:
    assert _cost(_plan(), hours=None).seconds == HOUR + 300
    assert "no past run" in _cost(_plan(), hours=None).basis
    configured.write(make_record(region="us-east-1"))
    cost = _cost(_plan(), hours=None)
    assert cost.seconds == 7000 + 200
    assert cost.basis == "learned from 1 past run of model on ml.m5.xlarge"


def test_of_several_types_the_dearest_counts_and_groups_add_up() -> None:
    assert _cost(_plan(), "ml.m5.xlarge", "ml.p3.2xlarge").usd_per_hour == 3.825
    assert _cost(_plan(), "ml.m5.xlarge", "ml.unknown").usd_per_hour is None
    groups = [
        {"InstanceGroupName": "a", "InstanceType": "ml.m5.xlarge", "InstanceCount": 2},
        {"InstanceGroupName": "b", "InstanceType": "ml.p3.2xlarge", "InstanceCount": 1},
    ]
    cost = _cost(_plan(ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 10}))
    assert cost.usd_per_hour == pytest.approx(2 * 0.23 + 3.825)
    assert cost.instances == "2 x ml.m5.xlarge and 1 x ml.p3.2xlarge"


# On the local cloud --------------------------------------------------------------------------------------


class Task:
    """A task with a budget; every step is a process of its own."""

    def __init__(
        self, cloud: Cloud, *, budget: Budget, policy: object = "widen", deadline: bool = False
    ) -> None:
        self.jobs = cloud.jobs()
        self.store = MemoryStore()
        self.said: list[str] = []
        self.budget = budget
        self.policy = policy
        self.deadline = deadline
        self.hours = 30.0

    def step(self) -> Waiting | Completed:
        request = cast_request(make_config())
        plan = TrainingPlan.of(request, identity=ME, name_prefix="model")

        def in_some_hours(now: datetime) -> Deadline:
            return Deadline(at=now + timedelta(hours=self.hours), submitted_at=now, runtime=FOUR_HOURS)

        driver = TrainingDriver(
            jobs=self.jobs,
            store=self.store,
            identity=ME,
            host=FakeHost(
                make_plan=lambda _who: plan,
                make_policy=lambda _left: policy_from(self.policy, defaults_of(request)),
                make_deadline=in_some_hours if self.deadline else None,
                make_check=lambda step: check_budget(
                    self.budget,
                    plan,
                    step,
                    attempts=driver.attempts,
                    runtime=None,
                    price_of=PRICES.get,
                    now=self.jobs.now(),
                ),
                said=self.said,
            ),
        )
        return driver.proceed(try_number=1, max_tries=0)

    def wait(self, step: Waiting) -> None:
        for _ in follow(JobWatcher(lambda: self.jobs), step.job.name, interval_seconds=0.1):
            pass


def test_a_training_above_the_budget_waits_for_spot_until_it_comes(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud, budget=Budget(usd=0.1), policy={"name": "widen", "spot_attempts": 1})
    for _ in range(2):
        step = task.step()
        assert isinstance(step, Waiting)
        assert step.job.is_spot
        task.wait(step)
    cloud.set_capacity(available=True)
    while isinstance(step := task.step(), Waiting):
        task.wait(step)
    assert {a.purchase for a in step.attempts} == {PurchaseOption.SPOT}
    assert step.attempts[-1].ending is Ending.COMPLETED
    assert any("its budget is $0.10" in line and "waiting for spot" in line for line in task.said)


def test_a_training_within_the_budget_goes_on_demand(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    task = Task(cloud, budget=Budget(usd=5), policy={"name": "widen", "spot_attempts": 1})
    while isinstance(step := task.step(), Waiting):
        task.wait(step)
    assert [str(a.purchase) for a in step.attempts] == ["spot", "on-demand"]


@pytest.mark.parametrize("deadline_wins", [True, False])
def test_nothing_stops_spot_for_a_deadline_that_the_budget_wins_over(
    cloud: Cloud, *, deadline_wins: bool
) -> None:
    cloud.set_capacity(available=False)
    budget = Budget(usd=0.1, deadline_wins=deadline_wins)
    step = Task(cloud, budget=budget, deadline=True).step()
    assert isinstance(step, Waiting)
    assert (step.guard is not None) is deadline_wins


@pytest.mark.parametrize(("on_demand", "is_guarded"), [("ml.m5.xlarge", True), ("ml.p3.2xlarge", False)])
def test_what_counts_is_the_price_of_the_instances_that_on_demand_would_have(
    cloud: Cloud, on_demand: str, *, is_guarded: bool
) -> None:
    cloud.set_capacity(available=False)
    policy = [{"spot": "ml.m5.xlarge", "max_wait": "20h"}, {"on_demand": on_demand}]
    step = Task(cloud, budget=Budget(usd=1), policy=policy, deadline=True).step()
    assert isinstance(step, Waiting)
    assert (step.guard is not None) is is_guarded


def test_a_month_that_cannot_be_read_now_leaves_the_deadline_its_guard(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be read when on-demand has to start. If that is past, nothing else may be bought."""

    def gone() -> Ledger:
        raise OSError("the ledger is away")

    cloud.set_capacity(available=False)
    monkeypatch.setattr(Ledger, "configured", gone)
    step = Task(cloud, budget=Budget(usd=5), deadline=True).step()
    assert isinstance(step, Waiting)
    assert step.guard is not None
    late = Task(cloud, budget=Budget(usd=5), deadline=True)
    late.hours = 4.1
    step = late.step()
    assert isinstance(step, Waiting)
    assert step.job.is_spot
    assert step.guard is None


def test_on_demand_alone_above_the_budget_creates_no_job(cloud: Cloud) -> None:
    with pytest.raises(
        BudgetSpent, match=r"budget is 0\.1: on-demand would take .* no spot step to wait with"
    ):
        Task(cloud, budget=Budget(usd=0.1), policy="on_demand").step()
    assert cloud.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


# What a task says ----------------------------------------------------------------------------------------


class _Operator:
    def __init__(self, budget: object) -> None:
        self.budget = budget


def test_a_task_without_a_budget_has_the_installations(monkeypatch: pytest.MonkeyPatch) -> None:
    assert budget_terms.budget_of(_Operator(None)) is None
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__BUDGET", "200")
    assert budget_terms.budget_of(_Operator("")) == Budget(usd=200)
    assert budget_terms.budget_of(_Operator("50")) == Budget(usd=50)
    assert budget_terms.budget_of(_Operator("unlimited")) is None
    assert budget_terms.budget_of(object()) is None
