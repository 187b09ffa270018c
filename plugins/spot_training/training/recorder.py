"""Writes one task's record while its training runs.

A training matters more than its record: nothing here raises, and nothing delays a training for long. The
task log says what could not be written, and the sweeper finds it again from the jobs themselves (`settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from spot_training.domain.errors import NewerFormat
from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import (
    UPLOADS_STALLED,
    CurrentJob,
    DecisionMade,
    TrainingRecord,
    amounts_of,
    model_of,
    record_from,
    team_of,
)
from spot_training.domain.savings import spot_failures
from spot_training.sagemaker.local_cloud import describe_clock
from spot_training.training.host import OnRecord
from spot_training.training.record_memory import MEMORY_KEY, About, Memory, MemoryInStore, bill_of
from spot_training.training.record_writer import PriceOf, PricesOfTraining, RecordWriter, TimeLimit
from spot_training.training.state import TrainingState

if TYPE_CHECKING:
    from spot_training.domain.checkpoints_seen import SeenCheckpoints
    from spot_training.domain.currencies import Amounts
    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.domain.savings import Attempt, Prices
    from spot_training.domain.stop_reasons import StopNote
    from spot_training.ledger.store import Ledger
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.request import TrainingPlan
    from spot_training.training.state import StateStore

P = ParamSpec("P")

__all__ = ["MEMORY_KEY", "About", "Bookkeeper", "PriceOf", "blank_record"]


def _never_raises(
    step: Callable[Concatenate[Bookkeeper, P], None],
) -> Callable[Concatenate[Bookkeeper, P], None]:
    """A training matters more than its record, whatever goes wrong with the record."""

    @wraps(step)
    def safely(self: Bookkeeper, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            step(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001
            self.warn_of(error)

    return safely


class Bookkeeper:
    """Keeps the record of one task's training while one process of the task runs.

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
        endpoint_url: str | None = None,
        watches: str | None = None,
        is_test: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        limit = TimeLimit()
        self._writer = RecordWriter(ledger, limit)
        self._prices = PricesOfTraining(price_of, region, warn, limit)
        self._memory = MemoryInStore(store)
        self._identity = identity
        self._region = region
        self._endpoint_url = endpoint_url
        self._warn = warn
        self._watches = watches
        self._is_test = is_test
        self._now = now
        self._state = TrainingState()
        self._last_saved = TrainingState()
        self._is_closed = False
        self._noted: JobSnapshot | None = None
        self._noted_checkpoints: SeenCheckpoints | None = None

    @property
    def key(self) -> str:
        """The record's key: what a trigger needs for `take_note`."""
        return self._who.record_key

    @property
    def prices(self) -> Prices:
        """The on-demand prices known so far, as `statement_of` takes them."""
        try:
            return self._recall().usd_per_hour
        except NewerFormat:
            return {}  # reported where the record could not be written

    def amounts(self, state: TrainingState) -> Amounts | None:
        """What the training came to in the currency of its prices. None in US dollars."""
        try:
            prices = self._recall().prices
        except NewerFormat:
            return None
        return amounts_of(prices, state.attempts, state.scouts_over)

    @property
    def local_cloud(self) -> str | None:
        """The clock of a local SageMaker, on which the training runs. None on AWS, and if it is not known."""
        try:
            about = self._recall().about
        except NewerFormat:
            return None
        return about.local_cloud if about else None

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
                checkpoint_uri=plan.checkpoint_uri,
            )
        )

    @_never_raises
    def saw(self, job: JobSnapshot) -> None:
        """Note what AWS says of the running job."""
        is_first = self._recall().about is None
        if is_first:
            self._learn(
                About(
                    model=model_of(job.name),
                    instance_type=job.instance_type,
                    instance_count=job.instance_count,
                    checkpoint_uri=job.checkpoint_uri,
                )
            )
        # That on-demand runs is in the record, not only in a note: budgets depend on it.
        was_bought = not job.is_spot and (self._noted is None or self._noted.name != job.name)
        seen = self._state.checkpoints
        is_news = (job, seen) != (self._noted, self._noted_checkpoints)
        self._noted, self._noted_checkpoints = job, seen
        if self._ask_prices([job.instance_type]) or is_first or was_bought:
            self._write(self._record())
        if is_news:
            self._writer.note(self.key, job, seen)

    @_never_raises
    def saw_end(self, job: JobSnapshot) -> None:
        """Remember where a job that is over left its model and its checkpoints, and its last metrics."""
        about = self._recall().about or About(
            model=model_of(job.name), instance_type=job.instance_type, instance_count=job.instance_count
        )
        checkpoint_uri = job.checkpoint_uri or about.checkpoint_uri
        self._learn(
            replace(about, checkpoint_uri=checkpoint_uri, model_uri=job.model_uri, metrics=dict(job.metrics))
        )

    @_never_raises
    def decided(self, action: str, reason: str, *, attempt: int | None = None) -> None:
        """Remember a decision, once. It is written with the next change of the training."""
        made = DecisionMade(decided_at=self._now(), action=action, reason=reason, attempt=attempt)
        self._memory.keep(self._recall().with_decision(made))

    @_never_raises
    def end(self, state: TrainingState, reason: str) -> None:
        """Write down how the task ended. While a job still runs, the record stays `running`."""
        self._state = state
        if self._recall().version or state.attempts:
            self._write_end(state, reason)
        if state.current is None:
            self._is_closed = True
            self._writer.tidy_up(self.key)

    def _write_end(self, state: TrainingState, reason: str) -> None:
        if self._recall().about is None and state.attempts:
            self._learn_from(state.attempts[-1])
        if state.attempts and state.attempts[-1].ending is Ending.COMPLETED:
            self.decided("finish", reason)
        else:
            self.decided("give up" if state.current is None else "leave", reason)
        self._ask_prices_of((*state.attempts, *state.scouts_over))
        self._memory.keep(self._with_bill())
        record = self._record(is_over=state.current is None)
        self._write(replace(record, reason=reason), is_last=True)

    # What the driver says of the state ---------------------------------------------------------------

    @_never_raises
    def restored(self, state: TrainingState) -> None:
        """What earlier processes of this task left: a record written now has their attempts, too."""
        self._state = state

    @_never_raises
    def saving(self, state: TrainingState) -> None:
        """Store what the attempts were billed for a later clear, before it can see that they are over."""
        if not state.attempts:
            return
        self._state = state
        self._ask_prices_of((*state.attempts, *state.scouts_over))
        if self._recall() != (billed := self._with_bill()):
            self._memory.store(billed)

    @_never_raises
    def saved(self, state: TrainingState) -> None:
        """Write an intent down before its job is created, and somebody else's job once it is known."""
        before, self._last_saved = self._last_saved, state
        self._state = state
        if self._is_closed:
            return  # only what was sent of notices: the record of the training is written
        for attempt in state.attempts[len(before.attempts) :]:
            if attempt.ending in _STOPS:
                self.decided("stop", _STOPS[attempt.ending], attempt=attempt.number)
        intent = state.current
        has_scout_news = (before.scouts, before.scouts_over) != (state.scouts, state.scouts_over)
        if (intent is None and _is_taken_back(before, state)) or has_scout_news:
            self._write(self._record())
        if intent is None or (before.current and before.current.job_name == intent.job_name):
            return
        if not intent.is_foreign:
            self.decided("start", intent.reason, attempt=intent.number)
        if intent.is_foreign and self._recall().about is None:
            return  # whether this job exists is not known yet
        self._write(self._record())

    @_never_raises
    def uploads_stalled(self, reason: str) -> None:
        """Put it on record now: the job may run for days."""
        self.decided(UPLOADS_STALLED, reason)
        self._write(self._record())

    @_never_raises
    def state_lost(self, attempts: tuple[Attempt, ...], scouts: tuple[Attempt, ...]) -> None:
        """Keep what the jobs of a forgotten generation were billed: the next generation has none of them."""
        jobs = (*attempts, *scouts)
        self._ask_prices_of(jobs)
        # The next generation moves this to what was replaced, once, even if this process dies before that.
        memory = self._recall()
        bill = bill_of(jobs, memory.usd_per_hour)
        spot_failed = bill_of(spot_failures(attempts, scouts), memory.usd_per_hour)
        self._memory.store(replace(memory, billed=bill, spot_failed=spot_failed))

    def known_jobs(self) -> OnRecord:
        """The jobs that the ledger knows of a task without state. No jobs if the ledger does not answer."""
        try:
            record = self._writer.newest(self.key)
        except Exception as error:  # noqa: BLE001 - the jobs' own names and tags say it, too
            self._warn(f"The ledger could not be read for earlier jobs of this task: {error}")
            return OnRecord()
        if record is None:
            return OnRecord()
        self._recover(record)
        return OnRecord(
            generation=record.generation,
            attempts=record.attempts,
            scouts=record.scouts,
            current_job=record.current_job.job_name if record.current_job else "",
        )

    @_never_raises
    def _recover(self, record: TrainingRecord) -> None:
        """Continue from the ledger's record: the task's state was lost, and the memory with it."""
        if not self._memory.is_stored:
            self._memory.keep(Memory.of_record(record))

    def keep_stop(self, job_name: str, note: StopNote) -> None:
        """Keep why we stop a job, within a second. Raises nothing."""
        self._writer.keep_stop(job_name, note)

    def why_stopped(self, job_name: str) -> StopNote | None:
        """What `keep_stop` kept. Raises `ServiceFailed` if the ledger does not answer."""
        return self._writer.why_stopped(job_name)

    # The memory and the record -----------------------------------------------------------------------

    @property
    def _who(self) -> RunIdentity:
        """The task in the record's key: a new generation may begin under another name of this Airflow."""
        return replace(self._identity, installation=self._state.installation or self._identity.installation)

    def _recall(self) -> Memory:
        return self._memory.recall(
            first_installation=self._identity.installation,
            installation=self._who.installation,
            generation=self._state.generation,
            watches=self._watches,
            is_test=self._is_test,
        )

    def _learn(self, about: About) -> None:
        self._memory.keep(replace(self._recall(), about=self._with_place(about)))

    def _with_place(self, about: About) -> About:
        """With the address of SageMaker. A local one is asked for its clock, once for each training."""
        before, address = self._recall().about, self._endpoint_url
        if address is None:
            return about
        is_known = before is not None and before.endpoint_url == address
        clock = before.local_cloud if before and is_known else describe_clock(address)
        return replace(about, endpoint_url=address, local_cloud=clock)

    def _learn_from(self, attempt: Attempt) -> None:
        """What a job was that was over at the first look: nobody saw it running."""
        self._learn(
            About(
                model=model_of(attempt.job_name),
                instance_type=attempt.instance_type,
                instance_count=attempt.instance_count,
            )
        )

    def _with_bill(self) -> Memory:
        state = self._state
        return self._recall().with_bill(state.attempts, scouts=state.scouts_over, watches=self._watches)

    def _ask_prices(self, instance_types: Iterable[str | None]) -> bool:
        """Ask for prices that are not known yet. Returns whether there is a new one."""
        known = {price.instance_type for price in self._recall().prices}
        found = self._prices.ask(instance_types, known=known)
        self._memory.keep(replace(self._recall(), prices=(*self._recall().prices, *found)))
        return bool(found)

    def _ask_prices_of(self, attempts: Iterable[Attempt]) -> None:
        self._ask_prices(attempt.instance_type for attempt in attempts if attempt.has_started)

    def _record(self, *, is_over: bool = False) -> TrainingRecord:
        state, memory = self._state, self._recall()
        about = memory.about or About()
        deadline = state.deadline
        facts = replace(
            blank_record(self._who),
            generation=state.generation,
            model=about.model,
            tags=about.tags,
            team=team_of(about.tags),
            region=self._region,
            instance_type=about.instance_type,
            instance_count=about.instance_count,
            began_at=state.began_at or self._now(),
            deadline_at=deadline.at if deadline else None,
            latest_on_demand_at=_latest_on_demand(state),
            watches=self._watches,
            is_resumed=about.is_resumed,
            is_test=memory.is_test,
            endpoint_url=about.endpoint_url,
            local_cloud=about.local_cloud,
            checkpoint_uri=about.checkpoint_uri,
            model_uri=about.model_uri if _is_complete(state.attempts) else None,
            metrics=about.metrics if _is_complete(state.attempts) else {},
            decisions=memory.decisions,
            prices=memory.prices,
            replaced_instance_seconds=memory.replaced[0],
            replaced_usd=memory.replaced[1],
            replaced_spot_failed_instance_seconds=memory.replaced_spot_failed[0],
            replaced_spot_failed_usd=memory.replaced_spot_failed[1],
        )
        return record_from(
            replace(
                facts,
                scouts=state.scouts_over,
                scouts_out=tuple(scout.instance_type for scout in state.scouts if not scout.stopped_for),
            ),
            attempts=state.attempts,
            current_job=self._current_job(),
            is_over=is_over,
            now=self._now() if is_over else None,
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
        job = job.with_checkpoints(self._state.checkpoints)
        seen = self._noted
        return job.as_seen(seen, now=self._now()) if seen and seen.name == intent.job_name else job

    def _write(self, record: TrainingRecord, *, is_last: bool = False) -> None:
        before = self._recall().version
        now = self._now()
        version = max(before + 1, round(now.timestamp() * 1_000_000))
        written = replace(record, version=version, written_at=now)
        try:
            self._memory.store(replace(self._recall(), version=version))
            self._writer.write(written, version_before=before, is_last=is_last)
        except Exception as error:  # noqa: BLE001 - a training matters more than its record
            self.warn_of(error)

    def warn_of(self, error: Exception) -> None:
        """Report that the record could not be written, and what to do."""
        self._warn(
            f"The ledger could not be written ({type(error).__name__}: {error}). The training goes "
            "on; its record is written again at its next step, and the sweeper settles what stays open. "
            "Check [spot_training] ledger and the permissions on what it names."
        )


#: Our stops that are decisions about the training, and why they are made.
_STOPS = {
    Ending.STOPPED_FOR_DEADLINE: "on-demand has to start to keep the deadline",
    Ending.UPLOADS_STALLED: "its checkpoints no longer reached S3",
}


def _latest_on_demand(state: TrainingState) -> datetime | None:
    if state.deadline is None:
        return None
    return state.deadline.latest_on_demand_start_after(state.attempts, state.checkpoints)


def _is_complete(attempts: Iterable[Attempt]) -> bool:
    """Whether one of the attempts completed the training."""
    return any(attempt.ending is Ending.COMPLETED for attempt in attempts)


def _is_taken_back(before: TrainingState, state: TrainingState) -> bool:
    """Whether SageMaker refused the job of an intent, so that there is none."""
    is_same = (before.generation, before.attempts) == (state.generation, state.attempts)
    return is_same and before.current is not None and state.current is None


def blank_record(identity: RunIdentity) -> TrainingRecord:
    """A record with the task's names, and nothing else."""
    return TrainingRecord(
        installation=identity.installation,
        dag_id=identity.dag_id,
        run_id=identity.run_id,
        task_id=identity.task_id,
        map_index=identity.map_index,
        generation=identity.generation,
    )
