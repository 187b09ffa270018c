"""Merges small files of settled records into Parquet, one month beside the other.

Safe beside writers, readers and another compaction, and wherever it dies: new Parquet files count only once
the next manifest names them, and a small file is removed only after that, by its exact name. Until then its
record is read from the small file; afterwards from Parquet, because no higher version is there.
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .manifest import MANIFESTS, MONTHS, Manifest, MergedFile
from .schema import COLUMNS, connect, json_columns, sql_text
from .store import FRESH, NOTES, FreshName

if TYPE_CHECKING:
    from .store import Ledger

# ruff: noqa: S608 - the SQL is made of column names and paths of this package

log = logging.getLogger(__name__)

#: A record is merged when nothing happened to it for so long: a retry may be on its way.
SETTLED_AFTER = timedelta(hours=1)
#: Files that no manifest needs any more are kept for readers that began before.
KEPT_FOR = timedelta(days=1)
#: Records merged at once: they are in memory for a moment.
BATCH = 20_000
#: A month's file that has grown so large is left as it is; another is begun.
LARGEST_FILE_ROWS = 250_000
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What a compaction did: records merged, small files removed."""

    merged: int = 0
    removed: int = 0

    def __add__(self, other: Compaction) -> Compaction:
        return Compaction(merged=self.merged + other.merged, removed=self.removed + other.removed)

    def __str__(self) -> str:
        return f"{self.merged} record(s) merged into Parquet, {self.removed} small file(s) removed"


class _LostRace(Exception):
    """Another compaction published first."""


def compact(
    ledger: Ledger, *, settled_after: timedelta = SETTLED_AFTER, now: datetime | None = None
) -> Compaction:
    """Merge what is settled, and remove what is not needed any more."""
    moment = now or datetime.now(UTC)
    done = Compaction()
    names = sorted(ledger.fresh_names())
    for first in range(0, len(names), BATCH):
        done += _with_patience(ledger, _whole_keys(names, first), moment - settled_after, moment)
    _remove_unneeded(ledger, moment - KEPT_FOR)
    return done


def _whole_keys(names: Sequence[FreshName], first: int) -> list[FreshName]:
    """A batch; all versions of a key are in the batch its first one falls into."""
    last = min(first + BATCH, len(names))
    while first and first < len(names) and names[first].key == names[first - 1].key:
        first += 1
    while last < len(names) and names[last].key == names[last - 1].key:
        last += 1
    return list(names[first:last])


def _with_patience(
    ledger: Ledger, names: Sequence[FreshName], settled_before: datetime, now: datetime
) -> Compaction:
    for _ in range(TRIES):
        try:
            return _merge(ledger, names, settled_before, now)
        except _LostRace:
            log.info("Another compaction was quicker; looking again")
    return Compaction()


def _merge(ledger: Ledger, names: Sequence[FreshName], settled_before: datetime, now: datetime) -> Compaction:
    newest = {name.key: name for name in names}  # sorted: the highest version comes last
    contents = ledger.fetch(ledger.path(FRESH, str(name)) for name in newest.values())
    manifest = Manifest.newest(ledger)
    with tempfile.TemporaryDirectory(prefix="spot-ledger-") as scratch:
        batch = _Batch(ledger, manifest, Path(scratch))
        try:
            batch.load(contents.values(), settled_before)
            if batch.count("incoming"):
                batch.publish(now)
            settled = batch.settled_names()
        finally:
            batch.close()
    removable = [name for name in names if name != newest[name.key] or name in settled]
    ledger.remove(ledger.path(FRESH, str(name)) for name in removable)
    return Compaction(merged=len(settled), removed=len(removable))


class _Batch:
    """One merge: `settled` are the records that need no small file any more, `incoming` those of them that
    are not in Parquet yet, `stale` the files with an older version of an incoming record.
    """

    def __init__(self, ledger: Ledger, manifest: Manifest, scratch: Path) -> None:
        self._ledger = ledger
        self._manifest = manifest
        self._scratch = scratch
        self._connection = connect()
        self._local = {file.path: ledger.local_copy(file.path) for file in manifest.files}

    def close(self) -> None:
        self._connection.close()

    def load(self, contents: Iterable[bytes], settled_before: datetime) -> None:
        lines = self._scratch / "fresh.jsonl"
        lines.write_bytes(b"".join(contents))
        self._connection.execute(
            f"CREATE TABLE settled AS SELECT * FROM read_json(?, format = 'newline_delimited', "
            f"columns = {json_columns()}) WHERE state <> 'running' AND written_at <= ?",
            [str(lines), settled_before],
        )
        self._connection.execute(
            "CREATE TABLE incoming AS SELECT *, "
            "strftime(coalesce(began_at, written_at), '%Y-%m') AS month FROM settled"
        )
        for path in self._stale_paths():
            self._connection.execute(
                f"DELETE FROM incoming WHERE key IN (SELECT p.key FROM {_parquet([path])} p JOIN settled s "
                "USING (key) WHERE p.version >= s.version)",
            )

    def count(self, table: str) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def settled_names(self) -> set[FreshName]:
        rows = self._connection.execute("SELECT key, version FROM settled").fetchall()
        return {FreshName(key=key, version=version) for key, version in rows}

    def publish(self, now: datetime) -> None:
        """Write the Parquet files anew that change, and the manifest that names them."""
        changed = self._files_to_rewrite()
        kept = [file for file in self._manifest.files if file not in changed]
        written = [self._write(month, changed) for month in self._months(changed)]
        new = Manifest(
            number=self._manifest.number + 1, files=(*kept, *(file for file in written if file.rows))
        )
        if not new.publish(self._ledger, made_at=now):
            self._ledger.remove(self._ledger.path(file.path) for file in written)
            raise _LostRace

    def _stale_paths(self) -> list[str]:
        """Local paths of the merged files that hold a key of this batch."""
        return [
            path
            for path in self._local.values()
            if self._connection.execute(
                f"SELECT 1 FROM {_parquet([path])} WHERE key IN (SELECT key FROM settled) LIMIT 1"
            ).fetchone()
        ]

    def _files_to_rewrite(self) -> list[MergedFile]:
        stale = set(self._stale_paths())
        months = {month for (month,) in self._rows("SELECT DISTINCT month FROM incoming")}
        return [
            file
            for file in self._manifest.files
            if self._local[file.path] in stale or (file.month in months and file.rows < LARGEST_FILE_ROWS)
        ]

    def _months(self, changed: Sequence[MergedFile]) -> list[str]:
        incoming = {month for (month,) in self._rows("SELECT DISTINCT month FROM incoming")}
        return sorted(incoming | {file.month for file in changed})

    def _write(self, month: str, changed: Sequence[MergedFile]) -> MergedFile:
        columns = ", ".join(COLUMNS)
        sources = [f"SELECT {columns} FROM incoming WHERE month = '{month}'"]
        old = [self._local[file.path] for file in changed if file.month == month]
        if old:
            sources.append(
                f"SELECT {columns} FROM {_parquet(old)} WHERE key NOT IN (SELECT key FROM incoming)"
            )
        target = self._scratch / f"{month}.parquet"
        (rows,) = self._connection.execute(
            f"COPY ({' UNION ALL '.join(sources)} ORDER BY began_at, key) TO {sql_text(str(target))} "
            "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)"
        ).fetchone()
        path = f"{MONTHS}/{month}/{uuid.uuid4().hex}.parquet"
        if rows:
            self._ledger.put(self._ledger.path(path), target.read_bytes())
        return MergedFile(path=path, rows=rows)

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return rows


def _parquet(paths: Sequence[str]) -> str:
    return f"read_parquet([{', '.join(sql_text(path) for path in paths)}], union_by_name = true)"


def _remove_unneeded(ledger: Ledger, before: datetime) -> None:
    """Old manifests, merged files that none of the others names, notes of jobs long over."""
    names = sorted(ledger.list_names(MANIFESTS))
    old = [name for name in names[:-1] if ledger.is_older(ledger.path(MANIFESTS, name), before)]
    ledger.remove(ledger.path(MANIFESTS, name) for name in old)
    manifests = [Manifest.read(ledger, name) for name in names if name not in old]
    if not all(manifests):
        return  # one that cannot be read may name anything
    needed = {path for manifest in manifests if manifest for path in manifest.paths}
    for month in ledger.list_names(MONTHS):
        for name in ledger.list_names(f"{MONTHS}/{month}"):
            path = ledger.path(MONTHS, month, name)
            if f"{MONTHS}/{month}/{name}" not in needed and ledger.is_older(path, before):
                ledger.remove([path])
    running = {name.key for name in ledger.fresh_names()}
    for name in ledger.list_names(NOTES):
        path = ledger.path(NOTES, name)
        if name.removesuffix(".json") not in running and ledger.is_older(path, before):
            ledger.remove([path])
