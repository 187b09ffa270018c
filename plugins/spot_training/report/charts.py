"""The report's charts as self-contained SVG: no script, no font, nothing to fetch.

Colours are CSS variables of the page, so a chart is light or dark with the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.domain.packages import needed_by
from spot_training.ledger.periods import Grain

from .bill import has_dollars, in_money, money

if TYPE_CHECKING:
    from .facts import Report

#: How many bars a readable chart has. The table has all of them.
MOST_BARS = 12
WIDTH = 930
#: For a phone.
NARROW = 330
#: A bar over time is never wider than this part of the chart, however few there are.
LEAST_STEPS = 8
_PARTS = (
    ("billed", "var(--billed)"),
    ("saved", "var(--saved-bar)"),
    ("more than on demand", "var(--lost-bar)"),
    ("failed trainings", "var(--failed-bar)"),
)
_AXIS = {"tickCount": 5, "domain": False, "ticks": False, "labelOverlap": True, "labelSeparation": 8}
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "padding": 2,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--grid)",
        "domainColor": "var(--border)",
        "tickColor": "var(--border)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": "var(--muted)",
        "labelFontSize": 12,
        "symbolType": "square",
        "orient": "top",
        "title": None,
    },
}


def _label_width(width: int) -> int:
    """The room for names in a chart."""
    return 190 if width >= WIDTH else 140


def savings_svg(report: Report, *, width: int = WIDTH) -> str:
    """What was billed and saved, day by day, week by week or month by month."""
    in_dollars = has_dollars(report.totals)
    rows, step = [], report.step
    for period in report.periods:
        billed, clean = (
            (period.billed_usd, period.clean_run_usd)
            if in_dollars
            else (period.billed_hours, period.clean_run_hours)
        )
        until = after(period.starts_on, step).isoformat()
        bars = _stack(period.starts_on.isoformat(), billed, clean, in_dollars=in_dollars)
        rows += [{**bar, "until": until} for bar in bars]
    days = _steps([period.starts_on for period in report.periods], step)
    values = [{"year": day.year, "month": day.month, "date": day.day, "utc": True} for day in days]
    return _svg(
        rows,
        {
            "width": width - 70,
            "height": 200,
            "mark": {"type": "rect", "x2Offset": -2, "cornerRadius": 1},
            "encoding": {
                "x": {
                    "field": "name",
                    "type": "temporal",
                    "title": "UTC",
                    "scale": {"type": "utc", "domain": [values[0], values[-1]], "nice": False},
                    "axis": {
                        "grid": False,
                        "domain": True,
                        "ticks": True,
                        "labels": True,
                        "format": "%b %Y" if step is Grain.MONTH else "%-d %b",
                        "values": values,
                        "labelOverlap": True,
                    },
                },
                "x2": {"field": "until"},
                "y": _money_axis(in_dollars=in_dollars, field="start"),
                "y2": {"field": "end"},
            },
        },
        width=width,
    )


def after(day: date, step: Grain, count: int = 1) -> date:
    """The first day of the period that is `count` periods later."""
    if step is not Grain.MONTH:
        return day + timedelta(days=count * (7 if step is Grain.WEEK else 1))
    months = day.year * 12 + day.month - 1 + count
    return date(months // 12, months % 12 + 1, 1)


def _steps(days: Sequence[date], step: Grain) -> list[date]:
    """The first days of all periods of a chart, and the day after the last period."""
    found = [min(days)]
    while found[-1] <= max(days):
        found.append(after(found[-1], step))
    while len(found) <= LEAST_STEPS:
        found.append(after(found[-1], step))
        if len(found) <= LEAST_STEPS:
            found.insert(0, after(found[0], step, -1))
    return found


def groups_svg(report: Report, group: str, *, width: int = WIDTH) -> str:
    """What each Dag (model, instance type, team) was billed and saved, the most expensive on top."""
    in_dollars = has_dollars(report.totals)
    rows = []
    for name, totals in list(report.groups[group].items())[:MOST_BARS]:
        label = f"no {group.removesuffix('_id').replace('_', ' ')}" if name is None else printable(name)
        rows += _stack(label, money(totals, "billed"), money(totals, "clean_run"), in_dollars=in_dollars)
        rows += [_bar(label, "failed trainings", money(totals, "failed"), 2, in_dollars=in_dollars)]
    return _bars_svg(rows, _money_axis(in_dollars=in_dollars), width=width)


def waits_svg(report: Report, *, width: int = WIDTH) -> str:
    """How long spot attempts waited for capacity, by instance type: average hours per attempt."""
    rows = [
        {
            "name": printable(row.instance_type),
            "value": round(row.wait_seconds / 3600, 3),
            "part": "waiting",
            "rank": 0,
            "label": f"{printable(row.instance_type)}: {in_money(row.wait_seconds / 3600, in_dollars=False)}",
        }
        for row in report.waits[:MOST_BARS]
    ]
    hours = {
        "field": "value",
        "type": "quantitative",
        "title": "average hours",
        "axis": {
            "tickCount": 5,
            "domain": False,
            "ticks": False,
            "labelOverlap": True,
            "labelSeparation": 8,
        },
    }
    return _bars_svg(rows, hours, width=width, parts=(("waiting", "var(--waiting)"),))


def _bars_svg(rows: Sequence[dict[str, Any]], amounts: dict[str, Any], *, width: int, **options: Any) -> str:
    """A bar for each name, in the order of the rows."""
    names = {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": _plain_axis(width)}
    return _svg(
        rows,
        {
            "width": width - _label_width(width) - 20,
            "height": {"step": 26},
            "mark": {"type": "bar", "cornerRadius": 1, "height": {"band": 0.62}},
            "encoding": {"y": names, "x": amounts},
        },
        width=width,
        **options,
    )


def _stack(name: str, billed: float, clean: float, *, in_dollars: bool) -> list[dict[str, Any]]:
    return [
        _bar(name, "billed", min(billed, clean), 0, in_dollars=in_dollars),
        _bar(name, "saved", max(clean - billed, 0.0), 1, start=billed, in_dollars=in_dollars),
        _bar(name, "more than on demand", max(billed - clean, 0.0), 1, start=clean, in_dollars=in_dollars),
    ]


def _bar(
    name: str, part: str, value: float, rank: int, *, start: float = 0.0, in_dollars: bool
) -> dict[str, Any]:
    words = in_money(value, in_dollars=in_dollars)
    return {
        "name": name,
        "part": part,
        "value": round(value, 4),
        "start": round(start, 4),
        "end": round(start + value, 4),
        "rank": rank,
        "label": f"{name}, {part}: {words}",
    }


def _money_axis(*, in_dollars: bool, field: str = "value") -> dict[str, Any]:
    return {
        "field": field,
        "type": "quantitative",
        "title": "US dollars" if in_dollars else "instance-hours",
        "axis": _AXIS,
    }


def _plain_axis(width: int) -> dict[str, Any]:
    # A fixed width: the reader's font may be wider than the one that measured the names.
    label = _label_width(width)
    room = {"minExtent": label, "maxExtent": label, "labelLimit": label - 10}
    return {**room, "domain": False, "ticks": False, "labelPadding": 8, "labelColor": "var(--fg)"}


def _svg(
    rows: Sequence[dict[str, Any]],
    chart: dict[str, Any],
    *,
    width: int,
    parts: Sequence[tuple[str, str]] = _PARTS,
) -> str:
    with needed_by("the report's charts"):
        import vl_convert

    shown = [(name, colour) for name, colour in parts if any(r["part"] == name and r["value"] for r in rows)]
    colour = {
        "field": "part",
        "scale": {"domain": [name for name, _ in shown], "range": [colour for _, colour in shown]},
        "legend": None if len(shown) < 2 else {"columns": 0 if width >= WIDTH else 2},
    }
    encoding = {
        **chart["encoding"],
        "color": colour,
        "description": {"field": "label"},
    }
    if chart["mark"]["type"] == "bar":
        encoding["order"] = {"field": "rank"}
    kept = {name for name, _ in shown}
    spec = {
        **chart,
        "config": _CONFIG,
        "data": {"values": [row for row in rows if row["part"] in kept]},
        "encoding": encoding,
    }
    svg: str = vl_convert.vegalite_to_svg(spec)
    return svg


def printable(text: str) -> str:
    """A name without invisible characters. XML cannot contain control characters, so they are replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
