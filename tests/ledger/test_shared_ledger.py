"""Two Airflows, one ledger: whatever reads it keeps to its own installation, and learning to its own Dag."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spot_training.advise.history import recent_intervals
from spot_training.domain.budget import Budget, MonthSpending
from spot_training.domain.deadline import Deadline
from spot_training.domain.ladder import Step
from spot_training.domain.records import CurrentJob, RecordState
from spot_training.domain.savings import PurchaseOption, Rate
from spot_training.ledger import Ledger
from spot_training.report import report_of
from spot_training.report.sending import Message
from spot_training.sagemaker.identity import RunIdentity
from spot_training.sagemaker.request import TrainingPlan, cast_request
from spot_training.task.budget import check_budget, month_spending, on_demand_cost
from spot_training.task.deadline import DeadlineTerms
from spot_training.task.past_runs import Teachers, learn
from tests.cloud import make_config
from tests.records import T0, make_attempt, make_record

ROOT = Path(__file__).resolve().parents[2]
NOW = T0 + timedelta(days=1)
HOUR = 3600
MINE, THEIRS = "production", "staging"
ME = RunIdentity(dag_id="retrain", run_id="now", task_id="train", installation=MINE)
PRICES = {"ml.m5.xlarge": 0.23}


@pytest.fixture(autouse=True)
def shared(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger of both. This process is production's."""
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", MINE)
    return ledger


def _train(ledger: Ledger, installation: str, *, runs: int = 1, hours: float = 2, **record: Any) -> None:
    """Completed trainings of the same Dag, runs, task and model, of so many hours each."""
    for run in range(runs):
        seconds = round(hours * HOUR)
        done = make_attempt(
            job_name=f"model-{installation}-{run}",
            work_seconds=seconds,
            training_seconds=seconds + 200,
            billable_seconds=record.pop("billable_seconds", seconds + 200),
        )
        facts = {"run_id": f"run-{run}", "began_at": T0 + timedelta(minutes=run), "region": "us-east-1"}
        ledger.write(make_record(**{"installation": installation, "attempts": (done,), **facts, **record}))


def _plan(identity: RunIdentity = ME) -> TrainingPlan:
    return TrainingPlan.of(cast_request(make_config()), identity=identity, name_prefix="model")


def _deadline(**terms: Any) -> Deadline:
    return DeadlineTerms(**{"deadline": "5d", **terms}).settle(
        _plan(), now=NOW, run_began_at=NOW, check_interval=30
    )


def _spending(ledger: Ledger, identity: RunIdentity = ME, **more: Any) -> MonthSpending:
    with ledger.read() as reader:
        return month_spending(reader, identity, (), now=NOW, price_of=PRICES.get, **more)


# Learned run times -------------------------------------------------------------------------------------


def test_short_runs_of_another_installation_teach_a_deadlines_guard_nothing(
    shared: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They had the same Dag, task and model, and a guard that waits for too long misses its deadline."""
    monkeypatch.setattr("spot_training.task.past_runs.datetime", SimpleNamespace(now=lambda _zone: NOW))
    _train(shared, MINE, runs=3, hours=11)
    alone = _deadline()
    _train(shared, THEIRS, runs=100, hours=0.5)
    assert _deadline() == alone
    assert alone.runtime.mean_seconds == 11 * HOUR
    assert alone.runtime.basis == "learned from 3 past runs of model on ml.m5.xlarge"


def test_another_dag_with_a_model_of_the_same_name_teaches_only_if_the_author_says_so(
    shared: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot_training.task.past_runs.datetime", SimpleNamespace(now=lambda _zone: NOW))
    _train(shared, MINE, hours=11)
    _train(shared, MINE, hours=1, dag_id="try_out")
    _train(shared, THEIRS, hours=1, dag_id="try_out", run_id="another")
    assert _deadline().runtime.mean_seconds == 11 * HOUR
    both = _deadline(expected_runtime={"like": "try_out"})
    assert both.runtime.mean_seconds == 6 * HOUR
    assert both.runtime.basis == "learned from 2 past runs of model in retrain and try_out on ml.m5.xlarge"


def test_records_of_before_this_airflow_had_its_own_name_teach_on(
    shared: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", f"{MINE}, airflow")
    _train(shared, "airflow", hours=11)
    _train(shared, THEIRS, hours=1)
    learned = learn(model="model", instance_type="ml.m5.xlarge", teachers=Teachers.of(ME), now=NOW)
    assert learned is not None
    assert learned.runtime.mean_seconds == 11 * HOUR


def test_the_market_is_what_this_airflows_jobs_saw(shared: Ledger) -> None:
    where: dict[str, Any] = {"region": "us-east-1", "instance_type": "ml.m5.xlarge", "now": NOW}
    _train(shared, THEIRS)
    assert not recent_intervals(**where, installations=[MINE])
    _train(shared, MINE)
    assert list(recent_intervals(**where, installations=[MINE])) == [(False, 3600.0), (True, 7200.0)]


# Money -------------------------------------------------------------------------------------------------


def test_the_months_budget_counts_this_airflows_dag_alone(shared: Ledger) -> None:
    _train(shared, THEIRS, runs=3)
    shared.write(make_record(installation=THEIRS, run_id="cleared", attempts=(), replaced_usd=7.0))
    assert _spending(shared).usd == 0
    _train(shared, MINE, billable_seconds=HOUR)
    assert _spending(shared).usd == pytest.approx(0.23)
    check = check_budget(
        Budget(usd=5),
        _plan(),
        Step(purchase=PurchaseOption.ON_DEMAND),
        attempts=(),
        runtime=None,
        price_of=PRICES.get,
        now=NOW,
    )
    assert check.spending is not None
    assert check.spending.usd == pytest.approx(0.23)


def test_the_month_in_which_an_airflow_got_its_own_name_is_counted_whole(
    shared: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the trainings of before that go on, too."""
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", f"{MINE}, airflow")
    _train(shared, "airflow", billable_seconds=HOUR)
    _train(shared, MINE, billable_seconds=HOUR)
    for identity in (ME, replace(ME, installation="airflow")):
        check = check_budget(
            Budget(usd=5),
            _plan(identity),
            Step(purchase=PurchaseOption.ON_DEMAND),
            attempts=(),
            runtime=None,
            price_of=PRICES.get,
            now=NOW,
        )
        assert check.spending is not None
        assert check.spending.usd == pytest.approx(2 * 0.23)


def _under_way(installation: str, purchase: PurchaseOption) -> Any:
    job = CurrentJob(
        job_name=f"live-{installation}",
        number=1,
        reason="",
        instance_type="ml.m5.xlarge",
        purchase=purchase,
        started_at=NOW - timedelta(hours=1),
    )
    facts: dict[str, Any] = {"attempts": (), "ended_at": None, "began_at": NOW}
    return make_record(
        installation=installation, run_id="live", state=RecordState.RUNNING, current_job=job, **facts
    )


def test_what_runs_is_reckoned_with_this_airflows_spot_share_and_run_times(shared: Ledger) -> None:
    _train(shared, MINE, hours=4, billable_seconds=HOUR)
    share = HOUR / (4 * HOUR + 200)
    _train(shared, THEIRS, runs=50, hours=1)
    shared.write(_under_way(THEIRS, PurchaseOption.ON_DEMAND))
    shared.write(_under_way(MINE, PurchaseOption.SPOT))
    assert _spending(shared).running_usd == pytest.approx(share * 0.23, abs=1e-4)
    shared.write(replace(_under_way(MINE, PurchaseOption.ON_DEMAND), version=2))
    assert _spending(shared).running_usd == pytest.approx((4 * HOUR + 200) / HOUR * 0.23)


def test_what_on_demand_would_cost_is_reckoned_from_this_airflows_runs(shared: Ledger) -> None:
    _train(shared, MINE, hours=4)
    _train(shared, THEIRS, runs=50, hours=1)
    _train(shared, MINE, runs=50, hours=1, dag_id="try_out")
    cost = on_demand_cost(_plan(), attempts=(), runtime=None, now=NOW, price_of=PRICES.get)
    assert cost.seconds == 4 * HOUR + 200
    discounted = on_demand_cost(
        _plan(), attempts=(), runtime=None, now=NOW, price_of=lambda kind: Rate(PRICES[kind], 25)
    )
    assert discounted.usd_per_hour == pytest.approx(0.75 * (cost.usd_per_hour or 0)), "a Savings Plan"
    like = on_demand_cost(_plan(), attempts=(), runtime=None, now=NOW, price_of=PRICES.get, like=["try_out"])
    assert like.seconds < 2 * HOUR


# The report --------------------------------------------------------------------------------------------


def _report_dag() -> Any:
    spec = spec_from_file_location("spot_savings_report_dag", ROOT / "dags" / "spot_savings_report.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_report_has_a_net_headline_the_jobs_and_a_link_in_its_xcom(
    shared: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", MINE)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com")
    _train(shared, MINE)
    module = _report_dag()
    form = {name: param.value for name, param in module.PARAMS.items()}
    run = SimpleNamespace(run_type="manual", run_after=datetime.now(UTC))
    context = {"params": {**form, "days": 3660}, "dag_run": run}
    monkeypatch.setattr(module, "get_current_context", lambda: context)
    report = module.spot_savings_report().get_task("report").python_callable
    summary = report(f"file://{tmp_path / 'reports'}")
    assert summary["net_saved_usd"] == summary["saved_usd"] - summary["spot_failed_usd"]
    assert summary["headline"] == summary["sentences"][0].split(",")[0].rstrip(".")
    assert Path(summary["jobs_csv"].removeprefix("file://")).read_text().startswith("job_name,job_arn,")
    message = Message.of(json.loads(json.dumps(summary)))
    assert message.subject.startswith(f"{summary['headline']}, since ")
    assert message.links["These trainings in Airflow"].startswith(
        "https://airflow.example.com/spot-training/?"
    )


@pytest.mark.parametrize(("is_asked", "trainings"), [(False, 2), (True, 5)])
def test_a_report_spans_installations_only_when_it_is_asked_to(
    shared: Ledger, monkeypatch: pytest.MonkeyPatch, is_asked: bool, trainings: int
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", f"{MINE}, older")
    _train(shared, MINE)
    _train(shared, "older")
    _train(shared, THEIRS, runs=3)
    module = _report_dag()
    form = {name: param.value for name, param in module.PARAMS.items()}
    assert form["all_installations"] is False
    params = {**form, "all_installations": is_asked, "days": 3660}
    run = SimpleNamespace(run_type="manual", run_after=datetime.now(UTC))
    selection = module._selection(params, run)
    with shared.read() as reader:
        assert report_of(reader, selection, title="", made_at=NOW).totals.trainings == trainings
