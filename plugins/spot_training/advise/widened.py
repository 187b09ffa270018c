"""Simulates the policy `widen` on any of several types, with scouts: as `hand_overs`, but for the waits.

Each spot job ends when its max wait is over, also if it runs then, and the next waits for the first type
again. After the last, on-demand runs to the end. A job that moves to another type has what is left of the
max wait, at least the longest run time (`training.creating`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spot_training.advise.hand_overs import NO_HAZARDS, Course, Hazards, markets_of
from spot_training.advise.moves import TOLERANCE, Widen

if TYPE_CHECKING:
    from spot_training.advise.capacity import Interval, Market
    from spot_training.advise.hand_overs import Place
    from spot_training.advise.moves import Workload
    from spot_training.domain.way_back import WayBack

    from .simulator import Walk


def walk_widened(
    policy: Widen,
    workload: Workload,
    markets: Sequence[Market],
    way_back: WayBack,
    hazards: Hazards = NO_HAZARDS,
    *,
    max_runtime_seconds: float | None = None,
    intervals: Sequence[Sequence[Interval]] | None = None,
) -> Walk:
    """Simulate `widen` on these markets, the preferred one first, with the guard of `way_back`.

    `max_runtime_seconds` is the request's longest run time (None: the work's), and `intervals` as for
    `walk_events`.
    """
    never_back = replace(way_back, is_allowed=False)
    course = _Widened(workload, markets_of(workload, markets, intervals), never_back, hazards)
    course.waits = list(policy.waits(workload))
    course.longest_run_seconds = max_runtime_seconds or workload.work_seconds
    course.begin_step()
    course.run()
    return course.result()


class _Widened(Course):
    waits: list[float]
    longest_run_seconds: float
    #: When the step's max wait is over.
    ends_at: float

    def begin_step(self) -> bool:
        """Begin the next spot step. Returns whether there is one."""
        if not self.waits:
            return False
        self.ends_at, self.queued = self.now + self.waits.pop(0), None
        return True

    def _wait(self) -> Place | None:
        while True:
            is_over = self.now >= self.ends_at - TOLERANCE
            if self.is_last_moment or (is_over and not self.begin_step()):
                self._give_up_waiting(self.now)
                return None
            place = super()._wait()
            if place is not None or self.now < self.ends_at - TOLERANCE:
                return place

    def _on_demand_at(self) -> float:
        spare = max(0.0, self.guard.seconds_to_spare(self._progress()))
        return max(self.now, min(self.now + spare, self.ends_at))

    def _ask_after_scout(self, place: Place) -> bool:
        self.ends_at = max(self.ends_at, self.now + self.longest_run_seconds)
        return super()._ask_after_scout(place)

    def _guard_stops_at(self, place: Place, ready_at: float, finishes_at: float) -> float:
        return min(self.ends_at, super()._guard_stops_at(place, ready_at, finishes_at))

    def _run_on_spot(self, place: Place) -> None:
        super()._run_on_spot(place)
        if self.is_last_moment and self.now >= self.ends_at:
            self.is_last_moment = False  # it ran out of max wait
