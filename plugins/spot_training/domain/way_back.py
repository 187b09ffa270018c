"""The way back from on-demand to spot: when it pays, when to look for spot, and what the guard keeps free.

A hand-over goes like this: while on-demand runs, scouts (tiny spot jobs) wait for capacity. When one runs,
the next checkpoint is awaited, on-demand is stopped, the scout is ended, and a spot job continues from the
checkpoint. The simulator decides with this module, and the operator can. It is pure: times are seconds, and
callers pass every moment. docs/policies.md explains the rule, and docs/benchmarks.md has what it is worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import InvalidInput
from .parsing import in_words

#: The share of the remaining work that must remain as slack to wait for spot, and to leave on-demand for
#: spot. Fitted on recorded markets (docs/benchmarks.md).
KEEP_WHILE_WAITING = 1 / 5
KEEP_WHILE_ON_DEMAND = 1 / 12
#: On-demand starts earlier by this many hand-overs.
HAND_OVERS_LESS = 1.5
#: Above this price ratio, spot saves too little for a hand-over.
MOST_PRICE_RATIO = 0.6
#: A spot job that has capacity starts within so long (`scouting.PATIENCE_SECONDS`).
NOTICE_SECONDS = 300.0
#: The pause after a failed hand-over, which doubles with each further one.
PAUSE_SECONDS = 1800.0
#: Fewer recorded hand-overs than this say nothing about an instance type.
FEWEST_HAND_OVERS = 4
#: For comparisons of seconds.
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """What a hand-over takes: seconds, except for the price ratio (spot to on-demand).

    `launch_seconds`: what a launch of the training takes until it makes progress, typically;
    `launch_high_seconds`: a slow one (None: the same). `checkpoint_every_seconds`: between two checkpoints.
    `stop_seconds`: from the stop of a training job until it is `Stopped`, billed and without progress.
    `scout_launch_seconds` and `scout_stop_seconds`: from capacity until a scout runs, and from then until it
    is `Stopped`. `is_quota_shared`: the spot quota covers only one of scout and training job, so that the job
    has to wait until the scout is `Stopped`. `notice_seconds`: how long a spot job may wait until the
    hand-over counts as failed. `reserve_seconds`: what the guard keeps free besides. `lost_seconds`: the most
    work that an interruption may lose; 0 if it loses none.
    """

    launch_seconds: float
    price_ratio: float
    launch_high_seconds: float | None = None
    checkpoint_every_seconds: float = 300.0
    stop_seconds: float = 180.0
    scout_launch_seconds: float = 180.0
    scout_stop_seconds: float = 60.0
    is_quota_shared: bool = False
    notice_seconds: float = NOTICE_SECONDS
    reserve_seconds: float = 0.0
    lost_seconds: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InvalidInput(f"hand_over.{each.name}", value, "give a number of at least zero.")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HandOver:
        """From the fields of one. What a later version added is ignored."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})

    @property
    def cost_seconds(self) -> float:
        """What leaving on-demand for spot and one return cost, in seconds of on-demand (h)."""
        ratio = self.price_ratio
        return (
            self.stop_seconds * (1 + ratio)
            + self.scout_launch_seconds * (1 - ratio)
            + self.scout_stop_seconds * ratio
            + self.checkpoint_every_seconds / 2
            + self.launch_seconds * (1 + ratio)
        )

    @property
    def scout_wait_seconds(self) -> float:
        """How long the training job waits for the end of the scout."""
        return self.scout_stop_seconds if self.is_quota_shared else 0.0

    @property
    def slow_launch_seconds(self) -> float:
        return self.launch_seconds if self.launch_high_seconds is None else self.launch_high_seconds

    @property
    def spot_room_seconds(self) -> float:
        """The most that one spot job can cost of the time to spare, whenever it is interrupted or stopped.

        It may end right before its first checkpoint. If no checkpoint comes, it must be stopped in time.
        """
        if not self.lost_seconds:
            return self.slow_launch_seconds
        return self.slow_launch_seconds + self.lost_seconds + self.stop_seconds

    @property
    def room_seconds(self) -> float:
        """The time to spare that a hand-over may cost if it fails, or its spot job is interrupted at once."""
        failed = max(self.spot_room_seconds, self.notice_seconds)
        return self.stop_seconds + self.scout_wait_seconds + failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training is, in seconds.

    `work_seconds` is what is left to do if nothing is lost. Of what is done, `unsaved_seconds` are in no
    checkpoint. `owed_seconds` is the rest of the present launch.
    """

    seconds_left: float
    work_seconds: float
    unsaved_seconds: float = 0.0
    owed_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the way back is on, and why, for the log."""

    is_on: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotGuard:
    """Keeps the time to buy on-demand, whatever happens to the spot job and the hand-over."""

    hand_over: HandOver

    def seconds_to_spare(self, progress: Progress) -> float:
        """How much later on-demand could start, if what runs ended now, and still finish in time."""
        needed = progress.work_seconds + progress.unsaved_seconds + self.hand_over.slow_launch_seconds
        return progress.seconds_left - needed - self.hand_over.reserve_seconds

    def has_room_for_spot(self, progress: Progress) -> bool:
        """Whether a spot job may start, although it may be interrupted at the worst moment."""
        return self.seconds_to_spare(progress) >= self.hand_over.spot_room_seconds - TOLERANCE

    def has_room_for_hand_over(self, progress: Progress) -> bool:
        """Whether on-demand may be stopped for spot, although there may be no capacity after that."""
        return self.seconds_to_spare(progress) >= self.hand_over.room_seconds - TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """The rule, in closed form. S is the slack: time left - work left - rest of the launch - reserve.

    - Nothing runs, no spot: wait while S is above a fifth of the work left, less one and a half hand-overs.
      Then start on-demand, but only while the way back pays. Otherwise on-demand would run to its end: wait
      until the guard's last moment.
    - On-demand runs: look for spot while S is above a twelfth of the work left, the guard has room for a
      failed hand-over, and the work left costs more on-demand than on spot with a hand-over.

    The way back pays if the slack that is left after an early start of on-demand allows one.
    """

    hand_over: HandOver
    keep_while_waiting: float = KEEP_WHILE_WAITING
    keep_while_on_demand: float = KEEP_WHILE_ON_DEMAND
    hand_overs_less: float = HAND_OVERS_LESS
    is_allowed: bool = True
    guard: SpotGuard = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "guard", SpotGuard(hand_over=self.hand_over))

    @property
    def least_work_seconds(self) -> float:
        """The way back pays from this much remaining work on."""
        how = self.hand_over
        less = self.hand_overs_less * how.cost_seconds + how.launch_seconds
        room = how.slow_launch_seconds + how.room_seconds + how.reserve_seconds
        for_slack = less / max(self.keep_while_waiting - self.keep_while_on_demand, TOLERANCE)
        for_guard = (less + room) / max(self.keep_while_waiting, TOLERANCE)
        return max(for_slack, for_guard)

    def pays(self, work_seconds: float) -> bool:
        """Whether the way back is worth its cost with this much remaining work."""
        is_cheap = self.hand_over.price_ratio <= MOST_PRICE_RATIO
        return self.is_allowed and is_cheap and work_seconds > self.least_work_seconds

    def verdict(self, work_seconds: float) -> Verdict:
        """The same with the reason."""
        ratio = self.hand_over.price_ratio
        if not self.is_allowed:
            return Verdict(is_on=False, reason="the way back to spot is off")
        if ratio > MOST_PRICE_RATIO:
            reason = (
                f"spot costs {ratio:.0%} of on-demand, and the way back pays up to {MOST_PRICE_RATIO:.0%}"
            )
            return Verdict(is_on=False, reason=reason)
        least, left = in_words(self.least_work_seconds), in_words(work_seconds)
        is_on = self.pays(work_seconds)
        than = "more" if is_on else "not more"
        reason = f"{left} of work are left, {than} than the {least} from which the way back pays"
        return Verdict(is_on=is_on, reason=reason)

    def slack_seconds(self, progress: Progress) -> float:
        left = progress.seconds_left - progress.work_seconds - progress.owed_seconds
        return left - self.hand_over.reserve_seconds

    def on_demand_in_seconds(self, progress: Progress) -> float:
        """In how many seconds on-demand starts if there is no spot until then. Nothing runs now."""
        last_moment = max(0.0, self.guard.seconds_to_spare(progress))
        if not self.pays(progress.work_seconds):
            return last_moment
        less = self.hand_overs_less * self.hand_over.cost_seconds
        keep = self.keep_while_waiting * progress.work_seconds - less
        return min(last_moment, max(0.0, self.slack_seconds(progress) - keep))

    def scouts_in_seconds(self, progress: Progress) -> float | None:
        """In how many seconds scouts go out if on-demand runs until then; None if they never do.

        The slack does not change while on-demand runs, and the work shrinks.
        """
        slack = self.slack_seconds(progress)
        share = max(self.keep_while_on_demand, TOLERANCE)
        until = max(0.0, progress.work_seconds - slack / share)
        later = Progress(
            seconds_left=progress.seconds_left - until - progress.owed_seconds,
            work_seconds=progress.work_seconds - until,
        )
        if not self._may_leave(later, slack=slack + TOLERANCE):
            return None
        return until + progress.owed_seconds if until else 0.0

    def over_in_seconds(self, progress: Progress) -> float:
        """In how many seconds of on-demand the work left costs no more than on spot with a hand-over."""
        how = self.hand_over
        least = how.cost_seconds / (1 - how.price_ratio) if how.price_ratio < 1 else math.inf
        return max(0.0, progress.owed_seconds + progress.work_seconds - least)

    def may_hand_over(self, progress: Progress) -> bool:
        """Whether on-demand may be stopped now, because a scout runs."""
        return self._may_leave(progress, slack=self.slack_seconds(progress) + TOLERANCE)

    def _may_leave(self, progress: Progress, *, slack: float) -> bool:
        ratio = self.hand_over.price_ratio
        return (
            self.is_allowed
            and ratio <= MOST_PRICE_RATIO
            and slack > self.keep_while_on_demand * progress.work_seconds
            and progress.work_seconds * (1 - ratio) > self.hand_over.cost_seconds
            and self.guard.has_room_for_hand_over(progress)
        )


def pause_seconds(failed: int) -> float:
    """How long no scout goes out after this many failed hand-overs in a row."""
    return PAUSE_SECONDS * 2 ** (failed - 1) if failed else 0.0


def fails_too_often(*, hand_overs: int, failed: int) -> bool:
    """Whether the way back is off for an instance type, because most of its recorded hand-overs failed.

    Pass recent ones, so that a type gets another chance.
    """
    return hand_overs >= FEWEST_HAND_OVERS and 2 * failed > hand_overs
