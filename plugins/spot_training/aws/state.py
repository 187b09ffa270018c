"""What a training remembers between crashes, deferrals, retries and clears.

One JSON document under one key of Airflow's task state store. It is written before every call that creates
something, so that whoever comes next knows what may exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from spot_training.domain.deadline import Deadline
from spot_training.domain.errors import InvalidInput
from spot_training.domain.savings import Attempt, PurchaseOption

STATE_KEY = "spot_training"
#: Grows when a reader of this version could misunderstand what it finds.
STATE_VERSION = 1


class StateStore(Protocol):
    """Airflow's `task_state_store`, as far as it is used here."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A job that is about to be created, or was: written down before CreateTrainingJob is called.

    A foreign job was started elsewhere: it is watched, and never created. `is_created` says that SageMaker
    confirmed the job and that it is ours, so that one which is gone later was deleted, and is not made a
    second time. `nonce` goes into the job's tags: a job of that name with another one is of a lost state.
    """

    job_name: str
    number: int
    rung: int
    reason: str
    is_foreign: bool = False
    is_created: bool = False
    nonce: str = ""
    purchase: PurchaseOption = PurchaseOption.SPOT


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """One training: what is under way, what was tried, and which generation of the task it belongs to.

    `ladder_from` is how many attempts belong to earlier climbs of the ladder (an Airflow retry climbs it
    again; its attempts still count in the savings). `is_over` says the outcome was handed to Airflow.
    `max_tries` tells a person's clear from a retry: only a clear raises it. `is_stop_expected` says that the
    current job was stopped because its task was killed or cleared, so its end is no reason to give up;
    `has_adopted` that an earlier try started it, so that such a stop may still come.
    `giving_up` is why we ourselves stopped it for good: once it is over, the training is. `began_at` and
    `try_began_at` anchor time limits: the training's first submission, and the current Airflow try.
    `deadline` is fixed at the first submission, on AWS's clock.
    """

    generation: int = 0
    try_number: int = 0
    max_tries: int = 0
    current: Intent | None = None
    attempts: tuple[Attempt, ...] = ()
    ladder_from: int = 0
    is_over: bool = False
    is_stop_expected: bool = False
    has_adopted: bool = False
    giving_up: str | None = None
    began_at: datetime | None = None
    try_began_at: datetime | None = None
    deadline: Deadline | None = None

    @property
    def next_number(self) -> int:
        return max((a.number for a in self.attempts), default=0) + 1

    def with_attempt(self, attempt: Attempt) -> TrainingState:
        return replace(self, attempts=(*self.attempts, attempt), current=None)

    def to_json(self) -> dict[str, Any]:
        return {
            "version": STATE_VERSION,
            "generation": self.generation,
            "try_number": self.try_number,
            "max_tries": self.max_tries,
            "current": asdict(self.current) if self.current else None,
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "ladder_from": self.ladder_from,
            "is_over": self.is_over,
            "is_stop_expected": self.is_stop_expected,
            "has_adopted": self.has_adopted,
            "giving_up": self.giving_up,
            "began_at": _iso(self.began_at),
            "try_began_at": _iso(self.try_began_at),
            "deadline": self.deadline.to_json() if self.deadline else None,
        }

    @classmethod
    def from_json(cls, data: Any) -> TrainingState:
        """Undo `to_json`; refuses a version it does not know instead of misreading it."""
        if not isinstance(data, Mapping) or data.get("version") != STATE_VERSION:
            raise InvalidInput(
                f"task state {STATE_KEY!r}.version",
                data.get("version") if isinstance(data, Mapping) else data,
                f"this code reads version {STATE_VERSION}. Finish the run with the code that started it, or "
                "delete the task's state in Airflow's UI (check first that no training job of it is alive).",
            )
        try:
            return cls._read(data)
        except (KeyError, TypeError, ValueError) as exc:
            raise InvalidInput(
                f"task state {STATE_KEY!r}",
                data,
                f"it cannot be read ({type(exc).__name__}: {exc}). Check that no training job of the task is "
                "alive, then delete the task's state in Airflow's UI.",
            ) from exc

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> TrainingState:
        current, deadline = data["current"], data.get("deadline")
        return cls(
            generation=data["generation"],
            try_number=data["try_number"],
            max_tries=data["max_tries"],
            current=_intent_from(current) if current else None,
            attempts=tuple(Attempt.from_json(a) for a in data["attempts"]),
            ladder_from=data["ladder_from"],
            is_over=data["is_over"],
            is_stop_expected=data["is_stop_expected"],
            has_adopted=data["has_adopted"],
            giving_up=data["giving_up"],
            began_at=_moment(data["began_at"]),
            try_began_at=_moment(data["try_began_at"]),
            deadline=Deadline.from_json(deadline) if deadline else None,
        )


def _intent_from(data: Mapping[str, Any]) -> Intent:
    intent = Intent(**data)
    return replace(intent, purchase=PurchaseOption(intent.purchase))


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


def load_state(store: StateStore) -> TrainingState | None:
    """The training's state, or None when there is none yet."""
    data = store.get(STATE_KEY)
    return None if data is None else TrainingState.from_json(data)


def save_state(store: StateStore, state: TrainingState) -> None:
    store.set(STATE_KEY, state.to_json())
