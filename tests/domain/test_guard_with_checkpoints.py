"""Whatever happens to spot and uploads: the guard that counts what is seen meets the deadline.

A walk in seconds: the script saves at uneven intervals, each save arrives up to a minute later, uploads may
stall for good, spot is taken away at any time and loses the work since the newest save that arrived, and
somebody looks now and then. The prefix is read by the operator's own code.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.checkpoint_looks import Look, LookReader, SeenObject
from spot_training.domain.checkpoint_pattern import CheckpointPattern
from spot_training.domain.checkpoints_seen import SeenCheckpoints
from spot_training.domain.deadline import Deadline, DeadlineGuard, Reserve, Runtime
from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from tests.records import T0

TICK = 30
RESERVE = Reserve(launch_high_seconds=600, stop_seconds=300, notice_seconds=120, refusal_seconds=0)


@dataclass
class Walk:
    """One training. `saves` are the intervals between two saves, `lags` how long each takes to arrive."""

    work: int
    room: int
    saves: list[int]
    lags: list[int]
    launches: list[int]
    waits: list[int]
    stalls_at: int
    look_every: int
    looks: bool = True
    now: int = 0
    restored: int = 0
    visits: list[Transition] = field(default_factory=list)
    #: When each arrived, and the work that it holds.
    arrived: list[tuple[int, int]] = field(default_factory=list)
    seen: SeenCheckpoints = field(default_factory=SeenCheckpoints)
    before: Look | None = None
    looked_at: int = 0

    def __post_init__(self) -> None:
        at = T0 + timedelta(seconds=self.work + self.room + RESERVE.total_seconds)
        runtime = Runtime(mean_seconds=self.work, high_seconds=self.work)
        self.guard = DeadlineGuard(
            deadline=Deadline(at=at, submitted_at=T0, runtime=runtime, reserve=RESERVE)
        )
        self.limit = self.work + self.room + RESERVE.total_seconds

    def kept(self) -> int:
        """The work in the newest save that has arrived."""
        return max((work for at, work in self.arrived if at <= self.now), default=0)

    def finish_at(self) -> float:
        """When the training is over: on spot, or on demand as late as the guard says."""
        for lasts, wait in zip(self.launches, self.waits, strict=False):
            if (over := self._launch(lasts)) is not None or (over := self._wait(wait)) is not None:
                return over
        return self._on_demand_at_last()

    def _launch(self, lasts: int) -> float | None:
        began, base = self.now, self.kept()
        self.visits.append(_visit(began))
        moment = began
        for save, lag in zip(self.saves, self.lags, strict=True):
            moment += save
            if moment < self.stalls_at and moment <= began + lasts:
                self.arrived.append((moment + lag, base + moment - began))
        # What has not arrived when spot is taken away is lost.
        self.arrived = [(at, work) for at, work in self.arrived if at <= began + lasts]
        while self.now < began + lasts:
            if base + self.now - began >= self.work:
                return self.now
            if (over := self._tick(SecondaryStatus.TRAINING)) is not None:
                return over
        self.visits[-1] = replace(self.visits[-1], ended_at=_at(self.now))
        return None

    def _wait(self, lasts: int) -> float | None:
        until = self.now + lasts
        while self.now < until:
            if (over := self._tick(SecondaryStatus.INTERRUPTED)) is not None:
                return over
        return None

    def _on_demand_at_last(self) -> float:
        while (over := self._tick(SecondaryStatus.INTERRUPTED)) is None:
            pass
        return over

    def _tick(self, status: SecondaryStatus) -> float | None:
        is_training = status is SecondaryStatus.TRAINING
        if self.now - self.looked_at >= self._gap() or (not is_training and self._has_ended_unseen()):
            self._look(is_written=is_training)
        outlook = replace(self.guard, seen=self.seen).outlook(_at(self.now), self._job(status))
        if outlook.is_time_for_on_demand:
            launched_at = self.now + RESERVE.stop_seconds + RESERVE.launch_high_seconds
            return launched_at + self.work - self.kept()
        self.now += TICK
        return None

    def _gap(self) -> int:
        """The first look of a launch comes before the assumption counts any of it."""
        is_new = self.seen.saved_of(self.visits[-1]) is None
        return min(self.look_every, 300) if is_new and self.looks else self.look_every

    def _has_ended_unseen(self) -> bool:
        ended = self.visits[-1].ended_at
        return ended is not None and _at(self.looked_at) < ended

    def _look(self, *, is_written: bool) -> None:
        if not self.looks:
            return
        reader = LookReader(CheckpointPattern(), self.seen.saved, self.visits[-1].started_at)
        reader.add(
            SeenObject(f"step-{work}.pt", 100, str(work), _at(at))
            for at, work in self.arrived
            if at <= self.now
        )
        self.seen, self.before = self.seen.after(
            reader.look(_at(self.now)), self.before, self.visits[-1], is_written=is_written
        )
        self.looked_at = self.now

    def _job(self, status: SecondaryStatus) -> JobSnapshot:
        visits = tuple(self.visits)
        if status is not SecondaryStatus.TRAINING:
            visits = (*visits, Transition(status=status, started_at=_at(self.now)))
        return JobSnapshot(
            name="job",
            arn="arn",
            status=TrainingStatus.IN_PROGRESS,
            secondary_status=status,
            created_at=T0,
            last_modified_at=T0,
            training_started_at=T0,
            is_spot=True,
            transitions=visits,
        )


def _at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _visit(began: int) -> Transition:
    return Transition(status=SecondaryStatus.TRAINING, started_at=_at(began))


SAVES = 12


@given(
    work=st.integers(600, 20_000),
    room=st.integers(0, 10_000),
    saves=st.lists(st.integers(60, 7200), min_size=SAVES, max_size=SAVES),
    lags=st.lists(st.integers(0, 60), min_size=SAVES, max_size=SAVES),
    launches=st.lists(st.integers(60, 15_000), min_size=1, max_size=4),
    waits=st.lists(st.integers(60, 5000), min_size=4, max_size=4),
    stalls_at=st.integers(0, 40_000),
    look_every=st.integers(60, 900),
)
def test_no_deadline_is_missed_with_what_is_seen(
    work: int,
    room: int,
    saves: list[int],
    lags: list[int],
    launches: list[int],
    waits: list[int],
    stalls_at: int,
    look_every: int,
) -> None:
    walk = Walk(work, room, saves, lags, launches, waits, stalls_at, look_every)
    assert walk.finish_at() <= walk.limit


def test_the_assumption_misses_a_deadline_if_uploads_stall() -> None:
    """Why it is worth looking: nothing arrives, and spot is taken away after two hours."""
    walk = Walk(12_000, 3000, [600] * SAVES, [0] * SAVES, [7200], [60] * 4, 0, 150, looks=False)
    assert walk.finish_at() > walk.limit
    looking = Walk(12_000, 3000, [600] * SAVES, [0] * SAVES, [7200], [60] * 4, 0, 150)
    assert looking.finish_at() <= looking.limit
