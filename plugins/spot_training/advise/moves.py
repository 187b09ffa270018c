"""What to run next: wait, spot or on-demand, decided tick by tick against a deadline.

A move policy sees a `View` and answers with a `Mode`. The guard stands outside every policy: whatever a
policy says, it keeps enough time to finish on demand. Nothing here knows a clock, a trace or AWS: the
simulator walks a policy over recorded capacity. Of a real training `domain.deadline` takes care.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from spot_training.domain.errors import InvalidInput

#: Past spells of one market, oldest first: was there spot capacity, and for how many seconds?
Spells = Sequence[tuple[bool, float]]

#: Rounding of float seconds must not cost a launch (seconds).
TOLERANCE = 1e-6


class Mode(StrEnum):
    """What runs during a tick."""

    WAIT = "wait"
    SPOT = "spot"
    ON_DEMAND = "on-demand"


class BackToSpot(StrEnum):
    """What SPOT means while on-demand runs, where nobody can see whether there is spot capacity."""

    #: A spot job queues beside on-demand, which goes on until the spot job starts.
    BESIDE = "beside"
    #: On-demand is stopped first: where there is no capacity, that is a wait, and a launch to go back.
    STOP_FIRST = "stop-first"
    #: On-demand runs to the end.
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One training and what it costs: all times in seconds, prices in dollars per instance hour.

    `work_seconds` is the training itself; `overhead_seconds` is owed again on every launch (start-up,
    download, checkpoint load). `deadline_seconds` counts from submission.
    """

    work_seconds: float
    deadline_seconds: float
    overhead_seconds: float = 0.0
    spot_price: float = 0.9731
    on_demand_price: float = 3.06
    back_to_spot: BackToSpot = BackToSpot.BESIDE

    def __post_init__(self) -> None:
        for field in ("work_seconds", "deadline_seconds", "on_demand_price"):
            _check_number(f"workload.{field}", getattr(self, field), above_zero=True)
        for field in ("overhead_seconds", "spot_price"):
            _check_number(f"workload.{field}", getattr(self, field), above_zero=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a policy may see at the start of a tick. All times in seconds.

    `mode` is what ran during the last tick; a spot run that lost its capacity is seen as SPOT with
    `has_spot` False. `has_spot` is None where it cannot be seen (on-demand runs). `spell_seconds` is how long
    it has been what it is, as far as anybody saw, or, with None, how long ago it was last seen.
    `owed_seconds` is what the present launch still owes of its overhead.
    """

    seconds_left: float
    work_seconds: float
    overhead_seconds: float
    mode: Mode
    has_spot: bool | None
    total_work_seconds: float
    total_seconds: float
    tick_seconds: float
    owed_seconds: float = 0.0
    spell_seconds: float = 0.0

    @classmethod
    def at_submission(cls, workload: Workload, *, tick_seconds: float) -> View:
        """Before anything ran, with no spot to be had."""
        return cls(
            seconds_left=workload.deadline_seconds,
            work_seconds=workload.work_seconds,
            overhead_seconds=workload.overhead_seconds,
            mode=Mode.WAIT,
            has_spot=False,
            total_work_seconds=workload.work_seconds,
            total_seconds=workload.deadline_seconds,
            tick_seconds=tick_seconds,
        )

    @property
    def slack_seconds(self) -> float:
        """What could be waited in all, if on-demand then ran to the end and owed nothing but what it owes."""
        return self.seconds_left - self.work_seconds - self.owed_seconds

    @property
    def elapsed_seconds(self) -> float:
        return self.total_seconds - self.seconds_left


class Decider(Protocol):
    """A policy at work on one training. It may remember what it saw; `copy.copy` gives an independent one."""

    def decide(self, view: View) -> Mode: ...


@runtime_checkable
class MovePolicy(Protocol):
    """A policy: `begin` it for each training, with the spells seen before in its market."""

    @property
    def name(self) -> str: ...

    def begin(self, workload: Workload, history: Spells = ()) -> Decider: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Keeps the deadline whatever a policy says, as long as on-demand can be had.

    `reserve_seconds` is kept free on top of one launch: stopping the spot job, polling, a refused on-demand
    launch. `overhead_seconds` replaces the view's (a high quantile where the view has the mean), and
    `work_factor` stretches the work left.
    """

    reserve_seconds: float = 0.0
    overhead_seconds: float | None = None
    work_factor: float = 1.0

    def __post_init__(self) -> None:
        _check_number("guard.reserve_seconds", self.reserve_seconds, above_zero=False)
        if self.overhead_seconds is not None:
            _check_number("guard.overhead_seconds", self.overhead_seconds, above_zero=False)
        _check_number("guard.work_factor", self.work_factor, above_zero=True)

    def seconds_to_spare(self, view: View) -> float:
        """How much later on-demand could be launched and still finish in time; below zero: too late."""
        work = view.work_seconds * self.work_factor
        return view.seconds_left - work - self._launch(view) - self.reserve_seconds

    def must_go_on_demand(self, view: View) -> bool:
        """Would another tick of what goes on now leave too little time to finish on demand?"""
        runs = view.mode is Mode.SPOT and view.has_spot
        lost = min(view.tick_seconds, view.owed_seconds) if runs else view.tick_seconds
        return self.seconds_to_spare(view) < lost - TOLERANCE

    def allow(self, mode: Mode, view: View) -> Mode:
        """What a policy wants, or on-demand where that would endanger the deadline."""
        if mode is Mode.ON_DEMAND:
            return mode
        if mode is Mode.SPOT and view.has_spot is False:
            if view.mode is Mode.ON_DEMAND:
                return view.mode
            mode = Mode.WAIT
        if mode is Mode.SPOT and view.mode is Mode.SPOT:
            return Mode.ON_DEMAND if self.must_go_on_demand(view) else mode
        if mode is Mode.SPOT and self.seconds_to_spare(view) < self._launch(view) - TOLERANCE:
            return Mode.ON_DEMAND
        if mode is Mode.SPOT and view.has_spot:
            return mode
        return Mode.ON_DEMAND if self.seconds_to_spare(view) < view.tick_seconds - TOLERANCE else mode

    def _launch(self, view: View) -> float:
        return view.overhead_seconds if self.overhead_seconds is None else self.overhead_seconds


def must_go_on_demand(view: View, *, reserve_seconds: float = 0.0) -> bool:
    """Would another tick without progress leave too little time to finish on demand?"""
    return Guard(reserve_seconds=reserve_seconds).must_go_on_demand(view)


@dataclass(frozen=True, slots=True)
class _Guarded:
    decider: Decider
    guard: Guard

    def decide(self, view: View) -> Mode:
        return self.guard.allow(self.decider.decide(view), view)

    def __copy__(self) -> _Guarded:
        return _Guarded(copy.copy(self.decider), self.guard)


def guarded(decider: Decider, guard: Guard | None = None) -> Decider:
    """A decider that never endangers the deadline."""
    return _Guarded(decider, guard or Guard())


# --- the policies ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnDemand:
    """On-demand from the start."""

    name = "on_demand"

    def begin(self, workload: Workload, history: Spells = ()) -> Decider:  # noqa: ARG002
        return self

    def decide(self, view: View) -> Mode:  # noqa: ARG002
        return Mode.ON_DEMAND


@dataclass(frozen=True, slots=True)
class UntilDeadline:
    """The policy `deadline`: spot while it lasts, waiting for it while the deadline allows, then on-demand.

    Where on-demand is never left again (`BackToSpot.NEVER`, which is what a real training does), waiting to
    the last moment is never dearer, and the guard says when that is. Where it may be left, see `_GoesBack`.
    """

    name = "deadline"

    def begin(self, workload: Workload, history: Spells = ()) -> Decider:  # noqa: ARG002
        match workload.back_to_spot:
            case BackToSpot.NEVER:
                return _WaitsToTheEnd()
            case BackToSpot.BESIDE:
                return _GoesBack.for_workload(workload)
            case BackToSpot.STOP_FIRST:
                return _GoesBack.for_workload(workload, look_every_seconds=LOOK_EVERY_SECONDS)


@dataclass(frozen=True, slots=True)
class _WaitsToTheEnd:
    def decide(self, view: View) -> Mode:
        if view.mode is Mode.ON_DEMAND:
            return Mode.ON_DEMAND
        return Mode.SPOT if view.has_spot else Mode.WAIT


#: How much of the work left is kept as slack before on-demand is started without spot, and while it is left
#: for spot again. Fitted on recorded markets (docs/policies.md).
KEEP_WHILE_WAITING = 1 / 5
KEEP_WHILE_ON_DEMAND = 1 / 12
#: Where on-demand must be stopped to look for spot, it runs for so long between two looks.
LOOK_EVERY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _GoesBack:
    """With a way back to spot, on-demand may start before the last moment: spot may still come.

    No spot: wait while the slack is above a fifth of the work left, less one and a half hand-overs. Then
    start on-demand, but only if the slack that a launch leaves is enough for a way back; otherwise wait to
    the last moment. While on-demand runs, take spot as long as the slack is above a twelfth of the work left.

    `hand_over_seconds` is what going back and forth costs, in on-demand time. In this model a stop takes no
    time and no checkpoint is waited for, so it is the launches: one on demand and one on spot.
    """

    hand_over_seconds: float
    look_every_seconds: float = 0.0

    @classmethod
    def for_workload(cls, workload: Workload, *, look_every_seconds: float = 0.0) -> _GoesBack:
        price_ratio = workload.spot_price / workload.on_demand_price
        return cls(
            hand_over_seconds=(1 + price_ratio) * workload.overhead_seconds,
            look_every_seconds=look_every_seconds,
        )

    def decide(self, view: View) -> Mode:
        if view.mode is Mode.ON_DEMAND:
            return Mode.SPOT if self._wants_back(view) else Mode.ON_DEMAND
        if view.has_spot:
            return Mode.SPOT
        return Mode.WAIT if self._waits(view) else Mode.ON_DEMAND

    def _waits(self, view: View) -> bool:
        keep = KEEP_WHILE_WAITING * view.work_seconds - 1.5 * self.hand_over_seconds
        if view.seconds_left - view.work_seconds > keep:
            return True
        least = max(KEEP_WHILE_ON_DEMAND * view.work_seconds, 2 * view.overhead_seconds)
        return keep - view.overhead_seconds <= least

    def _wants_back(self, view: View) -> bool:
        if view.has_spot is False or (view.has_spot is None and view.spell_seconds < self.look_every_seconds):
            return False
        return view.slack_seconds > KEEP_WHILE_ON_DEMAND * view.work_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Widen:
    """Spot jobs whose max wait widens, then on-demand: what a ladder of widened waits does, as a walk.

    `first_wait_seconds` covers waiting and running, as `MaxWaitTimeInSeconds` does (None: the work and an
    hour). When a wait is over, the spot job ends and the next is queued; after the last, on-demand.
    """

    first_wait_seconds: float | None = None
    factor: float = 2.0
    spot_attempts: int = 2
    name = "widen"

    def __post_init__(self) -> None:
        if self.first_wait_seconds is not None:
            _check_number("widen.first_wait_seconds", self.first_wait_seconds, above_zero=True)
        _check_number("widen.factor", self.factor, above_zero=True)
        if self.spot_attempts < 1:
            raise InvalidInput("widen.spot_attempts", self.spot_attempts, "give 1 or more.")

    def begin(self, workload: Workload, history: Spells = ()) -> Decider:  # noqa: ARG002
        first = workload.work_seconds + 3600 if self.first_wait_seconds is None else self.first_wait_seconds
        ends = [0.0]
        for attempt in range(self.spot_attempts):
            ends.append(ends[-1] + first * self.factor**attempt)
        return _Waits(tuple(ends[1:]))


@dataclass(frozen=True, slots=True)
class _Waits:
    #: Seconds after submission at which each spot job ends.
    ends: tuple[float, ...]

    def decide(self, view: View) -> Mode:
        if view.mode is Mode.ON_DEMAND or view.elapsed_seconds >= self.ends[-1] - TOLERANCE:
            return Mode.ON_DEMAND
        if not view.has_spot:
            return Mode.WAIT
        last_tick_at = view.elapsed_seconds - view.tick_seconds
        has_ended = any(last_tick_at < end - TOLERANCE <= view.elapsed_seconds for end in self.ends)
        return Mode.WAIT if has_ended and view.mode is Mode.SPOT else Mode.SPOT


def _check_number(field: str, value: object, *, above_zero: bool) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < 0 or (above_zero and value == 0):  # type: ignore[operator]
        raise InvalidInput(field, value, f"give a number {'above' if above_zero else 'of at least'} zero.")
