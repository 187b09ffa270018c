"""The report's charts as self-contained SVG: no script, no font, nothing to fetch.

Colours are CSS variables of the page, so a chart is light or dark with the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spot_training.domain.packages import needed_by
from spot_training.ledger.periods import Grain

from .bill import has_dollars, in_money, money

if TYPE_CHECKING:
    from .facts import Report

#: How many bars a readable chart has. The table has all of them.
MOST_BARS = 12
WIDTH = 930
_LABEL_WIDTH = 190
_PARTS = (
    ("billed", "var(--billed)"),
    ("saved", "var(--saved-bar)"),
    ("more than on demand", "var(--lost-bar)"),
    ("failed trainings", "var(--failed-bar)"),
)
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
        "labelLimit": _LABEL_WIDTH - 20,
    },
    "legend": {
        "labelColor": "var(--muted)",
        "labelFontSize": 12,
        "symbolType": "square",
        "orient": "top",
        "title": None,
    },
}


def savings_svg(report: Report) -> str:
    """What was billed and saved, day by day, week by week or month by month."""
    in_dollars = has_dollars(report.totals)
    rows = []
    for period in report.periods:
        billed, clean = (
            (period.billed_usd, period.clean_run_usd)
            if in_dollars
            else (period.billed_hours, period.clean_run_hours)
        )
        rows += _stack(period.starts_on.isoformat(), billed, clean, in_dollars=in_dollars)
    step = report.step
    units = {Grain.DAY: "utcyearmonthdate", Grain.WEEK: "utcyearweek", Grain.MONTH: "utcyearmonth"}
    return _svg(
        rows,
        {
            "width": WIDTH - 70,
            "height": 200,
            "mark": {"type": "bar", "binSpacing": 3, "cornerRadius": 1},
            "encoding": {
                "x": {
                    "field": "name",
                    "type": "temporal",
                    "timeUnit": units[step],
                    "title": None,
                    "axis": {
                        "grid": False,
                        "format": "%b %Y" if step is Grain.MONTH else "%-d %b",
                        "tickCount": 8,
                        "labelOverlap": True,
                    },
                },
                "y": _money_axis(in_dollars=in_dollars),
            },
        },
    )


def groups_svg(report: Report, group: str) -> str:
    """What each Dag (model, instance type, team) was billed and saved, the most expensive on top."""
    in_dollars = has_dollars(report.totals)
    rows = []
    for name, totals in list(report.groups[group].items())[:MOST_BARS]:
        label = f"no {group.removesuffix('_id').replace('_', ' ')}" if name is None else printable(name)
        rows += _stack(label, money(totals, "billed"), money(totals, "clean_run"), in_dollars=in_dollars)
        rows += [_bar(label, "failed trainings", money(totals, "failed"), 2, in_dollars=in_dollars)]
    return _svg(
        rows,
        {
            "width": WIDTH - _LABEL_WIDTH - 20,
            "height": {"step": 26},
            "mark": {"type": "bar", "cornerRadius": 1, "height": {"band": 0.62}},
            "encoding": {
                "y": {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": _plain_axis()},
                "x": _money_axis(in_dollars=in_dollars),
            },
        },
    )


def waits_svg(report: Report) -> str:
    """How long spot attempts waited for capacity, by instance type: mean hours per attempt."""
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
    return _svg(
        rows,
        {
            "width": WIDTH - _LABEL_WIDTH - 20,
            "height": {"step": 26},
            "mark": {"type": "bar", "cornerRadius": 1, "height": {"band": 0.62}},
            "encoding": {
                "y": {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": _plain_axis()},
                "x": {
                    "field": "value",
                    "type": "quantitative",
                    "title": "mean hours a spot attempt waited for capacity",
                    "axis": {"tickCount": 5, "domain": False, "ticks": False},
                },
            },
        },
        parts=(("waiting", "var(--waiting)"),),
    )


def _stack(name: str, billed: float, clean: float, *, in_dollars: bool) -> list[dict[str, Any]]:
    return [
        _bar(name, "billed", min(billed, clean), 0, in_dollars=in_dollars),
        _bar(name, "saved", max(clean - billed, 0.0), 1, in_dollars=in_dollars),
        _bar(name, "more than on demand", max(billed - clean, 0.0), 1, in_dollars=in_dollars),
    ]


def _bar(name: str, part: str, value: float, rank: int, *, in_dollars: bool) -> dict[str, Any]:
    words = in_money(value, in_dollars=in_dollars)
    return {
        "name": name,
        "part": part,
        "value": round(value, 4),
        "rank": rank,
        "label": f"{name}, {part}: {words}",
    }


def _money_axis(*, in_dollars: bool) -> dict[str, Any]:
    return {
        "field": "value",
        "type": "quantitative",
        "title": "US dollars" if in_dollars else "instance-hours",
        "axis": {"tickCount": 5, "domain": False, "ticks": False},
    }


def _plain_axis() -> dict[str, Any]:
    # A fixed width: the reader's font may be wider than the one that measured the names.
    width = {"minExtent": _LABEL_WIDTH, "maxExtent": _LABEL_WIDTH}
    return {**width, "domain": False, "ticks": False, "labelPadding": 8, "labelColor": "var(--fg)"}


def _svg(
    rows: Sequence[dict[str, Any]],
    chart: dict[str, Any],
    *,
    parts: Sequence[tuple[str, str]] = _PARTS,
) -> str:
    with needed_by("the report's charts"):
        import vl_convert

    shown = [(name, colour) for name, colour in parts if any(r["part"] == name and r["value"] for r in rows)]
    colour = {
        "field": "part",
        "scale": {"domain": [name for name, _ in shown], "range": [colour for _, colour in shown]},
        "legend": None if len(shown) < 2 else {},
    }
    encoding = {
        **chart["encoding"],
        "color": colour,
        "order": {"field": "rank"},
        "description": {"field": "label"},
    }
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
