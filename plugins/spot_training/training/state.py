"""What a training remembers between crashes, deferrals, retries and clears.

One JSON document under one key of Airflow's task state store. It is written before every call that creates
something, so that the next process knows what may exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from spot_training.domain.attempts import FORMAT_OF_ENDING
from spot_training.domain.checkpoints_seen import SeenCheckpoints
from spot_training.domain.deadline import Deadline
from spot_training.domain.errors import InvalidInput
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import Attempt, PurchaseOption, stored_as
from spot_training.domain.stop_reasons import StopNote, StopReason, note_of
from spot_training.domain.text import with_whole_text

STATE_KEY = "spot_training"
#: The format, in the key `version`. It grows when a reader of an earlier format could misunderstand what it
#: finds: 1 is 0.1.0's, 3 has scouts, and 4 the way back to spot and jobs that were stopped because uploads
#: stalled. A reader knows all earlier formats, and refuses a later one. It keeps `checkpoints` of a later
#: version, whatever is in it.
STATE_VERSION = 4


class StateStore(Protocol):
    """The part of Airflow's `task_state_store` that is used here."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A job that is about to be created, or was: written down before CreateTrainingJob is called.

    A foreign job was started elsewhere: it is watched, and never created. `is_created` says that SageMaker
    confirmed the job and that it is ours. If it is gone later, it was deleted, and it is not created again.
    `nonce` goes into the job's tags: a job of that name with another nonce belongs to a state that was lost.
    `partition` and `region` are the connection's when the intent was written, `arn` is the job's once it is
    confirmed: a connection that leads elsewhere later does not know the job. `stopped_for` and `stopped_at`
    are why and when we stopped the job, if its tag could not be written. Empty: not known.
    """

    job_name: str
    number: int
    step: int
    reason: str
    is_foreign: bool = False
    is_created: bool = False
    nonce: str = ""
    purchase: PurchaseOption = PurchaseOption.SPOT
    partition: str = ""
    region: str = ""
    arn: str = ""
    stopped_for: StopReason | None = None
    stopped_at: str = ""
    #: The type of the step that the job is made for, if the step has several spot types.
    instance_type: str = ""
    #: Fields of a version that this code does not know: kept, and written back.
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def account(self) -> str:
        """The account in the job's ARN; empty until it is confirmed."""
        return self.arn.split(":")[4] if self.arn.count(":") > 4 else ""

    @property
    def stop_note(self) -> StopNote | None:
        """Our own stop of the job, if its tag could not be written."""
        return note_of(self.stopped_for, self.stopped_at)

    def with_stop(self, note: StopNote) -> Intent:
        return replace(self, stopped_for=note.why, stopped_at=note.at.isoformat() if note.at else "")

    def to_json(self) -> dict[str, Any]:
        known = {stored_as(each.name): getattr(self, each.name) for each in fields(self)}
        del known["unknown"]
        if not self.instance_type:
            del known["instance_type"]
        return {**self.unknown, **known}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Intent:
        """Undo `to_json`: fields that are missing take their defaults, those not known are kept."""
        names = {stored_as(each.name): each.name for each in fields(cls) if each.name != "unknown"}
        known = {names[key]: value for key, value in data.items() if key in names}
        return cls(
            **{
                "step": 0,
                "reason": "",
                "number": 1,
                **known,
                "purchase": PurchaseOption(known.get("purchase", PurchaseOption.SPOT)),
                "stopped_for": note.why if (note := note_of(known.get("stopped_for"), None)) else None,
                "unknown": {name: value for name, value in data.items() if name not in names},
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """One training: its current job, its attempts, and which generation of the task it belongs to.

    `ladder_from` is how many attempts belong to earlier climbs of the ladder (an Airflow retry climbs it
    again; its attempts still count in the savings). `is_over` says that the outcome was handed to Airflow,
    `is_final` that Airflow does not try again after it, and `is_handed_over` that a task which does not wait
    succeeded with its job alive. With these, `max_tries` and `clear_number` (the Dag run's) distinguish a
    person's clear from a retry.
    `giving_up` is why we stopped the job for good: when the job is over, the training is. `began_at` and
    `try_began_at` anchor time limits: the training's first submission, and the current Airflow try.
    `deadline` is fixed at the first submission, on AWS's clock. `installation` is the Airflow under which the
    training began; its job names and its record contain it. Empty: not recorded (0.1.0).
    `first_installation` is that of the first generation, if it was another one. `scouts` may be alive,
    `scouts_over` are not. `next_type` is the type on which a scout has found capacity: the next job gets it.
    `asked_last` are the types with many interruptions or failures lately (`domain.type_history`), and
    `spot_price_ratio` is what spot costs of on-demand, from other trainings. `has_no_way_back`: most
    hand-overs to each type failed lately.
    `checkpoints` is what was seen of them; None: nobody has looked.
    `notified` are the keys of the notices that were sent (`notices`).
    """

    generation: int = 0
    installation: str = ""
    first_installation: str = ""
    try_number: int = 0
    max_tries: int = 0
    current: Intent | None = None
    attempts: tuple[Attempt, ...] = ()
    ladder_from: int = 0
    is_over: bool = False
    is_final: bool = False
    is_handed_over: bool = False
    clear_number: int | None = None
    giving_up: str | None = None
    began_at: datetime | None = None
    try_began_at: datetime | None = None
    deadline: Deadline | None = None
    scouts: tuple[Intent, ...] = ()
    scouts_over: tuple[Attempt, ...] = ()
    next_type: str = ""
    asked_last: tuple[str, ...] = ()
    spot_price_ratio: float | None = None
    has_no_way_back: bool = False
    checkpoints: SeenCheckpoints | None = None
    notified: tuple[str, ...] = ()
    #: Fields of a version that this code does not know: kept, and written back.
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def next_number(self) -> int:
        return max((a.number for a in self.attempts), default=0) + 1

    @property
    def next_scout_number(self) -> int:
        numbers = (*(s.number for s in self.scouts), *(s.number for s in self.scouts_over))
        return max(numbers, default=0) + 1

    @property
    def version(self) -> int:
        """The earliest format that can hold this state."""
        has_scouts = self.scouts or self.scouts_over or self.next_type
        endings = (FORMAT_OF_ENDING.get(attempt.ending, 2) for attempt in self.attempts)
        return max([3 if has_scouts else 2, *endings])

    def with_attempt(self, attempt: Attempt) -> TrainingState:
        return replace(self, attempts=(*self.attempts, attempt), current=None)

    def to_json(self) -> dict[str, Any]:
        return {
            **self.unknown,
            "version": self.version,
            "generation": self.generation,
            "installation": self.installation,
            "first_installation": self.first_installation,
            "try_number": self.try_number,
            "max_tries": self.max_tries,
            "current": self.current.to_json() if self.current else None,
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "ladder_from": self.ladder_from,
            "is_over": self.is_over,
            "is_final": self.is_final,
            "is_handed_over": self.is_handed_over,
            "clear_number": self.clear_number,
            "giving_up": self.giving_up,
            "began_at": _iso(self.began_at),
            "try_began_at": _iso(self.try_began_at),
            "deadline": self.deadline.to_json() if self.deadline else None,
            **self._scouts_to_json(),
            **({"checkpoints": self.checkpoints.to_json()} if self.checkpoints else {}),
            **({"notified": list(self.notified)} if self.notified else {}),
        }

    def _scouts_to_json(self) -> dict[str, Any]:
        """Nothing for a training with one type."""
        parts = {
            "scouts": [intent.to_json() for intent in self.scouts],
            "scouts_over": [scout.to_json() for scout in self.scouts_over],
            "next_type": self.next_type,
            "asked_last": list(self.asked_last),
            "spot_price_ratio": self.spot_price_ratio,
            "has_no_way_back": self.has_no_way_back,
        }
        return {name: value for name, value in parts.items() if value}

    @classmethod
    def from_json(cls, data: Any) -> TrainingState:
        """Undo `to_json`, of this format or an earlier one. Raises `InvalidInput` for what it cannot read."""
        if not isinstance(data, Mapping) or not isinstance(data.get("version"), int):
            raise InvalidInput(
                f"task state {STATE_KEY!r}.version",
                data.get("version") if isinstance(data, Mapping) else data,
                f"it is not a state of this package. {_WITHOUT_STATE}",
            )
        if data["version"] > STATE_VERSION:
            raise InvalidInput(
                f"task state {STATE_KEY!r}.version",
                data["version"],
                f"it was written by a later version of this package; this one reads up to {STATE_VERSION}. "
                "Finish the run with the version that started it, or install that again.",
            )
        try:
            return cls._read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise InvalidInput(
                f"task state {STATE_KEY!r}",
                data,
                f"it cannot be read ({type(exc).__name__}: {exc}). {_WITHOUT_STATE}",
            ) from exc

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> TrainingState:
        current, deadline = data.get("current"), data.get("deadline")
        attempts = tuple(Attempt.from_json(fact) for fact in data.get("attempts") or ())
        intent = Intent.from_json(current) if current else None
        if intent is not None and data.get("is_stop_expected"):  # format 1: our stop, without a reason
            intent = replace(intent, stopped_for=StopReason.TASK_KILLED)
        is_over = bool(data.get("is_over", False))
        is_complete = bool(attempts) and attempts[-1].ending is Ending.COMPLETED
        return cls(
            generation=int(data.get("generation", 0)),
            installation=str(data.get("installation", "")),
            first_installation=str(data.get("first_installation", "")),
            try_number=int(data.get("try_number", 0)),
            max_tries=int(data.get("max_tries", 0)),
            current=intent,
            attempts=attempts,
            ladder_from=int(data.get("ladder_from", 0)),
            is_over=is_over,
            is_final=bool(data.get("is_final", is_over and is_complete)),
            is_handed_over=bool(data.get("is_handed_over", False)),
            clear_number=data.get("clear_number"),
            giving_up=data.get("giving_up"),
            began_at=_moment(data.get("began_at")),
            try_began_at=_moment(data.get("try_began_at")),
            deadline=Deadline.from_json(deadline) if deadline else None,
            scouts=tuple(Intent.from_json(scout) for scout in data.get("scouts") or ()),
            scouts_over=tuple(Attempt.from_json(scout) for scout in data.get("scouts_over") or ()),
            next_type=str(data.get("next_type", "")),
            asked_last=tuple(map(str, data.get("asked_last") or ())),
            spot_price_ratio=data.get("spot_price_ratio"),
            has_no_way_back=bool(data.get("has_no_way_back", False)),
            checkpoints=SeenCheckpoints.from_json(data.get("checkpoints")),
            notified=tuple(map(str, data.get("notified") or ())),
            unknown={name: value for name, value in data.items() if name not in _FIELDS},
        )


_WITHOUT_STATE = (
    "Check that no training job of the task is alive, then delete the task's state in Airflow's UI."
)
#: What a state consists of, in this format and in earlier ones.
_FIELDS = {each.name for each in fields(TrainingState)} | {"version", "is_stop_expected", "has_adopted"}


def job_on_record(data: Any) -> str:
    """The name of the job that a stored state contains, whatever its format. Empty: none is known.

    Stopping a job needs only its name, which a state that cannot be read otherwise still has. A job that was
    started elsewhere, or is not confirmed to be ours, is not returned: it must not be stopped.
    """
    return _confirmed_name(data.get("current")) if isinstance(data, Mapping) else ""


def scouts_on_record(data: Any) -> list[str]:
    """The names of the scouts that a stored state contains, as `job_on_record` finds the job's."""
    scouts = data.get("scouts") if isinstance(data, Mapping) else None
    names = map(_confirmed_name, scouts if isinstance(scouts, list) else ())
    return [name for name in names if name]


def _confirmed_name(intent: Any) -> str:
    if not isinstance(intent, Mapping) or intent.get("is_foreign") or not intent.get("is_created"):
        return ""
    name = intent.get("job_name")
    return name if isinstance(name, str) else ""


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@dataclass(slots=True)
class MemoryStore:
    """A state store that lasts as long as the process: for tests and for running outside Airflow."""

    values: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:  # noqa: ARG002
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


def load_state(store: StateStore) -> TrainingState | None:
    """The training's state, or None when there is none yet."""
    data = store.get(STATE_KEY)
    return None if data is None else TrainingState.from_json(data)


def save_state(store: StateStore, state: TrainingState) -> None:
    store.set(STATE_KEY, with_whole_text(state.to_json()))
