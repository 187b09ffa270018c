"""A training's deadline: what must be kept free for on-demand, and when a spot job has waited long enough.

Everything is computed from what is known of a real training: work kept in checkpoints, the job's transitions,
launch times. It knows neither AWS nor a clock: every moment is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import InvalidInput
from .lifecycle import WAITING_STATUSES, JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from .parsing import LONGEST_SECONDS, in_words, is_left_out, parse_seconds, refuse_long_text

if TYPE_CHECKING:
    from .savings import Attempt

#: From CreateTrainingJob to `Training` on demand, where nothing was learned: typical, and nearly the worst.
LAUNCH_SECONDS = 300
LAUNCH_HIGH_SECONDS = 600
#: From StopTrainingJob to `Stopped`: two minutes until SIGKILL, and the upload.
STOP_SECONDS = 300
#: One on-demand launch that SageMaker refuses for want of capacity, before the next type or try.
REFUSAL_SECONDS = 900
#: Work since the last checkpoint that an interruption loses, where nobody says how often the script saves.
CHECKPOINT_EVERY_SECONDS = 600
#: How far beyond the mean the slowest in twenty are at least; and beside that, divided by the runs known.
HIGH_AT_LEAST = 1.15
HIGH_FOR_FEW = 0.35


def high_at_least(mean_seconds: float, *, runs: int | None = None) -> float:
    """The least high quantile beside a mean: 15 % above one that is known; 50 % above a single run's.

    A few runs show no tail, and their mean may be off itself: with each the margin narrows.
    """
    return mean_seconds * (HIGH_AT_LEAST + (HIGH_FOR_FEW / runs if runs else 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How long the training itself takes (time in `Training`), in seconds: for costs, and for the guard.

    `basis` says where the figures come from; an interruption loses `checkpoint_every_seconds` at most.
    """

    mean_seconds: float
    high_seconds: float
    basis: str = "given"
    checkpoint_every_seconds: float = CHECKPOINT_EVERY_SECONDS

    def __post_init__(self) -> None:
        if not 0 < self.mean_seconds <= self.high_seconds:
            raise InvalidInput(
                "expected_runtime",
                {"mean": self.mean_seconds, "high": self.high_seconds},
                "give a mean above zero, and a high that is not below it.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What is kept free before the deadline on top of the work left, in seconds.

    `notice_seconds` covers polling and Airflow starting the task again, after a retry's delay, too;
    `extra_seconds` is the user's own.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When a training has to be over, and what is expected of it. Fixed when it is first submitted.

    `is_late` says that it could not be kept from the start and that finishing late was chosen.
    """

    at: datetime
    submitted_at: datetime
    runtime: Runtime
    reserve: Reserve = field(default_factory=Reserve)
    is_late: bool = False

    @property
    def earliest_finish(self) -> datetime:
        """If on-demand started at submission and nothing took longer than it usually does."""
        seconds = self.reserve.launch_seconds + self.runtime.mean_seconds
        return self.submitted_at + timedelta(seconds=seconds)

    @property
    def can_be_kept(self) -> bool:
        return self.earliest_finish <= self.at

    def latest_on_demand_start(self, kept_seconds: float) -> datetime:
        """When on-demand must start at the latest, with so much work kept, the reserve untouched."""
        left = max(0.0, self.runtime.high_seconds - kept_seconds)
        needed = left + self.reserve.launch_high_seconds + self.reserve.besides_launch_seconds
        return self.at - timedelta(seconds=needed)

    def latest_on_demand_start_after(self, attempts: Sequence[Attempt]) -> datetime:
        """The same after these attempts."""
        kept = kept_by_attempts(attempts, self.runtime.checkpoint_every_seconds)
        return self.latest_on_demand_start(kept)

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


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `data` that this version knows: a later one may have written more."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in data.items() if name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How a training stands against its deadline at one moment.

    `slack_seconds` is how much later on-demand could start and still finish in time. `on_demand_in_seconds`
    is when to go on demand if nothing changes: 0 now, None as long as the spot job goes on like this.
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


@dataclass(frozen=True, slots=True)
class _Due:
    """When on-demand has to start if nothing changes: in `seconds` (None: it does not), and why."""

    seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineGuard:
    """Says when a training's spot job has to make room for on-demand: as late as the deadline allows.

    On-demand that runs, runs to its end. So waiting for spot until the last moment is never dearer than to
    start on-demand earlier, and the same guard serves every policy (docs/policies.md).

    `kept_seconds` is the work that earlier attempts left in checkpoints; without `has_checkpoints` every
    launch starts from zero. A job without instances is given up `tick_seconds` before the last moment.
    """

    deadline: Deadline
    kept_seconds: float = 0.0
    has_checkpoints: bool = True
    tick_seconds: float = 60.0

    def outlook(self, now: datetime, job: JobSnapshot | None = None) -> Outlook:
        """How things stand at `now`, with `job` (spot) alive, or with none."""
        kept = self._kept_with(job, now)
        slack = (self.deadline.latest_on_demand_start(kept) - now).total_seconds()
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
            return _Due(0.0, "the deadline cannot be kept any more: as early as possible")
        if job is None or job.secondary_status in WAITING_STATUSES:
            return self._while_waiting(now, job, kept, slack)
        if job.status is TrainingStatus.STOPPING or job.secondary_status is SecondaryStatus.UPLOADING:
            return _Due(None, "the job is ending")
        if not self.has_checkpoints or job.secondary_status is not SecondaryStatus.TRAINING:
            # The instances are there, but what is done would be lost with them: as if it waited.
            return self._while_waiting(now, job, kept, slack)
        return self._while_training(now, job, kept, slack)

    def _while_waiting(self, now: datetime, job: JobSnapshot | None, kept: float, slack: float) -> _Due:
        """A tick before the last moment, or later if the wait may still be an ordinary start."""
        wait = max(slack - self.tick_seconds, self._benefit_of_doubt(job, now))
        return _Due(max(0.0, min(slack, wait)), self._last_moment(kept))

    def _benefit_of_doubt(self, job: JobSnapshot | None, now: datetime) -> float:
        """How long a wait may still be an ordinary start and no want of capacity (seconds)."""
        if job is None or job.has_started:
            return 0.0
        return max(0.0, self.deadline.reserve.launch_seconds - _seconds_in_status(job, now))

    def _while_training(self, now: datetime, job: JobSnapshot, kept: float, slack: float) -> _Due:
        """The work left shrinks as fast as the time left, once the first checkpoint can be counted on."""
        runtime = self.deadline.runtime
        until_checkpoint = max(0.0, runtime.checkpoint_every_seconds - _seconds_in_status(job, now))
        # A run that takes longer than anybody said is best left alone: on-demand would only add a launch.
        has_overrun = kept >= runtime.high_seconds
        if slack > until_checkpoint or has_overrun:
            return _Due(None, "spot runs, and finishes in time if it lasts")
        return _Due(max(0.0, slack), self._last_moment(kept))

    def _last_moment(self, kept: float) -> str:
        left = max(0.0, self.deadline.runtime.high_seconds - kept)
        reserve = self.deadline.reserve
        start = in_words(reserve.launch_high_seconds + reserve.besides_launch_seconds)
        return f"the last moment for the deadline: {in_words(left)} of work are left, and {start} to start it"

    def _kept_with(self, job: JobSnapshot | None, now: datetime) -> float:
        if job is None or not self.has_checkpoints:
            return self.kept_seconds
        lost = self.deadline.runtime.checkpoint_every_seconds
        return self.kept_seconds + kept_by_visits(job.transitions, now, lost)


def kept_by_visits(transitions: Sequence[Transition], now: datetime, lost_per_launch: float) -> float:
    """Seconds of work in checkpoints, if each launch lost what came after its last one."""
    stretches = (
        ((visit.ended_at or now) - visit.started_at).total_seconds()
        for visit in transitions
        if visit.status is SecondaryStatus.TRAINING
    )
    return sum(max(0.0, seconds - lost_per_launch) for seconds in stretches)


def kept_by_attempts(attempts: Iterable[Attempt], lost_per_launch: float) -> float:
    """The same for attempts that are over; those without checkpoints left nothing."""
    return sum(
        max(0.0, attempt.work_seconds - lost_per_launch * (attempt.interruptions + 1))
        for attempt in attempts
        if attempt.has_checkpoints and attempt.work_seconds
    )


def _seconds_in_status(job: JobSnapshot | None, now: datetime) -> float:
    if job is None or not job.transitions:
        return 0.0
    return max(0.0, (now - job.transitions[-1].started_at).total_seconds())


def clock_time(moment: datetime, now: datetime) -> str:
    """`21:40` today, `2026-11-23 06:00` on another day (UTC)."""
    same_day = moment.date() == now.date()
    return f"{moment:%H:%M} UTC" if same_day else f"{moment:%Y-%m-%d %H:%M} UTC"


# --- what users write ------------------------------------------------------------------------------------


def runtime_from(value: object, *, field_name: str = "expected_runtime") -> Runtime | None:
    """A runtime from seconds or text (`"4h"`), or a mapping with `mean`, `high` and `checkpoint_every`.

    One value is both mean and high: the user's word that it never takes longer. Beside a mean alone the high
    is `high_at_least`, a high alone is the mean, too. None for nothing, and for `{"like": ...}`: then it is
    learned. Raises `InvalidInput`.
    """
    if is_left_out(value) or like_from(value, field_name=field_name):
        return None
    if not isinstance(value, Mapping):
        seconds = parse_seconds(value, field=field_name)
        return Runtime(mean_seconds=seconds, high_seconds=seconds)
    options = dict(value)
    given = {
        key: parse_seconds(options.pop(key), field=f"{field_name}.{key}")
        for key in ("mean", "high", "checkpoint_every")
        if not is_left_out(options.get(key))
    }
    if unknown := [key for key in options if key not in {"mean", "high", "checkpoint_every"}]:
        raise InvalidInput(
            f"{field_name}.{unknown[0]}",
            options[unknown[0]],
            "it takes mean, high and checkpoint_every, or like.",
        )
    if not {"mean", "high"} & set(given):
        raise InvalidInput(field_name, dict(value), "give mean, high, or both, as seconds or text.")
    mean = given.get("mean", given.get("high", 0))
    return Runtime(
        mean_seconds=mean,
        high_seconds=given.get("high", high_at_least(mean)),
        checkpoint_every_seconds=given.get("checkpoint_every", CHECKPOINT_EVERY_SECONDS),
    )


def like_from(value: object, *, field_name: str = "expected_runtime") -> tuple[str, ...]:
    """The Dags of `{"like": "other_dag"}` or `{"like": ["one", "another"]}`: their runs teach, too.

    Raises `InvalidInput`.
    """
    if not isinstance(value, Mapping) or is_left_out(like := value.get("like")):
        return ()
    names = (like,) if isinstance(like, str) else like
    if not isinstance(names, Sequence) or not all(isinstance(n, str) and n.strip() for n in names):
        way_out = "give the id of a Dag, or a list of them: their runs of this model teach, too."
        raise InvalidInput(f"{field_name}.like", like, way_out)
    if others := [key for key in value if key != "like"]:
        way_out = "a run time is either given or learned: leave this out, or leave out like."
        raise InvalidInput(f"{field_name}.{others[0]}", value[others[0]], way_out)
    return tuple(name.strip() for name in names)


def deadline_from(value: object, *, run_started_at: datetime) -> datetime:
    """The moment a deadline means: a time with its zone (ISO 8601), or a duration after the run began.

    The zone is an offset, or an IANA name behind a local time: `2026-11-23T06:00:00 Europe/Berlin`, or in
    brackets. Raises `InvalidInput` for a time without a zone and for anything else.
    """
    moment = value if isinstance(value, datetime) else _as_moment(value)
    if moment is None:
        seconds = _as_duration(value)
        return run_started_at + timedelta(seconds=seconds)
    if moment.tzinfo is None:
        way_out = 'say in which zone: "2026-11-23T06:00:00+01:00" or "2026-11-23T06:00:00 Europe/Berlin".'
        raise InvalidInput("deadline", str(value), way_out)
    moment = moment.astimezone(UTC) if 2 < moment.year < 9998 else moment
    if abs((moment - run_started_at).total_seconds()) > LONGEST_SECONDS:
        raise InvalidInput("deadline", str(value), "this is more than ten years from the Dag run: a slip?")
    return moment


def _as_moment(value: object) -> datetime | None:
    if not isinstance(value, str) or "-" not in value:
        return None
    refuse_long_text(value, field="deadline", way_out=_WAY_OUT)
    local, name = _split_zone_name(value.strip())
    if name:
        return _in_zone(value, local, name)
    try:
        return datetime.fromisoformat(local)
    except ValueError:
        return None


def _split_zone_name(text: str) -> tuple[str, str]:
    """A time and the name of its zone, which is in brackets or after a space; empty where there is none."""
    if text.endswith("]"):
        local, _, name = text[:-1].rpartition("[")
        return (local.rstrip(), name) if local.strip() and name and "]" not in name else (text, "")
    local, *behind = text.rsplit(maxsplit=1)
    return (local, behind[0]) if behind and _BEGINS_WITH_LETTER.match(behind[0]) else (text, "")


_BEGINS_WITH_LETTER = re.compile(r"[A-Za-z]")


def _in_zone(said: str, local: str, name: str) -> datetime:
    """A local time of a zone. One that a clock shows twice, or skips, is the earlier moment: the safe one."""
    try:
        moment = datetime.fromisoformat(local)
    except ValueError:
        raise InvalidInput("deadline", said, f"{local!r} is no time: 2026-11-23T06:00:00.") from None
    if moment.tzinfo is not None:
        raise InvalidInput("deadline", said, "give the offset or the zone's name, not both.")
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        way_out = f"{name!r} is no time zone known here: give an IANA name, like Europe/Berlin, or an offset."
        raise InvalidInput("deadline", said, way_out) from None
    if not 2 < moment.year < 9998:
        return moment.replace(tzinfo=UTC)
    return min(moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


_WAY_OUT = 'give a time with its zone ("2026-11-23T06:00:00Z"), or a duration after the run began ("12h").'


def _as_duration(value: object) -> int:
    if isinstance(value, str):
        refuse_long_text(value, field="deadline", way_out=_WAY_OUT)
    try:
        seconds = parse_seconds(value, field="deadline")
    except InvalidInput as error:
        raise InvalidInput("deadline", value, _WAY_OUT) from error
    if seconds == 0:
        raise InvalidInput("deadline", value, _WAY_OUT)
    return seconds
