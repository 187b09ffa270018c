"""On-demand prices: from the local cloud's price list, kept beside the ledger, or from a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.ledger import Ledger
from spot_training.ledger.prices import GOOD_FOR, UNKNOWN_FOR, PriceBook, PricesFileError
from spot_training.sagemaker.prices import PriceList, home_of
from tests.cloud import Cloud
from tests.records import T0

REGION = "us-east-1"


class Counted:
    """A price list that counts how often it is asked."""

    def __init__(self, usd: float | None = 0.23) -> None:
        self.usd = usd
        self.asked = 0

    def usd_per_hour(self, **_which: str) -> float | None:
        self.asked += 1
        if self.usd is not None and self.usd < 0:
            raise PermissionError("pricing:GetProducts")
        return self.usd


def _book(ledger: Ledger, prices: Any, **overrides: Any) -> PriceBook:
    return PriceBook(ledger=ledger, open_price_list=lambda _region: prices, now=lambda: T0, **overrides)


def test_the_price_list_knows_what_training_costs_and_not_hosting(cloud: Cloud) -> None:
    prices = PriceList(cloud.client("pricing"))
    assert prices.usd_per_hour(region=REGION, instance_type="ml.m5.xlarge") == 0.23
    assert prices.usd_per_hour(region=REGION, instance_type="ml.nobody.has") is None
    assert prices.usd_per_hour(region="eu-west-1", instance_type="ml.m5.xlarge") is None


def test_the_price_list_is_asked_where_it_is() -> None:
    assert home_of("eu-west-1") == "us-east-1"
    assert home_of("cn-north-1") == "cn-northwest-1"


def _product(usd: str, component: str = "Training", unit: str = "Hrs") -> dict[str, Any]:
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}}
    return {
        "product": {"attributes": {"platoinstancetype": component}},
        "terms": {"OnDemand": {"x": {"priceDimensions": {"y": dimension}}}},
    }


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        ([_product("0.23")], 0.23),
        ([_product("0.23"), _product("0.00"), _product("0.28", component="Hosting")], 0.23),
        ([_product("0.23"), _product("0.23")], 0.23),
        ([_product("0.23"), _product("0.30")], None),
        ([_product("0.23", unit="GB-Mo")], None),
        ([{"product": {}}, {}], None),
        ([], None),
    ],
)
def test_a_price_that_is_not_plain_is_unknown(products: list[dict[str, Any]], expected: float | None) -> None:
    import json

    class Client:
        def get_paginator(self, _name: str) -> Client:
            return self

        def paginate(self, **_filters: Any) -> list[dict[str, Any]]:
            return [{}, {"PriceList": [json.dumps(product) for product in products]}]

    client: Any = Client()
    assert PriceList(client).usd_per_hour(region=REGION, instance_type="ml.m5.xlarge") == expected


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
    ["ml.m5.xlarge: 0.2", "us-east-1: {ml.m5.xlarge: cheap}", "us-east-1: {ml.m5.xlarge: -1}", "[", "7"],
)
def test_a_prices_file_that_is_none_is_said(ledger: Ledger, tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(PricesFileError, match=r"\[spot_training\] prices_file"):
        _book(ledger, Counted(), file=file).price_of(REGION, "ml.m5.xlarge")


def test_a_prices_file_that_is_missing_is_said(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(PricesFileError, match="No such file"):
        _book(ledger, Counted(), file=tmp_path / "nowhere.yaml").price_of(REGION, "ml.m5.xlarge")
