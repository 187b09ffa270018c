"""Trainings on real Airflow and the local SageMaker, and what happened to them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from include.local_stack import LocalStack, best_database
from include.local_stack.api import FINISHED_RUN
from local_sagemaker import ServerHandle
from spot_training.domain.attempts import Attempt, PurchaseOption
from spot_training.domain.lifecycle import SecondaryStatus
from spot_training.domain.records import RecordState, TrainingRecord
from spot_training.ledger import Ledger, Selection

from .drawn import Training, params_of, write_market

ROOT = Path(__file__).resolve().parents[2]
DAG = "deadlines"
#: Tasks on workers at once: more would only wait for each other's CPU.
PARALLELISM = 6
#: Per real second. In the time of the trainings, this is fewer than the default.
CALLS_PER_SECOND = 50
#: Who is earlier is queued earlier.
FIRST_DATE = datetime(2026, 1, 1, tzinfo=UTC)
AWAKE = ("scheduled", "queued", "running", "restarting", "up_for_retry")
#: Its job was created.
SUBMITTED = ("deferred", "success", "failed")
LOOK_SECONDS = 0.3
#: A task that has just been deferred is watched a moment later.
SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a training went. Hours, from submission; `cost` is in hours of on-demand."""

    cost: float
    spot: float
    on_demand: float
    scouts: int
    scout_cost: float
    launches: int
    finish: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What happened to one training in one mode, as it is kept. `origin` is when the market began."""

    mode: str
    number: int
    origin: datetime
    submitted_at: datetime
    deadline_at: datetime
    ended_at: datetime
    live: Course
    attempts: list[dict[str, Any]] = field(default_factory=list)
    scouts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_missed(self) -> bool:
        return self.ended_at > self.deadline_at

    def to_json(self) -> dict[str, Any]:
        moments = {name: getattr(self, name).isoformat() for name in MOMENTS}
        return {**asdict(self), **moments}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Happened:
        moments = {name: datetime.fromisoformat(data[name]) for name in MOMENTS}
        return cls(**{**data, **moments, "live": Course(**data["live"])})


MOMENTS = ("origin", "submitted_at", "deadline_at", "ended_at")


class Governor:
    """Runs the clock slowly while a task is awake, and at 1 until all trainings are submitted.

    It always announces the full speed: triggers wait for moments at that speed, and then look again.
    """

    def __init__(self, stack: LocalStack, *, trainings: int, speed: float, awake_speed: float) -> None:
        self._stack = stack
        self._trainings = trainings
        self._sagemaker = ServerHandle(url=stack.sagemaker_url, pid=0)
        self._speeds = (speed, awake_speed)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._govern, daemon=True)
        self.awake_seconds = 0.0
        self.looks = self.faults = 0

    def __enter__(self) -> Governor:
        self._set(1.0)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _govern(self) -> None:
        current, awake_at, looked_at = 1.0, time.monotonic(), time.monotonic()
        is_submitted = False
        while not self._is_over.wait(LOOK_SECONDS):
            now = time.monotonic()
            try:
                awake = self._count(AWAKE)
                if not is_submitted:
                    is_submitted = self._count(SUBMITTED) >= self._trainings
            except Exception as error:  # noqa: BLE001 - Airflow is busy: then time must not run
                self.faults += 1
                tell(f"tasks could not be counted: {error}")
                awake = 1
            self.looks += 1
            if awake:
                self.awake_seconds += now - looked_at
                awake_at = now
            looked_at = now
            is_awake = now - awake_at < SETTLE_SECONDS
            wanted = self._speeds[1] if is_awake else self._speeds[0]
            if is_submitted and wanted != current:
                self._set(wanted)
                current = wanted

    def _set(self, speed: float) -> None:
        self._sagemaker.control("PUT", "clock", speed=speed, announced=self._speeds[0])

    def _count(self, states: Sequence[str]) -> int:
        params = {"state": list(states), "limit": 1}
        path = f"dags/{DAG}/dagRuns/~/taskInstances"
        return int(self._stack.api.request("GET", path, params=params)["total_entries"])


def run_live(
    asked: Sequence[tuple[Training, str]], *, speed: float, awake_speed: float, state: Path
) -> Iterator[Happened]:
    """What happened, as soon as a training is over. Failed ones give nothing."""
    trainings = list({training.number: training for training, _ in asked}.values())
    with (
        best_database() as database,
        LocalStack(
            ROOT,
            state / "stack",
            speed=1,
            market=write_market(state / "market.yaml", trainings),
            dags_folder=ROOT / "benchmarks" / "dags",
            env={**database, "AIRFLOW__SPOT_TRAINING__CALLS_PER_SECOND": str(CALLS_PER_SECOND)},
            parallelism=PARALLELISM,
        ) as stack,
    ):
        tell(f"metadata database: {'PostgreSQL' if database else 'SQLite'}")
        sagemaker = ServerHandle(url=stack.sagemaker_url, pid=0)
        stack.api.wait_for_dag(DAG)
        for number, (training, mode) in enumerate(asked):
            date = FIRST_DATE + timedelta(minutes=number)
            stack.api.trigger(DAG, params_of(training, mode), run_id=training.run_id(mode), logical_date=date)
        sagemaker.reset()
        origin = datetime.fromisoformat(sagemaker.control("GET", "clock")["now"])
        stack.boto3_client("s3").create_bucket(Bucket="deadlines")
        stack.api.unpause(DAG)
        began = time.monotonic()
        with Governor(stack, trainings=len(asked), speed=speed, awake_speed=awake_speed) as governor:
            yield from _finished(stack, asked, origin, began)
        seconds = time.monotonic() - began
        now = datetime.fromisoformat(sagemaker.control("GET", "clock")["now"])
        tell(
            f"{len(asked)} trainings took {seconds / 60:.0f} real minutes and "
            f"{(now - origin).total_seconds() / 3600:.0f} simulated hours; "
            f"a task was awake for {governor.awake_seconds / seconds:.0%} of it"
        )


def _finished(
    stack: LocalStack, asked: Sequence[tuple[Training, str]], origin: datetime, began: float
) -> Iterator[Happened]:
    left = {training.run_id(mode): (training, mode) for training, mode in asked}
    told_at = began
    while left:
        time.sleep(5)
        over = {run_id: state for run_id, state in states_of(stack).items() if run_id in left}
        records = read_records(stack) if over else {}
        for run_id, state in over.items():
            training, mode = left.pop(run_id)
            record = records.get(run_id)
            if record is None or record.state is not RecordState.COMPLETED:
                tell(f"{run_id} is {state}: {record.reason if record else 'no record'}")
                continue
            yield what_happened(mode, training.number, record, origin)
        if time.monotonic() - told_at >= 60 or not left:
            told_at = time.monotonic()
            tell(f"{len(asked) - len(left)} of {len(asked)} are over after {told_at - began:.0f} s")


def states_of(stack: LocalStack) -> dict[str, str]:
    """The finished runs."""
    found: dict[str, str] = {}
    for offset in range(0, 1000, 100):
        runs = stack.api.list_runs(DAG, state=sorted(FINISHED_RUN), offset=offset)
        found |= {run["dag_run_id"]: run["state"] for run in runs}
        if len(runs) < 100:
            break
    return found


def read_records(stack: LocalStack) -> dict[str, TrainingRecord]:
    with Ledger.at(stack.airflow_home / "spot_ledger").read() as reader:
        return {record.run_id: record for record in reader.records(Selection(dag_ids=(DAG,)))}


def what_happened(mode: str, number: int, record: TrainingRecord, origin: datetime) -> Happened:
    submitted_at, deadline_at, ended_at = record.began_at, record.deadline_at, record.ended_at
    assert submitted_at is not None  # noqa: S101 - it is complete
    assert deadline_at is not None  # noqa: S101
    assert ended_at is not None  # noqa: S101
    return Happened(
        mode=mode,
        number=number,
        origin=origin,
        submitted_at=submitted_at,
        deadline_at=deadline_at,
        ended_at=ended_at,
        live=live_course(record, (ended_at - submitted_at).total_seconds()),
        attempts=[attempt.to_json() for attempt in record.attempts],
        scouts=[scout.to_json() for scout in record.scouts],
    )


def live_course(record: TrainingRecord, seconds: float) -> Course:
    on_spot = [attempt for attempt in record.attempts if attempt.purchase is PurchaseOption.SPOT]
    on_demand = [attempt for attempt in record.attempts if attempt.purchase is PurchaseOption.ON_DEMAND]
    return Course(
        cost=billed_hours((*record.attempts, *record.scouts)),
        spot=sum(attempt.training_seconds or 0 for attempt in on_spot) / 3600,
        on_demand=sum(attempt.training_seconds or 0 for attempt in on_demand) / 3600,
        scouts=sum(scout.has_started for scout in record.scouts),
        scout_cost=billed_hours(record.scouts),
        launches=sum(
            visit.status is SecondaryStatus.DOWNLOADING
            for attempt in record.attempts
            for visit in attempt.transitions
        ),
        finish=seconds / 3600,
    )


def billed_hours(attempts: Sequence[Attempt]) -> float:
    return sum(attempt.billable_seconds or 0 for attempt in attempts) / 3600


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
