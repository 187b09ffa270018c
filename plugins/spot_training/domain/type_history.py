"""What spot jobs met lately on each instance type: interruptions, scouts, and moves that found no capacity.

A type with many interruptions or failures lately is asked last: a job waits for it, and a scout looks for it,
only after the others. That changes the order of a policy's types, and leaves none out. No ledger, no clock.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .attempts import PurchaseOption, price_ratio_of
from .lifecycle import Ending
from .scouting import PATIENCE_SECONDS
from .way_back import FEWEST_HAND_OVERS, fails_too_often

#: Older jobs say little about the market now. Two weeks show a weekly training twice.
WITHIN_DAYS = 14
WITHIN = timedelta(days=WITHIN_DAYS)
#: Fewer attempts say nothing: of four, more than half are interrupted by chance once in twenty times where
#: one in four is.
FEWEST_ATTEMPTS = FEWEST_HAND_OVERS
#: A type is asked last if more than this share of its attempts was interrupted.
MOST_INTERRUPTED = 0.5
#: How a job ends from which the training moves to where a scout has found capacity.
MOVING_ENDINGS = frozenset({Ending.MOVED, Ending.LEFT_FOR_SPOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotJob:
    """A spot job that is over, as the ledger has it. `ending_before` is that of the attempt before it."""

    region: str
    instance_type: str
    is_scout: bool
    ending: Ending
    ending_before: Ending | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    interruptions: int = 0
    training_seconds: int | None = None
    billable_seconds: int | None = None

    @property
    def is_move(self) -> bool:
        """Whether a scout had found capacity for it. A full quota is no lack of capacity."""
        return self.ending_before in MOVING_ENDINGS and self.ending is not Ending.QUOTA

    @property
    def seconds_to_capacity(self) -> float | None:
        """From its creation to its first instances; None if it got none."""
        if self.created_at is None or self.started_at is None:
            return None
        return (self.started_at - self.created_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeHistory:
    """One type in one region. `attempts` are the spot jobs that got instances, `interrupted` some of these.

    `found_after_seconds` is the median wait of the scouts that found capacity (None: none did). A move fails
    if its job does not get instances within the time that an ordinary start takes. `price_ratio` is spot's
    share of the on-demand price, as AWS billed these jobs (None: none shows it).
    """

    region: str
    instance_type: str
    attempts: int = 0
    interrupted: int = 0
    scouts: int = 0
    scouts_with_capacity: int = 0
    found_after_seconds: float | None = None
    moves: int = 0
    failed_moves: int = 0
    price_ratio: float | None = None

    @classmethod
    def of(cls, region: str, instance_type: str, jobs: Iterable[SpotJob]) -> TypeHistory:
        """From the jobs of this type in this region."""
        own = list(jobs)
        started = [job for job in own if job.started_at and not job.is_scout]
        scouts = [job for job in own if job.is_scout and job.created_at]
        waits = [job.seconds_to_capacity for job in own if job.is_move and not job.is_scout]
        billed = [(job.billable_seconds, job.training_seconds) for job in own]
        found = [seconds for job in scouts if (seconds := job.seconds_to_capacity) is not None]
        return cls(
            region=region,
            instance_type=instance_type,
            attempts=len(started),
            interrupted=sum(job.interruptions > 0 for job in started),
            scouts=len(scouts),
            scouts_with_capacity=len(found),
            found_after_seconds=statistics.median(found) if found else None,
            moves=len(waits),
            failed_moves=sum(wait is None or wait > PATIENCE_SECONDS for wait in waits),
            price_ratio=price_ratio_of(billed),
        )

    @property
    def objection(self) -> str | None:
        """Why the type is asked last, in words; None if it is not."""
        if self.attempts >= FEWEST_ATTEMPTS and self.interrupted > MOST_INTERRUPTED * self.attempts:
            return (
                f"{self.interrupted} of {self.attempts} {PurchaseOption.SPOT} attempts in {WITHIN_DAYS} days "
                "were interrupted"
            )
        if fails_too_often(hand_overs=self.moves, failed=self.failed_moves):
            return f"{self.failed_moves} of {self.moves} moves to it in {WITHIN_DAYS} days found no capacity"
        return None


def histories_of(jobs: Iterable[SpotJob]) -> list[TypeHistory]:
    """By region and type."""
    by_place: dict[tuple[str, str], list[SpotJob]] = {}
    for job in jobs:
        by_place.setdefault((job.region, job.instance_type), []).append(job)
    return [TypeHistory.of(*place, own) for place, own in sorted(by_place.items())]


def asked_last(types: Sequence[str], histories: Iterable[TypeHistory]) -> Mapping[str, str]:
    """The types that are asked last, with the reason. None if that would be all of them.

    `histories` are those of one region.
    """
    objections = {each.instance_type: each.objection for each in histories}
    last = {name: why for name in types if (why := objections.get(name))}
    return {} if len(last) == len(types) else last
