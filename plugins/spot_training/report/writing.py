"""The report as HTML a manager reads, CSV a spreadsheet reads, and text a terminal shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spot_training.domain.durations import in_words
from spot_training.domain.records import Totals, TrainingRecord, totals_of
from spot_training.domain.wording import counted, times

if TYPE_CHECKING:
    from spot_training.domain.savings import Attempt

CSV_COLUMNS = (
    "dag_id",
    "run_id",
    "task_id",
    "state",
    "attempt",
    "job_name",
    "purchase",
    "instance_type",
    "instance_count",
    "ending",
    "created_at",
    "started_at",
    "ended_at",
    "max_wait_seconds",
    "wait_seconds",
    "interruptions",
    "training_seconds",
    "billable_seconds",
    "savings_percent",
    "reason",
)


def to_csv(records: Sequence[TrainingRecord]) -> str:
    """One line per attempt, columns as in `CSV_COLUMNS`; unknown is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(CSV_COLUMNS)
    for record in records:
        for attempt in record.attempts:
            writer.writerow([_safe_cell(value) for value in _csv_row(record, attempt)])
    return buffer.getvalue()


def _csv_row(record: TrainingRecord, attempt: Attempt) -> list[Any]:
    values = {
        **attempt.to_json(),
        "dag_id": record.dag_id,
        "run_id": record.run_id,
        "task_id": record.task_id,
        "state": record.state,
        "attempt": attempt.number,
    }
    return [values[column] for column in CSV_COLUMNS]


def _safe_cell(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula is written as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def to_html(records: Sequence[TrainingRecord], *, title: str, made_at: datetime) -> str:
    """A page that stands by itself: sentences, charts, a table per training. Everything is escaped."""
    from jinja2 import Environment
    from markupsafe import Markup

    from .charts import cost_svg, timeline_svg

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["words"] = lambda seconds: "unknown" if seconds is None else in_words(seconds)
    template = environment.from_string((Path(__file__).parent / "report.html.j2").read_text())
    compared = [r for r in records if r.statement.savings_percent is not None]
    return template.render(
        title=title,
        made_at=made_at,
        sentences=sentences(totals_of(records)),
        records=sorted(records, key=lambda r: str(r.began_at), reverse=True),
        timeline=Markup(timeline_svg(records)) if records else "",  # noqa: S704 - matplotlib escapes its text
        cost=Markup(cost_svg(records)) if compared else "",  # noqa: S704
    )


def sentences(summary: Totals) -> list[str]:
    """What a person who pays wants to know first, in plain words."""
    taken_away = (
        f"spot took instances away {times(summary.interruptions)}"
        if summary.interruptions
        else "spot never took an instance away"
    )
    trainings = counted(summary.trainings, "training")
    attempts = counted(summary.attempts, "attempt")
    told = [f"{summary.completed} of {trainings} completed, in {attempts}; {taken_away}."]
    if summary.savings_percent is not None:
        verb = "less" if summary.savings_percent >= 0 else "more"
        told.append(
            f"They were billed {in_words(summary.billable_seconds)} of instance time instead of about "
            f"{in_words(summary.clean_run_seconds)} on demand: {abs(summary.savings_percent):g} % {verb}."
        )
    told.append(
        f"They waited {in_words(summary.wait_seconds)} for capacity, which costs nothing; abandoned attempts "
        f"cost {in_words(summary.abandoned_billable_seconds)} of billed time, failed trainings "
        f"{in_words(summary.failed_billable_seconds)}."
    )
    if summary.unknown:
        told.append(f"For {counted(summary.unknown, 'training')} AWS did not say enough to know the savings.")
    return told


def to_text(records: Sequence[TrainingRecord]) -> str:
    """A table per training, and the sentences, for a terminal or a task log."""
    lines: list[str] = []
    for record in records:
        lines += [f"{record.dag_id} {record.run_id} ({record.state})", *_text_table(record), ""]
    return "\n".join([*lines, *sentences(totals_of(records))])


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
        _percent(attempt.savings_percent),
    )


def _seconds(value: int | None) -> str:
    return "unknown" if value is None else f"{value} s"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:g} %"
