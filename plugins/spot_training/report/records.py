"""Trainings as a report reads them, and their sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from spot_training.domain.savings import Attempt, SavingsStatement, statement_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """One training task of one Dag run, over or under way. `state` is Airflow's task state."""

    dag_id: str
    run_id: str
    task_id: str
    state: str
    attempts: tuple[Attempt, ...]

    @classmethod
    def from_xcom(
        cls, *, dag_id: str, run_id: str, task_id: str, state: str, attempts: Iterable[Mapping[str, Any]]
    ) -> TrainingRecord:
        """From the XCom `attempts` that the operator and the sensor push."""
        return cls(
            dag_id=dag_id,
            run_id=run_id,
            task_id=task_id,
            state=state,
            attempts=tuple(Attempt.from_json(attempt) for attempt in attempts),
        )

    @property
    def statement(self) -> SavingsStatement:
        return statement_of(self.attempts)

    @property
    def began_at(self) -> datetime | None:
        """When the first attempt was submitted (AWS's clock)."""
        return min((a.created_at for a in self.attempts if a.created_at), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """Sums over trainings. Seconds are instance-seconds.

    The savings compare what was billed for *completed* trainings, abandoned attempts included, with the
    clean on-demand runs they replaced; what failed trainings cost stands by itself. `unknown` counts
    completed trainings for which AWS did not say enough: they are in no sum of savings.
    """

    trainings: int
    completed: int
    failed: int
    attempts: int
    interruptions: int
    wait_seconds: int
    billable_seconds: int
    clean_run_seconds: int
    failed_billable_seconds: int
    abandoned_billable_seconds: int
    savings_percent: float | None
    unknown: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def summarise(records: Sequence[TrainingRecord]) -> ReportSummary:
    """Sum up trainings."""
    statements = [record.statement for record in records]
    done = [s for s in statements if s.completed]
    compared = [s for s in done if s.savings_percent is not None]
    billed = sum(s.billable_instance_seconds or 0 for s in compared)
    clean = sum(_clean_instance_seconds(r) for r in records if r.statement in compared)
    return ReportSummary(
        trainings=len(records),
        completed=len(done),
        failed=sum(1 for record in records if record.state in {"failed", "upstream_failed"}),
        attempts=sum(s.attempts for s in statements),
        interruptions=sum(s.interruptions for s in statements),
        wait_seconds=sum(s.wait_seconds for s in statements),
        billable_seconds=billed,
        clean_run_seconds=clean,
        failed_billable_seconds=sum(s.billable_instance_seconds or 0 for s in statements if not s.completed),
        abandoned_billable_seconds=sum(_abandoned_instance_seconds(r) for r in records),
        savings_percent=round((1 - billed / clean) * 100, 1) if clean else None,
        unknown=len(done) - len(compared),
    )


def _clean_instance_seconds(record: TrainingRecord) -> int:
    return (record.statement.clean_run_seconds or 0) * record.attempts[-1].instance_count


def _abandoned_instance_seconds(record: TrainingRecord) -> int:
    """What the attempts before the last one were billed."""
    return sum((a.billable_seconds or 0) * a.instance_count for a in record.attempts[:-1])
