"""How the commands print: tables for people, JSON for scripts, and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from spot_training.domain.errors import SpotTrainingError
from spot_training.domain.money import in_currency

NOTHING = "-"


def run(work: Callable[[], int]) -> int:
    """The exit status of a command: its own, or 1 with the error on stderr."""
    try:
        return work()
    except (SpotTrainingError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def print_json(facts: Any) -> None:
    print(json.dumps(facts, indent=2, ensure_ascii=False))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest value."""
    for line in table_lines(titles, rows):
        print(line)


def table_lines(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    clean = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *clean, strict=True)]
    for row in (titles, *clean):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _printable(text: str) -> str:
    """Names are what people typed: no control characters in a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def moment(text: str | None) -> str:
    """A moment of the API, in UTC to the minute."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M}" if text else NOTHING


def cost(
    usd: float | None,
    hours: float | None,
    *,
    is_estimate: bool = False,
    other: float | None = None,
    currency: str | None = None,
) -> str:
    """Dollars, or `other` in its currency, if prices are known, else instance-hours at on-demand's price."""
    if not hours and not usd:
        return NOTHING
    amount = other if currency else usd
    known = f"{hours:,.2f} h" if amount is None else in_currency(amount, currency)
    return f"<= {known}" if is_estimate else known
