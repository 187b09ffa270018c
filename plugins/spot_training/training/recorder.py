"""Writes one task's record while its training goes on.

A training matters more than its record: nothing here raises, and nothing delays a training for long. What
could not be written is said in the task log; the sweeper finds it again from the jobs themselves (`settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from spot_training.domain.errors import NewerFormat
from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import (
    RECORD_FORMAT,
    CurrentJob,
    DecisionMade,
    Price,
    RecordState,
    TrainingRecord,
    check_format,
    model_of,
    team_of,
)
from spot_training.domain.savings import statement_of, unknown_of
from spot_training.domain.text import with_whole_text
from spot_training.ledger.reader import newest_record
from spot_training.ledger.reservations import release
from spot_training.ledger.stop_reasons import LedgerStops
from spot_training.ledger.store import FreshName
from spot_training.process import within
from spot_training.training.host import OnRecord
from spot_training.training.state import TrainingState

if TYPE_CHECKING:
    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.domain.savings import Attempt
    from spot_training.domain.stop_reasons import StopNote
    from spot_training.ledger.store import Ledger
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.request import TrainingPlan
    from spot_training.training.state import StateStore

P = ParamSpec("P")
T = TypeVar("T")
N = TypeVar("N", int, float)

#: Where the bookkeeper remembers, beside the training's own state.
MEMORY_KEY = "spot_training_ledger"
#: How long a training waits for the ledger, and a task that is about to end.
WRITE_SECONDS = 10.0
LAST_WRITE_SECONDS = 30.0
#: How long once the ledger did not answer in time, and for what only the page wants to know.
SHORT_SECONDS = 1.0
#: Decisions kept of one training.
MOST_DECISIONS = 200

#: Instance-seconds and US dollars; None where they are not known.
Billed = tuple[int | None, float | None]
NOTHING_BILLED: Billed = (0, 0.0)

PriceOf = Callable[[str, str], Price | None]
"""The on-demand price of (region, instance type), or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is being trained: facts of the request or of the watched job."""

    model: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    instance_type: str | None = None
    instance_count: int = 1
    is_resumed: bool | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        known = {name: getattr(self, name) for name in _ABOUT}
        return {**self.unknown, **known, "tags": dict(self.tags)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> About:
        known = {name: data[name] for name in _ABOUT if name in data}
        return cls(**known, unknown=unknown_of(data, _ABOUT))


_ABOUT = frozenset({each.name for each in fields(About)} - {"unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    """What the next process of this task has to know to go on with the record.

    `installation` is the one whose record it is; empty: of the stored training's (0.1.0 wrote none).
    `unknown` is what a newer version wrote beside these.
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
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            **self.unknown,
            "format": RECORD_FORMAT,
            "installation": self.installation,
            "version": self.version,
            "generation": self.generation,
            "about": self.about.to_json() if self.about else None,
            "decisions": [decision.to_json() for decision in self.decisions],
            "prices": [price.to_json() for price in self.prices],
            "watches": self.watches,
            "billed": list(self.billed),
            "billed_watching": list(self.billed_watching),
            "replaced": list(self.replaced),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> _Memory:
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
            billed=_bill_from(data.get("billed", NOTHING_BILLED)),
            billed_watching=_bill_from(data.get("billed_watching", NOTHING_BILLED)),
            replaced=_bill_from(data.get("replaced", NOTHING_BILLED)),
            unknown=unknown_of(data, _REMEMBERED),
        )

    def of_installation(self, name: str) -> _Memory:
        """A clear after this Airflow was given another name begins another record: the first one stays."""
        if self.installation in {"", name}:
            return replace(self, installation=name)
        return _Memory(installation=name, about=self.about, prices=self.prices)

    def of_generation(self, generation: int, *, watches: str | None) -> _Memory:
        """A person cleared a training that was over: its story begins anew, what it was billed is kept.

        But for a watched job that the new story tells again.
        """
        if generation == self.generation:
            return self
        replaced = _sum(self.replaced, self.billed)
        if watches != self.watches:
            replaced = _sum(replaced, self.billed_watching)
        return replace(
            self,
            generation=generation,
            decisions=(),
            watches=watches,
            billed=NOTHING_BILLED,
            billed_watching=NOTHING_BILLED,
            replaced=replaced,
        )


#: What a memory consists of, `unknown` apart.
_REMEMBERED = frozenset({"format", *(each.name for each in fields(_Memory))} - {"unknown"})


def _never_raises(
    step: Callable[Concatenate[Bookkeeper, P], None],
) -> Callable[Concatenate[Bookkeeper, P], None]:
    """A training matters more than its record, whatever goes wrong with that."""

    @wraps(step)
    def safely(self: Bookkeeper, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            step(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001
            self.warn_of(error)

    return safely


class Bookkeeper:
    """Keeps the record of one task's training, for the length of one run of its process.

    It is the driver's `Recorder`: an intent is in the ledger before the job it names is created. `warn` gets
    what a person must know.
    """

    def __init__(
        self,
        *,
        ledger: Callable[[], Ledger],
        store: StateStore,
        identity: RunIdentity,
        region: str,
        warn: Callable[[str], None],
        price_of: PriceOf = lambda _region, _type: None,
        watches: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._open_ledger = ledger
        self._store = store
        self._identity = identity
        self._region = region
        self._warn = warn
        self._price_of = price_of
        self._watches = watches
        self._now = now
        self._state = TrainingState()
        self._last_saved = TrainingState()
        self._memory: _Memory | None = None
        self._noted: JobSnapshot | None = None
        self._unpriced: set[str] = set()
        self._was_late = False

    @property
    def key(self) -> str:
        """The record's key: what a trigger needs for `take_note`."""
        return self._who.record_key

    @property
    def prices(self) -> dict[str, float]:
        """The on-demand prices known so far, as `statement_of` takes them."""
        try:
            return {price.instance_type: price.usd_per_hour for price in self._recall().prices}
        except NewerFormat:
            return {}  # said where the record could not be written

    # What happens to the training -------------------------------------------------------------------

    @_never_raises
    def planned(self, plan: TrainingPlan) -> None:
        """Learn what is being trained."""
        resources = plan.request.get("ResourceConfig") or {}
        self._learn(
            About(
                model=model_of(plan.job_name(1)),
                tags={tag["Key"]: tag["Value"] for tag in plan.request.get("Tags") or ()},
                instance_type=resources.get("InstanceType"),
                instance_count=plan.instance_count,
                is_resumed=plan.is_resumed,
            )
        )

    @_never_raises
    def saw(self, job: JobSnapshot) -> None:
        """Note what AWS says of the job that is alive."""
        is_first = self._recall().about is None
        if is_first:
            self._learn(
                About(
                    model=model_of(job.name),
                    instance_type=job.instance_type,
                    instance_count=job.instance_count,
                )
            )
        # That on-demand runs is on record, and not only noted: budgets go by it.
        was_bought = not job.is_spot and (self._noted is None or self._noted.name != job.name)
        is_news, self._noted = job != self._noted, job
        if self._ask_prices([job.instance_type]) or is_first or was_bought:
            self._write(self._record())
        if is_news:
            self._quietly(lambda: self._open_ledger().note(self.key, job))

    @_never_raises
    def decided(self, action: str, reason: str, *, attempt: int | None = None) -> None:
        """Remember a decision, once; it is written with the next change of the training."""
        made = DecisionMade(decided_at=self._now(), action=action, reason=reason, attempt=attempt)
        memory = self._recall()
        if attempt is not None and any((d.action, d.attempt) == (action, attempt) for d in memory.decisions):
            return  # another process of this task has said so
        self._memory = replace(memory, decisions=(*memory.decisions, made)[-MOST_DECISIONS:])

    @_never_raises
    def end(self, state: TrainingState, reason: str) -> None:
        """Write down how the task ended; with a job that is still alive, the record stays running."""
        self._state = state
        if self._is_on_record():
            self._write_end(state, reason)
        if state.current is None:
            self._quietly(self._tidy_up)

    def _write_end(self, state: TrainingState, reason: str) -> None:
        is_complete = bool(state.attempts) and state.attempts[-1].ending is Ending.COMPLETED
        if is_complete:
            self.decided("finish", reason)
        else:
            self.decided("give up" if state.current is None else "leave", reason)
        self._ask_prices(attempt.instance_type for attempt in state.attempts if attempt.has_started)
        self._memory = self._with_bill(self._recall())
        over = RecordState.COMPLETED if is_complete else RecordState.FAILED
        record = replace(
            self._record(), state=over if state.current is None else RecordState.RUNNING, reason=reason
        )
        if state.current is None:
            ended = [attempt.ended_at for attempt in state.attempts if attempt.ended_at]
            record = replace(record, ended_at=max(ended, default=self._now()))
        self._write(record, is_last=True)

    # What the driver says of the state ---------------------------------------------------------------

    @_never_raises
    def restored(self, state: TrainingState) -> None:
        """What earlier processes of this task left: a record written now holds their attempts, too."""
        self._state = state

    @_never_raises
    def saving(self, state: TrainingState) -> None:
        """Put what the attempts were billed where a clear finds it, before it can see that they are over."""
        if not state.attempts:
            return
        self._state = state
        self._ask_prices(attempt.instance_type for attempt in state.attempts if attempt.has_started)
        memory = self._recall()
        if memory != (billed := self._with_bill(memory)):
            self._remember(billed)

    @_never_raises
    def saved(self, state: TrainingState) -> None:
        """Write an intent down before its job is created, and a job that somebody else started once known."""
        before, self._last_saved = self._last_saved, state
        self._state = state
        for attempt in state.attempts[len(before.attempts) :]:
            if attempt.ending is Ending.STOPPED_FOR_DEADLINE:
                self.decided("stop", "on-demand has to start to keep the deadline", attempt=attempt.number)
        intent = state.current
        if intent is None and _is_taken_back(before, state):
            self._write(self._record())
        if intent is None or (before.current and before.current.job_name == intent.job_name):
            return
        if not intent.is_foreign:
            self.decided("start", intent.reason, attempt=intent.number)
        if intent.is_foreign and self._recall().about is None:
            return  # whether there is such a job at all is not known yet
        self._write(self._record())

    @_never_raises
    def state_lost(self, attempts: tuple[Attempt, ...]) -> None:
        """Keep what the jobs of a forgotten generation were billed: the next one has none of them."""
        self._ask_prices(attempt.instance_type for attempt in attempts if attempt.has_started)
        # The next generation moves it to what was replaced, once, also where this process dies before that.
        self._remember(replace(self._recall(), billed=_bill_of(attempts, self.prices)))

    def _with_bill(self, memory: _Memory) -> _Memory:
        """The memory of what the attempts so far were billed."""
        attempts = self._state.attempts
        return replace(
            memory,
            watches=self._watches,
            billed=_bill_of([a for a in attempts if a.job_name != self._watches], self.prices),
            billed_watching=_bill_of([a for a in attempts if a.job_name == self._watches], self.prices),
        )

    def _learn(self, about: About) -> None:
        self._memory = replace(self._recall(), about=about)

    def _remember(self, memory: _Memory) -> None:
        self._memory = memory
        self._store.set(MEMORY_KEY, with_whole_text(memory.to_json()))

    def known_jobs(self) -> OnRecord:
        """The jobs that the ledger knows of a task whose state is empty; none where it does not answer."""
        try:
            record = within(WRITE_SECONDS, lambda: newest_record(self._open_ledger(), self.key))
        except Exception as error:  # noqa: BLE001 - the jobs' own names and tags tell, too
            self._warn(f"The ledger could not be asked for earlier jobs of this task: {error}")
            return OnRecord()
        if record is None:
            return OnRecord()
        self._recover(record)
        return OnRecord(
            generation=record.generation,
            attempts=record.attempts,
            current_job=record.current_job.job_name if record.current_job else "",
        )

    def keep_stop(self, job_name: str, note: StopNote) -> None:
        """Keep why we stop a job, within a second. Raises nothing."""
        LedgerStops(self._open_ledger).keep(job_name, note)

    def why_stopped(self, job_name: str) -> StopNote | None:
        """What `keep_stop` kept. Raises `ServiceFailed` where the ledger does not answer."""
        return LedgerStops(self._open_ledger).note_of(job_name)

    @_never_raises
    def _recover(self, record: TrainingRecord) -> None:
        """Go on from what the ledger has of this task: its state was lost, and the memory with it."""
        if self._store.get(MEMORY_KEY):
            return
        usd = {price.instance_type: price.usd_per_hour for price in record.prices}
        self._memory = _Memory(
            installation=record.installation,
            version=record.version,
            generation=record.generation,
            decisions=record.decisions,
            prices=record.prices,
            watches=record.watches,
            billed=_bill_of([a for a in record.attempts if a.job_name != record.watches], usd),
            billed_watching=_bill_of([a for a in record.attempts if a.job_name == record.watches], usd),
            replaced=(record.replaced_instance_seconds, record.replaced_usd),
        )

    def _recall(self) -> _Memory:
        """The memory, of this generation: a person's clear starts a new story of the same record."""
        memory = self._memory
        if memory is None:
            data = self._store.get(MEMORY_KEY)
            try:
                memory = _Memory.from_json(data) if data else _Memory()
            except NewerFormat:
                raise  # nothing is written over what a newer version left
            except (AttributeError, KeyError, TypeError, ValueError):
                memory = _Memory()  # garbage: the versions of records go on by the clock
        if not memory.installation:
            memory = memory.of_installation(self._identity.installation)
        memory = memory.of_installation(self._who.installation)
        self._memory = memory = memory.of_generation(self._state.generation, watches=self._watches)
        return memory

    @property
    def _who(self) -> RunIdentity:
        """Whose record it is: a new generation may begin under another name of this Airflow."""
        return replace(self._identity, installation=self._state.installation or self._identity.installation)

    def _is_on_record(self) -> bool:
        return self._recall().version > 0 or bool(self._state.attempts)

    def _record(self) -> TrainingRecord:
        state, memory = self._state, self._recall()
        about = memory.about or About()
        last = state.attempts[-1] if state.attempts else None
        submitted = [attempt.created_at for attempt in state.attempts if attempt.created_at]
        deadline = state.deadline
        return replace(
            blank_record(self._who),
            generation=state.generation,
            model=about.model,
            tags=about.tags,
            team=team_of(about.tags),
            region=self._region,
            instance_type=(last.instance_type if last else None) or about.instance_type,
            instance_count=last.instance_count if last else about.instance_count,
            began_at=min(submitted, default=state.began_at or self._now()),
            deadline_at=deadline.at if deadline else None,
            latest_on_demand_at=(deadline.latest_on_demand_start_after(state.attempts) if deadline else None),
            watches=self._watches,
            is_resumed=about.is_resumed,
            attempts=state.attempts,
            decisions=memory.decisions,
            current_job=self._current_job(),
            prices=memory.prices,
            replaced_instance_seconds=memory.replaced[0],
            replaced_usd=memory.replaced[1],
        )

    def _current_job(self) -> CurrentJob | None:
        intent = self._state.current
        if intent is None:
            return None
        job = CurrentJob(
            job_name=intent.job_name,
            number=intent.number,
            reason=intent.reason,
            purchase=None if intent.is_foreign else intent.purchase,
        )
        seen = self._noted
        return job.as_seen(seen, now=self._now()) if seen and seen.name == intent.job_name else job

    # Writing ----------------------------------------------------------------------------------------

    def _write(self, record: TrainingRecord, *, is_last: bool = False) -> None:
        before = self._recall().version
        now = self._now()
        version = max(before + 1, round(now.timestamp() * 1_000_000))
        written = replace(record, version=version, written_at=now)
        try:
            self._remember(replace(self._recall(), version=version))
            self._within(LAST_WRITE_SECONDS if is_last else WRITE_SECONDS, lambda: self._put(written, before))
        except Exception as error:  # noqa: BLE001 - a training matters more than its record
            self.warn_of(error)

    def warn_of(self, error: Exception) -> None:
        """Say that the record could not be written, and what to do."""
        self._warn(
            f"The ledger could not be written ({type(error).__name__}: {error}). The training goes "
            "on; its record is written again at its next step, and the sweeper settles what stays open. "
            "Check [spot_training] ledger and the permissions on what it names."
        )

    def _put(self, record: TrainingRecord, version_before: int) -> None:
        ledger = self._open_ledger()
        name: FreshName = ledger.write(record)
        if version_before:
            ledger.forget(FreshName(key=name.key, version=version_before))

    def _tidy_up(self) -> None:
        """No job is alive: nothing is to be shown of one, and no money held for one."""
        ledger = self._open_ledger()
        ledger.remove_note(self.key)
        release(ledger, self.key)

    def _within(self, seconds: float, work: Callable[[], T]) -> T:
        """The result, in time; who was late once is not waited for as long again."""
        try:
            return within(min(seconds, SHORT_SECONDS) if self._was_late else seconds, work)
        except TimeoutError:
            self._was_late = True
            raise

    def _quietly(self, work: Callable[[], object]) -> None:
        """For notes: the page may lag, nobody has to hear of it."""
        try:
            self._within(SHORT_SECONDS, work)
        except Exception:  # noqa: BLE001
            return

    def _ask_prices(self, instance_types: Any) -> bool:
        """Ask for prices that are not known yet. Returns whether there is a new one."""
        known = {price.instance_type for price in self._recall().prices}
        wanted = {kind for kind in instance_types if kind} - known - self._unpriced
        found = [price for kind in sorted(wanted) if (price := self._ask_price(kind))]
        self._memory = replace(self._recall(), prices=(*self._recall().prices, *found))
        return bool(found)

    def _ask_price(self, instance_type: str) -> Price | None:
        try:
            price = self._within(WRITE_SECONDS, lambda: self._price_of(self._region, instance_type))
        except Exception as error:  # noqa: BLE001 - a price that is not known fails nothing
            price = None
            self._warn(f"The price of {instance_type} is not known, so no dollars: {error}")
        if price is None:
            self._unpriced.add(instance_type)
        return price


def _is_taken_back(before: TrainingState, state: TrainingState) -> bool:
    """Whether an intent came to nothing: its job was refused, so that there is none."""
    is_same = (before.generation, before.attempts) == (state.generation, state.attempts)
    return is_same and before.current is not None and state.current is None


def blank_record(identity: RunIdentity) -> TrainingRecord:
    """A record that knows whose it is, and nothing else."""
    return TrainingRecord(
        installation=identity.installation,
        dag_id=identity.dag_id,
        run_id=identity.run_id,
        task_id=identity.task_id,
        map_index=identity.map_index,
        generation=identity.generation,
    )


def _plus(one: N | None, other: N | None) -> N | None:
    return None if one is None or other is None else one + other


def _sum(one: Billed, other: Billed) -> Billed:
    return _plus(one[0], other[0]), _plus(one[1], other[1])


def _bill_of(attempts: Sequence[Attempt], usd_per_hour: Mapping[str, float]) -> Billed:
    statement = statement_of(attempts, usd_per_hour)
    return statement.billable_instance_seconds, statement.billed_usd


def _bill_from(data: Sequence[Any]) -> Billed:
    seconds, dollars = data
    return seconds, dollars
