"""The pages as HTML, with figures as text and everything escaped."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from spot_training.addresses import dag_page, run_page, task_page, training_page
from spot_training.compat import keeps_login_in_storage
from spot_training.domain.messages import NET_MEANING, PRICE_BASIS, counted, tests_line, times
from spot_training.domain.money import in_currency
from spot_training.domain.packages import needed_by
from spot_training.domain.parsing import in_words

from . import assets

if TYPE_CHECKING:
    from jinja2 import Environment

UNKNOWN = "unknown"
NOTHING = "–"


def render(template: str, /, **values: Any) -> str:
    """Render a template of this package."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    with needed_by("the page"):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "words": lambda seconds: NOTHING if seconds is None else in_words(seconds),
        "hours": hours,
        "usd": usd,
        "percent": percent,
        "moment": moment,
        "from_now": from_now,
        "since": since,
        "number": lambda value: f"{value:,}",
        "counted": counted,
        "tests_line": tests_line,
        "times": times,
        "plain": plain,
    }
    environment.globals |= {
        "asset": assets.url,
        "has_charts": assets.has_charts,
        "query": query,
        "price_basis": PRICE_BASIS,
        "net_meaning": NET_MEANING,
        "dag_page": dag_page,
        "run_page": run_page,
        "task_page": task_page,
        "training_page": training_page,
        "login_script": assets.LOGIN if keeps_login_in_storage() else None,
    }
    return environment


def hours(value: float | None) -> str:
    """Instance-hours, with a reasonable number of digits."""
    if value is None:
        return NOTHING
    return (
        f"{value:,.0f} h"
        if abs(value) >= 100
        else f"{value:,.1f} h"
        if abs(value) >= 10
        else f"{value:.2f} h"
    )


def usd(value: float | None, currency: str | None = None) -> str:
    """US dollars to the cent, or an amount in another currency."""
    return NOTHING if value is None else in_currency(value, currency).replace("-", "−")


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0f} %".replace("-", "−")


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return NOTHING if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def from_now(at: datetime, now: datetime) -> str:
    """How far a moment is away: `in 2 h`, `5 min ago`."""
    seconds = (at - now).total_seconds()
    return f"in {in_words(seconds)}" if seconds >= 0 else f"{in_words(-seconds)} ago"


def since(at: datetime, now: datetime) -> str:
    """For how long something lasts. Empty if another machine's clock is ahead."""
    seconds = (now - at).total_seconds()
    return f"for {in_words(seconds)}" if seconds >= 0 else ""


def query(**values: Any) -> str:
    """A query string of the values that are set."""
    return urlencode({name: str(value) for name, value in values.items() if value not in {None, ""}})


def plain(value: Any) -> Any:
    """Facts as JSON for the charts."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {str(name): plain(item) for name, item in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return plain(asdict(value))
        case _:
            return value
