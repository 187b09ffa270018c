"""Files of the ledger that are left out of a view: torn ones, and those that a newer version wrote.

They stay where they are, and nothing else is left out because of them. Each is named in the view
(`LedgerReader.set_aside`), on the page, in reports and, once for each process, in the log.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from spot_training.domain.errors import NewerFormat

log = logging.getLogger(__name__)

T = TypeVar("T")

#: So many different troubles a process remembers to have told.
MOST_TOLD = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SetAside:
    """A file below the ledger's root, and why it is left out.

    `is_newer`: a newer version of this package wrote it, and nothing is wrong with it. `key` is that of the
    record whose file it is. `has_many`: it holds, or names, the records of many trainings, so sums may be off
    by much.
    """

    path: str
    why: str
    is_newer: bool = False
    key: str | None = None
    has_many: bool = False

    def __str__(self) -> str:
        if self.is_newer:
            return f"{self.path}: {self.why}"
        return f"{self.path} cannot be read and is left out: {self.why}"

    def tell(self, root: str) -> None:
        """Say it in the log, once."""
        told = (root, self.path, self.why)
        if told in _told or len(_told) >= MOST_TOLD:
            return
        _told.add(told)
        log.warning(
            "Ledger %s: %s. It stays where it is, and figures may be incomplete. Restore the file, or move "
            "it out of the ledger.",
            root,
            self,
        )


_told: set[tuple[str, str, str]] = set()


class CannotRead(Exception):
    """A file that was read and is not used: `trouble` says why."""

    def __init__(self, trouble: SetAside) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


def parse(
    path: str, content: bytes, read: Callable[[Any], T], *, key: str | None = None, has_many: bool = False
) -> T:
    """What `read` makes of a JSON file. Raises `CannotRead` for what is torn, garbage or newer.

    Garbage may raise anything, in the JSON reader and behind it.
    """
    try:
        return read(json.loads(content))
    except NewerFormat as error:
        trouble = SetAside(path=path, why=str(error), is_newer=True, key=key, has_many=has_many)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this file's
        trouble = SetAside(path=path, why=_in_short(error, content), key=key, has_many=has_many)
    raise CannotRead(trouble)


def _in_short(error: Exception, content: bytes) -> str:
    if not content.strip(b"\0 \r\n\t"):
        return f"it is empty ({len(content)} bytes)"
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:160]} ({len(content)} bytes)"
