"""The savings report: sums, sentences, and names nobody should trust."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import RecordState
from spot_training.domain.savings import Attempt, PurchaseOption
from spot_training.report import TrainingRecord, to_csv, to_html, to_text, totals_of
from spot_training.report.charts import timeline_svg
from spot_training.report.writing import CSV_COLUMNS

T0 = datetime(2026, 3, 2, 6, tzinfo=UTC)


def _attempt(**overrides: Any) -> Attempt:
    defaults: dict[str, Any] = {
        "number": 1,
        "rung": 0,
        "job_name": "job-1",
        "purchase": PurchaseOption.SPOT,
        "reason": "first of 3 rungs",
        "ending": Ending.COMPLETED,
        "created_at": T0,
        "started_at": T0 + timedelta(hours=1),
        "ended_at": T0 + timedelta(hours=3),
        "instance_type": "ml.m5.xlarge",
        "wait_seconds": 3600,
        "training_seconds": 7200,
        "billable_seconds": 2160,
        "work_seconds": 7000,
        "launch_seconds": 200,
        "has_checkpoints": True,
    }
    return Attempt(**{**defaults, **overrides})


def _never_started(**overrides: Any) -> Attempt:
    nothing = dict.fromkeys(("started_at", "work_seconds", "launch_seconds"))
    return _attempt(ending=Ending.NO_CAPACITY, training_seconds=0, billable_seconds=0, **nothing, **overrides)


def _record(*attempts: Attempt, run_id: str = "scheduled__2026-03-01", **overrides: Any) -> TrainingRecord:
    defaults: dict[str, Any] = {
        "dag_id": "retrain",
        "task_id": "train",
        "state": RecordState.COMPLETED,
        "began_at": T0,
    }
    return TrainingRecord(**{**defaults, **overrides}, run_id=run_id, attempts=attempts)


DONE = _record(_never_started(), _attempt(number=2))
FAILED = _record(_attempt(ending=Ending.ALGORITHM_ERROR), run_id="manual__1", state=RecordState.FAILED)
LOST = _record(
    _attempt(ending=Ending.OUT_OF_WAIT, has_checkpoints=False, billable_seconds=9000),
    _attempt(number=2, has_checkpoints=False),
    run_id="manual__2",
)


def test_sums_keep_failed_and_abandoned_costs_apart() -> None:
    summary = totals_of([DONE, FAILED, LOST])
    assert (summary.trainings, summary.completed, summary.failed) == (3, 2, 1)
    assert summary.billable_seconds == 2160 + 9000 + 2160
    assert summary.clean_run_seconds == 7200 + 7200
    assert summary.failed_billable_seconds == 2160
    assert summary.abandoned_billable_seconds == 9000
    assert summary.savings_percent == pytest.approx((1 - 13320 / 14400) * 100, abs=0.1)


def test_instances_multiply() -> None:
    summary = totals_of([_record(_attempt(instance_count=4))])
    assert (summary.billable_seconds, summary.clean_run_seconds) == (4 * 2160, 4 * 7200)


def test_unknown_stays_unknown() -> None:
    summary = totals_of([_record(_attempt(billable_seconds=None))])
    assert (summary.unknown, summary.savings_percent, summary.clean_run_seconds) == (1, None, 0)


def test_no_training_is_a_report_too() -> None:
    assert totals_of([]).savings_percent is None
    assert "No training has ended yet." in to_html([], title="Savings", made_at=T0)
    assert "0 of 0 trainings completed" in to_text([])


def test_a_terminal_shows_every_attempt_and_the_total() -> None:
    text = to_text([DONE])
    assert "1  spot       ml.m5.xlarge  never got capacity  1 h" in text
    assert "2  spot       ml.m5.xlarge  completed           1 h" in text
    assert "total" in text
    assert "billed 36 min of instance time instead of about 2 h on demand: 70 % less" in text


def test_the_csv_has_a_line_per_attempt() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([DONE, FAILED]))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["ending"] for row in rows] == ["never got capacity", "completed", "algorithm error"]


HOSTILE = [
    "<script>alert(1)</script>",
    "=HYPERLINK(0)",
    "$\\frac{1}{2}$ $",
    "../../etc/passwd",
    '"><img src=x>',
    "naïve—run",
    "a\x01b",
]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.tags.add(tag)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup_or_a_formula(name: str) -> None:
    record = _record(_attempt(job_name=name, reason=name, instance_type=name), run_id=name, dag_id=name)
    page = to_html([record], title=name, made_at=T0)
    tags = _Tags()
    tags.feed(page)
    assert not tags.tags & {"script", "img", "iframe", "a"}
    cells = next(iter(list(csv.reader(io.StringIO(to_csv([record]))))[1:]))
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def test_a_chart_is_well_formed_and_fetches_nothing() -> None:
    svg = timeline_svg([DONE, FAILED, LOST])
    root = ET.fromstring(svg)  # noqa: S314 - made by us
    assert root.tag.endswith("svg")
    assert 'href="http' not in svg
    assert timeline_svg([DONE]) == timeline_svg([DONE])
