"""Availability intervals: when there was spot capacity and when not, from the transitions of jobs.

Pure: it takes the visits of jobs to statuses and returns intervals. The end of an interval counts only if it
was seen: an interruption ends an interval with capacity, a start ends one without.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise

from spot_training.domain.lifecycle import HOLDING_STATUSES, WAITING_STATUSES, SecondaryStatus, Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A time during which one job saw whether there was capacity."""

    began_at: datetime
    ended_at: datetime
    has_spot: bool


def stretches_of(visits: Sequence[Transition], *, over_at: datetime, launch_seconds: float) -> list[Stretch]:
    """What one job saw, oldest first; `visits` in their order.

    There is capacity while the job holds instances, and before a start within `launch_seconds`, because a
    launch takes that long anyway. There is none during a longer wait and during any wait after an
    interruption. A shorter wait without a start says nothing.
    """
    ends = [*(visit.started_at for visit in visits[1:]), over_at]
    seen = [(_kind(visit.status), visit, end) for visit, end in zip(visits, ends, strict=True)]
    runs = [(kind, list(run)) for kind, run in groupby(seen, key=lambda item: item[0])]
    stretches = []
    for number, (kind, run) in enumerate(runs):
        began_at, ended_at = run[0][1].started_at, run[-1][2]
        has_spot: bool | None = kind
        if kind is False and (ended_at - began_at).total_seconds() <= launch_seconds:
            is_after_interruption = any(visit.status is SecondaryStatus.INTERRUPTED for _, visit, _ in run)
            leads_to_start = number + 1 < len(runs) and runs[number + 1][0] is True
            has_spot = False if is_after_interruption else True if leads_to_start else None
        if has_spot is not None and ended_at > began_at:
            stretches.append(Stretch(began_at=began_at, ended_at=ended_at, has_spot=has_spot))
    return stretches


def _kind(status: SecondaryStatus) -> bool | None:
    if status in HOLDING_STATUSES:
        return True
    return False if status in WAITING_STATUSES else None


def intervals_seen(jobs: Iterable[Sequence[Stretch]]) -> list[tuple[bool, float]]:
    """The intervals of one market that these jobs saw, in the order of their ends: `(has_spot, seconds)`.

    There is capacity at a moment if any job had some. If an interval's end was not seen, because the job
    ended and nobody watched any longer, its time is added to the next interval of its kind, which keeps the
    mean length correct. Intervals that never ended come last.
    """
    stretches, lost_at = _merge(jobs)
    seconds = {True: 0.0, False: 0.0}
    intervals = []
    for stretch, after in zip(stretches, [*stretches, None][1:], strict=True):
        seconds[stretch.has_spot] += (stretch.ended_at - stretch.began_at).total_seconds()
        is_followed = after is not None and after.began_at == stretch.ended_at
        is_end = is_followed and (not stretch.has_spot or stretch.ended_at in lost_at)
        if is_end:
            intervals.append((stretch.has_spot, seconds[stretch.has_spot]))
            seconds[stretch.has_spot] = 0.0
    return intervals + [(has_spot, left) for has_spot, left in seconds.items() if left]


def _merge(jobs: Iterable[Sequence[Stretch]]) -> tuple[list[Stretch], set[datetime]]:
    """The stretches of all jobs on one timeline, and the moments at which a job lost its instances."""
    changes: dict[datetime, list[int]] = {}
    lost_at = set()
    for job in jobs:
        for stretch in job:
            changes.setdefault(stretch.began_at, [0, 0])[stretch.has_spot] += 1
            changes.setdefault(stretch.ended_at, [0, 0])[stretch.has_spot] -= 1
        for before, after in pairwise(job):
            if before.has_spot and not after.has_spot and before.ended_at == after.began_at:
                lost_at.add(after.began_at)
    merged: list[Stretch] = []
    waiting = holding = 0
    for moment, until in pairwise(sorted(changes)):
        waiting, holding = waiting + changes[moment][0], holding + changes[moment][1]
        if not waiting and not holding:
            continue
        stretch = Stretch(began_at=moment, ended_at=until, has_spot=holding > 0)
        last = merged[-1] if merged else None
        if last and last.ended_at == moment and last.has_spot is stretch.has_spot:
            merged[-1] = Stretch(began_at=last.began_at, ended_at=until, has_spot=last.has_spot)
        else:
            merged.append(stretch)
    return merged, lost_at


#: The name in 0.1.0.
spells_seen = intervals_seen
