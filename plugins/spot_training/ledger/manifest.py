"""Which Parquet files hold the merged records: one numbered list, replaced as a whole.

    manifests/<number>.json    {"files": [{"path": "months/2026-03/<id>.parquet", "rows": 812}, ...],
                                "digests": {"months/2026-03/<id>.parquet": "<SHA-256>", ...}, ...}

The highest number counts. A list is created once and never changed: of two compactions that start from the
same list, only one can publish the next, and a reader sees all of it or the list before. Across the files of
one list every key occurs once, so a reader need not look for the highest version of each. `digest` is the
list's own checksum, made in the same way in every format: a torn list is not mistaken for one of a newer
version.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.records import FORMAT_WITHOUT_SCOUTS, check_format
from spot_training.domain.savings import unknown_of

from . import fresh
from .set_aside import CannotRead, parse

if TYPE_CHECKING:
    from .files import LedgerFiles

MANIFESTS, MONTHS = "manifests", "months"
_DIGITS = 12
_MEMBERS = frozenset({"format", "files", "digests", "unreadable", "made_at", "digest"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedFile:
    """One Parquet file: its path below the ledger's root, how many records it holds, and its SHA-256.

    0.1.0 wrote no SHA-256.
    """

    path: str
    rows: int
    digest: str | None = None

    @property
    def month(self) -> str:
        return self.path.split("/")[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A list of merged files. Number 0 is the empty list, which is never written.

    `unreadable` are files that were torn or gone when the list was made. They are checked again, because
    somebody may restore them. `unknown` is what a newer version wrote as well.
    """

    number: int = 0
    files: tuple[MergedFile, ...] = ()
    unreadable: tuple[MergedFile, ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        return [file.path for file in self.files]

    @property
    def is_first(self) -> bool:
        """Whether there is no list yet."""
        return self.number == 0

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.number:0{_DIGITS}}.json"

    @classmethod
    def newest(cls, ledger: LedgerFiles) -> Manifest:
        """The list that counts now. Raises `CannotRead` if it is torn, or of a newer version."""
        while names := sorted(name for name in ledger.list_names(MANIFESTS) if number_of(name)):
            if (manifest := cls._read_whole(ledger, names[-1])) is not None:
                return manifest
        return cls()

    @classmethod
    def _read_whole(cls, ledger: LedgerFiles, name: str) -> Manifest | None:
        """`read`, again if the file may be half written. None if it is gone."""
        until = time.monotonic() + fresh.WHOLE_WITHIN_SECONDS
        while True:
            try:
                return cls.read(ledger, name)
            except CannotRead as error:
                is_old = ledger.is_older(ledger.path(MANIFESTS, name), datetime.now(UTC) - fresh.RECENT)
                if error.trouble.is_newer or is_old or time.monotonic() > until:
                    raise
            time.sleep(fresh.PAUSE_SECONDS)

    @classmethod
    def read(cls, ledger: LedgerFiles, name: str) -> Manifest | None:
        """The list in this file. None if it is gone. Raises `CannotRead`."""
        path = ledger.path(MANIFESTS, name)
        content = ledger.fetch([path]).get(path)
        if content is None:
            return None
        return parse(
            f"{MANIFESTS}/{name}", content, lambda data: cls._of(number_of(name), data), has_many=True
        )

    @classmethod
    def _of(cls, number: int, data: Any) -> Manifest:
        if "digest" in data and data["digest"] != _digest_of(data):
            raise ValueError("it is not what was written: its checksum differs")
        check_format(data, "The list of merged records")
        digests = data.get("digests") or {}

        def listed(files: Iterable[Any]) -> tuple[MergedFile, ...]:
            return tuple(
                MergedFile(path=file["path"], rows=int(file["rows"]), digest=digests.get(file["path"]))
                for file in files
            )

        return cls(
            number=number,
            files=listed(data["files"]),
            unreadable=listed(data.get("unreadable") or ()),
            unknown=unknown_of(data, _MEMBERS),
        )

    def to_json(self, *, made_at: datetime) -> dict[str, Any]:
        # Digests are not in `files`: 0.1.0 refuses a list with one more member there.
        digests = {file.path: file.digest for file in (*self.files, *self.unreadable) if file.digest}
        data = {
            **self.unknown,
            "format": FORMAT_WITHOUT_SCOUTS,
            "files": [{"path": file.path, "rows": file.rows} for file in self.files],
            "digests": digests,
            "unreadable": [{"path": file.path, "rows": file.rows} for file in self.unreadable],
            "made_at": made_at.isoformat(),
        }
        return {**data, "digest": _digest_of(data)}

    def publish(self, ledger: LedgerFiles, *, made_at: datetime, is_only_one: bool = False) -> bool:
        """Make this the list that counts. False if somebody else published that number.

        A retried request finds our own list if the first answer was lost: the list is published then. If
        nobody else publishes (`is_only_one`), the store need not have conditional writes.
        """
        content = json.dumps(self.to_json(made_at=made_at)).encode()
        path = ledger.path(MANIFESTS, self.name)
        try:
            return ledger.create(path, content) or self._is_published(ledger)
        except NotImplementedError:
            if not is_only_one:
                raise
        if self.name in ledger.list_names(MANIFESTS):
            return self._is_published(ledger)
        ledger.put(path, content)
        return True

    def _is_published(self, ledger: LedgerFiles) -> bool:
        try:
            return self.read(ledger, self.name) == self
        except CannotRead:
            return False


def number_of(name: str) -> int:
    """The number in the name of a list's file; 0 for any other file."""
    digits = name.removesuffix(".json")
    return int(digits) if name.endswith(".json") and digits.isdecimal() and digits.isascii() else 0


def _digest_of(data: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in data.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
