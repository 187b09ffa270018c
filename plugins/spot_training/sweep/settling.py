"""Settles what tasks could not write down themselves: their process is gone, and the job has ended since.

Two questions. Which records are still `running` although their task is over? And which ended jobs of this
installation are in no record, because the ledger could not be written? SageMaker's description of the jobs
answers both. A record is settled only when its task is over: until then the task writes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from spot_training.domain.lifecycle import Ending, ending_of
from spot_training.domain.record_keys import SHARED_NAME
from spot_training.domain.records import RecordState, TrainingRecord, model_of, record_from, team_of
from spot_training.domain.savings import Attempt, PurchaseOption, attempt_of
from spot_training.domain.stop_reasons import ending_of_stop
from spot_training.ledger import Selection
from spot_training.ledger.stop_reasons import LedgerStops
from spot_training.ledger.store import FreshName
from spot_training.sagemaker.certainty import until_sure
from spot_training.sagemaker.descriptions import snapshot_of
from spot_training.sagemaker.identity import (
    TAG_ATTEMPT,
    TAG_SCOUT,
    RunIdentity,
    identity_of,
    is_our_tag,
    may_be_ours,
)
from spot_training.sagemaker.local_cloud import describe_clock
from spot_training.sweep.orphans import NO_SUCH_TASK, OVER_STATES
from spot_training.training.recorder import blank_record

if TYPE_CHECKING:
    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.ledger.store import Ledger
    from spot_training.sagemaker.jobs import TrainingJobs
    from spot_training.sweep.orphans import TaskStateOf
    from spot_training.training.recorder import PriceOf

#: How far back jobs are looked for that no record knows.
LOOK_BACK = timedelta(days=7)
_FOUND = "found by the sweeper: its task could not record it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """What `settle` works with. `price_of` may raise: dollars then stay unknown.

    `elsewhere` are other places in this region where a record's job may be: a record does not name the
    account. `earlier` are names that this installation had before.
    """

    ledger: Ledger
    jobs: TrainingJobs
    installation: str
    task_state_of: TaskStateOf
    say: Callable[[str], None]
    price_of: PriceOf = lambda _region, _type: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    elsewhere: tuple[TrainingJobs, ...] = ()
    earlier: tuple[str, ...] = ()

    def settle(self) -> list[TrainingRecord]:
        """Settle all that can be settled now. Returns the records that changed."""
        missing: list[TrainingRecord] = []
        settled = [record for open_one in self._running() if (record := self._settle(open_one, missing))]
        settled += [self._close_without_job(record) for record in self._surely_missing(missing)]
        settled += self._adopt_unknown_jobs()
        self.say(f"{len(settled)} record(s) of installation {self.installation!r} settled.")
        return settled

    # Records that are still running ------------------------------------------------------------------

    def _running(self) -> list[TrainingRecord]:
        with self.ledger.read() as reader:
            running = reader.records(Selection(states=(RecordState.RUNNING,)))
        return [
            record
            for record in running
            if record.installation in {self.installation, *self.earlier}
            and record.region in {None, self.jobs.region}
        ]

    def _settle(self, record: TrainingRecord, missing: list[TrainingRecord]) -> TrainingRecord | None:
        """Settle a record if its task is over. If SageMaker does not know its job, it goes to `missing`."""
        task_state = self.task_state_of(_identity_of_record(record))
        if not self._is_over(task_state, record.installation):
            return None
        current = record.current_job
        if current is None:
            return self._close(record, f"the task ended ({task_state}) between two attempts")
        description = self.jobs.describe(current.job_name)
        if description is None:
            missing.append(record)
            return None
        job = snapshot_of(description)
        if not job.is_terminal:
            return None
        attempt = self._attempt(job, number=current.number, reason=current.reason)
        record = _with_files(record, job)
        return self._close(record, f"the task ended ({task_state}); its job ended: {attempt.ending}", attempt)

    def _surely_missing(self, missing: list[TrainingRecord]) -> list[TrainingRecord]:
        """Those of the records for which no place has the job, for more than a minute."""
        left = missing

        def still_missing() -> list[TrainingRecord]:
            nonlocal left
            left = [record for record in left if not self._is_known(record)]
            return left

        return until_sure(still_missing, rest=self._rest, is_sure=lambda records: not records)

    def _is_known(self, record: TrainingRecord) -> bool:
        name = record.current_job.job_name if record.current_job else ""
        return any(jobs.describe(name) is not None for jobs in (self.jobs, *self.elsewhere))

    def _rest(self, seconds: float) -> None:
        time.sleep(self.jobs.clock.real_seconds(seconds))

    def _close_without_job(self, record: TrainingRecord) -> TrainingRecord:
        """The job was never created, or was deleted."""
        current = record.current_job
        assert current is not None  # noqa: S101 - it is what is missing
        if current.seen_at is None:
            return self._close(record, "the task ended before its job was created")
        deleted = Attempt(
            number=current.number,
            step=0,
            job_name=current.job_name,
            purchase=current.purchase or PurchaseOption.SPOT,
            reason=current.reason,
            ending=Ending.STOPPED_BY_USER,
            created_at=current.created_at,
            started_at=current.started_at,
            instance_type=current.instance_type,
            instance_count=current.instance_count,
            message="the training job was deleted before its end was seen",
            transitions=current.transitions,
        )
        return self._close(record, "the task ended; its job was deleted", deleted)

    # Jobs that no record knows ----------------------------------------------------------------------

    def _adopt_unknown_jobs(self) -> list[TrainingRecord]:
        since = self.jobs.now() - LOOK_BACK
        pages = self.jobs.pages(modified_since=since)
        ended = [job.name for page in pages for job in page if job.is_terminal and may_be_ours(job.name)]
        unknown = self._unknown(ended)
        # The first attempt first: a record gets its attempts in order.
        return [record for name in reversed(unknown) if (record := self._adopt(name))]

    def _unknown(self, names: list[str]) -> list[str]:
        with self.ledger.read() as reader:
            rows = reader.query(
                "SELECT a.job_name FROM (SELECT unnest(list_concat(attempts, scouts)) AS a FROM trainings) "
                "WHERE list_contains(?::VARCHAR[], a.job_name) UNION "
                "SELECT current_job.job_name FROM trainings WHERE state = 'running'",
                [names],
            )
        known = {row["job_name"] for row in rows}
        return [name for name in names if name not in known]

    def _adopt(self, name: str) -> TrainingRecord | None:
        description = self.jobs.describe(name)
        if description is None:
            return None
        job = snapshot_of(description)
        tags = self.jobs.tags(job.arn)
        identity = identity_of(tags)
        if identity is None or identity.installation not in {self.installation, *self.earlier}:
            return None
        if not self._is_over(self.task_state_of(identity), identity.installation):
            return None
        record = blank_record(identity)
        with self.ledger.read() as reader:
            known = reader.record(record.key)
            is_of_newer = record.key in reader.keys_of_newer
        if is_of_newer:
            self.say(f"{name} is left to the newer version of spot_training that wrote its task's record.")
            return None
        if known is not None and known.generation > identity.generation:
            return None  # a person's clear replaced that generation
        if known is None or known.generation < identity.generation:
            own = {key: value for key, value in tags.items() if not is_our_tag(key)}
            known = replace(
                record,
                version=known.version if known else 0,
                model=model_of(name),
                tags=own,
                team=team_of(own),
                region=self.jobs.region,
                endpoint_url=self.jobs.endpoint_url,
                local_cloud=describe_clock(self.jobs.endpoint_url),
                began_at=job.created_at,
            )
        if TAG_SCOUT in tags:
            if known.current_job is not None:
                return None  # that job is alive: its record is closed first
            scout = self._attempt(job, number=int(tags[TAG_SCOUT]), reason=_FOUND)
            with_scout = replace(known, scouts=(*known.scouts, scout))
            return self._close(with_scout, known.reason or f"{name} was {_FOUND}")
        known = _with_files(known, job)
        attempt = self._attempt(job, number=int(tags.get(TAG_ATTEMPT, "1")), reason=_FOUND)
        return self._close(known, f"{name} was {_FOUND}", attempt)

    # Both -------------------------------------------------------------------------------------------

    def _is_over(self, task_state: str | None, made_as: str) -> bool:
        """Whether the task has ended. A task that is not here may be in another Airflow of the same name."""
        is_ours_for_sure = made_as != SHARED_NAME or self.installation == SHARED_NAME
        return task_state in OVER_STATES or (task_state == NO_SUCH_TASK and is_ours_for_sure)

    def _attempt(self, job: JobSnapshot, *, number: int, reason: str) -> Attempt:
        ending = ending_of(job)
        assert ending is not None  # noqa: S101 - it is over
        if ending is Ending.STOPPED_BY_USER:
            ending = self._who_stopped(job)
        return attempt_of(job, number=number, step=0, reason=reason, ending=ending)

    def _who_stopped(self, job: JobSnapshot) -> Ending:
        """As the driver does it: from the job's tags, or from the ledger if the tags were not written."""
        note = until_sure(lambda: self.jobs.stop_note(job.arn), rest=self._rest)
        note = note or LedgerStops(lambda: self.ledger).note_of(job.name)
        is_ours = note is not None and note.explains(job, real_seconds=self.jobs.clock.real_seconds)
        return ending_of_stop(note if is_ours else None)

    def _close(self, record: TrainingRecord, reason: str, attempt: Attempt | None = None) -> TrainingRecord:
        """Write the record down as over, with one more attempt."""
        attempts = sorted([*record.attempts, *([attempt] if attempt else [])], key=lambda a: a.number)
        now = self.now()
        version = max(record.version + 1, round(now.timestamp() * 1_000_000))
        closed = record_from(record, attempts=attempts, current_job=None, is_over=True, now=now)
        closed = self._priced(replace(closed, version=version, reason=reason, written_at=now))
        self.ledger.write(closed)
        if record.version:
            self.ledger.forget(FreshName(key=record.key, version=record.version))
        self.ledger.remove_note(record.key)
        self.say(f"Settled {record.dag_id} / {record.run_id} / {record.task_id}: {closed.state}, {reason}.")
        return closed

    def _priced(self, record: TrainingRecord) -> TrainingRecord:
        jobs = (*record.attempts, *record.scouts)
        wanted = {a.instance_type for a in jobs if a.has_started and a.instance_type}
        prices = list(record.prices)
        for kind in sorted(wanted - {price.instance_type for price in prices}):
            try:
                price = self.price_of(record.region or self.jobs.region, kind)
            except Exception as error:  # noqa: BLE001 - a record is settled without its price, too
                self.say(f"The price of {kind} is not known: {error}")
                continue
            if price is not None:
                prices.append(price)
        return replace(record, prices=tuple(prices))


def _with_files(record: TrainingRecord, job: JobSnapshot) -> TrainingRecord:
    """With what the job left: its checkpoints, and model and metrics if it completed the training."""
    is_complete = ending_of(job) is Ending.COMPLETED
    return replace(
        record,
        checkpoint_uri=job.checkpoint_uri or record.checkpoint_uri,
        model_uri=job.model_uri if is_complete else record.model_uri,
        metrics=job.metrics if is_complete else record.metrics,
    )


def _identity_of_record(record: TrainingRecord) -> RunIdentity:
    return RunIdentity(
        installation=record.installation,
        dag_id=record.dag_id,
        run_id=record.run_id,
        task_id=record.task_id,
        map_index=record.map_index,
        generation=record.generation,
    )
