"""The savings report: sums, sentences, and names nobody should trust."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.errors import InvalidInput
from spot_training.domain.lifecycle import Ending
from spot_training.domain.messages import NET_MEANING, PRICE_BASIS
from spot_training.domain.records import Price, RecordState
from spot_training.domain.savings import PurchaseOption
from spot_training.ledger import Ledger, Selection
from spot_training.report import (
    Links,
    Report,
    TrainingRecord,
    Window,
    headline,
    report_of,
    sentences,
    table,
    to_csv,
    to_html,
    to_jobs_csv,
    to_log,
    to_mail,
    to_text,
    totals_of,
)
from spot_training.report.bill import bill, remarks
from spot_training.report.charts import groups_svg, savings_svg, waits_svg
from spot_training.report.jobs import JOB_COLUMNS
from spot_training.sagemaker.identity import RunIdentity
from tests.dashboard.trainings import history, under_way
from tests.records import make_attempt

from .support import DONE, FAILED, LOST, NOW, T0, record_of


def _ledger(folder: Path, *records: TrainingRecord) -> Ledger:
    ledger = Ledger.at(folder)
    for record in records:
        ledger.write(record)
    return ledger


def _report(folder: Path, *records: TrainingRecord, title: str = "Savings", **asked: Any) -> Report:
    with _ledger(folder, *records).read() as reader:
        return report_of(reader, Selection(**asked), title=title, made_at=NOW)


def _csv(folder: Path, *records: TrainingRecord, **asked: Any) -> list[dict[str, str]]:
    with _ledger(folder, *records).read() as reader:
        return list(csv.DictReader(io.StringIO("".join(to_csv(reader, Selection(**asked))))))


# Sums and words ----------------------------------------------------------------------------------------


def test_sums_keep_failed_and_abandoned_costs_apart() -> None:
    summary = totals_of([DONE, FAILED, LOST])
    assert (summary.trainings, summary.completed, summary.failed) == (3, 2, 1)
    assert summary.billable_seconds == 2160 + 9000 + 2160
    assert summary.clean_run_seconds == 7200 + 7200
    assert summary.failed_billable_seconds == 2160
    assert summary.abandoned_billable_seconds == 9000
    assert summary.savings_percent == pytest.approx((1 - 13320 / 14400) * 100, abs=0.1)


def test_instances_multiply() -> None:
    summary = totals_of([record_of(make_attempt(instance_count=4))])
    assert (summary.billable_seconds, summary.clean_run_seconds) == (4 * 2160, 4 * 7200)


def test_unknown_stays_unknown() -> None:
    summary = totals_of([record_of(make_attempt(billable_seconds=None))])
    assert (summary.unknown, summary.savings_percent, summary.clean_run_seconds) == (1, None, 0)
    assert "The savings do not include 1 training for which AWS did not report enough" in remarks(summary)[0]


PRICE = Price(instance_type="ml.m5.xlarge", usd_per_hour=2.0, as_of=T0, source="a test")


def test_failed_and_abandoned_have_lines_of_their_own_and_the_account_adds_up() -> None:
    priced = [replace(record, prices=(PRICE,)) for record in (DONE, FAILED, LOST)]
    lines = {line.label: line.amount for line in bill(totals_of(priced))}
    assert lines == {
        "On demand without interruptions": "$8.00",
        "Billed for them, over all attempts": "$7.40",
        "of that, for abandoned attempts": "$5.00",
        "Saved": "$0.60",
        "Billed for failed trainings": "$1.20",
        "Saved net": "$0.60",
        "Billed in total": "$8.60",
    }


def test_without_a_price_the_account_is_in_instance_time() -> None:
    totals = totals_of([DONE, FAILED, LOST])
    lines = {line.label: line.amount for line in bill(totals)}
    assert lines["Billed for them, over all attempts"] == "3 h 42 min"
    assert lines["of that, for abandoned attempts"] == "2 h 30 min"
    assert "No price in dollars is known" in remarks(totals)[0]
    assert PRICE_BASIS not in remarks(totals)


def test_amounts_in_dollars_say_what_they_are_made_of() -> None:
    totals = totals_of([replace(DONE, prices=(PRICE,))])
    assert totals.has_dollars
    assert remarks(totals)[-1] == PRICE_BASIS
    assert PRICE_BASIS in to_log(totals)


def test_spot_that_lost_money_is_called_lost() -> None:
    lines = bill(totals_of([replace(LOST, prices=(PRICE,))]))
    (lost,) = [line for line in lines if line.kind == "lost"]
    assert (lost.label, lost.amount, lost.remark) == ("Lost net", "$2.20", "55 %")
    net, _, cost, _ = sentences(totals_of([LOST]))
    assert net == "Spot lost 1 h 6 min of instance time net, 55 % of what on-demand would have cost."
    assert "55 % more" in cost


def test_the_headline_has_what_spot_killed_as_a_cost_of_spot(tmp_path: Path) -> None:
    killed = record_of(
        make_attempt(ending=Ending.OUT_OF_WAIT), run_id="manual__3", state=RecordState.FAILED, prices=(PRICE,)
    )
    records = [replace(DONE, prices=(PRICE,)), killed]
    totals = totals_of(records)
    assert (totals.saved_usd, totals.spot_failed_usd, totals.net_saved_usd) == (2.8, 1.2, 1.6)
    assert headline(totals) == "Spot saved $1.60 net"
    assert sentences(totals)[0] == "Spot saved $1.60 net, 40 % of what on-demand would have cost."
    assert NET_MEANING in remarks(totals)
    lines = {line.label: line for line in bill(totals)}
    assert lines["of that, for spot attempts that ended because of spot"].amount == "$1.20"
    assert (lines["Saved net"].amount, lines["Saved net"].remark) == ("$1.60", "40 %")
    rows = _csv(tmp_path, *records)
    assert sum(float(row["net_saved_usd"] or 0) for row in rows) == pytest.approx(1.6)
    assert sum(float(row["spot_failed_usd"] or 0) for row in rows) == pytest.approx(1.2)
    assert "Spot saved $1.60 net" in to_html(_report(tmp_path))
    only_killed = totals_of([killed])
    assert sentences(only_killed)[0] == "Spot lost $1.20 net."


def test_nothing_to_compare_has_no_headline() -> None:
    assert headline(totals_of([])) == ""
    assert sentences(totals_of([FAILED]))[0].startswith("0 of 1 training completed")


def test_what_a_person_cleared_is_on_the_account() -> None:
    record = replace(DONE, prices=(PRICE,), replaced_usd=3.0, replaced_instance_seconds=5400)
    lines = {line.label: line.amount for line in bill(totals_of([record]))}
    assert lines["Billed for trainings that were cleared"] == "$3.00"
    assert lines["Billed in total"] == "$4.20"


def test_four_sentences_say_it_all() -> None:
    priced = [replace(record, prices=(PRICE,)) for record in (DONE, FAILED, LOST)]
    live = replace(under_way(), prices=(), attempts=())
    net, happened, cost, lost = sentences(totals_of([*priced, live]))
    assert net == "Spot saved $0.60 net, 7.5 % of what on-demand would have cost."
    assert happened == (
        "2 of 4 trainings completed, 1 failed, 1 running, in 5 attempts; spot never interrupted them."
    )
    assert cost == (
        "The completed trainings cost $7.40 instead of about $8.00, 7.5 % less: billed 3 h 42 min of "
        "instance time instead of about 4 h on demand."
    )
    assert lost == (
        "All trainings waited 5 h for capacity, at no cost; abandoned attempts cost $5.00, failed trainings "
        "$1.20."
    )


def test_no_training_is_a_report_too(tmp_path: Path) -> None:
    assert totals_of([]).savings_percent is None
    assert "No training started in this window." in to_html(_report(tmp_path))
    assert "0 of 0 trainings completed" in to_text([])
    assert "0 of 0 trainings completed" in to_log(totals_of([]))


def test_a_terminal_shows_every_attempt_and_the_total() -> None:
    text = to_text([DONE])
    assert "1  spot       ml.m5.xlarge  never got capacity  1 h" in text
    assert "2  spot       ml.m5.xlarge  completed           1 h" in text
    assert "total" in text
    assert "billed 36 min of instance time instead of about 2 h on demand: 70 % less" in text
    assert "local cloud" not in text
    local = to_text([replace(DONE, local_cloud="local cloud, clock x60"), DONE])
    assert local.endswith("1 training ran on a local cloud: its times and costs are simulated.")


# The window ---------------------------------------------------------------------------------------------


def test_a_window_of_days_holds_both() -> None:
    window = Window.of_days("2026-05-04", "2026-05-10")
    assert window.since == datetime(2026, 5, 4, tzinfo=UTC)
    assert window.until == datetime(2026, 5, 11, tzinfo=UTC)
    assert str(window) == "2026-05-04 to 2026-05-10"
    assert [
        str(Window.of_days(*days)) for days in (("2026-05-04", ""), (None, "2026-05-10"), ("", None))
    ] == [
        "since 2026-05-04",
        "until 2026-05-10",
        "all time",
    ]


@pytest.mark.parametrize("days", [("2026-05-10", "2026-05-04"), ("yesterday", None), (None, "31/12/2026")])
def test_days_that_are_none_are_refused(days: tuple[str | None, str | None]) -> None:
    with pytest.raises(InvalidInput, match="give"):
        Window.of_days(*days)


def test_weekly_reports_share_no_training_and_one_by_hand_has_the_newest() -> None:
    monday = datetime(2026, 5, 11, 0, 0, 5, tzinfo=UTC)
    one, next_ = (Window.last_days(7, before=monday + timedelta(days=7 * n), whole=True) for n in range(2))
    assert str(one) == "2026-05-04 to 2026-05-10"
    assert one.until == next_.since
    by_hand = Window.last_days(7, before=monday, whole=False)
    assert (by_hand.since, by_hand.until) == (one.since, None)


# HTML -----------------------------------------------------------------------------------------------------


def test_the_page_has_the_account_the_groups_and_the_dearest_trainings(tmp_path: Path) -> None:
    page = to_html(_report(tmp_path, *history(80, until=NOW, days=30), under_way()))
    for words in ("Costs", "Costs by group", "abandoned attempts", "Billed for failed trainings"):
        assert words in page
    assert page.count("<svg") == 2 * 3, "each chart also for a narrow screen"
    assert page.count("<details>") > 20
    assert 'class="detail"' in page
    assert re.findall(r"(?:src|href|url\()=?\s*[\"'(]?\s*(?:https?:)?//(?!www\.w3\.org)", page) == []


def test_the_groups_add_up_to_the_totals(tmp_path: Path) -> None:
    report = _report(tmp_path, *history(80, until=NOW, days=30))
    assert set(report.groups) == {"dag_id", "model", "instance_type", "team"}
    for by_name in report.groups.values():
        assert sum(totals.trainings for totals in by_name.values()) == report.totals.trainings
        assert sum(totals.failed_usd for totals in by_name.values()) == pytest.approx(
            report.totals.failed_usd
        )


def test_a_group_there_is_not_is_refused(tmp_path: Path) -> None:
    with _ledger(tmp_path).read() as reader, pytest.raises(InvalidInput, match="group_by is 'colour'"):
        report_of(reader, Selection(), title="", made_at=NOW, group_by=["colour"])


def test_a_chart_is_well_formed_and_fetches_nothing(tmp_path: Path) -> None:
    report = _report(tmp_path, *history(80, until=NOW, days=30))
    for svg in (savings_svg(report), groups_svg(report, "dag_id"), waits_svg(report)):
        root = ET.fromstring(svg)  # noqa: S314 - made by us
        assert root.tag.endswith("svg")
        assert 'href="' not in svg
        assert "var(--" in svg
        assert "aria-label" in svg


HOSTILE = [
    "<script>alert(1)</script>",
    "=HYPERLINK(0)",
    " =1+1",
    "|calc",
    "$\\frac{1}{2}$ $",
    "../../etc/passwd",
    '"><img src=x>',
    "{{ 7 * 7 }}",
    "naïve—run",
    "a\x01b",
]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "a":
            assert [attribute for attribute, _ in attrs] == ["href"]
            self.links += [value or "" for _, value in attrs]


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup_or_a_formula(tmp_path: Path, name: str) -> None:
    facts = {"run_id": name, "task_id": name, "model": name, "team": name, "instance_type": name}
    hostile = record_of(make_attempt(job_name=name, reason=name, instance_type=name), dag_id=name, **facts)
    page = to_html(_report(tmp_path, hostile, DONE, title=name))
    mail = to_mail(totals_of([hostile]), title=name, window=name, where=name)
    for markup in (page, mail):
        tags = _Tags()
        tags.feed(markup)
        assert not tags.tags & {"script", "img", "iframe", "a"}
    linked = _Tags()
    somewhere: dict[str, Any] = {
        "endpoint_url": "http://127.0.0.1:4566",
        "model_uri": name,
        "checkpoint_uri": name,
    }
    hostile = replace(hostile, **somewhere, local_cloud=name)
    linked.feed(to_html(_report(tmp_path / "linked", hostile), Links(airflow_url="https://airflow.example")))
    assert not linked.tags & {"script", "img", "iframe"}
    assert len(linked.links) > 4
    assert all(
        re.fullmatch(r"(https://airflow\.example|http://127\.0\.0\.1:4566)/[!-~]+", link)
        for link in linked.links
    )
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(svg)  # noqa: S314 - made by us
    rows = [row for row in _csv(tmp_path, hostile) if name in row["run_id"]]
    assert rows  # the ledger holds other records, too
    for row in rows:
        cells = [cell for column, cell in row.items() if column != "map_index"]
        assert not any(cell.lstrip(" ").startswith(("=", "+", "-", "@", "|")) for cell in cells)


# CSV ------------------------------------------------------------------------------------------------------


def test_the_csv_has_a_line_per_attempt_and_what_it_cost(tmp_path: Path) -> None:
    rows = _csv(tmp_path, replace(DONE, prices=(PRICE,)), FAILED, LOST)
    assert tuple(rows[0]) == table.CSV_COLUMNS
    mine = [row for row in rows if row["run_id"] == DONE.run_id]
    assert [(row["attempt"], row["ending"]) for row in mine] == [
        ("1", "never got capacity"),
        ("2", "completed"),
    ]
    assert [row["billed_usd"] for row in mine] == ["0.0", "1.2"]
    assert {row["state"] for row in rows if row["run_id"] == FAILED.run_id} == {"failed"}
    assert len(rows) == 5


def test_the_csv_of_jobs_has_what_the_cost_and_usage_report_joins_by(tmp_path: Path) -> None:
    who = RunIdentity(dag_id="retrain", run_id="scheduled__1", task_id="train", map_index=-1)
    name = who.job_name("model", 2)
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}"
    bought = make_attempt(
        number=2,
        job_name=name,
        job_arn=arn,
        purchase=PurchaseOption.ON_DEMAND,
        billable_seconds=5400,
        instance_count=2,
    )
    first = make_attempt(job_name=who.job_name("model", 1), ending=Ending.OUT_OF_WAIT)
    facts: dict[str, Any] = {
        "run_id": who.run_id,
        "prices": (PRICE,),
        "region": "us-east-1",
        "tags": {"team": "ads"},
    }
    made = record_of(first, bought, **facts)
    watched = record_of(bought, **{**facts, "run_id": "watching", "watches": name, "tags": {}})
    refused = record_of(make_attempt(job_name="", ending=Ending.QUOTA), run_id="refused")
    with _ledger(tmp_path, made, watched, refused).read() as reader:
        rows = list(csv.DictReader(io.StringIO("".join(to_jobs_csv(reader, Selection())))))
    assert tuple(rows[0]) == JOB_COLUMNS
    spot, on_demand = sorted(rows, key=lambda row: row["job_name"])
    assert (on_demand["job_arn"], on_demand["instance_hours"]) == (arn, "3.0")
    assert (on_demand["usage_type"], spot["usage_type"]) == ("Train:ml.m5.xlarge", "")
    assert on_demand["billed_usd"] == "6.0"
    made_with = {tag["Key"]: tag["Value"] for tag in who.tags(2)}
    assert {name: on_demand[name] for name in made_with if name in JOB_COLUMNS} == {
        name: value for name, value in made_with.items() if name in JOB_COLUMNS
    }
    assert json.loads(on_demand["tags"]) == {"team": "ads"}


def test_a_csv_of_many_pages_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "PAGE_TRAININGS", 7)
    records = [*history(40, until=NOW, days=30), under_way(), replace(DONE, began_at=None, run_id="no date")]
    rows = _csv(tmp_path, *records)
    shown = sorted((row["dag_id"], row["run_id"], int(row["attempt"])) for row in rows)
    assert shown == sorted((r.dag_id, r.run_id, a.number) for r in records for a in r.attempts)


def test_the_csv_keeps_to_the_window(tmp_path: Path) -> None:
    late = replace(DONE, run_id="late", began_at=T0 + timedelta(days=8))
    rows = _csv(tmp_path, DONE, late, since=T0 + timedelta(days=1))
    assert {row["run_id"] for row in rows} == {"late"}
