"""One training job of a task that is over, and how its seconds are read from what AWS says.

Seconds are per instance unless the name says `instance_seconds`. Unknown stays unknown (None): a missing
figure is never taken as zero, except for a job that never started, which costs nothing because it never held
an instance.

Source of the per-job formula: `BillableTimeInSeconds` in the SageMaker API reference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from .lifecycle import HOLDING_STATUSES, WAITING_STATUSES, Ending, JobSnapshot, SecondaryStatus, Transition

#: The format of states and records that first had this ending, if it is not the second: a reader of an
#: earlier format does not know it.
FORMAT_OF_ENDING: Mapping[Ending, int] = {
    Ending.MOVED: 3,
    Ending.SCOUT_DONE: 3,
    Ending.LEFT_FOR_SPOT: 4,
    Ending.UPLOADS_STALLED: 4,
}
#: Transitions kept of one job: an interruption makes about four, so some fifty interruptions.
MOST_TRANSITIONS = 200


class PurchaseOption(StrEnum):
    """How the instances of a job are bought."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"


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
    job_arn: str | None = None
    transitions: tuple[Transition, ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def billable_instance_seconds(self) -> int | None:
        return times_instances(self.billable_seconds, self.instance_count)

    @property
    def training_instance_seconds(self) -> int | None:
        return times_instances(self.training_seconds, self.instance_count)

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
        plain = {stored_as(name): as_plain(getattr(self, name)) for name in _ATTEMPT_FIELDS}
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
        job_arn=job.arn or None,
        transitions=kept_transitions(job),
    )


def wait_seconds_of(job: JobSnapshot, *, before: datetime | None = None) -> int:
    """Seconds without instances, from creation on: before the first launch and after each interruption.

    `before` counts only what began before that moment: how long the job had waited by then.
    """
    if job.transitions:
        counted = (t for t in job.transitions if before is None or t.started_at < before)
        return round(sum(_seconds(t, job.last_modified_at) for t in counted if _is_wait(t, job)))
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


def price_ratio_of(billed: Iterable[tuple[int | None, int | None]]) -> float | None:
    """Spot's share of the on-demand price, from the billable and training seconds of spot jobs.

    None if none of them shows it.
    """
    known = [(billable, training) for billable, training in billed if billable and training]
    trained = sum(training for _, training in known)
    return sum(billable for billable, _ in known) / trained if trained else None


def as_plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case StrEnum():
            return str(value)
        case _:
            return value


def times_instances(seconds: int | None, count: int) -> int | None:
    return None if seconds is None else seconds * count


def saved_percent(paid: float | None, full: float | None) -> float | None:
    """How much less than the full price was paid, in percent: negative if it was more. None if unknown."""
    return None if paid is None or not full else round((1 - paid / full) * 100, 1)
