"""Trainings for tests: a task whose processes come and go, with and without a ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn, Protocol

from spot_training.domain.budget import Budget, BudgetCheck
from spot_training.domain.caps import Caps
from spot_training.domain.checkpoints_seen import CheckpointsToWatch, SeenCheckpoints
from spot_training.domain.deadline import Deadline, Runtime
from spot_training.domain.errors import SpotTrainingError
from spot_training.domain.ladder import Policy, Step
from spot_training.domain.lifecycle import JobSnapshot
from spot_training.domain.policy_specs import policy_from
from spot_training.domain.records import TrainingRecord
from spot_training.domain.savings import Attempt
from spot_training.domain.stop_reasons import StopNote, StopReason
from spot_training.domain.type_history import TypeHistory
from spot_training.ledger import Ledger
from spot_training.sagemaker.identity import RunIdentity
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sagemaker.request import TrainingPlan, cast_request, defaults_of
from spot_training.task.budget import check_budget
from spot_training.training.driver import Completed, TrainingDriver, Waiting
from spot_training.training.host import CheckpointOptions, NoRecorder, OnRecord
from spot_training.training.recorder import Bookkeeper, PriceOf
from spot_training.training.state import MemoryStore
from spot_training.watching.deadline_stop import follow_with_deadline
from spot_training.watching.scout_watch import ScoutWatch
from spot_training.watching.watcher import JobWatcher
from tests.cloud import HOUR, Cloud, make_config
from tests.records import PRICE

IDENTITY = RunIdentity(dag_id="retrain", run_id="scheduled__2026-03-01T00:00:00+00:00", task_id="train")
NOT_FOUND = ("ValidationException", "Requested resource not found.")
#: With no capacity the job of this request waits for as long as a test takes, on the cloud's quick clock.
PATIENT = make_config(StoppingCondition={"MaxRuntimeInSeconds": HOUR, "MaxWaitTimeInSeconds": 480 * HOUR})


def patient_config(**overrides: Any) -> dict[str, Any]:
    """A request whose job waits for capacity for as long as a test takes, on the cloud's quick clock."""
    stopping = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 20 * 86400}
    return make_config(**{"StoppingCondition": stopping, **overrides})


@dataclass(slots=True)
class MemoryRecorder(NoRecorder):
    """The driver's `Recorder`, for the length of a test: reasons of stops, and what a test puts on record."""

    on_record: OnRecord = field(default_factory=OnRecord)
    kept: dict[str, StopNote] = field(default_factory=dict)

    def known_jobs(self) -> OnRecord:
        return self.on_record

    def keep_stop(self, job_name: str, note: StopNote) -> None:
        self.kept[job_name] = note

    def why_stopped(self, job_name: str) -> StopNote | None:
        return self.kept.get(job_name)

    @property
    def reasons(self) -> dict[str, StopReason]:
        return {name: note.why for name, note in self.kept.items()}


@dataclass(slots=True, kw_only=True)
class FakeHost:
    """The driver's `Host`: a task, by what it answers."""

    make_plan: Callable[[RunIdentity], TrainingPlan]
    make_policy: Callable[[float | None], Policy] | None
    make_deadline: Callable[[datetime], Deadline] | None = None
    make_check: Callable[[Step], BudgetCheck | None] = lambda _step: None
    is_out_of_time: Callable[[], str | None] = lambda: None
    prices: dict[str, float] = field(default_factory=dict)
    objections: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    histories: Sequence[TypeHistory] = ()
    checkpoints: CheckpointOptions = field(default_factory=CheckpointOptions)
    make_look: Callable[[JobSnapshot, CheckpointsToWatch], SeenCheckpoints] = lambda _job, what: what.seen
    is_stop_wanted: bool = False
    stalls: list[Mapping[str, Any]] = field(default_factory=list)

    def last_look(self, job: JobSnapshot, what: CheckpointsToWatch) -> SeenCheckpoints:
        return self.make_look(job, what)

    def uploads_stalled(self, facts: Mapping[str, Any]) -> bool:
        self.stalls.append(facts)
        return self.is_stop_wanted

    @property
    def only_watches(self) -> bool:
        return self.make_policy is None

    def prepare(self) -> dict[str, Any]:
        return {}

    def plan(self, identity: RunIdentity) -> TrainingPlan:
        return self.make_plan(identity)

    def policy(self, seconds_left: float | None) -> Policy:
        assert self.make_policy is not None
        return self.make_policy(seconds_left)

    def deadline(self, now: Callable[[], datetime]) -> Deadline | None:
        return self.make_deadline(now()) if self.make_deadline else None

    def check_budget(self, step: Step) -> BudgetCheck | None:
        return self.make_check(step)

    def price_of(self, instance_type: str) -> float | None:
        return self.prices.get(instance_type)

    def asked_last(self, types: Sequence[str]) -> dict[str, str]:
        self.asked.append(tuple(types))
        return {name: why for name, why in self.objections.items() if name in types}

    def type_histories(self, types: Sequence[str]) -> list[TypeHistory]:
        return [each for each in self.histories if each.instance_type in types]

    def out_of_time(self) -> str | None:
        return self.is_out_of_time()

    def say(self, text: str) -> None:
        self.said.append(text)

    def job_over(self, job: JobSnapshot, attempt: Attempt) -> None: ...

    def pauses(self) -> None: ...

    def account(self) -> str | None:
        return None

    def installation(self) -> str:
        return "airflow"


def follow_step(jobs: TrainingJobs, step: Waiting) -> JobSnapshot:
    """Wait until the job is over, or its scouts have to be looked at. Returns the last of the job."""
    watcher = JobWatcher(lambda: jobs)
    last = step.job
    for report in follow_with_deadline(
        watcher,
        step.job.name,
        interval_seconds=0.1,
        deadline_stop=None,
        scouts=ScoutWatch(step.call, lambda: watcher.clock) if step.call else None,
        stop=lambda _job: False,
    ):
        if isinstance(report, JobSnapshot):
            last = report
    return last


class Task:
    """A task as Airflow would run it: its process may die and come back, its state store stays."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        identity: RunIdentity = IDENTITY,
        policy: object = "widen",
        config: dict[str, Any] | None = None,
        keep_checkpoints: bool = False,
        caps: dict[str, Any] | None = None,
    ) -> None:
        self.cloud = cloud
        self.identity = identity
        self.policy = policy
        self.config = config or make_config()
        self.keep_checkpoints = keep_checkpoints
        self.caps = caps
        self.store = MemoryStore()
        self.said: list[str] = []
        self.try_number = 1
        self.max_tries = 3
        self.clear_number: int | None = 0
        self.adopt: str | None = None
        self.out_of_time: str | None = None
        self.prices: dict[str, float] = {}
        self.objections: dict[str, str] = {}
        self.asked: list[tuple[str, ...]] = []
        self.recorder = MemoryRecorder()
        self.jobs: TrainingJobs = cloud.jobs()

    def driver(self) -> TrainingDriver:
        """A new process of the task."""
        request = cast_request(self.config)
        self.host = FakeHost(
            make_plan=lambda who: TrainingPlan.of(
                request,
                identity=who,
                name_prefix="model",
                caps=Caps.of(self.caps),
                keep_checkpoints=self.keep_checkpoints,
            ),
            make_policy=None
            if self.policy is None
            else lambda _left: policy_from(self.policy, defaults_of(request)),
            is_out_of_time=lambda: self.out_of_time,
            prices=self.prices,
            objections=self.objections,
            asked=self.asked,
            said=self.said,
        )
        return TrainingDriver(
            jobs=self.jobs,
            store=self.store,
            identity=self.identity,
            host=self.host,
            recorder=self.recorder,
        )

    def step(self) -> Waiting | Completed:
        return self.driver().proceed(
            try_number=self.try_number,
            max_tries=self.max_tries,
            clear_number=self.clear_number,
            adopt=self.adopt,
        )

    def clear(self, *, retries: int = 3) -> None:
        """A person clears the task, whose Dag says so many retries by now."""
        self.max_tries = self.try_number + retries
        self.try_number += 1
        self.clear_number = (self.clear_number or 0) + 1

    def retry(self) -> None:
        """Airflow tries again."""
        self.try_number += 1

    def stop_as_a_person(self, name: str) -> None:
        """As in AWS's console."""
        self.cloud.client("sagemaker").stop_training_job(TrainingJobName=name)

    def finish(self) -> Completed:
        """Every step in a process of its own, waiting in between."""
        while isinstance(step := self.step(), Waiting):
            self.wait(step)
        return step

    def wait(self, step: Waiting | Completed) -> None:
        assert isinstance(step, Waiting)
        follow_step(self.jobs, step)

    def created(self) -> list[str]:
        """The names of all jobs there are, oldest first."""
        page = self.cloud.client("sagemaker").list_training_jobs(SortBy="CreationTime", SortOrder="Ascending")
        return [summary["TrainingJobName"] for summary in page["TrainingJobSummaries"]]


class Died(BaseException):
    """The worker process is gone."""


class Mortal:
    """SageMaker as a process sees it that dies before, or just after, its n-th call."""

    def __init__(self, jobs: TrainingJobs, *, dies_at: int, is_answered: bool) -> None:
        self.jobs, self.left, self.is_answered = jobs, dies_at, is_answered

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.jobs, name)
        if name not in {"describe", "snapshot", "create_or_adopt", "stop", "tags", "stop_note"}:
            return member

        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.is_answered:
                raise Died
            answer = member(*args, **kwargs)
            if self.left == 0:
                raise Died
            return answer

        return call


class Stepping(Protocol):
    """A task whose every step is a process of its own."""

    jobs: TrainingJobs

    def step(self) -> Waiting | Completed: ...

    def wait(self, step: Waiting) -> None: ...


def finish_with_death(task: Stepping, mortal: Mortal) -> Completed:
    """Every step as a process of its own, one of which dies. What waits in between does not."""
    whole = task.jobs
    while True:
        task.jobs = mortal if mortal.left > 0 else whole  # type: ignore[assignment]
        try:
            step = task.step()
        except Died:
            continue
        task.jobs = whole
        if not isinstance(step, Waiting):
            return step
        task.wait(step)


def die(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise Died


def die_before_creating(jobs: TrainingJobs) -> None:
    """The worker process is gone on its way to CreateTrainingJob."""
    jobs.create_or_adopt = die  # type: ignore[method-assign]


def die_after_creating(jobs: TrainingJobs) -> None:
    """The worker process is gone before it sees the answer to CreateTrainingJob."""
    create = jobs.create_or_adopt

    def create_and_die(*args: Any, **kwargs: Any) -> NoReturn:
        create(*args, **kwargs)
        raise Died

    jobs.create_or_adopt = create_and_die  # type: ignore[method-assign]


def spot_step(max_wait: str) -> dict[str, str]:
    return {"spot": "ml.m5.xlarge", "max_wait": max_wait}


def lose_state_with_second_attempt_alive(cloud: Cloud, *, remembers: bool) -> tuple[Task, str]:
    cloud.set_capacity(available=False)
    task = Task(cloud, config=make_config(), policy=[spot_step("1h"), spot_step("20d")])
    task.wait(task.step())
    second = task.step()
    assert isinstance(second, Waiting)
    names = task.created()
    assert names[-1] == second.job.name
    cloud.client("sagemaker").delete_training_job(TrainingJobName=names[0])
    first = task.driver().attempts[0]
    task.store = MemoryStore()
    task.recorder.on_record = OnRecord(attempts=(first,), current_job=names[1]) if remembers else OnRecord()
    return task, second.job.name


class Training:
    """A task that trains on the local cloud and keeps books; every step is a process of its own."""

    def __init__(
        self,
        cloud: Cloud,
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
        self.is_test = False

    def process(self) -> tuple[TrainingDriver, Bookkeeper]:
        books = Bookkeeper(
            ledger=self.open_ledger,
            store=self.store,
            identity=self.identity,
            region=self.jobs.region,
            endpoint_url=self.jobs.endpoint_url,
            warn=self.warned.append,
            price_of=self.price_of,
            watches=self.adopt,
            is_test=self.is_test,
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
        return follow_step(self.jobs, step)

    def finish(self) -> Completed:
        while isinstance(step := self.step(), Waiting):
            self.wait(step)
        return step

    def record(self) -> TrainingRecord | None:
        _, books = self.process()
        with self.ledger.read() as reader:
            return reader.record(books.key)
