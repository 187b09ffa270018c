"""What a task remembers of its record: the next process of the task needs it to write the next version.

One JSON document in the task's state store, next to the training's own state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from spot_training.domain.errors import NewerFormat
from spot_training.domain.records import (
    DecisionMade,
    Price,
    TrainingRecord,
    check_format,
    format_of_prices,
    rates_of,
)
from spot_training.domain.savings import spot_failures, statement_of, unknown_of
from spot_training.domain.text import with_whole_text

if TYPE_CHECKING:
    from spot_training.domain.savings import Attempt
    from spot_training.training.state import StateStore

N = TypeVar("N", int, float)

#: The memory's key in the state store.
MEMORY_KEY = "spot_training_ledger"
#: Decisions kept of one training.
MOST_DECISIONS = 200

#: Instance-seconds and US dollars. None where they are not known.
Billed = tuple[int | None, float | None]
NOTHING_BILLED: Billed = (0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is being trained, and where: facts of the request, or of the watched job."""

    model: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    instance_type: str | None = None
    instance_count: int = 1
    is_resumed: bool | None = None
    endpoint_url: str | None = None
    local_cloud: str | None = None
    checkpoint_uri: str | None = None
    model_uri: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        known = {name: getattr(self, name) for name in _ABOUT}
        metrics = {"metrics": dict(self.metrics)} if known.pop("metrics") else {}
        return {**self.unknown, **known, "tags": dict(self.tags), **metrics}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> About:
        known = {name: data[name] for name in _ABOUT if name in data}
        return cls(**known, unknown=unknown_of(data, _ABOUT))


_ABOUT = frozenset({each.name for each in fields(About)} - {"unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The memory of one record.

    `installation` is the one in the record's key. Empty: that of the stored training (0.1.0 wrote none).
    `billed` and `billed_watching` are what this generation's attempts were billed, the latter those of the
    job that a sensor was given; `replaced` is what earlier generations were billed. `spot_failed` and so on
    are the parts of these that are spot's fault (`savings.spot_failures`). `is_test` is None until a process
    says whether this generation began in a test run. `unknown` is what a newer version
    wrote as well.
    """

    installation: str = ""
    version: int = 0
    generation: int = 0
    about: About | None = None
    decisions: tuple[DecisionMade, ...] = ()
    prices: tuple[Price, ...] = ()
    watches: str | None = None
    billed: Billed = NOTHING_BILLED
    billed_watching: Billed = NOTHING_BILLED
    replaced: Billed = NOTHING_BILLED
    is_test: bool | None = None
    spot_failed: Billed = NOTHING_BILLED
    spot_failed_watching: Billed = NOTHING_BILLED
    replaced_spot_failed: Billed = NOTHING_BILLED
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def usd_per_hour(self) -> dict[str, float]:
        """The prices as `statement_of` takes them: those in US dollars."""
        return rates_of(self.prices)

    def to_json(self) -> dict[str, Any]:
        return {
            **self.unknown,
            "format": format_of_prices(self.prices),
            "installation": self.installation,
            "version": self.version,
            "generation": self.generation,
            "about": self.about.to_json() if self.about else None,
            "decisions": [decision.to_json() for decision in self.decisions],
            "prices": [price.to_json() for price in self.prices],
            "watches": self.watches,
            "is_test": self.is_test,
            **{name: list(getattr(self, name)) for name in _BILLS},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Memory:
        """Undo `to_json`, of this format or 0.1.0's. Raises `NewerFormat`; anything for what is no memory."""
        check_format(data, "What the task remembers of its record")
        return cls(
            installation=data.get("installation", ""),
            version=int(data.get("version", 0)),
            generation=int(data.get("generation", 0)),
            about=About.from_json(data["about"]) if data.get("about") else None,
            decisions=tuple(DecisionMade.from_json(fact) for fact in data.get("decisions") or ()),
            prices=tuple(Price.from_json(fact) for fact in data.get("prices") or ()),
            watches=data.get("watches"),
            is_test=data.get("is_test", False),
            **{name: _bill_from(data.get(name, NOTHING_BILLED)) for name in _BILLS},
            unknown=unknown_of(data, _REMEMBERED),
        )

    @classmethod
    def of_record(cls, record: TrainingRecord) -> Memory:
        """What can be remembered from the record, for a task that lost its state."""
        memory = cls(
            installation=record.installation,
            version=record.version,
            generation=record.generation,
            decisions=record.decisions,
            prices=record.prices,
            is_test=bool(record.is_test),
            replaced=(record.replaced_instance_seconds, record.replaced_usd),
            replaced_spot_failed=(
                record.replaced_spot_failed_instance_seconds,
                record.replaced_spot_failed_usd,
            ),
        )
        return memory.with_bill(record.attempts, scouts=record.scouts, watches=record.watches)

    def with_bill(
        self, attempts: Sequence[Attempt], *, scouts: Sequence[Attempt] = (), watches: str | None
    ) -> Memory:
        """With what these attempts and scouts were billed. `watches` is the job that a sensor was given."""
        failures = spot_failures(attempts, scouts)
        return replace(
            self,
            watches=watches,
            billed=bill_of([a for a in (*attempts, *scouts) if a.job_name != watches], self.usd_per_hour),
            billed_watching=bill_of([a for a in attempts if a.job_name == watches], self.usd_per_hour),
            spot_failed=bill_of([a for a in failures if a.job_name != watches], self.usd_per_hour),
            spot_failed_watching=bill_of([a for a in failures if a.job_name == watches], self.usd_per_hour),
        )

    def with_decision(self, made: DecisionMade) -> Memory:
        """With one more decision, unless another process of this task has written the same one down."""
        if made.attempt is not None and any(
            (each.action, each.attempt) == (made.action, made.attempt) for each in self.decisions
        ):
            return self
        return replace(self, decisions=(*self.decisions, made)[-MOST_DECISIONS:])

    def of_installation(self, name: str) -> Memory:
        """After this Airflow got another name, a clear begins another record. The first record stays."""
        if self.installation in {"", name}:
            return replace(self, installation=name)
        return Memory(installation=name, about=self.about, prices=self.prices)

    def of_generation(self, generation: int, *, watches: str | None) -> Memory:
        """A person cleared a training that was over: the record starts again, and keeps what was billed.

        A watched job that the new generation watches again is not counted twice.
        """
        if generation == self.generation:
            return self
        replaced = _sum(self.replaced, self.billed)
        spot_failed = _sum(self.replaced_spot_failed, self.spot_failed)
        if watches != self.watches:
            replaced = _sum(replaced, self.billed_watching)
            spot_failed = _sum(spot_failed, self.spot_failed_watching)
        return replace(
            self,
            generation=generation,
            decisions=(),
            watches=watches,
            is_test=None,
            billed=NOTHING_BILLED,
            billed_watching=NOTHING_BILLED,
            replaced=replaced,
            spot_failed=NOTHING_BILLED,
            spot_failed_watching=NOTHING_BILLED,
            replaced_spot_failed=spot_failed,
        )


_BILLS = (
    "billed",
    "billed_watching",
    "replaced",
    "spot_failed",
    "spot_failed_watching",
    "replaced_spot_failed",
)
#: What a memory consists of, without `unknown`.
_REMEMBERED = frozenset({"format", *(each.name for each in fields(Memory))} - {"unknown"})


class MemoryInStore:
    """The memory in a task's state store. It is read once; `keep` changes it in this process only."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._memory: Memory | None = None

    @property
    def is_stored(self) -> bool:
        return bool(self._store.get(MEMORY_KEY))

    def recall(
        self,
        *,
        first_installation: str,
        installation: str,
        generation: int,
        watches: str | None,
        is_test: bool = False,
    ) -> Memory:
        """The memory, brought to this generation, which may have begun under another name of this Airflow.

        Raises `NewerFormat`: nothing is written over what a newer version left.
        """
        memory = self._memory or self._read()
        if not memory.installation:
            memory = memory.of_installation(first_installation)
        memory = memory.of_installation(installation).of_generation(generation, watches=watches)
        if memory.is_test is None:
            memory = replace(memory, is_test=is_test)
        self._memory = memory
        return memory

    def _read(self) -> Memory:
        data = self._store.get(MEMORY_KEY)
        try:
            return Memory.from_json(data) if data else Memory()
        except NewerFormat:
            raise
        except (AttributeError, KeyError, TypeError, ValueError):
            return Memory()  # garbage: the clock still makes the next version the highest

    def keep(self, memory: Memory) -> None:
        self._memory = memory

    def store(self, memory: Memory) -> None:
        """Keep the memory, also for the next process of this task."""
        self._memory = memory
        self._store.set(MEMORY_KEY, with_whole_text(memory.to_json()))


def bill_of(attempts: Sequence[Attempt], usd_per_hour: Mapping[str, float]) -> Billed:
    """What these attempts were billed."""
    statement = statement_of(attempts, usd_per_hour)
    return statement.billable_instance_seconds, statement.billed_usd


def _bill_from(data: Sequence[Any]) -> Billed:
    seconds, dollars = data
    return seconds, dollars


def _plus(one: N | None, other: N | None) -> N | None:
    return None if one is None or other is None else one + other


def _sum(one: Billed, other: Billed) -> Billed:
    return _plus(one[0], other[0]), _plus(one[1], other[1])
