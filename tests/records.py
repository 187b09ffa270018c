"""Jobs, attempts and records, made from a few facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from spot_training.domain.lifecycle import Ending, JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from spot_training.domain.records import DecisionMade, Price, RecordState, TrainingRecord
from spot_training.domain.savings import Attempt, PurchaseOption

T0 = datetime(2026, 3, 2, 6, tzinfo=UTC)
PRICE = Price(instance_type="ml.m5.xlarge", usd_per_hour=0.23, as_of=T0, source="a test")


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


def make_job(*visits: tuple[str, int], **overrides: Any) -> JobSnapshot:
    """A finished spot job that spent so many seconds in each status."""
    transitions, now = [], T0
    for word, seconds in visits:
        ended = now + timedelta(seconds=seconds)
        transitions.append(Transition(status=SecondaryStatus(word), started_at=now, ended_at=ended))
        now = ended
    started = next((t.started_at for t in transitions if t.status is SecondaryStatus.DOWNLOADING), None)
    held = sum(s for word, s in visits if word in {"Downloading", "Training", "Uploading"})
    defaults: dict[str, Any] = {
        "name": "job-1",
        "arn": "arn",
        "status": TrainingStatus.COMPLETED,
        "secondary_status": SecondaryStatus.COMPLETED,
        "created_at": T0,
        "last_modified_at": now,
        "training_started_at": started,
        "training_ended_at": now,
        "training_seconds": held if started else None,
        "billable_seconds": round(held * 0.3) if started else None,
        "is_spot": True,
        "instance_type": "ml.m5.xlarge",
        "checkpoint_uri": "s3://bucket/checkpoints/run",
        "transitions": tuple(transitions),
    }
    return JobSnapshot(**{**defaults, **overrides})
