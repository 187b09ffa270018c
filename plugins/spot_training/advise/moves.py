"""Policies for the simulator: wait, spot or on-demand, decided for each tick before a deadline.

A move policy sees a `View` and returns a `Mode`. The guard is outside every policy: it keeps enough time to
finish on demand, whatever the policy decides. Nothing here knows a clock, a trace or AWS. The simulator runs
a policy over recorded capacity; for a real training, see `domain.decide` and `domain.deadline`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Protocol, runtime_checkable

from spot_training.domain.errors import InvalidInput
from spot_training.domain.way_back import HAND_OVERS_LESS, KEEP_WHILE_ON_DEMAND, KEEP_WHILE_WAITING

#: Past availability intervals of one market, oldest first: whether there was spot capacity, and for how many
#: seconds.
Intervals = Sequence[tuple[bool, float]]
#: The name in 0.1.0.
Spells = Intervals

#: For comparisons of seconds, so that rounding does not cause a launch.
TOLERANCE = 1e-6


class Mode(StrEnum):
    """What runs during a tick."""

    WAIT = "wait"
    SPOT = "spot"
    ON_DEMAND = "on-demand"


class BackToSpot(StrEnum):
    """What SPOT means while on-demand runs, when it cannot be seen whether there is spot capacity."""

    #: A spot job waits at the same time, and on-demand runs until the spot job starts.
    BESIDE = "beside"
    #: On-demand is stopped first. Without spot capacity, that costs a wait and another launch.
    STOP_FIRST = "stop-first"
    #: On-demand runs to the end.
    NEVER = "never"
    #: A scout looks for capacity while on-demand runs, with all costs: only in the simulation `hand_overs`.
    HAND_OVER = "hand-over"


#: The ways that a policy can decide tick by tick.
BY_TICK = (BackToSpot.BESIDE, BackToSpot.STOP_FIRST, BackToSpot.NEVER)


def not_by_tick() -> InvalidInput:
    """The refusal of a hand-over where policies decide tick by tick."""
    way_out = "it is not decided tick by tick: use simulate() with the policy deadline."
    return InvalidInput("workload.back_to_spot", BackToSpot.HAND_OVER.value, way_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One training and what it costs: all times in seconds, prices in dollars per instance hour.

    `work_seconds` is the training itself. Every launch takes `overhead_seconds` more (start-up, download,
    checkpoint load). `deadline_seconds` counts from submission.
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
    """What a policy sees at the start of a tick. All times in seconds.

    `mode` is what ran during the last tick. A spot run that has lost its capacity is SPOT with `has_spot`
    False. `has_spot` is None if it cannot be seen, because on-demand runs. `interval_seconds` is for how long
    `has_spot` has had its value, as far as it was seen, or, with None, how long ago it was last seen.
    `owed_seconds` is the rest of the overhead of the present launch.
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
    interval_seconds: float = 0.0

    @classmethod
    def at_submission(cls, workload: Workload, *, tick_seconds: float) -> View:
        """Before anything ran, without spot capacity."""
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
        """The time that could be spent waiting if on-demand then ran to the end without another launch."""
        return self.seconds_left - self.work_seconds - self.owed_seconds

    @property
    def elapsed_seconds(self) -> float:
        return self.total_seconds - self.seconds_left

    @property
    def spell_seconds(self) -> float:
        """The name of `interval_seconds` in 0.1.0."""
        return self.interval_seconds


class Decider(Protocol):
    """A policy that decides for one training. It may keep state; `copy.copy` makes an independent copy."""

    def decide(self, view: View) -> Mode: ...


@runtime_checkable
class MovePolicy(Protocol):
    """A policy. `begin` is called for each training, with the intervals seen in its market before."""

    @property
    def name(self) -> str: ...

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Meets the deadline whatever a policy decides, as long as on-demand is available.

    `reserve_seconds` is kept free in addition to one launch, for stopping the spot job, polling and a refused
    on-demand launch. `overhead_seconds` replaces the overhead of the view (with a high quantile, for
    example), and `work_factor` multiplies the remaining work.
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
        """How much later on-demand could be launched and still finish in time. Negative if it is too late."""
        work = view.work_seconds * self.work_factor
        return view.seconds_left - work - self._launch(view) - self.reserve_seconds

    def must_go_on_demand(self, view: View) -> bool:
        """Whether another tick of the present mode would leave too little time to finish on demand."""
        runs = view.mode is Mode.SPOT and view.has_spot
        lost = min(view.tick_seconds, view.owed_seconds) if runs else view.tick_seconds
        return self.seconds_to_spare(view) < lost - TOLERANCE

    def allow(self, mode: Mode, view: View) -> Mode:
        """The mode that a policy wants, or on-demand if that mode could miss the deadline."""
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
    """Whether another tick without progress would leave too little time to finish on demand."""
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
    """A decider that never risks the deadline."""
    return _Guarded(decider, guard or Guard())


# --- the policies ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnDemand:
    """On-demand from the start."""

    name = "on_demand"

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider:  # noqa: ARG002
        return self

    def decide(self, view: View) -> Mode:  # noqa: ARG002
        return Mode.ON_DEMAND


@dataclass(frozen=True, slots=True)
class UntilDeadline:
    """The policy `deadline`: spot while it is available, waiting while the deadline allows, then on-demand.

    With `BackToSpot.NEVER`, as in a real training, waiting until the last moment never costs more, and the
    guard says when that is. With a way back to spot, see `_GoesBack`.
    """

    name = "deadline"

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider:  # noqa: ARG002
        match workload.back_to_spot:
            case BackToSpot.NEVER:
                return _WaitsUntilTheLastMoment()
            case BackToSpot.BESIDE:
                return _GoesBack.for_workload(workload)
            case BackToSpot.STOP_FIRST:
                return _GoesBack.for_workload(workload, look_every_seconds=LOOK_EVERY_SECONDS)
            case BackToSpot.HAND_OVER:
                raise not_by_tick()


@dataclass(frozen=True, slots=True)
class _WaitsUntilTheLastMoment:
    def decide(self, view: View) -> Mode:
        if view.mode is Mode.ON_DEMAND:
            return Mode.ON_DEMAND
        return Mode.SPOT if view.has_spot else Mode.WAIT


#: If on-demand must be stopped to look for spot, it runs for this long between two looks.
LOOK_EVERY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _GoesBack:
    """With a way back to spot, on-demand may start before the last moment, because spot may still come.

    Without spot capacity, wait while the slack is more than a fifth of the remaining work minus one and a
    half hand-overs. Then start on-demand, but only if the slack after the launch allows a way back; otherwise
    wait until the last moment. While on-demand runs, return to spot if the slack is more than a twelfth of
    the remaining work.

    `hand_over_seconds` is the cost of changing to on-demand and back, in on-demand time. In this model,
    stopping takes no time and no checkpoint is awaited, so it is the cost of one on-demand and one spot
    launch.
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
        keep = KEEP_WHILE_WAITING * view.work_seconds - HAND_OVERS_LESS * self.hand_over_seconds
        if view.seconds_left - view.work_seconds > keep:
            return True
        least = max(KEEP_WHILE_ON_DEMAND * view.work_seconds, 2 * view.overhead_seconds)
        return keep - view.overhead_seconds <= least

    def _wants_back(self, view: View) -> bool:
        if view.has_spot is False or (
            view.has_spot is None and view.interval_seconds < self.look_every_seconds
        ):
            return False
        return view.slack_seconds > KEEP_WHILE_ON_DEMAND * view.work_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Widen:
    """Spot jobs with a max wait that widens, then on-demand, as in `domain.ladder.widened_waits`.

    `first_wait_seconds` covers waiting and running, as `MaxWaitTimeInSeconds` does (None: the work and an
    hour). When a wait is over, the spot job ends and the next one is queued, after the last one on-demand.
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

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider:  # noqa: ARG002
        return _Waits(tuple(accumulate(self.waits(workload))))

    def waits(self, workload: Workload) -> list[float]:
        """The max wait of each spot job."""
        first = workload.work_seconds + 3600 if self.first_wait_seconds is None else self.first_wait_seconds
        return [first * self.factor**attempt for attempt in range(self.spot_attempts)]


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
