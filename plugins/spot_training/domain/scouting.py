"""Any of several types: a spot job waits for one type, and scouts find out which other has capacity.

SageMaker lets a spot job wait for one instance type only. A **scout** is a tiny spot job of another type,
without data and checkpoints, which sleeps. Waiting costs nothing, and a scout that runs proves capacity. Then
the training's job is stopped, which still waits, and created again on the scout's type.

    the job waits longer than an ordinary start takes    scouts of the other types go out
    a scout runs                                         stop it and the job, create the job on its type
    the job gets instances itself                        stop the scouts
    the new job waits longer than an ordinary start      the same again

Order means preference: of several scouts that run, the type that comes first counts. A type that is asked
last (`type_history`) comes after all others, and its scout goes out later. No clock, no AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .lifecycle import (
    HOLDING_STATUSES,
    WAITING_STATUSES,
    Ending,
    JobSnapshot,
    SecondaryStatus,
    TrainingStatus,
)

if TYPE_CHECKING:
    from .attempts import Attempt
    from .ladder import Step

#: A spot job that has capacity starts within so long: `deadline.LAUNCH_SECONDS`.
PATIENCE_SECONDS = 300
#: A scout that runs ends by itself after so long, if nobody stops it.
RUN_SECONDS = 600
#: After scouts have ended without a result, the next go out so much later at the earliest.
ROUND_SECONDS = 1800
#: How a scout ends that had instances and was not stopped.
_ENDED_BY_ITSELF = frozenset({SecondaryStatus.COMPLETED, SecondaryStatus.MAX_RUNTIME_EXCEEDED})
#: What a scout that was of use ends with.
USEFUL_ENDINGS = frozenset({Ending.SCOUT_DONE, Ending.COMPLETED, Ending.MAX_RUNTIME})
#: The share of the on-demand price that spot costs at most, for a comparison: AWS speaks of savings of up to
#: 90 %, and jobs were seen that saved a third.
DEAREST_SPOT = 0.7
#: The least time a scout waits for capacity.
LEAST_WAIT_SECONDS = 600
#: The longest: so long at most lives one that everybody has lost sight of.
LONGEST_WAIT_SECONDS = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoutCall:
    """When a waiting task has to look at its scouts, or send some.

    `scouts` are the names of those that are out. `not_before` is when others may go out at the earliest (with
    scouts out, None if no other will); for an on-demand job, when to look again. With `saved_after`, a
    checkpoint that began to arrive later is awaited.
    """

    scouts: tuple[str, ...] = ()
    not_before: datetime | None = None
    saved_after: datetime | None = None

    def moment(self, job: JobSnapshot) -> datetime | None:
        """When the task has to look because of this state of its job; None while nothing is due.

        With scouts out, that is as soon as the job has instances, or others may go out, too. Without, as soon
        as it has waited too long.
        """
        if job.is_terminal or job.status is TrainingStatus.STOPPING:
            return None
        if not job.is_spot:
            return self.not_before
        if self.scouts and holds_instances(job):
            return job.last_modified_at
        if self.scouts and self.not_before is None:
            return None
        return send_at(job, self.not_before)


def waits_since(job: JobSnapshot) -> datetime | None:
    """Since when the job has been waiting for capacity, without an instance; None if it does not wait."""
    if job.secondary_status not in WAITING_STATUSES:
        return None
    since = job.created_at
    for visit in reversed(job.transitions):
        if visit.status not in WAITING_STATUSES:
            break
        since = visit.started_at
    return since


def holds_instances(job: JobSnapshot) -> bool:
    """Not while it is being stopped: it uploads then, and is no proof of capacity."""
    return job.status is not TrainingStatus.STOPPING and job.secondary_status in HOLDING_STATUSES


def send_at(job: JobSnapshot, not_before: datetime | None) -> datetime | None:
    """When scouts go out for this job; None while it does not wait."""
    since = waits_since(job)
    if since is None:
        return None
    moment = since + timedelta(seconds=PATIENCE_SECONDS)
    return moment if not_before is None else max(moment, not_before)


def not_before_after(ended: Sequence[Attempt]) -> datetime | None:
    """When the next scout of a type goes out at the earliest: a while after one without a result."""
    without_result = [s.ended_at for s in ended if s.ended_at is not None and s.ending not in USEFUL_ENDINGS]
    return max(without_result) + timedelta(seconds=ROUND_SECONDS) if without_result else None


def goes_out_at(
    job: JobSnapshot, ended: Sequence[Attempt], *, is_asked_last: bool = False
) -> datetime | None:
    """When the next scout of a type goes out for this job; None while the job does not wait.

    `ended` are the type's scouts that are over. After one without a result, some time passes. The scout of a
    type that is asked last goes out when one of another type would run by now.
    """
    moment = send_at(job, not_before_after(ended))
    if moment is None or not is_asked_last:
        return moment
    return moment + timedelta(seconds=PATIENCE_SECONDS)


def types_to_scout(step: Step, job: JobSnapshot, out: Sequence[str]) -> tuple[str, ...]:
    """The types of the step to send scouts for: not those of scouts that are out.

    A spot job waits for its own type itself. While on-demand runs, every type counts.
    """
    own = job.instance_type if job.is_spot else None
    return tuple(t for t in step.instance_types if t != own and t not in out)


def types_that_pay(
    types: Sequence[str], step: Step, price_of: Callable[[str], float | None]
) -> tuple[str, ...]:
    """The types on which spot costs less for the same work than on-demand on the first type.

    Without relative speeds, these are all types. A type without a price counts as one of them. `price_of` is
    US dollars per hour on demand.
    """
    if not step.speeds:
        return tuple(types)
    speeds = dict(zip(step.instance_types, step.speeds, strict=True))

    def for_work(name: str) -> float | None:
        price = price_of(name)
        return None if price is None else price / speeds[name]

    on_demand = for_work(step.instance_types[0])

    def pays(name: str) -> bool:
        cost = for_work(name)
        return cost is None or on_demand is None or DEAREST_SPOT * cost < on_demand

    return tuple(filter(pays, types))


def wait_of_scout(step: Step, job: JobSnapshot, now: datetime) -> int:
    """For how many seconds a scout waits at most: it need not wait for longer than the job itself."""
    ends_at = job.created_at + timedelta(seconds=job.max_wait_seconds or step.max_wait_seconds or 0)
    left = round((ends_at - now).total_seconds())
    return min(LONGEST_WAIT_SECONDS, max(LEAST_WAIT_SECONDS, left))


def wait_left(step: Step, attempts: Sequence[Attempt], now: datetime) -> int:
    """What is left of the step's max wait: the attempts before a move have used some of it."""
    began_at = now
    for attempt in reversed(attempts):
        if attempt.was_refused:
            continue
        if attempt.ending is not Ending.MOVED or attempt.created_at is None:
            break
        began_at = attempt.created_at
    return (step.max_wait_seconds or 0) - round((now - began_at).total_seconds())


def found_capacity(
    step: Step, scouts: Mapping[str, JobSnapshot], asked_last: Collection[str] = ()
) -> str | None:
    """The type that comes first of those whose scout has instances. `scouts` by type."""
    running = [t for t in step.instance_types if t in scouts and _proves_capacity(scouts[t])]
    return min(running, key=lambda name: name in asked_last, default=None)


def _proves_capacity(scout: JobSnapshot) -> bool:
    """Whether it has instances, or had them a moment ago: it ends by itself if nobody looked in time."""
    return holds_instances(scout) or scout.secondary_status in _ENDED_BY_ITSELF
