"""Which Parquet files hold the merged records, and whether they can be read.

A file is read only if it is whole: its checksum is the one in the manifest, or, if the manifest has none
(0.1.0 wrote none), DuckDB has read all of it once, on a separate connection, because garbage may break that.
If the manifest or one of its files is damaged, all merged files that can be read are read, and the highest
version of each key counts. Nothing that exists is lost, and what is missing is named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .manifest import MONTHS, Manifest, MergedFile
from .schema import COLUMNS, connect, sql_text, table_columns
from .set_aside import CannotRead, SetAside

if TYPE_CHECKING:
    from .files import LedgerFiles

# ruff: noqa: S608 - the SQL is made of column names and paths of this package

#: How many files without a checksum a process remembers as read, by path, size and time.
MOST_CHECKED = 10_000
_checked: dict[tuple[str, int, int], str | None] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The files to read, and where each is on this machine. `is_loose`: a key may be in several of them."""

    files: tuple[MergedFile, ...]
    local: tuple[str, ...]
    is_loose: bool = False
    set_aside: tuple[SetAside, ...] = ()


def find_merged(ledger: LedgerFiles) -> Merged:
    """The files to read now."""
    try:
        manifest = Manifest.newest(ledger)
    except CannotRead as error:
        if error.trouble.is_newer:
            return Merged(files=(), local=(), set_aside=(error.trouble,))
        # All merged files are read instead of those that it names, so nothing is missing.
        return all_merged(ledger, Manifest(), [replace(error.trouble, has_many=False)])
    if manifest.is_first and not ledger.list_names(MONTHS):
        return Merged(files=(), local=())
    good, bad = check(ledger, manifest.files)
    if bad or manifest.unreadable or manifest.is_first:
        return all_merged(ledger, manifest, bad)
    return Merged(files=tuple(good), local=tuple(good.values()))


def all_merged(ledger: LedgerFiles, manifest: Manifest, set_aside: Sequence[SetAside]) -> Merged:
    """All files that can be read, also those that no manifest names."""
    listed = {file.path: file for file in (*manifest.files, *manifest.unreadable)}
    there = [
        f"{MONTHS}/{month}/{name}"
        for month in ledger.list_names(MONTHS)
        for name in ledger.list_names(f"{MONTHS}/{month}")
        if name.endswith(".parquet")
    ]
    good, bad = check(ledger, [listed.get(path) or MergedFile(path=path, rows=0) for path in there])
    gone = [SetAside(path=path, why="it is gone", has_many=True) for path in listed if path not in there]
    known = {trouble.path for trouble in set_aside}
    named = [
        trouble
        for trouble in (*bad, *gone)
        # What is in a file that no manifest names, yet or any more, is also elsewhere.
        if trouble.path not in known and trouble.path in listed
    ]
    return Merged(
        files=tuple(good), local=tuple(good.values()), is_loose=True, set_aside=(*set_aside, *named)
    )


def check(ledger: LedgerFiles, files: Sequence[MergedFile]) -> tuple[dict[MergedFile, str], list[SetAside]]:
    """The local paths of the files that can be read, and what is wrong with the others."""
    good: dict[MergedFile, str] = {}
    bad: list[SetAside] = []
    for file in files:
        try:
            local = ledger.local_copy(file.path)
            why = _why_not(local, file.digest)
            if why and ledger.drop_copy(file.path):  # the copy may be torn, not the file
                local = ledger.local_copy(file.path)
                why = _why_not(local, file.digest)
        except FileNotFoundError:
            local, why = "", "it is gone"
        if why is None:
            good[file] = local
        else:
            bad.append(SetAside(path=file.path, why=why, has_many=True))
    return good, bad


def _why_not(local: str, digest: str | None) -> str | None:
    """Why a file cannot be read; None if it can. A checksum is cheap. Reading all of a file is not: once."""
    if digest is not None:
        found = digest_of(local)
        return None if found == digest else f"its SHA-256 is {found[:12]}..., and was {digest[:12]}..."
    stat = Path(local).stat()
    asked = (local, stat.st_size, stat.st_mtime_ns)
    if asked not in _checked:
        if len(_checked) >= MOST_CHECKED:
            _checked.clear()
        _checked[asked] = _read_all(local)
    return _checked[asked]


def digest_of(local: str) -> str:
    """A file's checksum, as in manifests."""
    with Path(local).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_all(local: str) -> str | None:
    import duckdb

    source = f"read_parquet([{sql_text(local)}])"
    try:
        connection = connect()
        try:
            connection.execute(f"CREATE TABLE fresh ({table_columns()})")
            connection.execute(f"DESCRIBE SELECT * FROM fresh UNION ALL BY NAME SELECT * FROM {source}")
            connection.execute(f"SELECT key, version, state FROM {source} LIMIT 0")
            connection.execute(f"SELECT bit_xor(hash(t)) FROM {source} t").fetchone()
        finally:
            with suppress(duckdb.Error):
                connection.close()
    except duckdb.Error as error:
        words = (str(error).splitlines() or [""])[0].replace(local, "it")
        return f"{type(error).__name__}: {words[:160]}"
    return None


# As SQL ---------------------------------------------------------------------------------------------


def parquet(paths: Sequence[str], *, with_names: bool = False) -> str:
    """Parquet files as a source of rows."""
    names = ", filename = true" if with_names else ""
    return f"read_parquet([{', '.join(sql_text(path) for path in paths)}], union_by_name = true{names})"


def source_of(connection: Any, merged: Merged) -> str:
    """The rows of the files with all columns. Of loose files, the highest version of each key."""
    if not merged.is_loose:
        return parquet(merged.local)
    make_newest(connection, merged.local)
    return loose(merged.local)


def make_newest(connection: Any, paths: Sequence[str]) -> None:
    """Make the table that says which file has the highest version of each key, for `loose`."""
    connection.execute(
        "CREATE TABLE newest_merged AS "
        "SELECT key, max_by(filename, version) AS filename, max(version) AS version "
        f"FROM {parquet(paths, with_names=True)} GROUP BY key"
    )


def loose(paths: Sequence[str]) -> str:
    """The rows of files that may have a key several times: each key once."""
    return (
        f"(SELECT * EXCLUDE (filename) FROM {parquet(paths, with_names=True)} "
        "SEMI JOIN newest_merged USING (key, version, filename))"
    )


def columns_of(connection: Any, source: str) -> str:
    """The columns of a source for a SELECT. Those that an older version did not write are null."""
    there = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    missing = [f"NULL::{kind} AS {name}" for name, kind in COLUMNS.items() if name not in there]
    return ", ".join(["*", *missing])
