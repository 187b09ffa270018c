"""Which Parquet files hold the merged records: one numbered list, replaced as a whole.

    manifests/<number>.json    {"files": [{"path": "months/2026-03/<id>.parquet", "rows": 812}, ...]}

The highest number counts. A list is created once and never changed, so of two compactions that start from the
same list only one can publish the next, and a reader has all of it or the one before. Across the files of one
list every key is there once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import Ledger

MANIFESTS, MONTHS = "manifests", "months"
_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedFile:
    """One Parquet file: its path below the ledger's root, and how many records it holds."""

    path: str
    rows: int

    @property
    def month(self) -> str:
        return self.path.split("/")[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A list of merged files. Number 0 is the empty list that nobody has to write."""

    number: int = 0
    files: tuple[MergedFile, ...] = ()

    @property
    def paths(self) -> list[str]:
        return [file.path for file in self.files]

    @classmethod
    def newest(cls, ledger: Ledger) -> Manifest:
        """The list that counts now."""
        for name in sorted(ledger.list_names(MANIFESTS), reverse=True):
            if (manifest := cls.read(ledger, name)) is not None:
                return manifest
        return cls()

    @classmethod
    def read(cls, ledger: Ledger, name: str) -> Manifest | None:
        """The list of that file name; None when it is gone, or only half written."""
        path = ledger.path(MANIFESTS, name)
        content = ledger.fetch([path]).get(path)
        try:
            return None if content is None else cls._of(int(name.removesuffix(".json")), json.loads(content))
        except (ValueError, KeyError, TypeError):
            return None

    @classmethod
    def _of(cls, number: int, data: Mapping[str, Any]) -> Manifest:
        return cls(number=number, files=tuple(MergedFile(**file) for file in data["files"]))

    def publish(self, ledger: Ledger, *, made_at: datetime) -> bool:
        """Make this the list that counts. False when somebody else's of that number does.

        A retried request whose first answer was lost finds our own list there: then it is published.
        """
        files = [{"path": file.path, "rows": file.rows} for file in self.files]
        content = json.dumps({"files": files, "made_at": made_at.isoformat()}).encode()
        name = f"{self.number:0{_DIGITS}}.json"
        return ledger.create(ledger.path(MANIFESTS, name), content) or self.read(ledger, name) == self
