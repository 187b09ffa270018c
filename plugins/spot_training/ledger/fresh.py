"""Reads the small files of records that are not merged: of each key the newest version that can be read.

Nothing is missed. A version is removed only after its successor was written, or a manifest named its Parquet
file: if a file is gone when it is read, the record is looked up again. A file that is half written, on a
store that does not write files as a whole, is whole a moment later. A file that stays torn is set aside, and
an older version of the record counts, if there is one. A record that a newer version of this package wrote is
left out.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import LedgerBusy
from spot_training.domain.records import CurrentJob, TrainingRecord, check_format
from spot_training.domain.text import with_whole_text

from .files import FRESH, NOTES, FreshName
from .schema import json_columns, table_columns
from .set_aside import CannotRead, SetAside, parse
from .unknown import unknown_members

if TYPE_CHECKING:
    from .files import LedgerFiles

#: How long a record is looked up again that is replaced at each look.
LOOK_SECONDS = 10.0
#: A torn file that was written this recently may soon be whole. All such files together get the second limit.
RECENT = timedelta(minutes=1)
WHOLE_WITHIN_SECONDS = 1.0
PAUSE_SECONDS = 0.05


@dataclass(slots=True, kw_only=True)
class FreshRecords:
    """Records as lines of JSON for DuckDB, by the name of their file, and what was set aside."""

    lines: dict[FreshName, bytes] = field(default_factory=dict)
    set_aside: list[SetAside] = field(default_factory=list)


def read_fresh(ledger: LedgerFiles) -> FreshRecords:
    """All records in small files. Raises `LedgerBusy`, and what the file system raises."""
    looking = _Looking(ledger)
    newest = {name.key: name for name in sorted(ledger.fresh_names())}
    contents = ledger.fetch(ledger.path(FRESH, str(name)) for name in newest.values())
    found = FreshRecords()
    for name in newest.values():
        content = contents.get(ledger.path(FRESH, str(name)))
        try:
            if content is not None:
                found.lines[name] = line_of(name, content)
                continue
        except CannotRead:
            pass  # it is looked at again
        looking.look_again(name.key, found)
    return found


def read_newest(ledger: LedgerFiles, key: str) -> FreshRecords:
    """The record of one key, if it is in small files."""
    found = FreshRecords()
    _Looking(ledger).look_again(key, found)
    return found


class _Looking:
    """Looks single records up until they can be read, or it is certain that they cannot."""

    def __init__(self, ledger: LedgerFiles) -> None:
        self._ledger = ledger
        self._whole_until: float | None = None

    def look_again(self, key: str, found: FreshRecords) -> None:
        """Add the record to what was found, or its files to what is set aside."""
        until = time.monotonic() + LOOK_SECONDS
        while not self._look(key, found):
            if time.monotonic() > until:
                raise LedgerBusy(
                    f"Record {key} of the ledger {self._ledger.root} was replaced at each look for "
                    f"{LOOK_SECONDS:g} seconds, so the ledger was not read. Read it again, and check what "
                    "writes this record so often."
                )

    def _look(self, key: str, found: FreshRecords) -> bool:
        """Look at all versions once. False if another look is needed."""
        set_aside: list[SetAside] = []
        for name in sorted(self._ledger.versions_of(key), reverse=True):
            path = self._ledger.path(FRESH, str(name))
            content = self._ledger.fetch([path]).get(path)
            if content is None:
                return False  # a later version has replaced it
            try:
                found.lines[name] = line_of(name, content)
                break
            except CannotRead as error:
                if self._may_become_whole(path, error.trouble):
                    time.sleep(PAUSE_SECONDS)
                    return False
                set_aside.append(error.trouble)
                if error.trouble.is_newer:
                    break  # an older version is not the training's present state
        found.set_aside += set_aside
        return True

    def _may_become_whole(self, path: str, trouble: SetAside) -> bool:
        """Whether the file may be half written, and there is time left to wait for the rest."""
        now = time.monotonic()
        if trouble.is_newer or (self._whole_until is not None and now > self._whole_until):
            return False
        if self._ledger.is_older(path, datetime.now(UTC) - RECENT):
            return False
        self._whole_until = self._whole_until or now + WHOLE_WITHIN_SECONDS
        return True


# One file -------------------------------------------------------------------------------------------


def line_of(name: FreshName, content: bytes) -> bytes:
    """A record's file as a line for DuckDB, with its unknown members in `unknown`. Raises `CannotRead`."""
    return parse(
        f"{FRESH}/{name}", content, lambda data: _line(name, data, content.strip() + b"\n"), key=name.key
    )


def _line(name: FreshName, data: Any, line: bytes) -> bytes:
    TrainingRecord.from_json(data)
    if (data["key"], data["version"]) != (name.key, name.version):
        raise ValueError("it holds another record, or version, than its name says")
    unknown = unknown_members(data)
    is_as_written = not unknown and line.count(b"\n") == 1 and b"\\ud" not in line.lower()
    if is_as_written:
        return line
    whole = with_whole_text({**data, "unknown": json.dumps(unknown) if unknown else None})
    return json.dumps(whole, ensure_ascii=False).encode() + b"\n"


def load_lines(connection: Any, lines: Mapping[FreshName, bytes]) -> list[SetAside]:
    """Make the table `fresh`. Returns the files set aside because a value does not have its column's type."""
    connection.execute(f"CREATE TABLE fresh ({table_columns()})")
    return _insert(connection, list(lines.items()))


def _insert(connection: Any, lines: Sequence[tuple[FreshName, bytes]]) -> list[SetAside]:
    import duckdb

    try:
        _insert_all(connection, (line for _, line in lines))
    except duckdb.Error as error:
        if len(lines) > 1:
            middle = len(lines) // 2
            return _insert(connection, lines[:middle]) + _insert(connection, lines[middle:])
        name = lines[0][0]
        why = (str(error).splitlines() or [""])[0][:160]
        return [SetAside(path=f"{FRESH}/{name}", why=why, key=name.key)]
    return []


def _insert_all(connection: Any, lines: Iterable[bytes]) -> None:
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.writelines(lines)
        file.flush()
        connection.execute(
            f"INSERT INTO fresh SELECT * FROM read_json(?, format = 'newline_delimited', "  # noqa: S608
            f"columns = {json_columns()})",
            [file.name],
        )


# Notes ----------------------------------------------------------------------------------------------


def read_notes(ledger: LedgerFiles, keys: Iterable[str]) -> tuple[dict[str, CurrentJob], list[SetAside]]:
    """The latest notes of these records' jobs. The next note replaces one that cannot be read."""
    paths = {ledger.path(NOTES, f"{key}.json"): key for key in keys}
    notes: dict[str, CurrentJob] = {}
    set_aside: list[SetAside] = []
    for path, content in ledger.fetch(paths).items():
        key = paths[path]
        try:
            notes[key] = parse(f"{NOTES}/{key}.json", content, _note)
        except CannotRead as error:
            set_aside.append(error.trouble)
    return notes, set_aside


def _note(data: Any) -> CurrentJob:
    check_format(data, "The note")
    return CurrentJob.from_json({name: value for name, value in data.items() if name != "format"})
