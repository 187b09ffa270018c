"""Prices that are not in dollars: on record as they are, in no sum, and no budget is compared with them."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.connections import AwsAccess
from spot_training.domain.records import FORMAT_WITH_CURRENCIES, TrainingRecord, totals_of
from spot_training.ledger import Ledger
from spot_training.ledger.compaction import compact
from spot_training.ledger.prices import PriceBook, PricesFileError
from spot_training.task.on_demand_cost import AskedPrices
from tests.records import PRICE, make_record

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
    assert TrainingRecord.from_json(data) == record


def test_sums_have_dollars_only_before_and_after_merging(ledger: Ledger) -> None:
    records = [make_record(run_id="1"), make_record(run_id="2", prices=(YUAN,))]
    for record in records:
        ledger.write(record)
    for _ in range(2):
        with ledger.read() as reader:
            assert sorted(reader.records(), key=lambda record: record.run_id) == records
            totals = reader.totals()
        assert totals == totals_of(records)
        assert (totals.trainings, totals.unpriced) == (2, 1)
        assert totals.billed_usd == totals_of(records[:1]).billed_usd > 0
        compact(ledger, settled_after=timedelta(0))


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
