"""What a training took and what it saved, over all its attempts.

Decides how seconds are summed and what they are compared with. Seconds are per instance unless the name says
`instance_seconds`. Unknown stays unknown (None): a missing figure is never taken as zero, except for a job
that never started, which costs nothing because it never held an instance.

Dollars are billable seconds x instances x the *on-demand* price per hour: the spot discount is in the
billable seconds already. Without a known price for the instance type they are None.

Source of the per-job formula: `BillableTimeInSeconds` in the SageMaker API reference.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from .lifecycle import HOLDING_STATUSES, WAITING_STATUSES, Ending, JobSnapshot, SecondaryStatus, Transition

#: On-demand US dollars per instance-hour, by instance type.
Prices: TypeAlias = Mapping[str, float]
NO_PRICES: Prices = {}

#: Transitions kept of one job: an interruption makes about four, so some fifty interruptions.
MOST_TRANSITIONS = 200


class PurchaseOption(StrEnum):
    """How the instances of a job are bought."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"


class CleanRunBasis(StrEnum):
    """How the length of a clean on-demand run is known."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One training job of a task, over.

    `step` is the index of the policy's step it was made for, `reason` why it was made. `work_seconds` is the
    time in `Training`, over all its launches, and `launch_seconds` what the last launch spent around it
    (downloading, uploading). Both None when the job never started. `transitions` are the visits to secondary
    statuses without their messages, the newest `MOST_TRANSITIONS` of them. `unknown` are the members that a
    newer version wrote as well: they are written back.
    """

    number: int
    step: int
    job_name: str
    purchase: PurchaseOption
    reason: str
    ending: Ending
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    instance_type: str | None = None
    instance_count: int = 1
    max_runtime_seconds: int | None = None
    max_wait_seconds: int | None = None
    has_checkpoints: bool = False
    interruptions: int = 0
    wait_seconds: int = 0
    training_seconds: int | None = None
    billable_seconds: int | None = None
    work_seconds: int | None = None
    launch_seconds: int | None = None
    message: str = ""
    transitions: tuple[Transition, ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def billable_instance_seconds(self) -> int | None:
        return _times(self.billable_seconds, self.instance_count)

    @property
    def training_instance_seconds(self) -> int | None:
        return _times(self.training_seconds, self.instance_count)

    @property
    def has_started(self) -> bool:
        return self.started_at is not None

    @property
    def was_refused(self) -> bool:
        """Whether SageMaker refused to create the job, because of a quota or missing capacity."""
        return self.created_at is None and self.ending in {Ending.CAPACITY_ERROR, Ending.QUOTA}

    @property
    def savings_percent(self) -> float | None:
        """AWS's own figure for one job: `(1 - billable / training) * 100`."""
        return saved_percent(self.billable_seconds, self.training_seconds)

    @property
    def shown_savings_percent(self) -> float | None:
        """`savings_percent` as people see it: a spot attempt that failed has saved nothing."""
        is_saving = self.ending is Ending.COMPLETED and self.purchase is PurchaseOption.SPOT
        return self.savings_percent if is_saving else None

    def to_json(self, *, with_transitions: bool = True) -> dict[str, Any]:
        """As plain JSON: numbers, strings, ISO 8601 times."""
        plain = {stored_as(name): _plain(getattr(self, name)) for name in _ATTEMPT_FIELDS}
        plain |= {**self.unknown, "savings_percent": self.savings_percent}
        if not with_transitions:
            return plain
        return {**plain, "transitions": [transition_to_json(visit) for visit in self.transitions]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attempt:
        """Undo `to_json`. Members of a newer version are kept in `unknown`, missing ones take their defaults.

        Raises KeyError, TypeError or ValueError if it is not an attempt.
        """
        known = {name: data[stored_as(name)] for name in _ATTEMPT_FIELDS if stored_as(name) in data}
        for name in ("created_at", "started_at", "ended_at"):
            if known.get(name):
                known[name] = datetime.fromisoformat(known[name])
        known["purchase"] = PurchaseOption(known["purchase"])
        known["ending"] = Ending(known["ending"])
        known["transitions"] = tuple(transition_from_json(t) for t in data.get("transitions") or ())
        known["unknown"] = unknown_of(data, _ATTEMPT_MEMBERS)
        return cls(**{"step": 0, "job_name": "", "reason": "", **known})


def stored_as(field: str) -> str:
    """The key of a field in states, records and XComs: 0.1.0 called a step a rung, and its data stays."""
    return "rung" if field == "step" else field


_ATTEMPT_FIELDS = tuple(each.name for each in fields(Attempt) if each.name not in {"transitions", "unknown"})
#: What an attempt consists of in states, records and XComs, with what follows from it.
_ATTEMPT_MEMBERS = frozenset(
    {*map(stored_as, _ATTEMPT_FIELDS), "transitions", "savings_percent", "billed_usd"}
)


def unknown_of(data: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The members of some JSON that a newer version wrote. They are kept and written back."""
    return {name: value for name, value in data.items() if name not in known and value is not None}


def transition_to_json(visit: Transition) -> dict[str, Any]:
    """A visit to a status as plain JSON, without its message."""
    ended = visit.ended_at.isoformat() if visit.ended_at else None
    known = {"status": str(visit.status), "started_at": visit.started_at.isoformat(), "ended_at": ended}
    return {**visit.unknown, **known}


def transition_from_json(data: Mapping[str, Any]) -> Transition:
    """Undo `transition_to_json`."""
    ended = data.get("ended_at")
    return Transition(
        status=SecondaryStatus(data["status"]),
        started_at=datetime.fromisoformat(data["started_at"]),
        ended_at=datetime.fromisoformat(ended) if ended else None,
        unknown=unknown_of(data, _TRANSITION_MEMBERS),
    )


#: A record adds `attempt`: it has the transitions of all attempts in one list.
_TRANSITION_MEMBERS = frozenset({"status", "started_at", "ended_at", "attempt"})


def kept_transitions(job: JobSnapshot) -> tuple[Transition, ...]:
    """The job's transitions as records keep them: without messages, the newest `MOST_TRANSITIONS`."""
    return tuple(replace(visit, message="") for visit in job.transitions[-MOST_TRANSITIONS:])


def cost_usd(instance_seconds: int | None, usd_per_hour: float | None) -> float | None:
    """US dollars for billed instance-seconds. Nothing billed costs nothing at any price."""
    if instance_seconds == 0:
        return 0.0
    if instance_seconds is None or usd_per_hour is None:
        return None
    return round(instance_seconds * usd_per_hour / 3600, 6)


def billed_usd(attempt: Attempt, prices: Prices) -> float | None:
    """What one attempt cost, or None if its seconds or its price are not known."""
    return cost_usd(attempt.billable_instance_seconds, prices.get(attempt.instance_type or ""))


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case StrEnum():
            return str(value)
        case _:
            return value


def attempt_of(
    job: JobSnapshot, *, number: int, step: int, reason: str, ending: Ending, message: str = ""
) -> Attempt:
    """The record of a job that is over."""
    started = job.has_started
    return Attempt(
        number=number,
        step=step,
        job_name=job.name,
        purchase=PurchaseOption.SPOT if job.is_spot else PurchaseOption.ON_DEMAND,
        reason=reason,
        ending=ending,
        created_at=job.created_at,
        started_at=job.training_started_at,
        ended_at=job.training_ended_at or job.last_modified_at,
        instance_type=job.instance_type,
        instance_count=job.instance_count,
        max_runtime_seconds=job.max_runtime_seconds,
        max_wait_seconds=job.max_wait_seconds,
        has_checkpoints=job.checkpoint_uri is not None,
        interruptions=job.interruptions,
        wait_seconds=wait_seconds_of(job),
        training_seconds=job.training_seconds if started else 0,
        billable_seconds=job.billable_seconds if started else 0,
        work_seconds=_work_seconds(job.transitions) if started else None,
        launch_seconds=_last_launch_seconds(job.transitions) if started else None,
        message=message or job.failure_reason or job.message,
        transitions=kept_transitions(job),
    )


def wait_seconds_of(job: JobSnapshot) -> int:
    """Seconds without instances, from creation on: before the first launch and after each interruption."""
    if job.transitions:
        return round(sum(_seconds(t, job.last_modified_at) for t in job.transitions if _is_wait(t, job)))
    end = job.training_started_at or job.training_ended_at or job.last_modified_at
    return max(0, round((end - job.created_at).total_seconds()))


def _is_wait(visit: Transition, job: JobSnapshot) -> bool:
    if visit.status in WAITING_STATUSES:
        return True
    return visit.status is SecondaryStatus.STOPPING and not job.has_started


def _seconds(visit: Transition, now: datetime) -> float:
    return max(0.0, ((visit.ended_at or now) - visit.started_at).total_seconds())


def _work_seconds(transitions: Sequence[Transition]) -> int:
    return round(sum(_seconds(t, t.started_at) for t in transitions if t.status is SecondaryStatus.TRAINING))


def _last_launch_seconds(transitions: Sequence[Transition]) -> int:
    """How long the last launch held instances without training on them."""
    after_last_wait: list[Transition] = []
    for visit in transitions:
        if visit.status in WAITING_STATUSES:
            after_last_wait.clear()
        else:
            after_last_wait.append(visit)
    around = HOLDING_STATUSES - {SecondaryStatus.TRAINING}
    return round(sum(_seconds(t, t.started_at) for t in after_last_wait if t.status in around))


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingsStatement:
    """A training's seconds and savings, over all its attempts, the abandoned ones too.

    `savings_percent` compares all billed instance-seconds with one clean on-demand run, so it is negative
    when spot lost money. `clean_run_seconds` is that run's length: measured where one uninterrupted job did
    the whole training; estimated as the work done plus one launch where it took several (work that had to be
    repeated after an interruption is in it, so the estimate is an upper bound); unknown when the training
    did not complete. `job_savings_percent` is AWS's formula over the same seconds. `abandoned` is what the
    attempts that did not complete were billed: of a training that failed, all of it.
    """

    completed: bool
    attempts: int
    interruptions: int
    wait_seconds: int
    training_seconds: int | None
    billable_seconds: int | None
    training_instance_seconds: int | None
    billable_instance_seconds: int | None
    abandoned_instance_seconds: int | None
    clean_run_seconds: int | None
    clean_run_instance_seconds: int | None
    clean_run_basis: CleanRunBasis
    savings_percent: float | None
    job_savings_percent: float | None
    billed_usd: float | None
    clean_run_usd: float | None
    saved_usd: float | None
    abandoned_usd: float | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}


def statement_of(attempts: Sequence[Attempt], prices: Prices = NO_PRICES) -> SavingsStatement:
    """Sum up the attempts of one training, in any order; `prices` are on-demand US dollars per hour."""
    completed = next((a for a in attempts if a.ending is Ending.COMPLETED), None)
    abandoned = [a for a in attempts if a is not completed]
    clean_run, basis = _clean_run(attempts, completed)
    clean_instances = _times(clean_run, completed.instance_count) if completed else None
    clean_usd = cost_usd(clean_instances, prices.get(completed.instance_type or "")) if completed else None
    billed_instances = _total(a.billable_instance_seconds for a in attempts)
    training_instances = _total(a.training_instance_seconds for a in attempts)
    billed = _total_usd(billed_usd(a, prices) for a in attempts)
    return SavingsStatement(
        completed=completed is not None,
        attempts=len(attempts),
        interruptions=sum(a.interruptions for a in attempts),
        wait_seconds=sum(a.wait_seconds for a in attempts),
        training_seconds=_total(a.training_seconds for a in attempts),
        billable_seconds=_total(a.billable_seconds for a in attempts),
        training_instance_seconds=training_instances,
        billable_instance_seconds=billed_instances,
        abandoned_instance_seconds=_total(a.billable_instance_seconds for a in abandoned),
        clean_run_seconds=clean_run,
        clean_run_instance_seconds=clean_instances,
        clean_run_basis=basis,
        savings_percent=saved_percent(billed_instances, clean_instances),
        job_savings_percent=saved_percent(billed_instances, training_instances),
        billed_usd=billed,
        clean_run_usd=clean_usd,
        saved_usd=None if clean_usd is None or billed is None else round(clean_usd - billed, 6),
        abandoned_usd=_total_usd(billed_usd(a, prices) for a in abandoned),
    )


def _clean_run(attempts: Sequence[Attempt], completed: Attempt | None) -> tuple[int | None, CleanRunBasis]:
    if completed is None or completed.work_seconds is None or completed.launch_seconds is None:
        return None, CleanRunBasis.UNKNOWN
    carried = [a for a in attempts if a.work_seconds and a.has_checkpoints and a is not completed]
    if not carried and not completed.interruptions:
        return completed.training_seconds, CleanRunBasis.MEASURED
    if not completed.has_checkpoints:
        return None, CleanRunBasis.UNKNOWN
    work = completed.work_seconds + sum(a.work_seconds or 0 for a in carried)
    return work + completed.launch_seconds, CleanRunBasis.ESTIMATED


def _total(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _total_usd(values: Iterable[float | None]) -> float | None:
    known = list(values)
    if any(value is None for value in known):
        return None
    return round(math.fsum(value for value in known if value is not None), 6)


def _times(seconds: int | None, count: int) -> int | None:
    return None if seconds is None else seconds * count


def saved_percent(paid: float | None, full: float | None) -> float | None:
    """How much less than the full price was paid, in percent: negative if it was more. None if unknown."""
    return None if paid is None or not full else round((1 - paid / full) * 100, 1)
