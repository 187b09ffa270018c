"""A ledger in a folder, the local cloud, and trainings that keep books as a task does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.budget import Budget, BudgetCheck
from spot_training.domain.deadline import Runtime
from spot_training.domain.errors import SpotTrainingError
from spot_training.domain.ladder import Step
from spot_training.domain.lifecycle import Ending, JobSnapshot, SecondaryStatus, Transition
from spot_training.domain.policy_specs import policy_from
from spot_training.domain.records import DecisionMade, Price, RecordState, TrainingRecord
from spot_training.domain.savings import Attempt, PurchaseOption
from spot_training.ledger import Ledger
from spot_training.sagemaker.identity import RunIdentity
from spot_training.sagemaker.request import TrainingPlan, cast_request, defaults_of
from spot_training.task.budget import check_budget
from spot_training.training.driver import Completed, TrainingDriver, Waiting
from spot_training.training.recorder import Bookkeeper, PriceOf
from spot_training.training.state import MemoryStore
from spot_training.watching.watcher import JobWatcher, follow
from tests.aws.conftest import Cloud, FakeHost, cloud, running_cloud  # noqa: F401 - fixtures
from tests.aws.test_driver import _config

T0 = datetime(2026, 3, 2, 6, tzinfo=UTC)
PRICE = Price(instance_type="ml.m5.xlarge", usd_per_hour=0.23, as_of=T0, source="a test")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing reads or writes the ledger of this machine's own Airflow."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    return tmp_path


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.at(tmp_path / "ledger")


def make_attempt(**overrides: Any) -> Attempt:
    defaults: dict[str, Any] = {
        "number": 1,
        "step": 0,
        "job_name": "model-0123456789ab-1",
        "purchase": PurchaseOption.SPOT,
        "reason": "first of 3 steps",
        "ending": Ending.COMPLETED,
        "created_at": T0,
        "started_at": T0 + timedelta(hours=1),
        "ended_at": T0 + timedelta(hours=3),
        "instance_type": "ml.m5.xlarge",
        "wait_seconds": 3600,
        "training_seconds": 7200,
        "billable_seconds": 2160,
        "work_seconds": 7000,
        "launch_seconds": 200,
        "has_checkpoints": True,
        "transitions": (
            Transition(status=SecondaryStatus.STARTING, started_at=T0, ended_at=T0 + timedelta(hours=1)),
            Transition(
                status=SecondaryStatus.TRAINING,
                started_at=T0 + timedelta(hours=1),
                ended_at=T0 + timedelta(hours=3),
            ),
        ),
    }
    return Attempt(**{**defaults, **overrides})


def make_record(**overrides: Any) -> TrainingRecord:
    defaults: dict[str, Any] = {
        "dag_id": "retrain",
        "run_id": "scheduled__2026-03-01",
        "task_id": "train",
        "version": 1,
        "state": RecordState.COMPLETED,
        "model": "model",
        "team": "ads",
        "tags": {"team": "ads", "cost-centre": "7"},
        "region": "us-east-1",
        "instance_type": "ml.m5.xlarge",
        "began_at": T0,
        "ended_at": T0 + timedelta(hours=3),
        "attempts": (make_attempt(),),
        "decisions": (DecisionMade(decided_at=T0, action="start", reason="first of 3 steps", attempt=1),),
        "prices": (PRICE,),
        "written_at": T0 + timedelta(hours=3),
    }
    return TrainingRecord(**{**defaults, **overrides})


def patient_config(**overrides: Any) -> dict[str, Any]:
    """A request whose job waits for capacity for as long as a test takes, on the cloud's quick clock."""
    stopping = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 20 * 86400}
    return _config(**{"StoppingCondition": stopping, **overrides})


class Training:
    """A task that trains on the local cloud and keeps books; every step is a process of its own."""

    def __init__(
        self,
        cloud: Cloud,  # noqa: F811
        ledger: Ledger,
        *,
        policy: object = "widen",
        run_id: str = "run 1",
        dag_id: str = "retrain",
        config: dict[str, Any] | None = None,
        price_of: PriceOf = lambda _region, _type: PRICE,
        open_ledger: Callable[[], Ledger] | None = None,
    ) -> None:
        self.cloud = cloud
        self.jobs = cloud.jobs()
        self.ledger = ledger
        self.store = MemoryStore()
        self.policy = policy
        self.identity = RunIdentity(dag_id=dag_id, run_id=run_id, task_id="train")
        self.config = config or patient_config()
        self.price_of = price_of
        self.open_ledger = open_ledger or (lambda: ledger)
        self.warned: list[str] = []
        self.budget: Budget | None = None
        self.runtime: Runtime | None = None
        #: Told when on-demand is about to be decided on.
        self.on_deciding: Callable[[], object] = lambda: None
        self.try_number, self.max_tries = 1, 3
        self.adopt: str | None = None
        self.keep_checkpoints = False

    def process(self) -> tuple[TrainingDriver, Bookkeeper]:
        books = Bookkeeper(
            ledger=self.open_ledger,
            store=self.store,
            identity=self.identity,
            region=self.jobs.region,
            warn=self.warned.append,
            price_of=self.price_of,
            watches=self.adopt,
        )
        request = cast_request(self.config)
        driver = TrainingDriver(
            jobs=self.jobs,
            store=self.store,
            identity=self.identity,
            host=FakeHost(
                make_plan=lambda who: TrainingPlan.of(
                    request,
                    identity=who,
                    name_prefix="Flight Delays",
                    keep_checkpoints=self.keep_checkpoints,
                ),
                make_policy=lambda *_left: policy_from(self.policy, defaults_of(request)),
                make_check=lambda step: self._check_budget(driver, step),
            ),
            recorder=books,
        )
        return driver, books

    def _check_budget(self, driver: TrainingDriver, step: Step) -> BudgetCheck | None:
        """As `TrainingTask` does."""
        if self.budget is None:
            return None
        self.on_deciding()
        return check_budget(
            self.budget,
            driver.plan(),
            step,
            attempts=driver.attempts,
            runtime=self.runtime,
            price_of=lambda kind: price.usd_per_hour if (price := self.price_of("us-east-1", kind)) else None,
            now=self.jobs.now(),
            is_to_reserve=driver.state.current is None,
        )

    def step(self) -> Waiting | Completed:
        driver, books = self.process()
        try:
            step = driver.proceed(try_number=self.try_number, max_tries=self.max_tries, adopt=self.adopt)
        except SpotTrainingError as error:
            books.end(driver.state, str(error))
            raise
        if isinstance(step, Waiting):
            books.saw(step.job)
        else:
            books.end(driver.state, "completed")
        return step

    def begin(self, *, is_given_capacity: bool = True) -> Waiting:
        """The first step, and the job is sure to be alive after it: capacity comes only then, if at all."""
        self.cloud.set_capacity(available=False)
        step = self.step()
        assert isinstance(step, Waiting)
        if is_given_capacity:
            self.cloud.set_capacity(available=True)
        return step

    def wait(self, step: Waiting) -> JobSnapshot:
        last = step.job
        for report in follow(JobWatcher(lambda: self.jobs), step.job.name, interval_seconds=0.1):
            if isinstance(report, JobSnapshot):
                last = report
        return last

    def finish(self) -> Completed:
        while isinstance(step := self.step(), Waiting):
            self.wait(step)
        return step

    def record(self) -> TrainingRecord | None:
        _, books = self.process()
        with self.ledger.read() as reader:
            return reader.record(books.key)
