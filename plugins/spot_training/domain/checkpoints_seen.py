"""What is saved of a training, from listings of its checkpoint prefix. Pure: callers pass all moments.

`SeenCheckpoints` is what the looks of a training (`checkpoint_looks`) have shown so far, and what follows:
what is saved of each launch, how often the script saves, whether uploads have stalled.

A launch is one visit to `Training`: what it saves is known from the moments at which S3 got the objects. A
checkpoint counts when none of its objects changed between two looks. In doubt, the earlier one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .checkpoint_looks import Checkpoint, Look
from .checkpoint_pace import RECENT_INTERVALS, CheckpointPace, Uploads, pace_of
from .lifecycle import JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from .runtime import kept_by_attempts

if TYPE_CHECKING:
    from .attempts import Attempt

#: What a checkpoint holds was done so long before S3 got its first object, at least: SageMaker notices a
#: file, waits until it is complete, and uploads it.
UPLOAD_SECONDS = 60.0
#: Objects that arrive within this time are of one save.
SAME_SAVE_SECONDS = 30.0
#: A checkpoint that is smaller than this share of the one before may still grow: it has to stay unchanged for
#: an expected interval.
SMALL = 0.5
#: If nothing is known of the interval.
ASSUMED_INTERVAL_SECONDS = 600.0
#: The newest checkpoints that are remembered, in case a newer one is deleted; and launches, each with its
#: newest moments.
KEPT_CHECKPOINTS = 5
KEPT_LAUNCHES = 50
KEPT_ARRIVALS = RECENT_INTERVALS + 1
#: How fast checkpoints are copied to a new launch: assumed and at most, at least, and from which size on a
#: launch shows it.
_BYTES_A_SECOND = 100e6
_SLOWEST_BYTES_A_SECOND = 10e6
_ENOUGH_BYTES = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLaunch:
    """One visit to `Training`, which began at `began_at`.

    `saved_seconds` of it are in checkpoints. `arrivals` are when the newest checkpoints came, in seconds
    since then. Before it, SageMaker copied `restored_bytes` of checkpoints to the instances, and was
    `Downloading` for `download_seconds` (None: not known).
    """

    began_at: datetime
    saved_seconds: float = 0.0
    arrivals: tuple[float, ...] = ()
    restored_bytes: int = 0
    download_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "began_at": self.began_at.isoformat(),
            "saved_seconds": self.saved_seconds,
            "arrivals": list(self.arrivals),
            "restored_bytes": self.restored_bytes,
            "download_seconds": self.download_seconds,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SeenLaunch:
        return cls(
            began_at=datetime.fromisoformat(data["began_at"]),
            saved_seconds=float(data.get("saved_seconds", 0.0)),
            arrivals=tuple(float(moment) for moment in data.get("arrivals") or ()),
            restored_bytes=int(data.get("restored_bytes", 0)),
            download_seconds=data.get("download_seconds"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCheckpoints:
    """What looks at a training's checkpoint prefix have shown. Moments are on SageMaker's clock.

    `saved` are the newest complete checkpoints, oldest first. `stalled_at` is when a look found that uploads
    had stalled, and `reported_at` when that was reported; a new checkpoint or launch ends both. `missing` is
    a checkpoint that the last full look did not find: it counts as deleted if the next one does not either.
    `size_bytes` is what is below the prefix.
    """

    launches: tuple[SeenLaunch, ...] = ()
    saved: tuple[Checkpoint, ...] = ()
    looked_at: datetime | None = None
    stalled_at: datetime | None = None
    stalled_because: str = ""
    reported_at: datetime | None = None
    missing: str = ""
    size_bytes: int = 0

    @property
    def restore_seconds(self) -> float:
        """How long SageMaker takes to copy the checkpoints to the instances of the next launch.

        By the size of the prefix, at the slowest pace of this training's launches, compared with a launch
        that had none to copy; at an assumed pace until one was seen.
        """
        without = [x.download_seconds for x in self.launches if x.download_seconds and not x.restored_bytes]
        paces = [
            launch.restored_bytes / (launch.download_seconds - min(without))
            for launch in self.launches
            if without and launch.download_seconds and launch.restored_bytes >= _ENOUGH_BYTES
            if launch.download_seconds - min(without) >= 1.0
        ]
        pace = min(max(min(paces, default=_BYTES_A_SECOND), _SLOWEST_BYTES_A_SECOND), _BYTES_A_SECOND)
        return self.size_bytes / pace

    @property
    def newest(self) -> Checkpoint | None:
        return self.saved[-1] if self.saved else None

    @property
    def newest_saved_at(self) -> datetime | None:
        """What the newest complete checkpoint holds was done by then. None if none was seen."""
        return self.newest.began_at - timedelta(seconds=UPLOAD_SECONDS) if self.newest else None

    def is_saved_since(self, moment: datetime) -> bool:
        """Whether a checkpoint that began to arrive after `moment` is complete."""
        return self.newest is not None and self.newest.began_at > moment

    @property
    def is_stalled(self) -> bool:
        return self.stalled_at is not None

    @property
    def must_report(self) -> bool:
        """Whether uploads have stalled, and nobody has reported it."""
        return self.stalled_at is not None and self.reported_at is None

    def reported(self, at: datetime) -> SeenCheckpoints:
        return replace(self, reported_at=at)

    # What is saved ---------------------------------------------------------------------------------

    def saved_of(self, visit: Transition) -> float | None:
        """Seconds of this visit to `Training` that are saved; None if nobody looked."""
        launch = self._launch(visit.started_at)
        return None if launch is None else launch.saved_seconds

    def saved_training_seconds(
        self, visits: Sequence[Transition], now: datetime, *, lost_per_launch: float
    ) -> float:
        """Seconds of work in checkpoints of all visits to `Training`.

        What nobody looked at counts as before: all but the last `lost_per_launch` seconds of each launch.
        """
        return sum(self._saved(visit, now, lost_per_launch) for visit in visits if _is_work(visit))

    def kept_by_attempts(self, attempts: Iterable[Attempt], lost_per_launch: float) -> float:
        """The same for attempts that are over. An attempt without checkpoints keeps nothing."""
        return sum(self._kept_by(attempt, lost_per_launch) for attempt in attempts if attempt.has_checkpoints)

    def _kept_by(self, attempt: Attempt, lost_per_launch: float) -> float:
        visits = [visit for visit in attempt.transitions if _is_work(visit)]
        if not visits or all(self.saved_of(visit) is None for visit in visits):
            return kept_by_attempts([attempt], lost_per_launch)
        now = attempt.ended_at or visits[-1].started_at
        return self.saved_training_seconds(visits, now, lost_per_launch=lost_per_launch)

    def _saved(self, visit: Transition, now: datetime, lost_per_launch: float) -> float:
        lasted = max(0.0, ((visit.ended_at or now) - visit.started_at).total_seconds())
        seen = self.saved_of(visit)
        return max(0.0, lasted - lost_per_launch) if seen is None else min(lasted, seen)

    def _launch(self, began_at: datetime) -> SeenLaunch | None:
        return next((each for each in self.launches if each.began_at == began_at), None)

    # How often -------------------------------------------------------------------------------------

    def pace(self, given_seconds: float | None = None) -> CheckpointPace:
        """How often the script saves. `given_seconds` is what its author says."""
        return pace_of([launch.arrivals for launch in self.launches], given_seconds=given_seconds)

    def uploads(self, job: JobSnapshot, now: datetime, given_seconds: float | None = None) -> Uploads | None:
        """Whether the job's uploads have stalled; None unless it trains."""
        visit = visit_under_way(job)
        if visit is None or (launch := self._launch(visit.started_at)) is None:
            return None
        elapsed = (now - visit.started_at).total_seconds()
        last = launch.arrivals[-1] if launch.arrivals else 0.0
        return self.pace(given_seconds).look(
            silent_seconds=max(0.0, elapsed - last), has_saved=bool(launch.arrivals)
        )

    # Looks -----------------------------------------------------------------------------------------

    def after(
        self,
        look: Look,
        before: Look | None,
        visit: Transition,
        *,
        is_written: bool = True,
        given_seconds: float | None = None,
        download_seconds: float | None = None,
    ) -> tuple[SeenCheckpoints, Look]:
        """With one more look, during or after this visit to `Training`; `before` is the look before it.

        Without `is_written`, no job writes any longer: one look is enough. `download_seconds` is how long
        the launch downloaded before it. Returns the look, too, for the
        next call.
        """
        look = look.following(before)
        known = self._launch(visit.started_at)
        launch = known or SeenLaunch(
            began_at=visit.started_at,
            restored_bytes=self.size_bytes,
            download_seconds=download_seconds,
        )
        expected = self.pace(given_seconds).expected_seconds or ASSUMED_INTERVAL_SECONDS
        fresh = self._complete(look, before, is_written=is_written, hold_seconds=expected)
        seen = self._without_deleted(look)
        saved = (*seen.saved, *fresh)[-KEPT_CHECKPOINTS:]
        arrivals = [*launch.arrivals, *_since(visit, (each.arrived_at for each in fresh))]
        launch = replace(
            launch,
            saved_seconds=_saved_of(saved, visit),
            arrivals=tuple(_apart(arrivals)[-KEPT_ARRIVALS:]),
        )
        others = [each for each in seen.launches if each.began_at != launch.began_at]
        launches = tuple(sorted((*others, launch), key=lambda each: each.began_at))[-KEPT_LAUNCHES:]
        news: dict[str, Any] = {"size_bytes": look.size_bytes} if look.is_full else {}
        if fresh or known is None:
            news |= {"stalled_at": None, "stalled_because": "", "reported_at": None}
        return replace(seen, launches=launches, saved=saved, looked_at=look.at, **news), look

    def judged(self, job: JobSnapshot, look: Look, given_seconds: float | None = None) -> SeenCheckpoints:
        """With a verdict on the uploads after this look, which was a full one."""
        uploads = self.uploads(job, look.at, given_seconds)
        if self.is_stalled or uploads is None or not uploads.is_stalled or not look.is_full:
            return self
        if any(candidate.since == look.at for candidate in look.candidates.values()):
            return self  # something arrived since the look before
        return replace(self, stalled_at=look.at, stalled_because=uploads.reason)

    def _complete(
        self, look: Look, before: Look | None, *, is_written: bool, hold_seconds: float
    ) -> list[Checkpoint]:
        """What is complete and newer than what was counted before, oldest first."""
        newest = self.newest
        found = []
        for name, seen in look.candidates.items():
            was = before.candidates.get(name) if before is not None else None
            # If the script saves more often than anybody looks, the one before counts.
            is_replaced = is_written and was is not None and seen.replaces(was)
            candidate = was if is_replaced and was is not None else seen
            unchanged = 1.0 if is_replaced else (candidate.seen_at - candidate.since).total_seconds()
            checkpoint = candidate.checkpoint
            if not candidate.is_whole or (newest and checkpoint.began_at <= newest.began_at):
                continue
            is_small = newest is not None and checkpoint.size < SMALL * newest.size
            if is_written and (unchanged <= 0 or (is_small and unchanged < hold_seconds)):
                continue
            found.append(checkpoint)
        return sorted(found, key=lambda each: (each.began_at, each.arrived_at))

    def _without_deleted(self, look: Look) -> SeenCheckpoints:
        """A checkpoint that two full looks in a row do not find is deleted."""
        newest = self.newest
        if newest is None or not look.is_full:
            return self
        if newest.name in look.present:
            return replace(self, missing="")
        if self.missing != newest.name:
            return replace(self, missing=newest.name)
        there = tuple(each for each in self.saved if each.name in look.present)
        launches = self.launches
        if look.is_empty:
            launches = tuple(replace(launch, saved_seconds=0.0) for launch in launches)
        return replace(self, saved=there, launches=launches, missing="")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, without what is not known."""
        moments = {
            name: moment.isoformat()
            for name in ("looked_at", "stalled_at", "reported_at")
            if (moment := getattr(self, name)) is not None
        }
        texts = {name: text for name in ("stalled_because", "missing") if (text := getattr(self, name))}
        return {
            "launches": [launch.to_json() for launch in self.launches],
            "saved": [checkpoint.to_json() for checkpoint in self.saved],
            **moments,
            **texts,
            "size_bytes": self.size_bytes,
        }

    @classmethod
    def from_json(cls, data: Any) -> SeenCheckpoints | None:
        """Undo `to_json`; None for what this version cannot read: the next looks see it again."""
        try:
            return cls._read(data) if data else None
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> SeenCheckpoints:
        return cls(
            launches=tuple(map(SeenLaunch.from_json, data.get("launches") or ())),
            saved=tuple(map(Checkpoint.from_json, data.get("saved") or ())),
            looked_at=_moment(data.get("looked_at")),
            stalled_at=_moment(data.get("stalled_at")),
            stalled_because=str(data.get("stalled_because", "")),
            reported_at=_moment(data.get("reported_at")),
            missing=str(data.get("missing", "")),
            size_bytes=int(data.get("size_bytes", 0)),
        )


def visit_under_way(job: JobSnapshot) -> Transition | None:
    """The visit to `Training` that the job is in now."""
    is_training = job.secondary_status is SecondaryStatus.TRAINING and not job.is_terminal
    if not is_training or job.status is TrainingStatus.STOPPING or not job.transitions:
        return None
    visit = job.transitions[-1]
    return visit if _is_work(visit) else None


def last_visit(job: JobSnapshot) -> Transition | None:
    """The newest visit to `Training`, over or not."""
    return next((visit for visit in reversed(job.transitions) if _is_work(visit)), None)


def download_seconds_before(job: JobSnapshot, visit: Transition) -> float | None:
    """How long the launch was `Downloading` before this visit to `Training`."""
    for before, at in pairwise(job.transitions):
        if at.started_at == visit.started_at and before.status is SecondaryStatus.DOWNLOADING:
            return ((before.ended_at or at.started_at) - before.started_at).total_seconds()
    return None


def _is_work(visit: Transition) -> bool:
    return visit.status is SecondaryStatus.TRAINING


def _saved_of(saved: Sequence[Checkpoint], visit: Transition) -> float:
    """Seconds of the visit that the newest checkpoint of it holds."""
    moments = [each.began_at for each in saved if each.began_at > visit.started_at]
    if not moments:
        return 0.0
    held = (max(moments) - visit.started_at).total_seconds() - UPLOAD_SECONDS
    lasted = held if visit.ended_at is None else (visit.ended_at - visit.started_at).total_seconds()
    return max(0.0, min(held, lasted))


def _since(visit: Transition, moments: Iterable[datetime]) -> Iterator[float]:
    return (max(0.0, (moment - visit.started_at).total_seconds()) for moment in moments)


def _apart(moments: Iterable[float]) -> list[float]:
    """Without those that follow another one at once."""
    kept: list[float] = []
    for moment in sorted(moments):
        if not kept or moment - kept[-1] >= SAME_SAVE_SECONDS:
            kept.append(moment)
        else:
            kept[-1] = moment
    return kept


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointsToWatch:
    """What whoever waits for a job looks for: the prefix, what is known so far, and when to wake the task.

    `given_seconds` is how often the script saves, as its author says. The task is woken when uploads have
    stalled (unless that was reported), and, with `wake_after`, when a checkpoint is saved that began to
    arrive after that moment.
    """

    uri: str
    pattern: str = ""
    given_seconds: float | None = None
    seen: SeenCheckpoints = SeenCheckpoints()
    wake_after: datetime | None = None

    def must_wake(self, seen: SeenCheckpoints) -> bool:
        """Whether the task has to look at what was seen."""
        is_awaited = self.wake_after is not None and seen.is_saved_since(self.wake_after)
        return is_awaited or seen.must_report

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for a trigger's arguments."""
        return {
            "uri": self.uri,
            "pattern": self.pattern,
            "given_seconds": self.given_seconds,
            "seen": self.seen.to_json(),
            "wake_after": self.wake_after.isoformat() if self.wake_after else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CheckpointsToWatch:
        """Undo `to_json`."""
        return cls(
            uri=data["uri"],
            pattern=data.get("pattern") or "",
            given_seconds=data.get("given_seconds"),
            seen=SeenCheckpoints.from_json(data.get("seen")) or SeenCheckpoints(),
            wake_after=_moment(data.get("wake_after")),
        )
