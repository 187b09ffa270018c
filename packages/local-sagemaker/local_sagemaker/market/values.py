"""Checks the plain values of a market file. An error names the file, the key, the value and what to give
instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h|d)?$")
_JOB_NAMES = re.compile(r"[a-zA-Z0-9*?!\[\]-]+")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}


def about_job_names(pattern: str) -> str | None:
    """What is wrong with a pattern for names of training jobs; None if names can match it."""
    if _JOB_NAMES.fullmatch(pattern):
        return None
    return "give letters, digits and hyphens of job names, with *, ? and [...] as in a shell"


class MarketFileError(ValueError):
    """A market file that cannot be used. The text names the file, the key, the value and what to give
    instead.
    """


@dataclass(frozen=True, slots=True)
class Values:
    """`file` is what errors name. Each check returns the value, or raises `MarketFileError`."""

    file: str

    def complain(self, key: str, value: object, way_out: str, cause: Exception | None = None) -> NoReturn:
        raise MarketFileError(f"{self.file}: {key} is {value!r}: {way_out}.") from cause

    def mapping(
        self, where: str, content: Any, known: set[str], *, needed: set[str] | None = None
    ) -> Mapping[str, Any]:
        if not isinstance(content, dict):
            self.complain(where, content, f"give a mapping with {', '.join(sorted(known))}")
        mapping: Mapping[str, Any] = content
        for key in mapping:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]}?" if close else "this key is unknown."
                self.complain(
                    f"{where}.{key}", mapping[key], f"{hint} Known here: {', '.join(sorted(known))}"
                )
        for key in sorted((needed or set()) - set(mapping)):
            self.complain(where, dict(mapping), f"`{key}` is missing")
        return mapping

    def entries(self, where: str, content: Any) -> list[Any]:
        if not isinstance(content, list):
            self.complain(where, content, "give a list")
        return list(content)

    def duration(self, where: str, content: Any) -> float:
        match = None if isinstance(content, bool) else _DURATION.match(str(content))
        if not match:
            self.complain(where, content, "give a duration such as 90s, 90m, 2h or 1d")
        return float(match[1]) * _UNIT_SECONDS[match[2]]

    def integer(self, where: str, content: Any, *, at_least: int | None = None) -> int:
        if (
            not isinstance(content, int)
            or isinstance(content, bool)
            or (at_least is not None and content < at_least)
        ):
            least = "" if at_least is None else f" of at least {at_least}"
            self.complain(where, content, f"give a whole number{least}")
        return int(content)

    def ratio(self, where: str, content: Any) -> float:
        if isinstance(content, bool) or not isinstance(content, int | float) or not 0 < content <= 1:
            self.complain(where, content, "give spot price / on-demand price, above 0 and at most 1")
        return float(content)

    def boolean(self, where: str, content: Any) -> bool:
        if not isinstance(content, bool):
            self.complain(where, content, "give true or false")
        return bool(content)

    def one_of(self, where: str, content: Any, kinds: type[StrEnum]) -> StrEnum:
        try:
            return kinds(content)
        except ValueError as exc:
            self.complain(where, content, f"give one of: {', '.join(kinds)}", exc)
