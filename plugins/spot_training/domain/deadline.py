"""A training's deadline, and the guard that says when on-demand has to start to meet it.

In this file: what is known of a deadline (`Reserve`, `Deadline`), how a training compares with it at one
moment (`Outlook`), and the rule itself (`DeadlineGuard`). How long a training takes is in `runtime`, and what
users write as a deadline is in `moments`. Nothing here knows AWS or a clock: callers pass every moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .lifecycle import WAITING_STATUSES, JobSnapshot, SecondaryStatus, TrainingStatus
from .moments import clock_time, deadline_from
from .parsing import in_words
from .runtime import (
    CHECKPOINT_EVERY_SECONDS,
    Runtime,
    high_at_least,
    kept_by_attempts,
    kept_by_visits,
    like_from,
    runtime_from,
)
from .way_back import Progress, WayBack

if TYPE_CHECKING:
    from .attempts import Attempt
    from .checkpoints_seen import SeenCheckpoints

__all__ = [
    "CHECKPOINT_EVERY_SECONDS",
    "LAUNCH_HIGH_SECONDS",
    "LAUNCH_SECONDS",
    "REFUSAL_SECONDS",
    "STOP_SECONDS",
    "Deadline",
    "DeadlineGuard",
    "Outlook",
    "Reserve",
    "Runtime",
    "clock_time",
    "deadline_from",
    "high_at_least",
    "kept_by_attempts",
    "kept_by_visits",
    "like_from",
    "runtime_from",
]

#: From CreateTrainingJob to `Training` on demand, if no past run shows it: typical, and close to the slowest.
LAUNCH_SECONDS = 300
LAUNCH_HIGH_SECONDS = 600
#: From StopTrainingJob to `Stopped`: two minutes until SIGKILL, and the upload.
STOP_SECONDS = 300
#: One on-demand launch that SageMaker refuses because it has no capacity, before the next type or try.
REFUSAL_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """The time that is kept free before the deadline, in addition to the remaining work, in seconds.

    `notice_seconds` covers polling and the time until Airflow starts the task again, also after a retry's
    delay. `extra_seconds` is the user's `deadline_reserve`.
    """

    launch_seconds: float = LAUNCH_SECONDS
    launch_high_seconds: float = LAUNCH_HIGH_SECONDS
    stop_seconds: float = STOP_SECONDS
    notice_seconds: float = 120
    refusal_seconds: float = REFUSAL_SECONDS
    extra_seconds: float = 0

    @property
    def besides_launch_seconds(self) -> float:
        return self.stop_seconds + self.notice_seconds + self.refusal_seconds + self.extra_seconds

    @property
    def total_seconds(self) -> float:
        return self.launch_high_seconds + self.besides_launch_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When a training has to be complete, and how long it is expected to take. Fixed at the first submission.

    `is_late`: the deadline could not be met from the start, and the user chose to finish late.
    """

    at: datetime
    submitted_at: datetime
    runtime: Runtime
    reserve: Reserve = field(default_factory=Reserve)
    is_late: bool = False

    @property
    def earliest_finish(self) -> datetime:
        """If on-demand started at submission and nothing took longer than usual."""
        seconds = self.reserve.launch_seconds + self.runtime.mean_seconds
        return self.submitted_at + timedelta(seconds=seconds)

    @property
    def can_be_kept(self) -> bool:
        return self.earliest_finish <= self.at

    def remaining_seconds(self, kept_seconds: float) -> float:
        """The work that is left if the training is a slow one, with `kept_seconds` of work in checkpoints."""
        return max(0.0, self.runtime.high_seconds - kept_seconds)

    def latest_on_demand_start(self, kept_seconds: float, restore_seconds: float = 0.0) -> datetime:
        """The latest start of on-demand that leaves time for the remaining work and the whole reserve.

        `restore_seconds`: to copy the checkpoints to its instances, in addition to a slow launch.
        """
        needed = self.remaining_seconds(kept_seconds) + self.reserve.total_seconds + restore_seconds
        return self.at - timedelta(seconds=needed)

    def kept_seconds(self, attempts: Sequence[Attempt], seen: SeenCheckpoints | None = None) -> float:
        """Seconds of work that these attempts left in checkpoints: what was seen, else an assumption."""
        lost = self.runtime.checkpoint_every_seconds
        return kept_by_attempts(attempts, lost) if seen is None else seen.kept_by_attempts(attempts, lost)

    def latest_on_demand_start_after(
        self, attempts: Sequence[Attempt], seen: SeenCheckpoints | None = None
    ) -> datetime:
        """The same after these attempts."""
        return self.latest_on_demand_start(self.kept_seconds(attempts, seen), restore_seconds_of(seen))

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "at": self.at.isoformat(),
            "submitted_at": self.submitted_at.isoformat(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Deadline:
        """Undo `to_json`."""
        return cls(
            at=datetime.fromisoformat(data["at"]),
            submitted_at=datetime.fromisoformat(data["submitted_at"]),
            runtime=Runtime(**_known(Runtime, data["runtime"])),
            reserve=Reserve(**_known(Reserve, data["reserve"])),
            is_late=data.get("is_late", False),
        )


def restore_seconds_of(seen: SeenCheckpoints | None) -> float:
    """How long a launch copies checkpoints; 0 if nobody looked: then it is in the launches of past runs."""
    return 0.0 if seen is None else seen.restore_seconds


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `data` that this version knows. A later version may have written more."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in data.items() if name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How a training compares with its deadline at one moment.

    `slack_seconds` is how much later on-demand could start and still finish in time. `on_demand_in_seconds`
    says when to start on-demand if nothing changes: 0 is now, None is not while the spot job continues.
    """

    now: datetime
    deadline: datetime
    slack_seconds: float
    on_demand_in_seconds: float | None
    reason: str

    @property
    def is_time_for_on_demand(self) -> bool:
        return self.on_demand_in_seconds is not None and self.on_demand_in_seconds <= 0

    @property
    def on_demand_at(self) -> datetime | None:
        if self.on_demand_in_seconds is None:
            return None
        return self.now + timedelta(seconds=self.on_demand_in_seconds)

    @property
    def latest_on_demand_start(self) -> datetime:
        return self.now + timedelta(seconds=self.slack_seconds)

    def __str__(self) -> str:
        if self.slack_seconds <= 0:
            return f"no slack is left before the deadline ({clock_time(self.deadline, self.now)})"
        return (
            f"{in_words(self.slack_seconds)} of slack left, on-demand must start by "
            f"{clock_time(self.latest_on_demand_start, self.now)}"
        )


# --- the guard -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Due:
    """When on-demand has to start if nothing changes: in `seconds` (None: it does not), and why."""

    seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineGuard:
    """Says when a spot job has to make way for on-demand: as late as the deadline allows.

    In closed form, with `kept` the work in checkpoints:

        latest start = deadline - (high runtime - kept) - (launch + stop + notice + refusal + extra) - restore
        slack        = latest start - now

        the spot job                          on-demand starts in
        ------------------------------------  ----------------------------------------------------------
        none, or it holds no instances        slack - tick, but not before an ordinary launch would be over
        downloads, or saves no checkpoints    the same: what it has done is lost if it stops
        trains                                never, if it reaches its first checkpoint within the slack
                                              or has overrun its high runtime; otherwise slack
        trains, and its checkpoints are seen  slack, which grows with each checkpoint; never, if what is
                                              saved has overrun the high runtime
        uploads or stops                      never: it is about to end
        any, and the deadline is late         0

    An on-demand job runs to its end. So waiting for spot until the last moment never costs more than starting
    on-demand earlier, and the same guard serves every policy (docs/policies.md). With a `way_back`, on-demand
    may be left again, and starts earlier if that pays.

    `kept_seconds` is the work that earlier attempts left in checkpoints. Without `has_checkpoints`, every
    launch starts from zero. `tick_seconds` is how often somebody looks. With `seen`, what is saved of this
    job is what was seen of it; a launch at which nobody looked keeps all but `checkpoint_every`.
    """

    deadline: Deadline
    kept_seconds: float = 0.0
    has_checkpoints: bool = True
    tick_seconds: float = 60.0
    way_back: WayBack | None = None
    seen: SeenCheckpoints | None = None

    def outlook(self, now: datetime, job: JobSnapshot | None = None) -> Outlook:
        """The outlook at `now`, with the running spot job `job`, or without one."""
        kept = self._kept_with(job, now)
        restore = restore_seconds_of(self.seen) if self.has_checkpoints else 0.0
        slack = (self.deadline.latest_on_demand_start(kept, restore) - now).total_seconds()
        due = self._due(now, job, kept, slack)
        return Outlook(
            now=now,
            deadline=self.deadline.at,
            slack_seconds=slack,
            on_demand_in_seconds=due.seconds,
            reason=due.reason,
        )

    def _due(self, now: datetime, job: JobSnapshot | None, kept: float, slack: float) -> _Due:
        if self.deadline.is_late:
            return _Due(0.0, "the deadline can no longer be met: finish as early as possible")
        if job is None or job.secondary_status in WAITING_STATUSES:
            return self._while_waiting(now, job, kept, slack)
        if job.status is TrainingStatus.STOPPING or job.secondary_status is SecondaryStatus.UPLOADING:
            return _Due(None, "the job is about to end")
        if not self.has_checkpoints or job.secondary_status is not SecondaryStatus.TRAINING:
            # It holds instances, but everything it has done is lost if it stops: treat it as waiting.
            return self._while_waiting(now, job, kept, slack)
        return self._while_training(now, job, kept, slack)

    def _while_waiting(self, now: datetime, job: JobSnapshot | None, kept: float, slack: float) -> _Due:
        """A tick before the last moment, or later if the wait may still be an ordinary launch."""
        launch = self._rest_of_launch(job, now)
        wait = max(slack - self.tick_seconds, launch)
        last_moment = _Due(max(0.0, min(slack, wait)), self._last_moment(kept))
        early = self._early(now, job, kept)
        return early if early and (early.seconds or 0) < (last_moment.seconds or 0) else last_moment

    def _early(self, now: datetime, job: JobSnapshot | None, kept: float) -> _Due | None:
        """When on-demand starts because it can be left again for spot.

        A job that has instances is left alone, and one that waits has the time of an ordinary launch, also
        after an interruption.
        """
        if self.way_back is None or (job is not None and job.secondary_status not in WAITING_STATUSES):
            return None
        launch = max(0.0, self.deadline.reserve.launch_seconds - _seconds_in_status(job, now))
        progress = Progress(
            seconds_left=(self.deadline.at - now).total_seconds(),
            work_seconds=max(0.0, self.deadline.runtime.mean_seconds - kept),
        )
        if not self.way_back.pays(progress.work_seconds):
            return None
        slack = in_words(self.way_back.slack_seconds(progress))
        return _Due(
            max(launch, self.way_back.on_demand_in_seconds(progress)),
            f"{in_words(progress.work_seconds)} of work left and {slack} to spare: on-demand goes on while "
            "scouts look for spot",
        )

    def _rest_of_launch(self, job: JobSnapshot | None, now: datetime) -> float:
        """For how many seconds a wait may still be an ordinary launch and not a lack of capacity."""
        if job is None or job.has_started:
            return 0.0
        return max(0.0, self.deadline.reserve.launch_seconds - _seconds_in_status(job, now))

    def _while_training(self, now: datetime, job: JobSnapshot, kept: float, slack: float) -> _Due:
        """After the first checkpoint, the remaining work shrinks as fast as the remaining time."""
        runtime = self.deadline.runtime
        until_checkpoint = max(0.0, runtime.checkpoint_every_seconds - _seconds_in_status(job, now))
        # Leave a run alone that takes longer than expected: on-demand would only add a launch.
        has_overrun = kept >= runtime.high_seconds
        if not has_overrun and self.seen is not None and self.seen.saved_of(job.transitions[-1]) is not None:
            return _Due(max(0.0, slack), self._last_moment(kept))
        if slack > until_checkpoint or has_overrun:
            return _Due(None, "the spot job is training, and finishes in time unless it is interrupted")
        return _Due(max(0.0, slack), self._last_moment(kept))

    def _last_moment(self, kept: float) -> str:
        left = in_words(self.deadline.remaining_seconds(kept))
        reserve = in_words(self.deadline.reserve.total_seconds)
        return f"the last moment for the deadline: {left} of work left, {reserve} reserved to start on-demand"

    def _kept_with(self, job: JobSnapshot | None, now: datetime) -> float:
        if job is None or not self.has_checkpoints:
            return self.kept_seconds
        lost = self.deadline.runtime.checkpoint_every_seconds
        if self.seen is not None:
            seen = self.seen.saved_training_seconds(job.transitions, now, lost_per_launch=lost)
            return self.kept_seconds + seen
        return self.kept_seconds + kept_by_visits(job.transitions, now, lost)


def _seconds_in_status(job: JobSnapshot | None, now: datetime) -> float:
    if job is None or not job.transitions:
        return 0.0
    return max(0.0, (now - job.transitions[-1].started_at).total_seconds())
