"""The report as an HTML page, as a mail, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spot_training.domain.messages import counted, simulated_line
from spot_training.domain.money import in_currency
from spot_training.domain.packages import needed_by
from spot_training.domain.parsing import in_words
from spot_training.domain.records import RecordState, Totals, TrainingRecord, totals_of

from .bill import bill, has_dollars, in_money, money, remarks, sentences
from .charts import NARROW, WIDTH, groups_svg, printable, savings_svg, waits_svg
from .facts import GROUPS, MOST_GROUPS
from .links import Links

if TYPE_CHECKING:
    from jinja2 import Environment

    from spot_training.domain.savings import Attempt

    from .facts import Report

NOTHING = "–"
#: A report that says nothing of Airflow's address.
NO_LINKS = Links()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    title: str
    about: str
    svg: Any
    narrow_svg: Any


def to_html(report: Report, links: Links = NO_LINKS) -> str:
    """A self-contained page, light or dark as the reader prefers. Everything is escaped.

    `links` say where Airflow is; see `Links.configured`.
    """
    return _render(
        "report.html.j2",
        report=report,
        links=links,
        sentences=sentences(report.totals),
        lines=bill(report.totals),
        remarks=remarks(report.totals),
        charts=_charts(report) if report.totals.trainings else [],
        headings=GROUPS,
        most_groups=MOST_GROUPS,
    )


def to_mail(totals: Totals, *, title: str, window: str, where: str, simulated: int = 0) -> str:
    """The body of a mail: the sentences and the costs. `where` says where the report is.

    `simulated` is how many of the trainings ran on a local SageMaker.
    """
    return _render(
        "mail.html.j2",
        title=title,
        window=window,
        where=where,
        sentences=_with_mark(sentences(totals), simulated),
        lines=bill(totals),
        remarks=remarks(totals),
    )


def _render(template: str, /, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    with needed_by("the report"):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "words": lambda seconds: "unknown" if seconds is None else in_words(seconds),
        "percent": lambda value: NOTHING if value is None else f"{value:.0f} %".replace("-", "−"),
        "amount": _amount,
        "cost": _cost,
        "story": _story,
        "printable": printable,
        "counted": counted,
        "simulated_line": simulated_line,
    }
    return environment


def _amount(totals: Totals, name: str, whole: Totals) -> str:
    """A group's sum in the unit of the whole report. Zero is a dash, so that other values stand out."""
    if not has_dollars(whole):
        return in_money(money(totals, name), in_dollars=False) if money(totals, name) else NOTHING
    usd = float(getattr(totals, f"{name}_usd"))
    return in_money(usd, in_dollars=True) if usd else NOTHING


def _cost(record: TrainingRecord, whole: Totals) -> str:
    statement, amounts = record.statement, record.amounts
    if amounts and amounts.billed is not None:
        return in_currency(amounts.billed, amounts.currency)
    if not has_dollars(whole):
        seconds = statement.billable_instance_seconds
        return "unknown" if seconds is None else in_words(seconds)
    return "unknown" if statement.billed_usd is None else in_money(statement.billed_usd, in_dollars=True)


def _story(record: TrainingRecord) -> str:
    """`spot never got capacity, then on-demand completed`: the endings of a training in one line."""
    if not record.attempts:
        return "running" if record.state is RecordState.RUNNING else "no attempt"
    endings = [f"{attempt.purchase} {attempt.ending}" for attempt in record.attempts]
    if len(endings) > 3:
        endings = [endings[0], f"{len(endings) - 2} more", endings[-1]]
    story = ", then ".join(endings)
    return f"{story}, then another is running" if record.state is RecordState.RUNNING else story


def _charts(report: Report) -> list[_Chart]:
    from markupsafe import Markup

    def chart(title: str, about: str, draw: Callable[..., str]) -> _Chart:
        # Text in a chart must not shrink with the screen, so there is a second one for narrow screens.
        wide, narrow = (Markup(draw(width=width)) for width in (WIDTH, NARROW))  # noqa: S704 - Vega escapes
        return _Chart(title=title, about=about, svg=wide, narrow_svg=narrow)

    drawn = []
    if len(report.periods) > 1:
        about = (
            "What completed trainings were billed, and how much more on-demand without interruptions "
            f"would have cost, by {report.step} (UTC)."
        )
        drawn.append(chart("Savings over time", about, partial(savings_svg, report)))
    group = next((name for name, by_name in report.groups.items() if len(by_name) > 1), None)
    if group is not None:
        heading = GROUPS[group] if group == "dag_id" else GROUPS[group].lower()
        about = "The most expensive on top. The cost of failed trainings is in addition to what was billed."
        drawn.append(chart(f"By {heading}", about, partial(groups_svg, report, group)))
    if any(row.wait_seconds for row in report.waits):
        about = (
            "Waiting costs time, but no money. The average over all spot attempts, including interruptions."
        )
        drawn.append(chart("Waits by instance type", about, partial(waits_svg, report)))
    return drawn


# Text ------------------------------------------------------------------------------------------------


def to_text(records: Sequence[TrainingRecord]) -> str:
    """A table for each training, and the sentences, for a terminal."""
    lines: list[str] = []
    for record in records:
        lines += [f"{record.dag_id} {record.run_id} ({record.state})", *_text_table(record), ""]
    simulated = sum(bool(record.local_cloud) for record in records)
    return "\n".join([*lines, *_with_mark(sentences(totals_of(records)), simulated)])


def _with_mark(lines: Sequence[str], simulated: int) -> list[str]:
    return [*lines, *filter(None, [simulated_line(simulated)])]


def to_log(totals: Totals, *, simulated: int = 0) -> str:
    """The sentences and the costs, for a task log. `simulated` as in `to_mail`."""
    lines = bill(totals)
    labels = [f"  {line.label}" if line.kind == "part" else line.label for line in lines]
    wide = max(len(label) for label in labels)
    high = max(len(line.amount) for line in lines)
    table = [
        f"  {label.ljust(wide)}  {line.amount.rjust(high)}  {line.remark}".rstrip()
        for label, line in zip(labels, lines, strict=True)
    ]
    return "\n".join([*_with_mark(sentences(totals), simulated), "", *table, *remarks(totals)])


_HEADINGS = ("#", "bought as", "instance", "ending", "waited", "interrupted", "trained", "billed", "saved")


def _text_table(record: TrainingRecord) -> list[str]:
    statement = record.statement
    rows = [_HEADINGS, *(_text_row(attempt) for attempt in record.attempts)]
    rows.append(
        (
            "",
            "total",
            "",
            "",
            in_words(statement.wait_seconds),
            str(statement.interruptions),
            _seconds(statement.training_seconds),
            _seconds(statement.billable_seconds),
            _percent(statement.savings_percent),
        )
    )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
    lines = [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    rule = _aligned(["-" * width for width in widths], widths)
    why = [f"  {attempt.number}: {attempt.reason}" for attempt in record.attempts]
    return [lines[0], rule, *lines[1:-1], rule, lines[-1], *why]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"  {'  '.join(padded)}".rstrip()


def _text_row(attempt: Attempt) -> tuple[str, ...]:
    return (
        str(attempt.number),
        str(attempt.purchase),
        attempt.instance_type or "",
        str(attempt.ending),
        in_words(attempt.wait_seconds),
        str(attempt.interruptions),
        _seconds(attempt.training_seconds),
        _seconds(attempt.billable_seconds),
        _percent(attempt.shown_savings_percent),
    )


def _seconds(value: int | None) -> str:
    return "unknown" if value is None else f"{value} s"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:g} %"
