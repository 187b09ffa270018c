"""On-demand prices: from the local cloud's price list, kept beside the ledger, or from a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import Price
from spot_training.domain.savings import PurchaseOption
from spot_training.ledger import Ledger
from spot_training.ledger.prices import GOOD_FOR, UNKNOWN_FOR, PriceBook, PricesFileError
from spot_training.sagemaker.prices import PriceList, home_of
from tests.cloud import HOUR, Cloud
from tests.records import T0, make_attempt, make_record

REGION = "us-east-1"


class Counted:
    """A price list that counts how often it is asked."""

    def __init__(self, usd: float | None = 0.23) -> None:
        self.usd = usd
        self.asked = 0

    def price_per_hour(self, **_which: str) -> tuple[float, None] | None:
        self.asked += 1
        if self.usd is not None and self.usd < 0:
            raise PermissionError("pricing:GetProducts")
        return None if self.usd is None else (self.usd, None)


def _book(ledger: Ledger, prices: Any, **overrides: Any) -> PriceBook:
    return PriceBook(ledger=ledger, open_price_list=lambda _region: prices, now=lambda: T0, **overrides)


def test_the_price_list_knows_what_training_costs_and_not_hosting(cloud: Cloud) -> None:
    prices = PriceList(cloud.client("pricing"))
    assert prices.price_per_hour(region=REGION, instance_type="ml.m5.xlarge") == (0.23, None)
    assert prices.price_per_hour(region=REGION, instance_type="ml.nobody.has") is None
    assert prices.price_per_hour(region="eu-west-1", instance_type="ml.m5.xlarge") is None


def test_the_price_list_is_asked_where_it_is() -> None:
    assert home_of("eu-west-1") == "us-east-1"
    assert home_of("cn-north-1") == "cn-northwest-1"


def _product(
    amount: str, component: str = "Training", unit: str = "Hrs", code: str = "USD"
) -> dict[str, Any]:
    dimension = {"unit": unit, "pricePerUnit": {code: amount}}
    return {
        "product": {"attributes": {"platoinstancetype": component}},
        "terms": {"OnDemand": {"x": {"priceDimensions": {"y": dimension}}}},
    }


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        ([_product("0.23")], (0.23, None)),
        ([_product("0.23"), _product("0.00"), _product("0.28", component="Hosting")], (0.23, None)),
        ([_product("0.23"), _product("0.23")], (0.23, None)),
        ([_product("2.10", code="CNY"), _product("0.00", code="CNY")], (2.10, "CNY")),
        ([_product("2.10", code="CNY"), _product("0.30")], None),
        ([_product("0.23"), _product("0.30")], None),
        ([_product("0.23", unit="GB-Mo")], None),
        ([{"product": {}}, {}], None),
        ([], None),
    ],
)
def test_a_price_that_is_not_plain_is_unknown(
    products: list[dict[str, Any]], expected: tuple[float, str | None] | None
) -> None:
    import json

    class Client:
        def get_paginator(self, _name: str) -> Client:
            return self

        def paginate(self, **_filters: Any) -> list[dict[str, Any]]:
            return [{}, {"PriceList": [json.dumps(product) for product in products]}]

    client: Any = Client()
    assert PriceList(client).price_per_hour(region=REGION, instance_type="ml.m5.xlarge") == expected


def test_a_price_is_asked_once_and_kept_with_its_date(ledger: Ledger) -> None:
    counted = Counted()
    first = _book(ledger, counted).price_of(REGION, "ml.m5.xlarge")
    again = _book(ledger, counted).price_of(REGION, "ml.m5.xlarge")
    assert first == again
    assert first is not None
    assert (first.usd_per_hour, first.as_of, counted.asked) == (0.23, T0, 1)
    late = replace(_book(ledger, counted), now=lambda: T0 + GOOD_FOR + timedelta(seconds=1))
    late.price_of(REGION, "ml.m5.xlarge")
    assert counted.asked == 2


@pytest.mark.parametrize("usd", [None, -1])
def test_no_answer_is_remembered_for_an_hour(ledger: Ledger, usd: float | None) -> None:
    counted = Counted(usd)
    book = _book(ledger, counted)
    if usd is not None:
        with pytest.raises(PermissionError):
            book.price_of(REGION, "ml.m5.xlarge")
    for _ in range(3):
        assert book.price_of(REGION, "ml.m5.xlarge") is None
    assert counted.asked == 1
    counted.usd = 0.5
    late = replace(book, now=lambda: T0 + UNKNOWN_FOR + timedelta(seconds=1))
    price = late.price_of(REGION, "ml.m5.xlarge")
    assert price is not None
    assert price.usd_per_hour == 0.5


@pytest.mark.parametrize("name", ["../../x", "", "a/b", "ML.M5", "x" * 80])
def test_a_name_that_is_no_instance_type_is_not_asked_for(ledger: Ledger, name: str) -> None:
    counted = Counted()
    assert _book(ledger, counted).price_of(REGION, name) is None
    assert counted.asked == 0


def test_a_kept_price_nobody_can_read_is_asked_for_again(ledger: Ledger, tmp_path: Path) -> None:
    counted = Counted()
    book = _book(ledger, counted)
    book.price_of(REGION, "ml.m5.xlarge")
    (tmp_path / "ledger" / "prices" / REGION / "ml.m5.xlarge.json").write_text("{")
    assert book.price_of(REGION, "ml.m5.xlarge") is not None
    assert counted.asked == 2


def test_a_file_replaces_the_price_list(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("us-east-1:\n  ml.m5.xlarge: 0.19\n'*':\n  ml.m5.xlarge: 0.25\n  ml.c5.xlarge: 0.2\n")
    counted = Counted()
    book = _book(ledger, counted, file=file)
    here, elsewhere = book.price_of(REGION, "ml.m5.xlarge"), book.price_of("eu-west-1", "ml.m5.xlarge")
    assert here is not None
    assert (here.usd_per_hour, here.source) == (0.19, "prices.yaml")
    assert elsewhere is not None
    assert elsewhere.usd_per_hour == 0.25
    assert book.price_of(REGION, "ml.p3.2xlarge") is None
    assert counted.asked == 0


@pytest.mark.parametrize(
    "text",
    [
        "ml.m5.xlarge: 0.2",
        "ml.m5.xlarge: {usd_per_hour: 0.2, discount_percent: 25}",
        "us-east-1: {ml.m5.xlarge: cheap}",
        "us-east-1: {ml.m5.xlarge: -1}",
        "[",
        "7",
    ],
)
def test_a_prices_file_that_is_none_is_said(ledger: Ledger, tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(PricesFileError, match=r"\[spot_training\] prices_file"):
        _book(ledger, Counted(), file=file).price_of(REGION, "ml.m5.xlarge")


def test_a_file_may_give_a_discount_on_on_demand(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("us-east-1: {ml.m5.xlarge: {usd_per_hour: 0.2, discount_percent: 25}, ml.c5.xlarge: 0.1}")
    book = _book(ledger, Counted(), file=file)
    price, plain = book.price_of(REGION, "ml.m5.xlarge"), book.price_of(REGION, "ml.c5.xlarge")
    assert price is not None
    assert (price.usd_per_hour, price.discount_percent) == (0.2, 25)
    assert Price.from_json(price.to_json()) == price
    assert plain is not None
    assert plain.discount_percent is None
    spot = make_attempt(ending=Ending.OUT_OF_WAIT, billable_seconds=HOUR)
    on_demand = make_attempt(number=2, purchase=PurchaseOption.ON_DEMAND, billable_seconds=HOUR)
    record = make_record(attempts=(spot, on_demand), prices=(price,))
    ledger.write(record)
    with ledger.read() as reader:
        (read,) = reader.records()
        assert read == record
        (row,) = reader.query("SELECT billed_usd, clean_run_usd, saved_usd FROM trainings")
    hours = (record.statement.clean_run_instance_seconds or 0) / HOUR
    assert row["billed_usd"] == pytest.approx(0.2 + 0.15), "a Savings Plan does not apply to spot"
    assert row["clean_run_usd"] == pytest.approx(0.15 * hours)
    assert record.statement.net_savings_percent != record.statement.savings_percent


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{discount_percent: 20}", "ml.m5.xlarge is None: give US dollars per hour"),
        ("{usd_per_hour: 0.2, discount_percent: 120}", "discount_percent 120: give how much less on-demand"),
        ("{usd_per_hour: 0.2, discount_percent: 20 %}", "discount_percent '20 %': give how much less"),
        ("{usd_per_hour: 0.2, discount_percent: -1}", "from 0 to below 100"),
        ("{usd_per_hour: 0.2, discount: 20}", "has 'discount': give .* Did you mean discount_percent?"),
    ],
)
def test_a_discount_that_is_none_is_said(ledger: Ledger, tmp_path: Path, entry: str, said: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(f"us-east-1: {{ml.m5.xlarge: {entry}}}")
    with pytest.raises(PricesFileError, match=said):
        _book(ledger, Counted(), file=file).price_of(REGION, "ml.m5.xlarge")


def test_a_prices_file_that_is_missing_is_said(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(PricesFileError, match="No such file"):
        _book(ledger, Counted(), file=tmp_path / "nowhere.yaml").price_of(REGION, "ml.m5.xlarge")
