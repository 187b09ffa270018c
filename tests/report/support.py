"""Records for reports: one that was saved by a second attempt, one that failed, one whose work was lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import RecordState, TrainingRecord
from spot_training.domain.savings import Attempt
from tests.records import make_attempt

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
T0 = datetime(2026, 3, 2, 6, tzinfo=UTC)


def never_started(**overrides: Any) -> Attempt:
    nothing = dict.fromkeys(("started_at", "work_seconds", "launch_seconds"))
    return make_attempt(
        ending=Ending.NO_CAPACITY, training_seconds=0, billable_seconds=0, **nothing, **overrides
    )


def record_of(*attempts: Attempt, run_id: str = "scheduled__2026-03-01", **overrides: Any) -> TrainingRecord:
    defaults: dict[str, Any] = {
        "dag_id": "retrain",
        "task_id": "train",
        "state": RecordState.COMPLETED,
        "began_at": T0,
    }
    return TrainingRecord(**{**defaults, **overrides}, run_id=run_id, attempts=attempts)


DONE = record_of(never_started(), make_attempt(number=2))
FAILED = record_of(make_attempt(ending=Ending.ALGORITHM_ERROR), run_id="manual__1", state=RecordState.FAILED)
LOST = record_of(
    make_attempt(ending=Ending.OUT_OF_WAIT, has_checkpoints=False, billable_seconds=9000),
    make_attempt(number=2, has_checkpoints=False),
    run_id="manual__2",
)
