"""Trainings and markets that are drawn to break a deadline, for the simulation with scouts.

Capacity comes and goes at the worst moments: right before a scout runs, while on-demand stops, in a launch, a
second before the first checkpoint. It is gone when the training asks, and checkpoints come more rarely than
assumed. Each interruption loses the work since the last checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from spot_training.advise.capacity import Interval, Market
from spot_training.advise.hand_overs import Hazards, walk_events
from spot_training.advise.moves import Workload
from spot_training.advise.traces import Trace
from spot_training.domain.way_back import HandOver, WayBack

if TYPE_CHECKING:
    from spot_training.advise.simulator import Walk

HOUR = 3600.0
#: A market for which its intervals are given; its trace is not looked at.
_NO_TRACE = Trace(ticks=b"\0", tick_seconds=1.0)
MOST_INTERVALS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A training whose deadline can be met: on-demand from the start would meet it."""

    workload: Workload
    markets: tuple[Market, ...]
    intervals: tuple[tuple[Interval, ...], ...]
    way_back: WayBack
    hazards: Hazards

    def walk(self) -> Walk:
        return walk_events(self.workload, self.markets, self.way_back, self.hazards, intervals=self.intervals)


def draw_case(chance: Random) -> Case:
    """A case in which interruptions lose work, and the guard knows it."""
    launch = chance.choice((0.0, 36.0, 180.0, 360.0, 720.0, chance.uniform(0, 1200)))
    every = chance.choice((60.0, 300.0, 600.0, 1800.0, chance.uniform(10, 3600)))
    ratio = chance.choice((0.0, 0.318, 0.6, chance.uniform(0, 0.8)))
    how = HandOver(
        launch_seconds=launch,
        launch_high_seconds=launch * chance.choice((1, 1, 1.5)),
        price_ratio=ratio,
        checkpoint_every_seconds=every,
        stop_seconds=chance.choice((0.0, 60.0, 180.0, 360.0)),
        scout_launch_seconds=chance.choice((0.0, 60.0, 180.0, 600.0)),
        scout_stop_seconds=chance.choice((0.0, 60.0, 300.0)),
        is_quota_shared=chance.random() < 0.5,
        notice_seconds=chance.choice((0.0, 300.0, 1800.0)),
        reserve_seconds=chance.choice((0.0, 0.0, 900.0)),
        lost_seconds=every,
    )
    work = chance.choice((0.2, 2, 8, 24, 48)) * HOUR * chance.uniform(0.5, 1.5)
    slack = chance.choice((0.0, how.room_seconds, 0.1 * work, 0.5 * work)) * chance.uniform(0.5, 2)
    workload = Workload(
        work_seconds=work,
        deadline_seconds=work + launch + slack,
        overhead_seconds=launch,
        spot_price=3 * ratio,
        on_demand_price=3.0,
    )
    hazards = Hazards(
        gone_chance=chance.choice((0.0, 0.3, 1.0, chance.random())),
        gone_seconds=chance.choice((1.0, 600.0, 3600.0, 1e5)),
        loses_work=True,
        checkpoint_every_seconds=every * chance.choice((0.3, 1, 1, 2, 7, 1000)),
        seed=chance.randrange(1 << 30),
    )
    way_back = WayBack(
        hand_over=how,
        keep_while_waiting=chance.choice((1 / 5, 1 / 5, 0.5, chance.uniform(0.1, 1))),
        keep_while_on_demand=chance.choice((1 / 12, 1 / 12, 0.0)),
        is_allowed=chance.random() < 0.8,
    )
    markets = tuple(
        Market(trace=_NO_TRACE, speed=chance.choice((1.0, 1.0, 0.5, 1.7)))
        for _ in range(chance.choice((1, 1, 2, 3)))
    )
    until = 1.1 * workload.deadline_seconds
    intervals = tuple(_worst_capacity(chance, how, hazards, until) for _ in markets)
    return Case(workload=workload, markets=markets, intervals=intervals, way_back=way_back, hazards=hazards)


def _worst_capacity(chance: Random, how: HandOver, hazards: Hazards, until: float) -> tuple[Interval, ...]:
    """Intervals with capacity that end when it hurts most."""
    every = hazards.checkpoint_every_seconds or how.checkpoint_every_seconds
    found, launched = how.scout_launch_seconds, how.launch_seconds
    left = found + how.stop_seconds + how.scout_wait_seconds
    worst = (
        *(found, found + every, left, left + every),
        *(left + launched, left + launched + every, left + every + launched),
        *(launched, launched + every, launched + 3 * every, launched + how.checkpoint_every_seconds),
    )
    breaks = (1.0, 60.0, how.notice_seconds + 1, 1800.0, HOUR, 4 * HOUR, 20 * HOUR)
    is_steady, now = chance.random() < 0.3, chance.choice((0.0, 0.0, chance.uniform(0, until)))
    intervals: list[Interval] = []
    while now < until and len(intervals) < MOST_INTERVALS:
        length = chance.choice(worst) + chance.choice((-1.0, 0.0, 1e-7, 1.0))
        if is_steady and chance.random() < 0.5:
            length = chance.expovariate(1 / (3 * HOUR))
        if length > 0:
            intervals.append((now, now + length))
        now += max(0.0, length) + chance.choice(breaks) * chance.uniform(0.5, 1.5)
    return tuple(intervals)
