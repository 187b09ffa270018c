"""Prices that are not in dollars: amounts of their own, in no sum of dollars and no budget."""

from __future__ import annotations

import csv
import io
import json
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.connections import AwsAccess
from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import (
    FORMAT_WITH_CURRENCIES,
    RecordState,
    Totals,
    TrainingRecord,
    totals_of,
)
from spot_training.ledger import Ledger, Selection
from spot_training.ledger.compaction import compact
from spot_training.ledger.prices import PriceBook, PricesFileError
from spot_training.report.facts import report_of
from spot_training.report.table import to_csv
from spot_training.report.training import TrainingReport
from spot_training.report.writing import to_html, to_log
from spot_training.task.on_demand_cost import AskedPrices
from spot_training.training.record_memory import Memory
from tests.records import PRICE, T0, make_attempt, make_record

YUAN = replace(PRICE, usd_per_hour=2.10, currency="CNY")


def _price(tmp_path: Path, entry: str) -> Any:
    file = tmp_path / "prices.yaml"
    file.write_text(f"cn-north-1:\n  ml.m5.xlarge: {entry}\n")
    book = PriceBook(ledger=Ledger.at(tmp_path / "ledger"), open_price_list=lambda _: None, file=file)  # type: ignore[arg-type,return-value]
    return book.price_of("cn-north-1", "ml.m5.xlarge")


def test_a_prices_file_may_name_a_currency(tmp_path: Path) -> None:
    price = _price(tmp_path, "{per_hour: 2.10, currency: CNY}")
    assert (price.usd_per_hour, price.currency, price.is_usd) == (2.10, "CNY", False)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{per_hour: 2.1}", "give usd_per_hour, or per_hour and its currency"),
        ("{usd_per_hour: 2.1, currency: CNY}", "give usd_per_hour, or per_hour and its currency"),
        ("{usd_per_hour: 2.1, per_hour: 1, currency: CNY}", "give usd_per_hour, or per_hour"),
        ("{per_hour: 2.1, currency: yuan}", "give a code such as CNY"),
        ("{per_hour: 2.1, currency: USD}", "give a code such as CNY"),
        ("{per_hour: 0, currency: CNY}", "give per_hour in CNY per hour, above 0"),
    ],
)
def test_an_amount_and_its_currency_belong_together(tmp_path: Path, entry: str, said: str) -> None:
    with pytest.raises(PricesFileError, match=said):
        _price(tmp_path, entry)


def test_a_record_in_dollars_says_nothing_of_a_currency() -> None:
    data = make_record().to_json()
    assert "currency" not in data["prices"][0]
    assert data["format"] == 2


def test_a_record_with_another_currency_is_refused_by_earlier_versions_and_keeps_it() -> None:
    record = make_record(prices=(YUAN,))
    data = json.loads(json.dumps(record.to_json()))
    assert data["format"] == FORMAT_WITH_CURRENCIES
    assert data["prices"][0]["currency"] == "CNY"
    assert data["billed_usd"] is data["saved_usd"] is data["attempts"][0]["billed_usd"] is None
    assert (data["currency"], data["billed_in_currency"], data["clean_run_in_currency"]) == ("CNY", 1.26, 4.2)
    assert data["saved_in_currency"] == pytest.approx(2.94)
    assert TrainingRecord.from_json(data) == record


def test_what_a_task_remembers_of_such_prices_is_refused_by_earlier_versions() -> None:
    assert Memory(prices=(PRICE,)).to_json()["format"] == 2
    memory = Memory(prices=(YUAN,))
    assert memory.to_json()["format"] == FORMAT_WITH_CURRENCIES
    assert Memory.from_json(memory.to_json()) == memory


def test_prices_in_several_currencies_make_no_amount() -> None:
    other = replace(YUAN, instance_type="ml.g5.xlarge", currency="EUR")
    for prices in ((YUAN, other), (YUAN, replace(PRICE, instance_type="ml.g5.xlarge"))):
        record = make_record(prices=prices)
        assert record.amounts is None
        assert "currency" not in record.to_json()


def test_chinas_price_list_is_in_yuan_and_kept_so(ledger: Ledger, tmp_path: Path) -> None:
    class InYuan:
        def price_per_hour(self, **_which: str) -> tuple[float, str]:
            return 2.10, "CNY"

    def ask() -> Any:
        book = PriceBook(ledger=ledger, open_price_list=lambda _region: InYuan(), now=lambda: T0)
        return book.price_of("cn-north-1", "ml.m5.xlarge")

    first = ask()
    assert (first.usd_per_hour, first.currency, first.is_usd) == (2.10, "CNY", False)
    assert ask() == first
    kept = json.loads((tmp_path / "ledger" / "prices" / "cn-north-1" / "ml.m5.xlarge.json").read_text())
    assert kept["usd_per_hour"] is None, "an earlier version would take it for dollars"


def test_sums_have_dollars_only_before_and_after_merging(ledger: Ledger) -> None:
    failed = make_attempt(ending=Ending.OUT_OF_WAIT)
    not_told = make_attempt(billable_seconds=None)
    records = [
        make_record(run_id="1"),
        make_record(run_id="2", prices=(YUAN,)),
        make_record(run_id="3", prices=(YUAN,), attempts=(failed,), state=RecordState.FAILED),
        make_record(run_id="4", prices=(YUAN,), attempts=(not_told,)),
        make_record(run_id="5", prices=(YUAN,), attempts=(), state=RecordState.RUNNING),
    ]
    for record in records:
        ledger.write(record)
    for _ in range(2):
        with ledger.read() as reader:
            assert sorted(reader.records(), key=lambda record: record.run_id) == records
            totals = reader.totals()
        assert totals == totals_of(records)
        assert totals.trainings == 5
        assert totals.billed_usd == totals_of(records[:1]).billed_usd > 0
        assert Totals.from_json(json.loads(json.dumps(totals.to_json()))) == totals
        (other,) = totals.currencies
        assert str(other) == (
            "In CNY: 2 trainings were billed CNY 2.52 (the cost of 1 more is not known); "
            "completed trainings cost CNY 1.26 instead of CNY 4.20 on demand, 70 % less."
        )
        compact(ledger, settled_after=timedelta(0))


def test_records_from_before_there_were_columns_for_it_have_their_currency(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first records of format 4 have the currency in their prices alone."""
    record = make_record(prices=(YUAN,))
    with monkeypatch.context() as earlier:
        earlier.setattr(TrainingRecord, "amounts", None)
        ledger.write(record)
        ledger.write(make_record(run_id="2"))
        assert "currency" not in record.to_json()
    for _ in range(2):
        with ledger.read() as reader:
            (other,) = reader.totals().currencies
            assert (other.currency, other.trainings, other.billed) == ("CNY", 1, 1.26)
            (row,) = reader.query("SELECT currency, net_saved_usd FROM trainings WHERE currency = 'CNY'")
            assert row["net_saved_usd"] is None
        compact(ledger, settled_after=timedelta(0))


def test_the_report_names_the_currency(ledger: Ledger) -> None:
    ledger.write(make_record(run_id="1"))
    ledger.write(make_record(run_id="2", prices=(YUAN,)))
    with ledger.read() as reader:
        made = report_of(reader, Selection(), title="A report", made_at=T0)
        lines = list(csv.DictReader(io.StringIO("".join(to_csv(reader, Selection())))))
    page = to_html(made)
    assert "In CNY: 1 training was billed CNY 1.26" in page
    assert "CNY 1.26" in page[page.index("<table") :], "the training's own row"
    assert "In CNY: 1 training was billed CNY 1.26" in to_log(made.totals)
    amounts = ("currency", "billed_in_currency", "saved_in_currency", "billed_usd")
    assert sorted([line[name] for name in amounts] for line in lines) == [
        ["", "", "", "0.138"],
        ["CNY", "1.26", "2.94", ""],
    ]


def test_the_message_about_a_training_names_the_currency() -> None:
    record = make_record(prices=(YUAN,))
    assert record.amounts is not None
    savings = {**record.statement.to_json(), **record.amounts.to_json()}
    attempts = [attempt.to_json(with_transitions=False) for attempt in record.attempts]
    told = TrainingReport.of(savings, attempts, title="A training")
    assert "It cost CNY 1.26 instead of CNY 4.20 on demand." in told.sentences


def test_a_budget_is_not_compared_with_a_price_in_another_currency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("cn-north-1:\n  ml.m5.xlarge: {per_hour: 2.10, currency: CNY}\n")
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__PRICES_FILE", str(file))
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    with caplog.at_level(logging.WARNING):
        assert AskedPrices(AwsAccess(), "cn-north-1")("ml.m5.xlarge") is None
    assert "is in CNY, and budgets and limits are in US dollars" in caplog.text
