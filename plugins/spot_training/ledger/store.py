"""The ledger as everybody uses it: write a record, note a live job, read everything, merge small files."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import InvalidInput
from spot_training.domain.record_keys import is_record_key
from spot_training.domain.records import FORMAT_WITHOUT_SCOUTS, CurrentJob, TrainingRecord
from spot_training.domain.text import with_whole_text
from spot_training.process import PerProcess

from .files import FRESH, NOTES, FreshName, LedgerFiles
from .notes import NoteTaker
from .opening import configured_url, folder_of_one_machine, is_merged_in_one_place, open_storage
from .reader import LedgerReader

if TYPE_CHECKING:
    from pathlib import Path

    from spot_training.domain.checkpoints_seen import SeenCheckpoints
    from spot_training.domain.lifecycle import JobSnapshot

    from .compaction import Compaction

log = logging.getLogger(__name__)

__all__ = ["FreshName", "Ledger", "configured_url", "folder_of_one_machine", "note_live", "take_note"]
_note_taker: PerProcess[NoteTaker] = PerProcess()


class Ledger(LedgerFiles):
    """The records of all trainings, below one root on one file system."""

    @classmethod
    def at(cls, url: str | Path) -> Ledger:
        """The ledger at a local folder or an object storage URL, as Airflow's `ObjectStoragePath` takes it.

        `s3://aws_default@bucket/prefix` names the connection before the `@`.
        """
        return cls(*open_storage(url))

    @classmethod
    def configured(cls) -> Ledger:
        """The ledger of this Airflow: `[spot_training] ledger`, else `spot_ledger` in AIRFLOW_HOME."""
        return _configured(configured_url())

    def write(self, record: TrainingRecord) -> FreshName:
        """Replace the record of the same key and a lower version.

        Raises what the file system raises (OSError, botocore's errors): nothing is lost silently.
        """
        name = FreshName(key=record.key, version=record.version)
        self.put(self.path(FRESH, str(name)), _line(record.to_json()))
        return name

    def forget(self, name: FreshName) -> None:
        """Remove a version that a later one has replaced. It may be gone already."""
        self.remove([self.path(FRESH, str(name))])

    def note(
        self,
        key: str,
        job: JobSnapshot,
        checkpoints: SeenCheckpoints | None = None,
        *,
        now: datetime | None = None,
    ) -> None:
        """Write down what AWS says of this record's running job, and what was seen of its checkpoints."""
        if not is_record_key(key):
            raise ValueError(f"key is {key!r}: give the `key` of a record, 32 hexadecimal digits.")
        seen = CurrentJob(job_name=job.name, number=0, reason="").as_seen(job, now=now or datetime.now(UTC))
        seen = seen.with_checkpoints(checkpoints)
        self.put(self.path(NOTES, f"{key}.json"), _line({"format": FORMAT_WITHOUT_SCOUTS, **seen.to_json()}))

    def remove_note(self, key: str) -> None:
        if is_record_key(key):
            self.remove([self.path(NOTES, f"{key}.json")])

    def compact(self) -> Compaction:
        """Merge small files of settled records into Parquet, and remove states of long ago.

        Safe to run at any time, by anybody. With `[spot_training] ledger_keep_months`, it also removes the
        merged records of earlier months.

        Refuses to merge on a store without conditional writes, unless `[spot_training]
        ledger_is_merged_in_one_place` says that nothing else merges this ledger.
        """
        from .compaction import compact
        from .states import KEPT_FOR, forget_states

        forget_states(self, before=datetime.now(UTC) - KEPT_FOR)
        self._prune_as_configured()
        done = compact(self, is_only_one=is_merged_in_one_place())
        if done.refused:
            log.warning("Ledger %s: %s", self.root, done)
        return done

    def _prune_as_configured(self) -> None:
        from .retention import configured_months, prune

        try:
            months = configured_months()
        except InvalidInput as error:
            log.warning("Ledger %s: no old record is removed: %s", self.root, error)
            return
        if months is not None:
            done = prune(self, keep_months=months, is_only_one=is_merged_in_one_place())
            if done.files or done.refused:
                log.info("Ledger %s: %s", self.root, done)

    def read(self) -> LedgerReader:
        """A consistent view of all records as they are now. Close it, or use it in a `with`."""
        return LedgerReader.load(self)


def note_live(key: str, job: JobSnapshot, checkpoints: SeenCheckpoints | None = None) -> None:
    """Note what AWS says of a record's job now, for the page. Raises nothing, but blocks: see `take_note`."""
    try:
        Ledger.configured().note(key, job, checkpoints)
    except Exception as error:
        log.debug("The ledger took no note of %s", job.name, exc_info=error)


def take_note(key: str, job: JobSnapshot, *checkpoints: SeenCheckpoints) -> None:
    """Do `note_live` in the background: for the trigger, which must not wait for the ledger.

    `key` is `TrainingRecord.key` (the trigger gets it as text from the task), `job` the watcher's report. The
    note counts until the task records the attempt. Call this only when the job has changed.
    """
    _note_taker.get(lambda: NoteTaker(note_live)).take(key, job, *checkpoints)


@lru_cache(maxsize=4)
def _configured(url: str) -> Ledger:
    return Ledger.at(url)


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(with_whole_text(data), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
