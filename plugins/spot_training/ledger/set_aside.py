"""Files of the ledger that are left out of a view: torn ones, and those that a newer version wrote.

They stay where they are, and nothing else is left out because of them. The view (`LedgerReader.set_aside`),
the page, reports and, once for each process, the log name each of them.
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

#: How many of these warnings a process remembers, so that it logs each once.
MOST_WARNINGS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SetAside:
    """A file below the ledger's root, and why it is left out.

    `is_newer`: a newer version of this package wrote it, and it is not damaged. `key` is the key of the
    record in the file. `has_many`: it has, or names, the records of many trainings, so sums may be wrong by
    much.
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

    def warn(self, root: str) -> None:
        """Log it, once."""
        warning = (root, self.path, self.why)
        if warning in _logged or len(_logged) >= MOST_WARNINGS:
            return
        _logged.add(warning)
        log.warning(
            "Ledger %s: %s. It stays where it is, and figures may be incomplete. Restore the file, or move "
            "it out of the ledger.",
            root,
            self,
        )


_logged: set[tuple[str, str, str]] = set()


class CannotRead(Exception):
    """A file that cannot be used. `trouble` says why."""

    def __init__(self, trouble: SetAside) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


def parse(
    path: str, content: bytes, read: Callable[[Any], T], *, key: str | None = None, has_many: bool = False
) -> T:
    """What `read` makes of a JSON file. Raises `CannotRead` if the file is torn, garbage or newer.

    Garbage may raise anything, in the JSON reader and in `read`.
    """
    try:
        return read(json.loads(content))
    except NewerFormat as error:
        trouble = SetAside(path=path, why=str(error), is_newer=True, key=key, has_many=has_many)
    except Exception as error:  # noqa: BLE001 - whatever it is, this file causes it
        trouble = SetAside(path=path, why=_in_short(error, content), key=key, has_many=has_many)
    raise CannotRead(trouble)


def _in_short(error: Exception, content: bytes) -> str:
    if not content.strip(b"\0 \r\n\t"):
        return f"it is empty ({len(content)} bytes)"
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:160]} ({len(content)} bytes)"
