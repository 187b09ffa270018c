"""Ledger records as real trainings leave them, made directly: many, of all kinds, and with hostile names."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from spot_training.domain.lifecycle import Ending, SecondaryStatus, Transition
from spot_training.domain.records import CurrentJob, DecisionMade, Price, RecordState, TrainingRecord
from spot_training.domain.savings import Attempt, PurchaseOption

S = SecondaryStatus
BEGAN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
FIRST, NEXT = "first of 3 steps: spot, max wait 2 h", "max wait of 2 h passed: next is on-demand"
USD_PER_HOUR = {"ml.m5.xlarge": 0.23, "ml.c5.2xlarge": 0.408, "ml.g5.xlarge": 1.41, "ml.p3.2xlarge": 3.825}


def visits(begin: datetime, *stays: tuple[SecondaryStatus, float]) -> tuple[Transition, ...]:
    """One visit after the other, each so many minutes long."""
    made = []
    for status, minutes in stays:
        end = begin + timedelta(minutes=minutes)
        made.append(Transition(status=status, started_at=begin, ended_at=end))
        begin = end
    return tuple(made)


def attempt(
    number: int,
    begin: datetime,
    *stays: tuple[SecondaryStatus, float],
    ending: Ending = Ending.COMPLETED,
    billed: float = 0.3,
    **overrides: Any,
) -> Attempt:
    """An attempt that is over, its figures as AWS reports them; `billed` is the share of the held time."""
    waiting = {S.STARTING, S.INTERRUPTED, S.RESTARTING}
    story = visits(begin, *stays)
    held = round(sum(60 * minutes for status, minutes in stays if status not in {*waiting, S.STOPPING}))
    has_started = held > 0
    facts: dict[str, Any] = {
        "number": number,
        "step": number - 1,
        "job_name": f"model-0123456789ab-{number}",
        "purchase": PurchaseOption.SPOT,
        "reason": FIRST if number == 1 else NEXT,
        "ending": ending,
        "created_at": begin,
        "started_at": next((v.ended_at for v in story if v.status is S.STARTING), None)
        if has_started
        else None,
        "ended_at": story[-1].ended_at,
        "instance_type": "ml.m5.xlarge",
        "has_checkpoints": True,
        "interruptions": sum(status is S.INTERRUPTED for status, _ in stays),
        "wait_seconds": round(sum(60 * minutes for status, minutes in stays if status in waiting)),
        "training_seconds": held,
        "billable_seconds": round(held * billed),
        "work_seconds": round(sum(60 * m for s, m in stays if s is S.TRAINING)) if has_started else None,
        "launch_seconds": 240 if has_started else None,
        "transitions": story,
    }
    return Attempt(**{**facts, **overrides})


def training(**overrides: Any) -> TrainingRecord:
    """A training that lost its instances once, ran out of wait, and was completed on demand."""
    first = attempt(
        1,
        BEGAN,
        (S.STARTING, 18),
        (S.DOWNLOADING, 3),
        (S.TRAINING, 50),
        (S.INTERRUPTED, 2),
        (S.STARTING, 44),
        (S.STOPPING, 1),
        ending=Ending.OUT_OF_WAIT,
    )
    then = BEGAN + timedelta(minutes=119)
    second = attempt(
        2,
        then,
        (S.STARTING, 4),
        (S.DOWNLOADING, 3),
        (S.TRAINING, 32),
        (S.UPLOADING, 2),
        billed=1.0,
        purchase=PurchaseOption.ON_DEMAND,
    )
    facts: dict[str, Any] = {
        "dag_id": "retrain_flight_delays",
        "run_id": "manual__2026-03-02T09:00:00+00:00",
        "task_id": "train.train",
        "version": 1,
        "state": RecordState.COMPLETED,
        "reason": "attempt 2: completed",
        "model": "flight-delays",
        "team": "forecasting",
        "instance_type": "ml.m5.xlarge",
        "region": "us-east-1",
        "began_at": BEGAN,
        "ended_at": second.ended_at,
        "written_at": second.ended_at,
        "deadline_at": BEGAN + timedelta(hours=3),
        "latest_on_demand_at": BEGAN + timedelta(hours=2, minutes=4),
        "attempts": (first, second),
        "decisions": (
            DecisionMade(decided_at=BEGAN, action="start", reason=first.reason, attempt=1),
            DecisionMade(decided_at=then, action="start", reason=second.reason, attempt=2),
            DecisionMade(decided_at=then, action="finish", reason="attempt 2: completed"),
        ),
        "prices": prices("ml.m5.xlarge"),
    }
    return TrainingRecord(**{**facts, **overrides})


def under_way(**overrides: Any) -> TrainingRecord:
    """A training with a first attempt that trains."""
    story = visits(BEGAN, (S.STARTING, 9), (S.DOWNLOADING, 3))
    job = CurrentJob(
        job_name="model-0123456789ab-1",
        number=1,
        reason=FIRST,
        purchase=PurchaseOption.SPOT,
        instance_type="ml.m5.xlarge",
        secondary_status=S.TRAINING,
        created_at=BEGAN,
        started_at=story[0].ended_at,
        transitions=(*story, Transition(status=S.TRAINING, started_at=BEGAN + timedelta(minutes=12))),
        seen_at=BEGAN + timedelta(minutes=30),
    )
    facts: dict[str, Any] = {
        "state": RecordState.RUNNING,
        "reason": "",
        "attempts": (),
        "ended_at": None,
        "current_job": job,
        "decisions": (DecisionMade(decided_at=BEGAN, action="start", reason=job.reason, attempt=1),),
    }
    return training(**{**facts, **overrides})


def prices(*instance_types: str) -> tuple[Price, ...]:
    return tuple(
        Price(instance_type=name, usd_per_hour=USD_PER_HOUR[name], as_of=BEGAN, source="a test")
        for name in instance_types
    )


MODELS = {
    "flight-delays": ("retrain_flight_delays", "forecasting", "ml.m5.xlarge"),
    "demand": ("forecast_demand", "forecasting", "ml.c5.2xlarge"),
    "churn": ("predict_churn", "growth", "ml.g5.xlarge"),
    "ranking": ("rank_search", "search", "ml.p3.2xlarge"),
}


def history(
    count: int, *, until: datetime, days: int = 90, seed: int = 7, models: Sequence[str] = tuple(MODELS)
) -> Iterator[TrainingRecord]:
    """Many trainings: spot is scarce in the afternoon, dear types are interrupted more."""
    chance = random.Random(seed)  # noqa: S311 - a made-up market
    for index in range(count):
        model = models[index % len(models)]
        dag_id, team, instance_type = MODELS[model]
        began = until - timedelta(days=days * (1 - index / count), minutes=chance.uniform(0, 600))
        yield _past_training(chance, began, index, model, dag_id, team, instance_type)


def _past_training(
    chance: random.Random,
    began: datetime,
    index: int,
    model: str,
    dag_id: str,
    team: str,
    instance_type: str,
) -> TrainingRecord:
    is_dear = instance_type in {"ml.g5.xlarge", "ml.p3.2xlarge"}
    scarcity = (1.0 + 2.5 * (11 <= began.hour <= 18)) * (2.0 if is_dear else 1.0)
    stays: list[tuple[SecondaryStatus, float]] = [(S.STARTING, chance.expovariate(1 / (4 * scarcity)) + 1)]
    for _ in range(min(4, int(chance.expovariate(1 / (0.35 * scarcity))))):
        stays += [(S.DOWNLOADING, 3), (S.TRAINING, chance.uniform(10, 50)), (S.INTERRUPTED, 2)]
        stays += [(S.STARTING, chance.expovariate(1 / (6 * scarcity)))]
    is_failure = chance.random() < 0.02
    stays += [(S.DOWNLOADING, 3), (S.TRAINING, chance.uniform(30, 120)), (S.UPLOADING, 2)]
    name = f"{model}-{index:012x}"
    common: dict[str, Any] = {"instance_type": instance_type, "job_name": f"{name}-1"}
    first = attempt(
        1,
        began,
        *stays,
        ending=Ending.ALGORITHM_ERROR if is_failure else Ending.COMPLETED,
        billed=chance.uniform(0.24, 0.5),
        **common,
    )
    attempts: tuple[Attempt, ...] = (first,)
    if not is_failure and chance.random() < 0.08 * scarcity:
        lost = attempt(1, began, *stays[:-1], ending=Ending.OUT_OF_WAIT, billed=0.35, **common)
        last = attempt(
            2,
            lost.ended_at or began,
            (S.STARTING, 3),
            *stays[-3:],
            billed=1.0,
            **{**common, "job_name": f"{name}-2"},
            purchase=PurchaseOption.ON_DEMAND,
        )
        attempts = (lost, last)
    return training(
        dag_id=dag_id,
        run_id=f"scheduled__{began:%Y-%m-%dT%H:%M:%S}+00:00_{index}",
        model=model,
        team=team,
        instance_type=instance_type,
        state=RecordState.FAILED if is_failure else RecordState.COMPLETED,
        began_at=began,
        ended_at=attempts[-1].ended_at,
        written_at=attempts[-1].ended_at,
        deadline_at=None,
        latest_on_demand_at=None,
        attempts=attempts,
        decisions=(),
        prices=prices(instance_type),
    )
