"""On-demand prices of SageMaker training instances, from the AWS Price List API.

Decides which of the products AWS lists for an instance type is the training one. Asked through the same
connection as SageMaker; no answer, no permission and an answer that is not understood are all "unknown".

Sources: the service model of `pricing` in botocore (`GetProducts` answers JSON documents as text), and the
attributes of AmazonSageMaker products as others read them: `instanceName`, `regionCode`, and `component` or
`platoinstancetype`, which is `Training` for training jobs (and `Hosting`, `Notebook`, ... otherwise).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.client import BaseClient

SERVICE_CODE = "AmazonSageMaker"
#: Where the API is, by the partition that a region's name begins with: it is in few regions.
_HOMES = {"cn-": "cn-northwest-1"}
_HOME = "us-east-1"


def home_of(region: str) -> str:
    """The region whose Price List API knows the prices of `region`."""
    return next((home for start, home in _HOMES.items() if region.startswith(start)), _HOME)


class PriceList:
    """The Price List API, over a boto3 `pricing` client."""

    def __init__(self, client: BaseClient) -> None:
        self._client: Any = client

    def price_per_hour(self, *, region: str, instance_type: str) -> tuple[float, str | None] | None:
        """The on-demand price of one instance for training, or None where AWS lists none, or several.

        With its currency (ISO 4217) if that is not the US dollar: China's prices are in yuan. Raises
        botocore's `ClientError` and `BotoCoreError`.
        """
        filters = {"regionCode": region, "instanceName": instance_type}
        pages = self._client.get_paginator("get_products").paginate(
            ServiceCode=SERVICE_CODE,
            Filters=[{"Type": "TERM_MATCH", "Field": f, "Value": v} for f, v in filters.items()],
        )
        products = [json.loads(text) for page in pages for text in page.get("PriceList", ())]
        prices = {price for product in products if _is_training(product) for price in _prices(product)}
        return prices.pop() if len(prices) == 1 else None


def _is_training(product: Mapping[str, Any]) -> bool:
    attributes = product.get("product", {}).get("attributes", {})
    return "Training" in {attributes.get("component"), attributes.get("platoinstancetype")}


def _prices(product: Mapping[str, Any]) -> Iterator[tuple[float, str | None]]:
    """Prices per hour above zero: a free tier is listed as a price of 0."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            if str(dimension.get("unit", "")).lower() not in {"hrs", "hours", "hour"}:
                continue
            amounts = {code: float(text) for code, text in dimension.get("pricePerUnit", {}).items()}
            in_dollars = amounts.pop("USD", 0.0)
            yield from [(in_dollars, None)] if in_dollars > 0 else _above_zero(amounts)


def _above_zero(amounts: Mapping[str, float]) -> Iterator[tuple[float, str | None]]:
    for currency, amount in amounts.items():
        if amount > 0:
            yield amount, currency
