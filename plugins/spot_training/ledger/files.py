"""The ledger's files: their names, and how they are written, listed, read and removed.

Below the ledger's root:

    fresh/<key>.<version>.json   one record as one JSON line; the highest version of a key counts
    notes/<key>.json             what AWS last said of the key's job under way; the last writer wins
    months/..., manifests/...    merged records (`compaction`)

Every write is one file with its own name, which appears whole or not at all: a rename on a local disk, one
PUT on object storage. Names consist of digests and numbers, never of what people typed.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cache import cached_copy, drop_copy

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from .s3 import S3Files

FRESH, NOTES, PROBES = "fresh", "notes", "probes"
_FRESH_NAME = re.compile(r"([0-9a-f]{32})\.(\d{20})\.json")
#: Requests to object storage that run at the same time.
PARALLEL_REQUESTS = 16
#: What file systems say of a file's last change.
_CHANGES = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created")
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


class LedgerFiles:
    """The files below one root on one file system."""

    def __init__(self, fs: AbstractFileSystem | S3Files, root: str) -> None:
        self.fs: Any = fs
        self.root = root.rstrip("/")

    def path(self, *parts: str) -> str:
        return "/".join((self.root, *parts))

    def put(self, path: str, content: bytes) -> None:
        """Write a file that appears whole or not at all."""
        if _is_local(self.fs):
            _put_locally(Path(path), content)
        else:
            self.fs.pipe_file(path, content)

    def create(self, path: str, content: bytes) -> bool:
        """Write a file if none has that name, else return False. Of two writers, one wins."""
        try:
            if _is_local(self.fs):
                _put_locally(Path(path), content, exclusive=True)
            else:
                self.fs.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        return True

    def has_conditional_writes(self) -> bool:
        """Whether only one of several writers can create a file. Tested once for each store and process.

        Some S3-compatible stores ignore or refuse `If-None-Match`. The test creates a file twice, under a
        name that nobody else uses, and removes it.
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
        except (NotImplementedError, TypeError, ValueError):  # from file systems that have no such mode
            return False
        finally:
            self.remove([path])

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files. A file that is gone already is no error."""

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

    def fresh_names(self) -> list[FreshName]:
        """All versions of the records that are not merged yet."""
        return [name for text in self.list_names(FRESH) if (name := FreshName.parse(text))]

    def versions_of(self, key: str) -> list[FreshName]:
        """The versions of one record that are in small files now."""
        listed = self.list_names(FRESH, beginning=f"{key}.")
        return [name for text in listed if (name := FreshName.parse(text))]

    def list_names(self, folder: str, *, beginning: str = "") -> list[str]:
        """The names of the files in a folder of the ledger; none if the folder does not exist yet."""
        self.fs.invalidate_cache()
        # S3 can list the names with a prefix. Other file systems list the whole folder.
        narrowed = {"beginning": beginning} if self.fs.protocol == "s3" else {}
        try:
            listed = self.fs.ls(self.path(folder), detail=False, **narrowed)
        except FileNotFoundError:
            return []
        names = (str(path).rsplit("/", 1)[-1] for path in listed)
        return [name for name in names if name.startswith(beginning)]

    def stamps(self, folder: str) -> dict[str, Hashable]:
        """The names of the files in a folder, each with what changes when the file is written again.

        None instead, if the file system does not say.
        """
        if _is_local(self.fs):
            return _local_stamps(Path(self.path(folder)))
        if self.fs.protocol == "s3":
            found: dict[str, Hashable] = self.fs.stamps(self.path(folder))
            return found
        self.fs.invalidate_cache()
        try:
            listed = self.fs.ls(self.path(folder), detail=True)
        except FileNotFoundError:
            return {}
        return {str(file["name"]).rsplit("/", 1)[-1]: _stamp(file) for file in listed}

    def is_older(self, path: str, than: datetime) -> bool:
        """Whether a file was last changed before `than`. False if it is gone."""
        try:
            changed: datetime = self.fs.modified(path)
        except FileNotFoundError:
            return False
        return (changed if changed.tzinfo else changed.replace(tzinfo=UTC)) < than

    def local_copy(self, path: str) -> str:
        """The path on this machine of a merged file. It never changes, so it is fetched once."""
        if _is_local(self.fs):
            return self.path(path)
        return str(cached_copy(self.fs, self.root, path))

    def drop_copy(self, path: str) -> bool:
        """Fetch a merged file again next time. False if there is no copy: the ledger is on this machine."""
        if _is_local(self.fs):
            return False
        drop_copy(self.root, path)
        return True

    def fetch(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of the files that exist."""

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


def _is_local(fs: AbstractFileSystem | S3Files) -> bool:
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _local_stamps(folder: Path) -> dict[str, Hashable]:
    try:
        with os.scandir(folder) as listed:
            files = [entry for entry in listed if not entry.name.startswith(".")]
    except FileNotFoundError:
        return {}
    stamps: dict[str, Hashable] = {}
    for file in files:
        with suppress(FileNotFoundError):
            facts = file.stat()
            stamps[file.name] = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
    return stamps


def _stamp(file: Mapping[str, Any]) -> Hashable:
    known = [str(file[name]) for name in _CHANGES if file.get(name) is not None]
    return (*known, file.get("size")) if known else None


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
    """Give a whole file a name that must be free. Without hard links, only the name is exclusive."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise
    except OSError:
        with path.open("xb") as file:
            file.write(unfinished.read_bytes())
