"""What the ledger keeps: one record per training task, from its first submission on.

Decides what a record contains, how it follows from a training's state, and its JSON. Must not know where
records are kept (`ledger`). All instants are aware UTC: jobs have AWS's time, decisions the time of the
machine that decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from .attempts import FORMAT_OF_ENDING
from .currencies import COLUMNS as CURRENCY_COLUMNS
from .currencies import Amounts
from .errors import NewerFormat
from .lifecycle import Ending, JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from .record_keys import record_key
from .savings import (
    Attempt,
    PurchaseOption,
    Rate,
    SavingsStatement,
    billed_usd,
    kept_transitions,
    statement_of,
    transition_from_json,
    transition_to_json,
    unknown_of,
)
from .totals import Totals, totals_of

if TYPE_CHECKING:
    from .checkpoints_seen import SeenCheckpoints

#: `Totals` and `totals_of` are in `totals` now, and keep their names here.
__all__ = [
    "RECORD_FORMAT",
    "CurrentJob",
    "DecisionMade",
    "Price",
    "RecordState",
    "Totals",
    "TrainingRecord",
    "check_format",
    "model_of",
    "record_from",
    "team_of",
    "totals_of",
]

#: The format that is written. It grows when a reader of an earlier format could misunderstand a record: 1 is
#: 0.1.0's, which knew fewer endings, 3 has scouts, and 4 the way back to spot, stops because uploads
#: stalled, and prices that are not in dollars. A reader knows all formats up to this one, and leaves a later
#: one alone.
RECORD_FORMAT = 4
#: An earlier version would take a price in another currency for dollars.
FORMAT_WITH_CURRENCIES = 4
#: The action of a `DecisionMade` that only says what was seen.
UPLOADS_STALLED = "uploads stalled"
#: The format of what has nothing that came later: every version since 0.2.0 reads it.
FORMAT_WITHOUT_SCOUTS = 2
_DIGESTS = re.compile(r"(-[0-9a-f]{12}-\d{1,3})+$")


def check_format(data: Mapping[str, Any], what: str) -> None:
    """Raise `NewerFormat` if a newer version of this package wrote the data. Without a format it is 0.1.0's.

    Raises ValueError if the format is not valid.
    """
    found = data.get("format")
    if found is None:
        return
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise ValueError(f"its format is {found!r}, which is not valid")
    if found > RECORD_FORMAT:
        raise NewerFormat(what, found=found, newest_known=RECORD_FORMAT)


def team_of(tags: Mapping[str, str]) -> str | None:
    """The value of the tag `team`, however its key is capitalised."""
    return next((value for key, value in tags.items() if key.lower() == "team"), None)


class RecordState(StrEnum):
    """The state of a training. Not Airflow's task state: a task may be over while its job runs."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


def model_of(job_name: str) -> str:
    """A job name without the digests and attempt numbers of this package: what is being trained."""
    return _DIGESTS.sub("", job_name) or job_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """An on-demand price per instance-hour, with its date and source.

    It is in US dollars, unless `currency` names another one (ISO 4217). Such a price is in no amount in
    dollars: currencies are never added.
    `discount_percent` is what on-demand costs less (a SageMaker Savings Plan); spot does not get it.
    """

    instance_type: str
    usd_per_hour: float
    as_of: datetime
    source: str
    discount_percent: float | None = None
    currency: str | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_usd(self) -> bool:
        return self.currency in {None, "USD"}

    @property
    def rate(self) -> Rate:
        """As `savings` takes it."""
        return Rate(self.usd_per_hour, self.discount_percent or 0.0)

    def to_json(self) -> dict[str, Any]:
        plain = _to_json(self)
        if self.is_usd:
            del plain["currency"]
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Price:
        return cls(**_known(cls, data, moments=("as_of",)))


def rates_of(prices: Iterable[Price], currency: str | None = None) -> dict[str, float]:
    """The prices in one currency (None: US dollars), as `savings` takes them."""
    return {
        price.instance_type: price.rate
        for price in prices
        if (price.is_usd if currency is None else price.currency == currency)
    }


def currency_of(prices: Iterable[Price]) -> str | None:
    """The currency of all these prices, if that is not the US dollar. None also if there are several."""
    codes = {None if price.is_usd else price.currency for price in prices}
    return codes.pop() if len(codes) == 1 else None


def format_of_prices(prices: Iterable[Price]) -> int:
    """The earliest format that can hold these prices."""
    in_dollars = all(price.is_usd for price in prices)
    return FORMAT_WITHOUT_SCOUTS if in_dollars else FORMAT_WITH_CURRENCIES


def amounts_of(
    prices: Sequence[Price], attempts: Sequence[Attempt], scouts: Sequence[Attempt]
) -> Amounts | None:
    """What a training came to in the currency of all its prices. None if that is the US dollar."""
    currency = currency_of(prices)
    if currency is None:
        return None
    return Amounts.of(currency, statement_of(attempts, rates_of(prices, currency), scouts=scouts))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMade:
    """What was decided and why. `attempt` is the number of the attempt it starts, None for an end."""

    decided_at: datetime
    action: str
    reason: str
    attempt: int | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        return _to_json(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DecisionMade:
        return cls(**_known(cls, data, moments=("decided_at",)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentJob:
    """The job under way, as far as it is known.

    The intent has a name, a reason and how the job is bought. What AWS says is noted later: without `seen_at`
    the job may not exist. `saved_at` is up to when its newest checkpoint holds its work, `stalled_at` since
    when none has arrived; both None unless checkpoints are seen.
    """

    job_name: str
    number: int = 1
    reason: str = ""
    purchase: PurchaseOption | None = None
    instance_type: str | None = None
    instance_count: int = 1
    status: TrainingStatus | None = None
    secondary_status: SecondaryStatus | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    max_runtime_seconds: int | None = None
    max_wait_seconds: int | None = None
    transitions: tuple[Transition, ...] = ()
    seen_at: datetime | None = None
    saved_at: datetime | None = None
    stalled_at: datetime | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        plain = {**_to_json(self), "transitions": [transition_to_json(visit) for visit in self.transitions]}
        unseen = [name for name in ("saved_at", "stalled_at") if plain[name] is None]
        return {name: value for name, value in plain.items() if name not in unseen}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CurrentJob:
        known = _known(cls, data, moments=("created_at", "started_at", "seen_at", "saved_at", "stalled_at"))
        for name, kind in (
            ("purchase", PurchaseOption),
            ("status", TrainingStatus),
            ("secondary_status", SecondaryStatus),
        ):
            known[name] = kind(known[name]) if known.get(name) else None
        known["transitions"] = tuple(transition_from_json(t) for t in known.get("transitions") or ())
        return cls(**known)

    def as_seen(self, job: JobSnapshot, *, now: datetime) -> CurrentJob:
        """The same job with what AWS says of it now."""
        return CurrentJob(
            job_name=self.job_name,
            number=self.number,
            reason=self.reason,
            purchase=PurchaseOption.SPOT if job.is_spot else PurchaseOption.ON_DEMAND,
            instance_type=job.instance_type,
            instance_count=job.instance_count,
            status=job.status,
            secondary_status=job.secondary_status,
            created_at=job.created_at,
            started_at=job.training_started_at,
            max_runtime_seconds=job.max_runtime_seconds,
            max_wait_seconds=job.max_wait_seconds,
            transitions=kept_transitions(job),
            seen_at=now,
            saved_at=self.saved_at,
            stalled_at=self.stalled_at,
        )

    def with_checkpoints(self, seen: SeenCheckpoints | None) -> CurrentJob:
        """The same job with what was seen of its checkpoints."""
        if seen is None:
            return self
        return replace(self, saved_at=seen.newest_saved_at, stalled_at=seen.stalled_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """One training task of one Dag run, over or under way.

    `version` orders the writes of one key: the highest counts. `model` is the job name prefix, `tags` the
    request's own tags (not this package's), `team` the one of that name. `generation` counts the clears that
    started afresh; only the last one is on record, and `replaced_instance_seconds` and `replaced_usd` are
    what the ones before it were billed, `replaced_spot_failed_...` the part of it that is spot's fault.
    `watches` is the job a sensor was given. `is_resumed` says that the training went on from an earlier
    generation's checkpoints (None: not known). `endpoint_url` is where the jobs were created, and
    `local_cloud` describes the clock of a local SageMaker: its times and costs are simulated.
    `is_test` says that `airflow dags test` or `airflow tasks test` ran it (None: not known).
    `checkpoint_uri` and `model_uri` are where the checkpoints and the model are, `metrics` the last values of
    a completed training's. `deadline_at` and
    `latest_on_demand_at` are None for a training without a deadline. `scouts` are the scouts that are over
    (`scouting`), `scouts_out` the types that others look for now. `reason` says why it ended. `unknown`
    are members that a newer version wrote as well: they are written back.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    installation: str = "airflow"
    version: int = 0
    state: RecordState = RecordState.RUNNING
    reason: str = ""
    generation: int = 0
    model: str = ""
    team: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    region: str | None = None
    instance_type: str | None = None
    instance_count: int = 1
    began_at: datetime | None = None
    ended_at: datetime | None = None
    deadline_at: datetime | None = None
    latest_on_demand_at: datetime | None = None
    watches: str | None = None
    is_resumed: bool | None = None
    is_test: bool | None = None
    endpoint_url: str | None = None
    local_cloud: str | None = None
    checkpoint_uri: str | None = None
    model_uri: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    scouts: tuple[Attempt, ...] = ()
    scouts_out: tuple[str, ...] = ()
    decisions: tuple[DecisionMade, ...] = ()
    current_job: CurrentJob | None = None
    prices: tuple[Price, ...] = ()
    replaced_instance_seconds: int | None = 0
    replaced_usd: float | None = 0.0
    replaced_spot_failed_instance_seconds: int | None = 0
    replaced_spot_failed_usd: float | None = 0.0
    written_at: datetime | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return record_key(
            installation=self.installation,
            dag_id=self.dag_id,
            run_id=self.run_id,
            task_id=self.task_id,
            map_index=self.map_index,
        )

    @property
    def usd_per_hour(self) -> dict[str, float]:
        """The record's prices as `savings` takes them: those in US dollars."""
        return rates_of(self.prices)

    @property
    def statement(self) -> SavingsStatement:
        return statement_of(self.attempts, self.usd_per_hour, scouts=self.scouts)

    @property
    def currency(self) -> str | None:
        """The currency of all its prices, if that is not the US dollar."""
        return currency_of(self.prices)

    @property
    def prices_per_hour(self) -> dict[str, float]:
        """The prices in the record's `currency`, which are those in US dollars without one."""
        return rates_of(self.prices, self.currency)

    @property
    def amounts(self) -> Amounts | None:
        """What the training came to in its `currency`. None in US dollars."""
        return amounts_of(self.prices, self.attempts, self.scouts)

    @property
    def format(self) -> int:
        """The earliest format that can hold this record."""
        least = 3 if self.scouts or self.scouts_out else FORMAT_WITHOUT_SCOUTS
        least = max(least, format_of_prices(self.prices))
        return max([least, *(FORMAT_OF_ENDING.get(attempt.ending, least) for attempt in self.attempts)])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, one flat object. `docs/ledger.md` describes each member.

        The transitions of all attempts are one separate list, so that sums over attempts need not read them.
        """
        statement = self.statement.to_json()
        statement["attempt_count"] = statement.pop("attempts")
        if self.state is RecordState.RUNNING:
            statement["net_saved_usd"] = None  # the next attempt may complete
        return {
            **self.unknown,
            "format": self.format,
            "key": self.key,
            **{
                name: _plain(getattr(self, name)) for name in _names_of(TrainingRecord) if name not in _NESTED
            },
            "tags": dict(self.tags),
            **({"metrics": dict(self.metrics)} if self.metrics else {}),
            "attempts": [_attempt_to_json(attempt, self.usd_per_hour) for attempt in self.attempts],
            "scouts_out": list(self.scouts_out),
            "scouts": [_attempt_to_json(scout, self.usd_per_hour) for scout in self.scouts],
            "transitions": [
                {"attempt": attempt.number, **transition_to_json(visit)}
                for attempt in self.attempts
                for visit in attempt.transitions
            ],
            "decisions": [decision.to_json() for decision in self.decisions],
            "current_job": self.current_job.to_json() if self.current_job else None,
            "prices": [price.to_json() for price in self.prices],
            **statement,
            **(amounts.to_json() if (amounts := self.amounts) else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainingRecord:
        """Undo `to_json`, of this format or an earlier one.

        Members of a newer version are kept in `unknown`, missing ones take their defaults. Raises
        `NewerFormat`, and KeyError, TypeError or ValueError if it is not a record.
        """
        check_format(data, "The record")
        known = _known(cls, data, moments=_MOMENTS, also=_DERIVED)
        known["state"] = RecordState(known.get("state") or RecordState.RUNNING)
        known["tags"] = dict(known.get("tags") or {})
        known["metrics"] = dict(known.get("metrics") or {})
        known["attempts"] = _attempts_from_json(data)
        known["scouts_out"] = tuple(data.get("scouts_out") or ())
        known["scouts"] = tuple(Attempt.from_json(fact) for fact in data.get("scouts") or ())
        known["decisions"] = tuple(DecisionMade.from_json(fact) for fact in data.get("decisions") or ())
        known["prices"] = tuple(Price.from_json(fact) for fact in data.get("prices") or ())
        job = data.get("current_job")
        known["current_job"] = CurrentJob.from_json(job) if job else None
        return cls(**known)


def record_from(
    base: TrainingRecord,
    *,
    attempts: Sequence[Attempt],
    current_job: CurrentJob | None,
    is_over: bool,
    now: datetime | None = None,
) -> TrainingRecord:
    """A record of a training with these attempts, and the job under way if there is one.

    `base` has the facts that do not follow from the attempts. Its `began_at` and its instances count where no
    attempt says more. `now` is the end of a training that is over without a job that ended.
    """
    last = attempts[-1] if attempts else None
    submitted = [attempt.created_at for attempt in attempts if attempt.created_at]
    ended = [attempt.ended_at for attempt in attempts if attempt.ended_at]
    is_complete = any(attempt.ending is Ending.COMPLETED for attempt in attempts)
    over = RecordState.COMPLETED if is_complete else RecordState.FAILED
    return replace(
        base,
        state=over if is_over else RecordState.RUNNING,
        attempts=tuple(attempts),
        current_job=current_job,
        scouts_out=() if is_over else base.scouts_out,
        began_at=min(submitted, default=base.began_at),
        ended_at=max(ended, default=now or base.ended_at) if is_over else None,
        instance_type=(last.instance_type if last else None) or base.instance_type,
        instance_count=last.instance_count if last else base.instance_count,
    )


_NESTED = {"tags", "metrics", "attempts", "scouts", "scouts_out", "decisions", "current_job", "prices"}
#: Members of a record that follow from the others.
_DERIVED = frozenset(
    {"format", "key", "transitions", "attempt_count"}
    | {each.name for each in fields(SavingsStatement)}
    | set(CURRENCY_COLUMNS)
) - {"attempts"}
_MOMENTS = ("began_at", "ended_at", "deadline_at", "latest_on_demand_at", "written_at")


def _attempt_to_json(attempt: Attempt, prices: Mapping[str, float]) -> dict[str, Any]:
    plain = attempt.to_json()
    plain.pop("transitions")
    return {**plain, "billed_usd": billed_usd(attempt, prices)}


def _attempts_from_json(data: Mapping[str, Any]) -> tuple[Attempt, ...]:
    transitions: dict[int, list[Mapping[str, Any]]] = {}
    for visit in data.get("transitions") or ():
        transitions.setdefault(visit["attempt"], []).append(visit)
    return tuple(
        Attempt.from_json({**attempt, "transitions": transitions.get(attempt["number"], [])})
        for attempt in data.get("attempts") or ()
    )


@cache
def _names_of(cls: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls) if each.name != "unknown")


@cache
def _members_of(cls: Any, also: frozenset[str]) -> frozenset[str]:
    return also | {*_names_of(cls)}


def _to_json(fact: DecisionMade | Price | CurrentJob) -> dict[str, Any]:
    kind: Any = type(fact)
    return {**fact.unknown, **{name: _plain(getattr(fact, name)) for name in _names_of(kind)}}


def _known(
    cls: Any, data: Mapping[str, Any], *, moments: Sequence[str], also: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """What this version knows of `data`, with moments read, and the rest as `unknown`."""
    names = _names_of(cls)
    known = {name: data[name] for name in names if name in data}
    for name in moments:
        if isinstance(known.get(name), str):
            known[name] = datetime.fromisoformat(known[name])
    known["unknown"] = unknown_of(data, _members_of(cls, also))
    return known


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case StrEnum():
            return str(value)
        case _:
            return value
