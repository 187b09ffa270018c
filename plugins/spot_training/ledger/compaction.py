"""Merges small files of settled records into Parquet, by month.

It is safe while others write, read or merge, and wherever it dies: new Parquet files count only when the next
manifest names them, and a small file is removed only after that, by its exact name. Until then the record is
read from the small file, afterwards from Parquet.
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spot_training.domain.records import RECORD_FORMAT

from .files import FRESH, NOTES, FreshName
from .fresh import line_of, load_lines
from .manifest import MANIFESTS, MONTHS, Manifest, MergedFile, number_of
from .merged import all_merged, check, digest_of, loose, make_newest, parquet
from .schema import connect, sql_text
from .set_aside import CannotRead

if TYPE_CHECKING:
    from .files import LedgerFiles

# ruff: noqa: S608 - the SQL is made of column names and paths of this package

log = logging.getLogger(__name__)

#: A record is merged when it has not changed for this long: a retry may follow.
SETTLED_AFTER = timedelta(hours=1)
#: Files that no manifest names any more are kept this long, for readers that began before.
KEPT_FOR = timedelta(days=1)
#: Records merged at once: they are in memory together.
BATCH = 20_000
#: A month's file with so many records stays as it is, and another file is begun.
LARGEST_FILE_ROWS = 250_000
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What a compaction did: records merged, small files removed. `refused` says why it did nothing."""

    merged: int = 0
    removed: int = 0
    refused: str | None = None

    def __add__(self, other: Compaction) -> Compaction:
        return Compaction(
            merged=self.merged + other.merged,
            removed=self.removed + other.removed,
            refused=self.refused or other.refused,
        )

    def __str__(self) -> str:
        done = f"{self.merged} record(s) merged into Parquet, {self.removed} small file(s) removed"
        return f"{done}; records are not merged: {self.refused}" if self.refused else done


class _LostRace(Exception):
    """Another compaction published first."""


def compact(
    ledger: LedgerFiles,
    *,
    settled_after: timedelta = SETTLED_AFTER,
    now: datetime | None = None,
    is_only_one: bool = False,
) -> Compaction:
    """Merge what is settled, and remove what is not needed any more.

    `is_only_one` says that nothing else merges this ledger. It may then be on a store without conditional
    writes.
    """
    moment = now or datetime.now(UTC)
    done = Compaction()
    names = sorted(ledger.fresh_names())
    if not is_only_one and not ledger.has_conditional_writes():
        return Compaction(refused=_NO_CONDITIONS)
    for first in range(0, max(1, len(names)), BATCH):
        batch = _whole_keys(names, first)
        done += _with_patience(
            partial(_merge, ledger, batch, moment - settled_after, moment, is_only_one=is_only_one)
        )
    if done.refused is None:
        _remove_unneeded(ledger, moment - KEPT_FOR)
    return done


_NO_CONDITIONS = (
    "this store does not support conditional writes (If-None-Match), so two merges at once could lose "
    "records. All records stay readable in small files. If only one place merges this ledger (one sweeper "
    "Dag, and no sweep command), set [spot_training] ledger_is_merged_in_one_place to True"
)


def _whole_keys(names: Sequence[FreshName], first: int) -> list[FreshName]:
    """One batch. All versions of a key are in the same batch."""
    last = min(first + BATCH, len(names))
    while first and first < len(names) and names[first].key == names[first - 1].key:
        first += 1
    while last < len(names) and names[last].key == names[last - 1].key:
        last += 1
    return list(names[first:last])


def _with_patience(merge: Callable[[], Compaction]) -> Compaction:
    for _ in range(TRIES):
        try:
            return merge()
        except _LostRace:
            log.info("Another compaction published first. Merging again")
    return Compaction()


def _merge(
    ledger: LedgerFiles,
    names: Sequence[FreshName],
    settled_before: datetime,
    now: datetime,
    *,
    is_only_one: bool,
) -> Compaction:
    try:
        state = _Merging.find(ledger)
    except CannotRead as error:
        return Compaction(refused=str(error))
    newest = {name.key: name for name in names}  # sorted: the highest version comes last
    lines, torn = _read(ledger, newest.values())
    with tempfile.TemporaryDirectory(prefix="spot-ledger-") as scratch:
        batch = _Batch(ledger, state, Path(scratch))
        try:
            torn |= batch.load(lines, settled_before)
            if batch.count("incoming") or state.is_rebuild:
                batch.publish(now, is_only_one=is_only_one)
            settled = batch.settled_names()
        finally:
            batch.close()
    # If a record cannot be read, an earlier version may be all that is left of it.
    removable = [
        name for name in names if name.key not in torn and (name != newest[name.key] or name in settled)
    ]
    ledger.remove(ledger.path(FRESH, str(name)) for name in removable)
    return Compaction(merged=len(settled), removed=len(removable))


def _read(ledger: LedgerFiles, names: Iterable[FreshName]) -> tuple[dict[FreshName, bytes], set[str]]:
    """Records as lines, and the keys of records that cannot be read."""
    wanted = {ledger.path(FRESH, str(name)): name for name in names}
    lines: dict[FreshName, bytes] = {}
    torn: set[str] = set()
    for path, content in ledger.fetch(wanted).items():
        try:
            lines[wanted[path]] = line_of(wanted[path], content)
        except CannotRead as error:
            error.trouble.warn(ledger.root)
            torn.add(wanted[path].key)
    return lines, torn


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merging:
    """What a merge starts from: the manifest's number, its files on this machine, and its unreadable files.

    `is_rebuild`: the manifest or some of its files were lost, or a file was restored. All files that can be
    read are then written again, with the highest version of each key.
    """

    number: int
    local: Mapping[MergedFile, str]
    unreadable: tuple[MergedFile, ...]
    unknown: Mapping[str, Any]
    is_rebuild: bool

    @classmethod
    def find(cls, ledger: LedgerFiles) -> _Merging:
        """Raises `CannotRead` if a newer version wrote the manifest, or it may be half written just now."""
        try:
            manifest = Manifest.newest(ledger)
        except CannotRead as error:
            path = ledger.path(error.trouble.path)
            if error.trouble.is_newer or not ledger.is_older(path, datetime.now(UTC) - SETTLED_AFTER):
                raise
            error.trouble.warn(ledger.root)
            manifest = Manifest(number=number_of(error.trouble.path.rsplit("/", 1)[-1]))
            return cls._of_all(ledger, manifest)
        good, bad = check(ledger, manifest.files)
        restored, _ = check(ledger, manifest.unreadable)
        if bad or restored or manifest.is_first:
            return cls._of_all(ledger, manifest)
        return cls(
            number=manifest.number,
            local=good,
            unreadable=manifest.unreadable,
            unknown=manifest.unknown,
            is_rebuild=False,
        )

    @classmethod
    def _of_all(cls, ledger: LedgerFiles, manifest: Manifest) -> _Merging:
        merged = all_merged(ledger, manifest, ())
        for trouble in merged.set_aside:
            trouble.warn(ledger.root)
        bad = {trouble.path for trouble in merged.set_aside}
        return cls(
            number=manifest.number,
            local=dict(zip(merged.files, merged.local, strict=True)),
            unreadable=tuple(file for file in (*manifest.files, *manifest.unreadable) if file.path in bad),
            unknown=manifest.unknown,
            is_rebuild=bool(merged.files or merged.set_aside),
        )


class _Batch:
    """One merge, in DuckDB.

    Its tables: `settled` are the records that need no small file any more, `incoming` those of them that are
    not in Parquet yet. Stale files have an older version of an incoming record.
    """

    def __init__(self, ledger: LedgerFiles, merging: _Merging, scratch: Path) -> None:
        self._ledger = ledger
        self._merging = merging
        self._scratch = scratch
        self._connection = connect()
        if merging.is_rebuild and merging.local:
            make_newest(self._connection, list(merging.local.values()))

    def close(self) -> None:
        self._connection.close()

    def load(self, lines: Mapping[FreshName, bytes], settled_before: datetime) -> set[str]:
        """Load these records. Returns the keys of those that cannot be read."""
        set_aside = load_lines(self._connection, lines)
        for trouble in set_aside:
            trouble.warn(self._ledger.root)
        self._connection.execute(
            "CREATE TABLE settled AS SELECT * FROM fresh WHERE state <> 'running' AND written_at <= ?",
            [settled_before],
        )
        stale = self._stale_paths()
        for path in stale:
            # What a newer version wrote is not overwritten.
            self._delete("settled", path, f"coalesce(p.format, 1) > {RECORD_FORMAT}")
        self._connection.execute(
            "CREATE TABLE incoming AS SELECT *, "
            "strftime(coalesce(began_at, written_at), '%Y-%m') AS month FROM settled"
        )
        for path in stale:
            self._delete("incoming", path, "p.version >= s.version")
        return {trouble.key for trouble in set_aside if trouble.key}

    def _delete(self, table: str, path: str, condition: str) -> None:
        self._connection.execute(
            f"DELETE FROM {table} WHERE key IN "
            f"(SELECT p.key FROM {parquet([path])} p JOIN settled s USING (key) WHERE {condition})"
        )

    def count(self, table: str) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def settled_names(self) -> set[FreshName]:
        rows = self._connection.execute("SELECT key, version FROM settled").fetchall()
        return {FreshName(key=key, version=version) for key, version in rows}

    def publish(self, now: datetime, *, is_only_one: bool) -> None:
        """Write the Parquet files that change, and the manifest that names them."""
        merging = self._merging
        changed = list(merging.local) if merging.is_rebuild else self._files_to_rewrite()
        kept = [self._with_digest(file) for file in merging.local if file not in changed]
        written = [self._write(month, changed) for month in self._months(changed)]
        new = Manifest(
            number=merging.number + 1,
            files=(*kept, *(file for file in written if file.rows)),
            unreadable=merging.unreadable,
            unknown=merging.unknown,
        )
        if not new.publish(self._ledger, made_at=now, is_only_one=is_only_one):
            self._ledger.remove(self._ledger.path(file.path) for file in written)
            raise _LostRace

    def _with_digest(self, file: MergedFile) -> MergedFile:
        """With a checksum. 0.1.0 wrote none; the file was read completely just now."""
        return file if file.digest else replace(file, digest=digest_of(self._merging.local[file]))

    def _stale_paths(self) -> list[str]:
        """Local paths of the merged files that hold a key of this batch."""
        return [
            path
            for path in self._merging.local.values()
            if self._connection.execute(
                f"SELECT 1 FROM {parquet([path])} WHERE key IN (SELECT key FROM settled) LIMIT 1"
            ).fetchone()
        ]

    def _files_to_rewrite(self) -> list[MergedFile]:
        stale = set(self._stale_paths())
        months = {month for (month,) in self._rows("SELECT DISTINCT month FROM incoming")}
        return [
            file
            for file, path in self._merging.local.items()
            if path in stale or (file.month in months and file.rows < LARGEST_FILE_ROWS)
        ]

    def _months(self, changed: Sequence[MergedFile]) -> list[str]:
        incoming = {month for (month,) in self._rows("SELECT DISTINCT month FROM incoming")}
        return sorted(incoming | {file.month for file in changed})

    def _write(self, month: str, changed: Sequence[MergedFile]) -> MergedFile:
        # By name: files of a newer version may have columns that this version does not know. They are kept.
        sources = [f"SELECT * EXCLUDE (month) FROM incoming WHERE month = '{month}'"]
        old = [self._merging.local[file] for file in changed if file.month == month]
        if old:
            merged = loose(old) if self._merging.is_rebuild else parquet(old)
            sources.append(f"SELECT * FROM {merged} WHERE key NOT IN (SELECT key FROM incoming)")
        target = self._scratch / f"{month}.parquet"
        (rows,) = self._connection.execute(
            f"COPY ({' UNION ALL BY NAME '.join(sources)} ORDER BY began_at, key) TO {sql_text(str(target))} "
            "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)"
        ).fetchone()
        path = f"{MONTHS}/{month}/{uuid.uuid4().hex}.parquet"
        if rows:
            self._ledger.put(self._ledger.path(path), target.read_bytes())
        return MergedFile(path=path, rows=rows, digest=digest_of(str(target)))

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return rows


def _remove_unneeded(ledger: LedgerFiles, before: datetime) -> None:
    """Remove old manifests, merged files that no other manifest names, and notes of jobs that are over."""
    names = sorted(ledger.list_names(MANIFESTS))
    old = [name for name in names[:-1] if ledger.is_older(ledger.path(MANIFESTS, name), before)]
    ledger.remove(ledger.path(MANIFESTS, name) for name in old)
    try:
        manifests = [Manifest.read(ledger, name) for name in names if name not in old]
    except CannotRead:
        return  # it may name anything
    if not all(manifests) or any(manifest.unreadable for manifest in manifests if manifest):
        return  # earlier files may hold what is left of those
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
