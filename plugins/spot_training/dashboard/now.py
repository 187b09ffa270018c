"""What runs now: all trainings that wait or run, the most urgent first, and what the last sweep left.

Pure: takes the running records with the newest notes of their jobs, and returns plain facts. A training's
figures are those of its own page (`timeline`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .month import Month  # noqa: TC001 - FastAPI reads the annotations
from .timeline import Phase, cost_so_far, phase_of

if TYPE_CHECKING:
    from spot_training.domain.budget import Budget
    from spot_training.domain.records import TrainingRecord
    from spot_training.ledger import Selection
    from spot_training.ledger.sweeps import SweepReport

#: Trainings on one page of the table.
NOW_ROWS = 25
#: What is said of a training without a job that AWS has reported as alive.
SUBMITTED, BETWEEN, ENDED = "submitted", "between attempts", "ended"
#: The order in which phases are counted.
PHASES = (*(str(phase) for phase in Phase), SUBMITTED, BETWEEN, ENDED)
#: Those in which no instance is held.
WAITING = frozenset({str(Phase.WAITING), str(Phase.INTERRUPTED), SUBMITTED, BETWEEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class NowRow:
    """A training that waits or runs.

    `phase` is what its job does since `phase_since`. `attempt`, `purchase` and so on are the job's.
    `billed_usd` and `billed_hours` are what it has cost so far, with `is_estimate` an upper limit; dollars
    are None without a price. `task_state` is Airflow's state of a task that is over already: nobody looks at
    the job any more, and a sweep settles the record.
    """

    key: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    model: str
    team: str | None
    is_test: bool
    local_cloud: str | None
    began_at: datetime | None
    phase: str
    phase_since: datetime | None
    attempt: int | None
    purchase: str | None
    instance_type: str | None
    instance_count: int
    job_name: str | None
    interruptions: int
    billed_usd: float | None
    billed_hours: float
    is_estimate: bool
    currency: str | None
    billed_in_currency: float | None
    deadline_at: datetime | None
    latest_on_demand_at: datetime | None
    saved_at: datetime | None
    stalled_at: datetime | None
    scouts_out: tuple[str, ...]
    task_state: str | None = None

    @property
    def waits(self) -> bool:
        return self.phase in WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A job without a task that the last sweep left running. `stop_failed`: it tried to stop it."""

    job_name: str
    reason: str
    stop_failed: bool
    dag_id: str
    run_id: str
    task_id: str
    map_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DagSpending:
    """A Dag's calendar month against its budget (None without one), in US dollars.

    What runs is an upper limit, so it is in `running_usd` and not in `used_percent`.
    """

    dag_id: str
    billed_usd: float
    running_usd: float
    unpriced: int
    budget_usd: float | None

    @property
    def used_percent(self) -> float | None:
        if not self.budget_usd:
            return None
        return 100 * self.billed_usd / self.budget_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """All trainings that wait or run, as of `at`, and the month.

    `billed_usd` is without the trainings that are `billed_in_currencies`. `rows` may be one page of the
    `trainings`; `phases` counts all. `swept_at` is None without a sweep.
    `budget_usd` is this Airflow's budget per Dag and month, None without one. `budgets` are those of Dags
    with one of their own, None for unlimited.
    """

    at: datetime
    trainings: int
    waiting: int
    phases: Mapping[str, int]
    billed_usd: float | None
    billed_hours: float
    billed_in_currencies: Mapping[str, float]
    rows: tuple[NowRow, ...]
    swept_at: datetime | None
    orphans: tuple[Orphan, ...]
    running_usd: Mapping[str, float]
    budget_usd: float | None
    month: Month
    budgets: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def spending(self) -> tuple[DagSpending, ...]:
        """Each Dag's month against its budget, the most expensive first."""
        billed = {dag.dag_id: dag for dag in self.month.dags}
        rows = [
            DagSpending(
                dag_id=dag_id,
                billed_usd=dag.billed_usd if (dag := billed.get(dag_id)) else 0.0,
                running_usd=self.running_usd.get(dag_id, 0.0),
                unpriced=dag.unpriced if dag else 0,
                budget_usd=self.budgets.get(dag_id, self.budget_usd),
            )
            for dag_id in {**billed, **self.running_usd}
        ]
        return tuple(sorted(rows, key=lambda row: (-row.billed_usd - row.running_usd, row.dag_id)))

    @property
    def amounts(self) -> tuple[tuple[float, str | None], ...]:
        """What was billed in each currency (None: US dollars). Empty if a price is not known."""
        if self.billed_usd is None:
            return ()
        in_dollars = [(self.billed_usd, None)] if self.billed_usd or not self.billed_in_currencies else []
        return (*in_dollars, *((amount, code) for code, amount in self.billed_in_currencies.items()))

    @property
    def failed_stops(self) -> int:
        return sum(orphan.stop_failed for orphan in self.orphans)

    @property
    def spending_dags(self) -> frozenset[str]:
        """The Dags that have cost something this month, or may now."""
        return frozenset(self.running_usd) | {dag.dag_id for dag in self.month.dags}

    def on_page(self, page: int) -> Now:
        """With one page of the rows, from 1."""
        return replace(self, rows=self.rows[(page - 1) * NOW_ROWS : page * NOW_ROWS])

    def with_task_states(self, over: Mapping[str, str]) -> Now:
        """With the states of tasks that are over, by the record's key."""
        return replace(self, rows=tuple(replace(row, task_state=over.get(row.key)) for row in self.rows))


def now_of(
    records: Iterable[TrainingRecord],
    readable: Selection,
    *,
    month: Month,
    now: datetime,
    sweep: SweepReport | None = None,
    budget: Budget | None = None,
) -> Now:
    """The running trainings of a selection, which has the Dags that the user may read, and no dates."""
    chosen = [record for record in records if _is_chosen(record, readable)]
    rows = sorted((_row(record, now) for record in chosen), key=_urgency)
    phases = Counter(row.phase for row in rows)
    once = _jobs_once(rows)
    dollars = [row.billed_usd for row in once if row.currency is None]
    others: dict[str, float] = {}
    for row in once:
        if row.currency and row.billed_in_currency:
            others[row.currency] = others.get(row.currency, 0.0) + row.billed_in_currency
    running: dict[str, float] = {}
    for row in once:
        running[row.dag_id] = running.get(row.dag_id, 0.0) + (row.billed_usd or 0.0)
    return Now(
        at=now,
        trainings=len(rows),
        waiting=sum(row.waits for row in rows),
        phases={phase: phases[phase] for phase in PHASES if phases[phase]},
        billed_usd=None if None in dollars else round(sum(usd or 0.0 for usd in dollars), 6),
        billed_in_currencies={code: round(amount, 6) for code, amount in sorted(others.items())},
        billed_hours=round(sum(row.billed_hours for row in once), 6),
        rows=tuple(rows),
        swept_at=sweep.at if sweep else None,
        orphans=_orphans(sweep, readable),
        running_usd={dag_id: round(usd, 6) for dag_id, usd in running.items()},
        budget_usd=budget.usd if budget else None,
        month=month,
    )


def _is_chosen(record: TrainingRecord, selection: Selection) -> bool:
    """`Selection.where`, of one record."""
    return all(
        values is None or value in values
        for value, values in (
            (record.dag_id, selection.dag_ids),
            (record.installation, selection.installations),
            (record.model, selection.models),
            (record.instance_type, selection.instance_types),
            (record.team, selection.teams),
        )
    )


def _urgency(row: NowRow) -> tuple[Any, ...]:
    """What must start on demand first, then what has the earliest deadline, then what began first."""
    last = datetime.max.replace(tzinfo=UTC)
    return (row.latest_on_demand_at or last, row.deadline_at or last, row.began_at or last, row.key)


def _jobs_once(rows: Sequence[NowRow]) -> list[NowRow]:
    """The rows without those of further tasks that watch the same job."""
    by_job = {row.job_name or row.key: row for row in reversed(rows)}
    return list(by_job.values())


def _orphans(sweep: SweepReport | None, readable: Selection) -> tuple[Orphan, ...]:
    return tuple(
        Orphan(
            job_name=orphan.job_name,
            reason=orphan.reason,
            stop_failed=orphan.stop_failed,
            dag_id=orphan.dag_id,
            run_id=orphan.run_id,
            task_id=orphan.task_id,
            map_index=orphan.map_index,
        )
        for orphan in (sweep.orphans if sweep else ())
        if readable.dag_ids is None or orphan.dag_id in readable.dag_ids
    )


def _row(record: TrainingRecord, now: datetime) -> NowRow:
    job = record.current_job
    phase, since = _phase(record)
    cost = cost_so_far(record, now=now)
    return NowRow(
        key=record.key,
        dag_id=record.dag_id,
        run_id=record.run_id,
        task_id=record.task_id,
        map_index=record.map_index,
        model=record.model,
        team=record.team,
        is_test=bool(record.is_test),
        local_cloud=record.local_cloud,
        began_at=record.began_at,
        phase=phase,
        phase_since=since,
        attempt=job.number if job else None,
        purchase=str(job.purchase) if job and job.purchase else None,
        instance_type=(job.instance_type if job else None) or record.instance_type,
        instance_count=job.instance_count if job else record.instance_count,
        job_name=job.job_name if job else None,
        interruptions=_interruptions(record),
        billed_usd=cost.billed_usd if cost else 0.0,
        billed_hours=cost.billed_hours if cost else 0.0,
        is_estimate=cost.is_estimate if cost else False,
        currency=record.currency,
        billed_in_currency=cost.billed_in_currency if cost else None,
        deadline_at=record.deadline_at,
        latest_on_demand_at=record.latest_on_demand_at,
        saved_at=job.saved_at if job else None,
        stalled_at=job.stalled_at if job else None,
        scouts_out=record.scouts_out,
    )


def _phase(record: TrainingRecord) -> tuple[str, datetime | None]:
    job = record.current_job
    if job is None:
        ended = [attempt.ended_at for attempt in record.attempts if attempt.ended_at]
        return BETWEEN, max(ended, default=record.began_at)
    if job.secondary_status is None:
        return SUBMITTED, job.created_at or record.written_at
    last = job.transitions[-1] if job.transitions else None
    phase = phase_of(job.secondary_status)
    if phase is None:
        return ENDED, (last.ended_at or last.started_at) if last else job.seen_at
    since = next(
        (visit.started_at for visit in reversed(job.transitions) if phase_of(visit.status) is phase),
        job.started_at or job.created_at,
    )
    return str(phase), since


def _interruptions(record: TrainingRecord) -> int:
    job = record.current_job
    current = sum(phase_of(visit.status) is Phase.INTERRUPTED for visit in job.transitions) if job else 0
    return current + sum(attempt.interruptions for attempt in record.attempts)
