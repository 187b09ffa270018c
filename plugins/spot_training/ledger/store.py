"""Where records are kept and how they are written, so that concurrent writers lose nothing.

Below the ledger's root:

    fresh/<key>.<version>.json   one record as one JSON line; the highest version of a key counts
    notes/<key>.json             what AWS last said of the key's job under way; the last writer wins
    months/..., manifests/...    merged records (`compaction`)

Every write is one file of its own name, which appears whole or not at all: a rename on a local disk, one PUT
on object storage. Names are made of digests and numbers, never of what people typed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from spot_training import settings
from spot_training.domain.record_keys import is_record_key
from spot_training.domain.records import RECORD_FORMAT, CurrentJob, TrainingRecord
from spot_training.domain.text import with_whole_text
from spot_training.process import PerProcess

from .cache import cached_copy, drop_copy
from .notes import NoteTaker

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from spot_training.domain.lifecycle import JobSnapshot

    from .compaction import Compaction
    from .reader import LedgerReader
    from .s3 import S3Files

log = logging.getLogger(__name__)

_note_taker: PerProcess[NoteTaker] = PerProcess()

FRESH, NOTES, PROBES = "fresh", "notes", "probes"
_FRESH_NAME = re.compile(r"([0-9a-f]{32})\.(\d{20})\.json")
#: Requests to object storage that are under way at the same time.
PARALLEL_REQUESTS = 16
#: Which stores have conditional writes, as far as this process has tried.
_conditional: dict[str, bool] = {}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FreshName:
    """The name of a record's file: its key and version."""

    key: str
    version: int

    def __str__(self) -> str:
        return f"{self.key}.{self.version:020d}.json"

    @classmethod
    def parse(cls, name: str) -> FreshName | None:
        match = _FRESH_NAME.fullmatch(name)
        return None if match is None else cls(key=match[1], version=int(match[2]))


class Ledger:
    """The records of all trainings, below one root on one file system."""

    def __init__(self, fs: AbstractFileSystem | S3Files, root: str) -> None:
        self.fs: Any = fs
        self.root = root.rstrip("/")

    @classmethod
    def at(cls, url: str | Path) -> Ledger:
        """The ledger at a local folder or an object storage URL, as Airflow's `ObjectStoragePath` takes it.

        `s3://aws_default@bucket/prefix` names the connection before the `@`.
        """
        text = str(url)
        if text.startswith("file://"):
            text = url2pathname(urlsplit(text).path)
        if "://" not in text:
            from fsspec.implementations.local import LocalFileSystem

            return cls(LocalFileSystem(), str(Path(text).expanduser().absolute()))
        if text.startswith("s3://"):
            from .s3 import S3Files

            parts = urlsplit(text)
            connection, _, bucket = parts.netloc.rpartition("@")
            return cls(S3Files(partial(_s3_client, connection or None)), bucket + parts.path)
        from airflow.sdk import ObjectStoragePath

        path = ObjectStoragePath(text)
        return cls(path.fs, path.path)

    @classmethod
    def configured(cls) -> Ledger:
        """The ledger of this Airflow: `[spot_training] ledger`, else `spot_ledger` in AIRFLOW_HOME."""
        return _configured(configured_url())

    def path(self, *parts: str) -> str:
        return "/".join((self.root, *parts))

    # Writing ---------------------------------------------------------------------------------------

    def write(self, record: TrainingRecord) -> FreshName:
        """Put the record in the place of the one of the same key with a lower version.

        Raises what the file system raises (OSError, botocore's errors): nothing is lost silently.
        """
        name = FreshName(key=record.key, version=record.version)
        self.put(self.path(FRESH, str(name)), _line(record.to_json()))
        return name

    def forget(self, name: FreshName) -> None:
        """Remove a version that a later one has replaced; whether it is still there does not matter."""
        self.remove([self.path(FRESH, str(name))])

    def note(self, key: str, job: JobSnapshot, *, now: datetime | None = None) -> None:
        """Write down what AWS says of the job that is under way for this record."""
        if not is_record_key(key):
            raise ValueError(f"key is {key!r}: give the `key` of a record, 32 hexadecimal digits.")
        seen = CurrentJob(job_name=job.name, number=0, reason="").as_seen(job, now=now or datetime.now(UTC))
        self.put(self.path(NOTES, f"{key}.json"), _line({"format": RECORD_FORMAT, **seen.to_json()}))

    def remove_note(self, key: str) -> None:
        if is_record_key(key):
            self.remove([self.path(NOTES, f"{key}.json")])

    def put(self, path: str, content: bytes) -> None:
        """Write a file that appears whole or not at all."""
        if _is_local(self.fs):
            _put_locally(Path(path), content)
        else:
            self.fs.pipe_file(path, content)

    def create(self, path: str, content: bytes) -> bool:
        """Write a file unless there is one of that name. False when there is: of two writers one wins."""
        try:
            if _is_local(self.fs):
                _put_locally(Path(path), content, exclusive=True)
            else:
                self.fs.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        return True

    def has_conditional_writes(self) -> bool:
        """Whether of several that create a file one does, tried out once for each store and process.

        Some S3-compatible stores take `If-None-Match` and ignore it, or refuse it. The probe creates a file
        twice, of a name that nobody else uses, and removes it.
        """
        if _is_local(self.fs):
            return True  # a hard link, or an exclusive open
        store = f"{getattr(self.fs, 'endpoint', '')} {self.root}"
        if store not in _conditional:
            _conditional[store] = self._probe()
        return _conditional[store]

    def _probe(self) -> bool:
        path = self.path(PROBES, f"{uuid.uuid4().hex}.json")
        try:
            return self.create(path, b"{}") and not self.create(path, b"{}")
        except (NotImplementedError, TypeError, ValueError):  # what file systems say that know no such mode
            return False
        finally:
            self.remove([path])

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; one that is gone already is none of our business."""

        def remove(path: str) -> None:
            with suppress(FileNotFoundError):
                self.fs.rm_file(path)

        wanted = list(paths)
        if _is_local(self.fs) or len(wanted) < 2:
            for path in wanted:
                remove(path)
            return
        with ThreadPoolExecutor(max_workers=PARALLEL_REQUESTS) as pool:
            list(pool.map(remove, wanted))

    def compact(self) -> Compaction:
        """Merge small files of settled records into Parquet. Safe to run at any time, by anybody.

        Without conditional writes it is refused, unless `[spot_training] ledger_is_merged_in_one_place` says
        that nobody else does it.
        """
        from .compaction import compact

        done = compact(self, is_only_one=settings.flag("ledger_is_merged_in_one_place"))
        if done.refused:
            log.warning("Ledger %s: %s", self.root, done)
        return done

    # Reading ---------------------------------------------------------------------------------------

    def read(self) -> LedgerReader:
        """A consistent view of all records as they are now; close it, or use it in a `with`."""
        from .reader import LedgerReader

        return LedgerReader.load(self)

    def fresh_names(self) -> list[FreshName]:
        """The records that are not merged yet, all versions."""
        return [name for text in self.list_names(FRESH) if (name := FreshName.parse(text))]

    def versions_of(self, key: str) -> list[FreshName]:
        """The versions of one record that are in small files now."""
        listed = self.list_names(FRESH, beginning=f"{key}.")
        return [name for text in listed if (name := FreshName.parse(text))]

    def list_names(self, folder: str, *, beginning: str = "") -> list[str]:
        """The names of the files in a folder of the ledger; none when there is no such folder yet."""
        self.fs.invalidate_cache()
        # Object storage can list what begins so; elsewhere the whole folder is listed anyway.
        narrowed = {"beginning": beginning} if self.fs.protocol == "s3" else {}
        try:
            listed = self.fs.ls(self.path(folder), detail=False, **narrowed)
        except FileNotFoundError:
            return []
        names = (str(path).rsplit("/", 1)[-1] for path in listed)
        return [name for name in names if name.startswith(beginning)]

    def is_older(self, path: str, than: datetime) -> bool:
        """Whether a file was last changed before `than`; False when it is gone."""
        try:
            changed: datetime = self.fs.modified(path)
        except FileNotFoundError:
            return False
        return (changed if changed.tzinfo else changed.replace(tzinfo=UTC)) < than

    def local_copy(self, path: str) -> str:
        """Where a merged file, which never changes, can be read on this machine; fetched once."""
        if _is_local(self.fs):
            return self.path(path)
        return str(cached_copy(self, path))

    def drop_copy(self, path: str) -> bool:
        """Have a merged file fetched again. False where there is no copy: the ledger is on this machine."""
        if _is_local(self.fs):
            return False
        drop_copy(self, path)
        return True

    def fetch(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of those files that are (still) there."""

        def content(path: str) -> tuple[str, bytes | None]:
            try:
                return path, self.fs.cat_file(path)
            except FileNotFoundError:
                return path, None

        wanted = list(paths)
        if _is_local(self.fs) or len(wanted) < 2:
            found = [content(path) for path in wanted]
        else:
            with ThreadPoolExecutor(max_workers=PARALLEL_REQUESTS) as pool:
                found = list(pool.map(content, wanted))
        return {path: data for path, data in found if data is not None}


def note_live(key: str, job: JobSnapshot) -> None:
    """Note what AWS says of a record's job now, for the page. Never raises, but blocks: see `take_note`."""
    try:
        Ledger.configured().note(key, job)
    except Exception as error:
        log.debug("The ledger took no note of %s", job.name, exc_info=error)


def take_note(key: str, job: JobSnapshot) -> None:
    """`note_live`, soon and in a thread of its own: for the trigger, which waits for no ledger.

    `key` is `TrainingRecord.key` (the trigger gets it as text from the task), `job` the watcher's report. The
    note counts until the task has the attempt on record; call it whenever the job changed, not more often.
    """
    _note_taker.get(lambda: NoteTaker(note_live)).take(key, job)


def configured_url() -> str:
    """`[spot_training] ledger`, else the folder `spot_ledger` in AIRFLOW_HOME."""
    return settings.text("ledger") or (_airflow_home() / "spot_ledger").as_uri()


def _airflow_home() -> Path:
    return Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()


def folder_of_one_machine() -> Path | None:
    """The configured ledger, where it is a folder in AIRFLOW_HOME that other machines do not see.

    A volume that is mounted there, or anything outside of AIRFLOW_HOME, is taken for shared.
    """
    url = configured_url()
    if "://" in url and not url.startswith("file://"):
        return None
    folder = Path(url2pathname(urlsplit(url).path) if "://" in url else url).expanduser().absolute()
    home = _airflow_home()
    if not folder.is_relative_to(home):
        return None
    inside = [folder, *(parent for parent in folder.parents if parent.is_relative_to(home))]
    return None if any(map(os.path.ismount, inside)) else folder


@lru_cache(maxsize=4)
def _configured(url: str) -> Ledger:
    return Ledger.at(url)


def _s3_client(connection: str | None) -> Any:
    """By an Airflow connection, or by boto3's own chain, which needs no Airflow."""
    if connection:
        from spot_training.connections import AwsAccess

        return AwsAccess(aws_conn_id=connection).s3()
    import boto3
    from botocore.config import Config

    # A session of its own looks for credentials again: the default one keeps what it once found.
    return boto3.Session().client("s3", config=Config(retries={"mode": "standard"}))


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(with_whole_text(data), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _is_local(fs: AbstractFileSystem | S3Files) -> bool:
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _put_locally(path: Path, content: bytes, *, exclusive: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            _link(unfinished, path)
        else:
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _link(unfinished: Path, path: Path) -> None:
    """Give a whole file a name that must be free; where there are no hard links, at least the name is."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise
    except OSError:
        with path.open("xb") as file:
            file.write(unfinished.read_bytes())
