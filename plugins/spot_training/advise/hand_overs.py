"""Simulates the policy `deadline` with scouts: any of several types, and the way back from on-demand to spot.

A stop or a scout's launch is shorter than a tick of most traces. So time is continuous, and the simulation
goes from event to event: capacity comes or goes, a scout runs, a checkpoint arrives, the guard's last moment
comes. The seconds of each job are billed, also of launches and stops, and those of scouts from when they run.
Waiting is free.

    nothing runs    the training's spot job waits for one market, at first the preferred one. After
                    `HandOver.notice_seconds`, a scout waits for each of the others. The first that runs
                    decides, and the job asks there for its capacity, which may be gone
                    (`Hazards.gone_chance`)
    on-demand runs  with a way back, a scout waits for each market (`domain.way_back`)
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from spot_training.advise.capacity import Capacity, Interval, Market, intervals_of
from spot_training.advise.moves import TOLERANCE, BackToSpot, Guard, Workload
from spot_training.domain.errors import InvalidInput
from spot_training.domain.way_back import HandOver, Progress, WayBack, fails_too_often, pause_seconds

from .simulator import DEFAULT_GUARD, Walk

#: A checkpoint that does not arrive within so many intervals is not awaited any longer.
CHECKPOINTS_AWAITED = 2.0
#: A script that saves all the time saves once a second.
LEAST_BETWEEN_CHECKPOINTS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazards:
    """What can go wrong besides capacity: chances, and seconds.

    `gone_chance`: that the capacity which a scout found is gone when the training job asks, for
    `gone_seconds`. `loses_work`: whether an interruption loses the work since the last checkpoint.
    `checkpoint_every_seconds`: how often the script really saves (None: as `HandOver` assumes).
    """

    gone_chance: float = 0.0
    gone_seconds: float = 3600.0
    loses_work: bool = False
    checkpoint_every_seconds: float | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.gone_chance <= 1:
            raise InvalidInput("hazards.gone_chance", self.gone_chance, "give a chance from 0 to 1.")
        if self.checkpoint_every_seconds is not None and self.checkpoint_every_seconds <= 0:
            way_out = "give seconds above zero."
            raise InvalidInput("hazards.checkpoint_every_seconds", self.checkpoint_every_seconds, way_out)


NO_HAZARDS = Hazards()


class Place:
    """One market during this training."""

    def __init__(self, market: Market, intervals: Sequence[Interval], workload: Workload) -> None:
        self.capacity = Capacity(intervals)
        self.speed = market.speed
        self.price = workload.spot_price if market.spot_price is None else market.spot_price
        self.hand_overs = self.failed = 0

    def __lt__(self, other: Place) -> bool:
        """No order: of several scouts that run at once, the first one in the list decides."""
        return False


@dataclass(slots=True)
class _Seconds:
    """What is billed."""

    on_demand: float = 0.0
    spot: float = 0.0
    scouts: float = 0.0
    spot_dollars: float = 0.0

    def add_spot(self, place: Place, seconds: float) -> None:
        self.spot += seconds
        self.spot_dollars += seconds / 3600 * place.price

    def add_scout(self, place: Place, seconds: float) -> None:
        self.scouts += seconds
        self.spot_dollars += seconds / 3600 * place.price


def way_back_for(
    workload: Workload,
    guard: Guard = DEFAULT_GUARD,
    hazards: Hazards = NO_HAZARDS,
    hand_over: Mapping[str, Any] | None = None,
) -> WayBack:
    """The rule for this workload, with the reserve of `guard`. `hand_over`: values for `HandOver` to replace.

    The guard covers the work since the last checkpoint if interruptions lose it. Raises `InvalidInput`.
    """
    given = dict(hand_over or {})
    if unknown := sorted(given.keys() - {each.name for each in fields(HandOver)}):
        names = ", ".join(each.name for each in fields(HandOver))
        raise InvalidInput(f"hand_over.{unknown[0]}", given[unknown[0]], f"give some of {names}.")
    for_slow_work = max(0.0, (guard.work_factor - 1) * workload.work_seconds)
    how = HandOver(
        launch_seconds=workload.overhead_seconds,
        launch_high_seconds=guard.overhead_seconds,
        price_ratio=workload.spot_price / workload.on_demand_price,
        reserve_seconds=guard.reserve_seconds + for_slow_work,
    )
    how = replace(how, **given)
    if hazards.loses_work and "lost_seconds" not in given:
        how = replace(how, lost_seconds=how.checkpoint_every_seconds)
    return WayBack(hand_over=how, is_allowed=workload.back_to_spot is BackToSpot.HAND_OVER)


def walk_events(
    workload: Workload,
    markets: Sequence[Market],
    way_back: WayBack,
    hazards: Hazards = NO_HAZARDS,
    *,
    intervals: Sequence[Sequence[Interval]] | None = None,
) -> Walk:
    """Simulate `deadline` on these markets, the preferred one first.

    `intervals`: when they have capacity, if that is known already.
    """
    course = Course(workload, markets_of(workload, markets, intervals), way_back, hazards)
    course.run()
    return course.result()


def markets_of(
    workload: Workload, markets: Sequence[Market], intervals: Sequence[Sequence[Interval]] | None = None
) -> list[Place]:
    """The markets during one training."""
    if not markets:
        raise InvalidInput("markets", list(markets), "give one or more.")
    seen = [intervals_of(market.trace) for market in markets] if intervals is None else intervals
    return [Place(market, when, workload) for market, when in zip(markets, seen, strict=True)]


class Course:
    """One training. `now` is the time since submission; nothing runs between two methods."""

    def __init__(
        self, workload: Workload, places: Sequence[Place], way_back: WayBack, hazards: Hazards
    ) -> None:
        self.workload, self.way_back, self.hazards = workload, way_back, hazards
        self.how, self.guard = way_back.hand_over, way_back.guard
        # A market that costs more than on-demand for the same work is never used.
        self.places = [place for place in places if place.price < workload.on_demand_price * place.speed]
        every = hazards.checkpoint_every_seconds or self.how.checkpoint_every_seconds
        self.checkpoint_seconds = max(every, LEAST_BETWEEN_CHECKPOINTS)
        self.chance = random.Random(hazards.seed)  # noqa: S311 - repeatable, not secret
        self.now = 0.0
        self.work_seconds = workload.work_seconds
        self.finished_at: float | None = None
        #: The market for which the training's spot job waits, and when scouts go out for the others.
        self.queued: tuple[Place, float] | None = None
        self.is_asking = False
        #: The guard has stopped a spot job for on-demand.
        self.is_last_moment = False
        self.failed_in_a_row, self.paused_until = 0, 0.0
        self.billed = _Seconds()
        self.launches = self.interruptions = self.scouts = self.hand_overs = self.failed = 0
        self.lost_seconds = 0.0

    def run(self) -> None:
        place = self._wait()
        while True:
            if place is None:
                place = self._run_on_demand()
            else:
                self._run_on_spot(place)
                place = None
            if self.finished_at is not None:
                return
            place = place or self._wait()

    # --- nothing runs ---

    def _wait(self) -> Place | None:
        """Wait for a market with capacity. None: on-demand starts now."""
        while True:
            on_demand_at = self._on_demand_at()
            found = None if self.is_last_moment else self._next_spot()
            if found is None or found[0] > on_demand_at:
                self._give_up_waiting(on_demand_at)
                return None
            self.now, place, has_scout = found
            if not self._may_start(place, has_scout=has_scout):
                self._give_up_waiting(self.now)
                return None
            self.scouts += has_scout
            self.queued, self.is_asking = None, False
            if not has_scout or self._ask_after_scout(place):
                return place

    def _give_up_waiting(self, at: float) -> None:
        self.now, self.queued, self.is_asking, self.is_last_moment = at, None, False, False

    def _on_demand_at(self) -> float:
        progress = self._progress()
        if self.is_last_moment:
            return self.now
        at = self.now + self.way_back.on_demand_in_seconds(progress)
        if self.is_asking and self.queued:
            # A job that just asked may still be starting. Only the guard ends that wait.
            last_moment = self.now + max(0.0, self.guard.seconds_to_spare(progress))
            at = min(last_moment, max(at, self.queued[1]))
        return at

    def _next_spot(self) -> tuple[float, Place, bool] | None:
        """When which market has capacity, and whether a scout has found it.

        The training's spot job waits for one market, and scouts look for capacity in the others.
        """
        if not self.places:
            return None
        mine, until = self.queued or (self.places[0], self.now + self.how.notice_seconds)
        own = mine.capacity.from_(self.now)
        ran = self._first_scout([place for place in self.places if place is not mine], until)
        if ran and (own is None or ran[0] < own[0]):
            return (*ran, True)
        return (own[0], mine, False) if own else None

    def _first_scout(self, places: Sequence[Place], since: float) -> tuple[float, Place] | None:
        """Which scout runs first, and when, if all go out at `since`."""
        launch = self.how.scout_launch_seconds
        found = ((place.capacity.from_(since, for_seconds=launch), place) for place in places)
        return min(((when[0] + launch, place) for when, place in found if when), default=None)

    def _may_start(self, place: Place, *, has_scout: bool) -> bool:
        """Whether the guard has room for a spot job, which a slower market may have to stop."""
        spare = self.guard.seconds_to_spare(self._progress())
        needed = self.how.spot_room_seconds + (self.how.stop_seconds if place.speed < 1 else 0.0)
        if has_scout:
            needed += self.how.scout_wait_seconds
        return spare >= needed - TOLERANCE

    def _ask_after_scout(self, place: Place) -> bool:
        """End the scout that runs, and ask for its capacity with the training job."""
        lost_at = place.capacity.until(self.now) or self.now
        self.billed.add_scout(place, min(self.now + self.how.scout_stop_seconds, lost_at) - self.now)
        self.now = min(self.now + self.how.scout_wait_seconds, lost_at)
        return lost_at > self.now and self._ask(place)

    def _ask(self, place: Place) -> bool:
        """Whether the training's spot job gets the capacity that a scout has found."""
        if self.hazards.gone_chance and self.chance.random() < self.hazards.gone_chance:
            place.capacity.gone_until = self.now + self.hazards.gone_seconds
        if place.capacity.until(self.now) is not None:
            return True
        self.queued, self.is_asking = (place, self.now + self.how.notice_seconds), True
        return False

    # --- spot ---

    def _run_on_spot(self, place: Place) -> None:
        started_at, ready_at = self.now, self.now + self.workload.overhead_seconds
        self.launches += 1
        finishes_at = ready_at + self.work_seconds / place.speed
        lost_at = place.capacity.until(started_at) or started_at
        stopped_at = self._guard_stops_at(place, ready_at, finishes_at)
        if finishes_at <= min(lost_at, stopped_at) + TOLERANCE:
            self.billed.add_spot(place, finishes_at - started_at)
            self.finished_at = finishes_at
            return
        ends_at = min(lost_at, stopped_at)
        self._keep_work(place, max(0.0, ends_at - ready_at))
        if stopped_at < lost_at:
            ends_at = min(lost_at, stopped_at + self.how.stop_seconds)
            self.now, self.is_last_moment = stopped_at + self.how.stop_seconds, True
        else:
            self.interruptions += 1
            self.now, self.queued = lost_at, (place, lost_at + self.how.notice_seconds)
        self.billed.add_spot(place, ends_at - started_at)

    def _keep_work(self, place: Place, trained_seconds: float) -> None:
        kept = trained_seconds
        if self.hazards.loses_work:
            kept = math.floor(trained_seconds / self.checkpoint_seconds + TOLERANCE) * self.checkpoint_seconds
        self.lost_seconds += (trained_seconds - kept) * place.speed
        self.work_seconds -= kept * place.speed

    def _guard_stops_at(self, place: Place, ready_at: float, finishes_at: float) -> float:
        """When the guard stops this spot job, although it has capacity; infinite if never.

        A checkpoint may be late, and a slower market loses slack while it trains.
        """
        last_moment = self.now + self.guard.seconds_to_spare(self._progress()) - self.how.stop_seconds
        if not self.hazards.loses_work:
            if place.speed >= 1:
                return math.inf
            at = (last_moment - ready_at * place.speed) / (1 - place.speed)
            return at if at < finishes_at else math.inf
        every, number = self.checkpoint_seconds, 0
        while True:
            checkpoint_at = ready_at + (number + 1) * every
            until = last_moment + number * every * place.speed
            if until < min(checkpoint_at, finishes_at) - TOLERANCE:
                return max(self.now, until, ready_at + number * every if number else 0.0)
            if finishes_at <= checkpoint_at or place.speed >= 1:
                return math.inf
            number += 1

    # --- on-demand ---

    def _run_on_demand(self) -> Place | None:
        """Run to the end, or until a hand-over: then, where the spot job has got its capacity."""
        self.launches += 1
        job = _OnDemandJob(
            started_at=self.now,
            ready_at=self.now + self.workload.overhead_seconds,
            work_seconds=self.work_seconds,
            checkpoint_seconds=self.checkpoint_seconds,
        )
        while (ran := self._scout_beside(job)) is not None:
            runs_at, place = ran
            self.scouts += 1
            leaves_at = job.checkpoint_from(runs_at)
            awaited_until = runs_at + CHECKPOINTS_AWAITED * self.how.checkpoint_every_seconds
            lost_at = place.capacity.until(runs_at) or runs_at
            ends_at = min(leaves_at, lost_at, awaited_until, job.finishes_at)
            progress = job.progress(leaves_at, deadline_seconds=self.workload.deadline_seconds)
            if ends_at == leaves_at and self.way_back.may_hand_over(progress):
                return self._hand_over(job, place, runs_at, leaves_at)
            self.billed.add_scout(place, ends_at - runs_at)
            self.now = ends_at
            if ends_at == awaited_until < min(lost_at, leaves_at):
                self._pause()
            elif ends_at == leaves_at:
                break
        self.billed.on_demand += job.finishes_at - job.started_at
        self.finished_at = job.finishes_at
        return None

    def _scout_beside(self, job: _OnDemandJob) -> tuple[float, Place] | None:
        """Which scout runs first while on-demand runs, and when; None if none does before the end."""
        progress = job.progress(self.now, deadline_seconds=self.workload.deadline_seconds)
        goes_out_in = self.way_back.scouts_in_seconds(progress)
        if goes_out_in is None:
            return None
        places = [p for p in self.places if not fails_too_often(hand_overs=p.hand_overs, failed=p.failed)]
        ran = self._first_scout(places, max(self.now + goes_out_in, self.paused_until))
        return ran if ran and ran[0] < job.finishes_at else None

    def _hand_over(
        self, job: _OnDemandJob, place: Place, scout_runs_at: float, leaves_at: float
    ) -> Place | None:
        """Stop on-demand, end the scout, and ask for its capacity."""
        stopped_at = leaves_at + self.how.stop_seconds
        self.now = stopped_at + self.how.scout_wait_seconds
        lost_at = place.capacity.until(scout_runs_at) or scout_runs_at
        ends_at = min(lost_at, stopped_at + self.how.scout_stop_seconds)
        self.billed.add_scout(place, ends_at - scout_runs_at)
        self.billed.on_demand += stopped_at - job.started_at
        self.work_seconds = job.work_left(leaves_at)
        self.hand_overs += 1
        place.hand_overs += 1
        # A scout that was interrupted meanwhile says that there is no capacity: then nothing asks for it.
        if lost_at > self.now and self._ask(place):
            self.failed_in_a_row = 0
            return place
        self.failed += 1
        place.failed += 1
        if any(not fails_too_often(hand_overs=p.hand_overs, failed=p.failed) for p in self.places):
            self._pause()
        else:
            self.way_back = replace(self.way_back, is_allowed=False)
        return None

    def _pause(self) -> None:
        self.failed_in_a_row += 1
        self.paused_until = self.now + pause_seconds(self.failed_in_a_row)

    def _progress(self) -> Progress:
        """Where the training is while nothing runs."""
        left = self.workload.deadline_seconds - self.now
        return Progress(seconds_left=left, work_seconds=self.work_seconds)

    def result(self) -> Walk:
        finish, billed = self.finished_at or 0.0, self.billed
        dollars = billed.spot_dollars + billed.on_demand / 3600 * self.workload.on_demand_price
        return Walk(
            cost_dollars=dollars,
            cost_on_demand_hours=dollars / self.workload.on_demand_price,
            finish_seconds=finish,
            missed=finish > self.workload.deadline_seconds + TOLERANCE,
            launches=self.launches,
            interruptions=self.interruptions,
            wait_seconds=max(0.0, finish - billed.spot - billed.on_demand),
            spot_seconds=billed.spot,
            on_demand_seconds=billed.on_demand,
            scouts=self.scouts,
            scout_seconds=billed.scouts,
            hand_overs=self.hand_overs,
            failed_hand_overs=self.failed,
            lost_seconds=self.lost_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnDemandJob:
    """An on-demand job, if nobody stops it."""

    started_at: float
    ready_at: float
    work_seconds: float
    checkpoint_seconds: float

    @property
    def finishes_at(self) -> float:
        return self.ready_at + self.work_seconds

    def work_left(self, at: float) -> float:
        return self.work_seconds - max(0.0, at - self.ready_at)

    def checkpoint_from(self, at: float) -> float:
        """When nothing is unsaved: at the next checkpoint, or at once if it did not train yet."""
        if at <= self.ready_at:
            return at
        number = math.ceil((at - self.ready_at) / self.checkpoint_seconds - TOLERANCE)
        return max(at, self.ready_at + number * self.checkpoint_seconds)

    def progress(self, at: float, *, deadline_seconds: float) -> Progress:
        """At a moment when nothing is unsaved."""
        return Progress(
            seconds_left=deadline_seconds - at,
            work_seconds=self.work_left(at),
            owed_seconds=max(0.0, self.ready_at - at),
        )
