"""The timeline of one training: what its jobs did and when, the decisions, and what it had cost.

Pure: takes a ledger record and returns plain facts. Bars use AWS's clock. A decision has the clock of another
machine, so its mark is at its result: the attempt that it started, or the end of the last attempt.

The ledger notes only the changes of a running job. Its last bar extends until now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from spot_training.domain.lifecycle import HOLDING_STATUSES, SecondaryStatus, Transition
from spot_training.domain.messages import statement_line
from spot_training.domain.records import (
    UPLOADS_STALLED,
    CurrentJob,
    DecisionMade,
    RecordState,
    TrainingRecord,
)
from spot_training.domain.savings import PurchaseOption, on_demand_rate
from spot_training.sagemaker.console import Console

if TYPE_CHECKING:
    from spot_training.domain.savings import Attempt


#: Nothing that a person can open is known.
NO_CONSOLE = Console()


class Phase(StrEnum):
    """What a job does, in as many colours as a person can distinguish."""

    WAITING = "waiting"
    DOWNLOADING = "downloading"
    TRAINING = "training"
    UPLOADING = "uploading"
    INTERRUPTED = "interrupted"
    STOPPING = "stopping"


S = SecondaryStatus
_PHASES = {
    S.STARTING: Phase.WAITING,
    S.PENDING: Phase.WAITING,
    S.LAUNCHING_ML_INSTANCES: Phase.WAITING,
    S.PREPARING_TRAINING_STACK: Phase.WAITING,
    S.RESTARTING: Phase.WAITING,
    S.DOWNLOADING: Phase.DOWNLOADING,
    S.DOWNLOADING_TRAINING_IMAGE: Phase.DOWNLOADING,
    S.TRAINING: Phase.TRAINING,
    S.UPDATING: Phase.TRAINING,
    S.UPLOADING: Phase.UPLOADING,
    S.INTERRUPTED: Phase.INTERRUPTED,
    S.STOPPING: Phase.STOPPING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One attempt in one phase. `is_open`: the phase continues, as far as is known, and `ended_at` is now."""

    attempt: int
    phase: Phase
    status: str
    purchase: str
    instance_type: str
    started_at: datetime
    ended_at: datetime
    is_open: bool = False

    @property
    def seconds(self) -> float:
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A decision. `attempt` is the attempt that it started, or None if it ended the training."""

    at: datetime
    action: str
    reason: str
    attempt: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An important moment: the deadline, or the latest start of on-demand that meets it.

    `note` says why a decision may name another time.
    """

    name: str
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPoint:
    """What had been billed at a moment, and what the same time costs on demand.

    Hours are instance-hours at the on-demand price. AWS reports billed seconds when a job is over. Until
    then, with `is_estimate`, the value is an upper limit. Dollars are None without a price in dollars; with
    prices in another `currency`, amounts are in that one.
    """

    at: datetime
    billed_hours: float
    on_demand_hours: float
    billed_usd: float | None
    on_demand_usd: float | None
    is_estimate: bool
    currency: str | None = None
    billed_in_currency: float | None = None
    on_demand_in_currency: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """An attempt, over or running, as a row of the table below the chart. Seconds are per instance.

    `job_url` and `log_url` are empty if nobody can open them.
    """

    number: int
    job_name: str
    purchase: str
    instance_type: str
    instance_count: int
    reason: str
    ending: str
    created_at: datetime | None
    wait_seconds: int | None
    training_seconds: int | None
    billable_seconds: int | None
    interruptions: int
    savings_percent: float | None
    job_url: str
    log_url: str
    is_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoutRow:
    """A scout that is over: which type it looked for, and what came of it. Seconds are per instance."""

    number: int
    job_name: str
    instance_type: str
    instance_count: int
    ending: str
    created_at: datetime | None
    wait_seconds: int
    found_capacity: bool
    billable_seconds: int | None
    job_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoutBar:
    """A scout that is over, while it waited, or while it had instances."""

    scout: int
    instance_type: str
    has_capacity: bool
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A training: its identity, its state, and the data of its charts and tables.

    `local_cloud` describes the clock, if times and costs are simulated. The URLs of the model and of the
    checkpoints are empty if nobody can open them.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    model: str
    team: str | None
    is_test: bool
    state: str
    is_live: bool
    summary: str
    reason: str
    seen_at: datetime | None
    local_cloud: str | None
    model_uri: str | None
    model_url: str
    checkpoint_uri: str | None
    checkpoint_url: str
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    lines: tuple[Line, ...]
    costs: tuple[CostPoint, ...]
    attempts: tuple[AttemptRow, ...]
    scouts: tuple[ScoutRow, ...] = ()
    scouts_out: tuple[str, ...] = ()
    scout_bars: tuple[ScoutBar, ...] = ()
    metrics: tuple[tuple[str, float], ...] = ()


def timeline_of(record: TrainingRecord, *, now: datetime, console: Console = NO_CONSOLE) -> Timeline:
    """The timeline of a training, over or running. `console` has the pages of its jobs."""
    bars = tuple(_bars(record, now))
    return Timeline(
        dag_id=record.dag_id,
        run_id=record.run_id,
        task_id=record.task_id,
        map_index=record.map_index,
        model=record.model,
        team=record.team,
        is_test=bool(record.is_test),
        state=str(record.state),
        is_live=record.state is RecordState.RUNNING,
        summary=_summary(record),
        reason=record.reason,
        seen_at=record.current_job.seen_at if record.current_job else None,
        local_cloud=record.local_cloud,
        model_uri=record.model_uri,
        model_url=console.files(record.model_uri),
        checkpoint_uri=record.checkpoint_uri,
        checkpoint_url=console.files(record.checkpoint_uri),
        bars=bars,
        marks=tuple(_marks(record)),
        lines=tuple(_lines(record)),
        costs=tuple(_costs(record, bars)),
        attempts=tuple(_rows(record, now, console)),
        scouts=tuple(_scout_rows(record, console)),
        scouts_out=record.scouts_out,
        scout_bars=tuple(_scout_bars(record)),
        metrics=tuple(sorted(record.metrics.items())),
    )


def phase_of(status: SecondaryStatus) -> Phase | None:
    """What a job with this status does. None if it is over."""
    return _PHASES.get(status)


def cost_so_far(record: TrainingRecord, *, now: datetime) -> CostPoint | None:
    """The last of the timeline's `costs`. None if no attempt has been seen."""
    point = None
    for point in _costs(record, tuple(_bars(record, now))):  # noqa: B007 - the last one
        pass
    return point


def _summary(record: TrainingRecord) -> str:
    if record.state is RecordState.RUNNING:
        doing = _now_doing(record.current_job) if record.current_job else "Between two attempts."
        scouts = f" Scouts look for {' and '.join(record.scouts_out)}." if record.scouts_out else ""
        return f"{doing}{scouts}"
    return statement_line(record.statement)


def _now_doing(job: CurrentJob) -> str:
    bought = " ".join(filter(None, (job.purchase and str(job.purchase), job.instance_type)))
    what = f"Attempt {job.number}" + (f" ({bought})" if bought else "")
    if job.secondary_status is None:
        return f"{what} was submitted."
    doing = _PHASES.get(job.secondary_status)
    if not doing:
        return f"{what} is over: {job.secondary_status}."
    return f"{what} is {doing}.{_saved(job)}"


def _saved(job: CurrentJob) -> str:
    """What is known of its checkpoints."""
    if job.stalled_at is not None:
        since = f"{job.saved_at:%Y-%m-%d %H:%M} UTC" if job.saved_at else "the start"
        return f" Its uploads have stalled: no checkpoint has arrived since {since}."
    return f" Saved is the work until {job.saved_at:%Y-%m-%d %H:%M} UTC." if job.saved_at else ""


def _bars(record: TrainingRecord, now: datetime) -> Iterator[Bar]:
    for attempt in record.attempts:
        yield from _bars_of_attempt(attempt)
    if record.current_job:
        yield from _bars_of_job(record.current_job, now)


def _bars_of_attempt(attempt: Attempt) -> Iterator[Bar]:
    for visit in attempt.transitions or _from_times(attempt):
        if phase := _PHASES.get(visit.status):
            yield Bar(
                attempt=attempt.number,
                phase=phase,
                status=str(visit.status),
                purchase=str(attempt.purchase),
                instance_type=attempt.instance_type or "",
                started_at=visit.started_at,
                ended_at=visit.ended_at or attempt.ended_at or visit.started_at,
            )


def _from_times(attempt: Attempt) -> Iterator[Transition]:
    """The transitions of an attempt without any: it waited until it started, and trained until it ended."""
    waited_until = attempt.started_at or attempt.ended_at
    if attempt.created_at and waited_until:
        yield Transition(status=S.STARTING, started_at=attempt.created_at, ended_at=waited_until)
    if attempt.started_at and attempt.ended_at:
        yield Transition(status=S.TRAINING, started_at=attempt.started_at, ended_at=attempt.ended_at)


def _bars_of_job(job: CurrentJob, now: datetime) -> Iterator[Bar]:
    for visit in job.transitions:
        if phase := _PHASES.get(visit.status):
            yield Bar(
                attempt=job.number,
                phase=phase,
                status=str(visit.status),
                purchase=str(job.purchase or ""),
                instance_type=job.instance_type or "",
                started_at=visit.started_at,
                ended_at=visit.ended_at or _open_until(visit, job, now),
                is_open=visit.ended_at is None,
            )


def _open_until(visit: Transition, job: CurrentJob, now: datetime) -> datetime:
    """Now. If AWS's clock is ahead of ours (a local cloud's may be), as long as the visit has been known."""
    known_for = now - job.seen_at if job.seen_at else timedelta()
    return max(now, visit.started_at + max(known_for, timedelta()))


def _marks(record: TrainingRecord) -> Iterator[Mark]:
    created = {attempt.number: attempt.created_at for attempt in record.attempts}
    if record.current_job:
        created[record.current_job.number] = record.current_job.created_at
    ended = max((a.ended_at for a in record.attempts if a.ended_at), default=None)
    for decision in record.decisions:
        anchor = ended if decision.attempt is None else created.get(decision.attempt)
        if decision.action == UPLOADS_STALLED:
            anchor = decision.decided_at
        yield Mark(
            at=anchor or decision.decided_at,
            action=_action(decision),
            reason=decision.reason,
            attempt=decision.attempt,
        )


def _action(decision: DecisionMade) -> str:
    return f"start attempt {decision.attempt}" if decision.attempt is not None else decision.action


def _lines(record: TrainingRecord) -> Iterator[Line]:
    if record.latest_on_demand_at:
        yield Line(
            name="latest on-demand start",
            at=record.latest_on_demand_at,
            note=_MOVED if any(a.has_checkpoints and a.work_seconds for a in record.attempts) else "",
        )
    if record.deadline_at:
        yield Line(name="deadline", at=record.deadline_at)


#: Each decision says the latest start as it was then. Work that is in checkpoints leaves less to do.
_MOVED = (
    "with the checkpoints so far. It moved later as they arrived: each decision names the time known at that "
    "moment"
)

_HOLDING = frozenset(_PHASES[status] for status in HOLDING_STATUSES)


def _costs(record: TrainingRecord, bars: Sequence[Bar]) -> Iterator[CostPoint]:
    """Costs, which rise only while instances are held."""
    meter = _Meter(record)
    for bar in sorted(bars, key=lambda bar: bar.started_at):
        yield meter.read(bar.started_at)
        meter.run(bar)
        yield meter.read(bar.ended_at)


class _Meter:
    """What has been billed so far, and what the same time costs on demand."""

    def __init__(self, record: TrainingRecord) -> None:
        self._rates = {attempt.number: _rate(attempt) for attempt in record.attempts}
        self._counts = {attempt.number: attempt.instance_count for attempt in record.attempts}
        if job := record.current_job:
            self._counts[job.number] = job.instance_count
        self._prices, self._currency = record.prices_per_hour, record.currency
        self._hours = self._full_hours = 0.0
        self._billed: float | None = 0.0
        self._full: float | None = 0.0
        self._is_estimate = False

    def run(self, bar: Bar) -> None:
        if bar.phase not in _HOLDING:
            return
        hours = bar.seconds / 3600 * self._counts[bar.attempt]
        rate, price = self._rates.get(bar.attempt), self._prices.get(bar.instance_type)
        self._is_estimate = self._is_estimate or rate is None
        billed = hours * (1.0 if rate is None else rate)
        self._hours += billed
        self._full_hours += hours
        full_price = on_demand_rate(price)
        is_on_demand = bar.purchase == PurchaseOption.ON_DEMAND
        self._billed = _plus(self._billed, billed, full_price if is_on_demand else price)
        self._full = _plus(self._full, hours, full_price)

    def read(self, at: datetime) -> CostPoint:
        billed, on_demand = _rounded(self._billed), _rounded(self._full)
        is_usd = self._currency is None
        return CostPoint(
            at=at,
            billed_hours=round(self._hours, 6),
            on_demand_hours=round(self._full_hours, 6),
            billed_usd=billed if is_usd else None,
            on_demand_usd=on_demand if is_usd else None,
            is_estimate=self._is_estimate,
            currency=self._currency,
            billed_in_currency=None if is_usd else billed,
            on_demand_in_currency=None if is_usd else on_demand,
        )


def _plus(money: float | None, hours: float, price: float | None) -> float | None:
    return None if money is None or price is None else money + hours * price


def _rounded(money: float | None) -> float | None:
    return None if money is None else round(money, 6)


def _rate(attempt: Attempt) -> float | None:
    """The share of the held time that was billed, or None if AWS did not report it."""
    if attempt.billable_seconds is None or attempt.training_seconds is None:
        return None
    return attempt.billable_seconds / attempt.training_seconds if attempt.training_seconds else 0.0


def _rows(record: TrainingRecord, now: datetime, console: Console) -> Iterator[AttemptRow]:
    for attempt in record.attempts:
        yield AttemptRow(
            number=attempt.number,
            job_name=attempt.job_name,
            purchase=str(attempt.purchase),
            instance_type=attempt.instance_type or "",
            instance_count=attempt.instance_count,
            reason=attempt.reason,
            ending=str(attempt.ending),
            created_at=attempt.created_at,
            wait_seconds=attempt.wait_seconds,
            training_seconds=attempt.training_seconds,
            billable_seconds=attempt.billable_seconds,
            interruptions=attempt.interruptions,
            savings_percent=attempt.shown_savings_percent,
            job_url=console.job(attempt.job_name),
            log_url=console.log(attempt.job_name) if attempt.has_started else "",
        )
    if record.current_job:
        yield _row_of_job(record.current_job, now, console)


def _scout_rows(record: TrainingRecord, console: Console) -> Iterator[ScoutRow]:
    for scout in record.scouts:
        yield ScoutRow(
            number=scout.number,
            job_name=scout.job_name,
            instance_type=scout.instance_type or "",
            instance_count=scout.instance_count,
            ending=str(scout.ending),
            created_at=scout.created_at,
            wait_seconds=scout.wait_seconds,
            found_capacity=scout.has_started,
            billable_seconds=scout.billable_seconds,
            job_url=console.job(scout.job_name) if scout.job_name else "",
        )


def _scout_bars(record: TrainingRecord) -> Iterator[ScoutBar]:
    """Records keep no transitions of scouts: only when each waited, and when it had instances."""
    for scout in record.scouts:
        for has_capacity, began, ended in (
            (False, scout.created_at, scout.started_at or scout.ended_at),
            (True, scout.started_at, scout.ended_at),
        ):
            if began and ended:
                yield ScoutBar(
                    scout=scout.number,
                    instance_type=scout.instance_type or "",
                    has_capacity=has_capacity,
                    started_at=began,
                    ended_at=ended,
                )


def _row_of_job(job: CurrentJob, now: datetime, console: Console) -> AttemptRow:
    bars = list(_bars_of_job(job, now))
    return AttemptRow(
        number=job.number,
        job_name=job.job_name,
        purchase=str(job.purchase or ""),
        instance_type=job.instance_type or "",
        instance_count=job.instance_count,
        reason=job.reason,
        ending="",
        created_at=job.created_at,
        wait_seconds=_seconds_in(bars, frozenset({Phase.WAITING, Phase.INTERRUPTED})),
        training_seconds=_seconds_in(bars, _HOLDING),
        billable_seconds=None,
        interruptions=sum(bar.phase is Phase.INTERRUPTED for bar in bars),
        savings_percent=None,
        job_url=console.job(job.job_name) if job.seen_at else "",
        log_url=console.log(job.job_name) if job.started_at else "",
        is_open=True,
    )


def _seconds_in(bars: Iterable[Bar], phases: frozenset[Phase]) -> int:
    return round(sum(bar.seconds for bar in bars if bar.phase in phases))
