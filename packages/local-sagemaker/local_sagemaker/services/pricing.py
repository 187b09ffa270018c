"""A small AWS Price List API: GetProducts for the training instances of `prices.yaml`.

moto has no `pricing`. Products have the members of AWS's products that clients read. The SKUs are invented.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from local_sagemaker.reply import Reply, error_reply

TARGET_PREFIX = "AWSPriceListService."
PRICES_FILE = Path(__file__).parent / "prices.yaml"
SERVICE_CODE = "AmazonSageMaker"
#: The largest page of AWS.
_PAGE = 100


def answer(target: str, body: bytes | None) -> Reply:
    """The reply to a call with an X-Amz-Target that starts with `AWSPriceListService.`."""
    operation = target.removeprefix(TARGET_PREFIX)
    if operation != "GetProducts":
        return error_reply("UnknownOperationException", 400, f"The local cloud has no {operation}.")
    try:
        request = json.loads(body or b"{}")
        filters = {f["Field"]: f["Value"] for f in request.get("Filters", ())}
        first = int(request.get("NextToken", 0))
    except (ValueError, KeyError, TypeError, AttributeError):
        return error_reply("InvalidParameterException", 400, "The request cannot be read.")
    if request.get("ServiceCode") != SERVICE_CODE:
        return error_reply("NotFoundException", 400, f"The local cloud lists {SERVICE_CODE} only.")
    found = [product for product in _products() if _fits(product, filters)]
    page = found[first : first + min(int(request.get("MaxResults", _PAGE)), _PAGE)]
    content: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(p) for p in page]}
    if first + len(page) < len(found):
        content["NextToken"] = str(first + len(page))
    return Reply(body=json.dumps(content).encode())


def _fits(product: dict[str, Any], filters: dict[str, str]) -> bool:
    attributes = product["product"]["attributes"]
    known = {**attributes, "productFamily": product["product"]["productFamily"]}
    return all(known.get(field) == value for field, value in filters.items())


@lru_cache(maxsize=1)
def _products() -> tuple[dict[str, Any], ...]:
    listed: dict[str, dict[str, float]] = yaml.safe_load(PRICES_FILE.read_text())
    return tuple(
        _product(region, component, instance_type, usd)
        for region, prices in listed.items()
        for instance_type, usd in prices.items()
        for component in ("Training", "Hosting")
    )


def _product(region: str, component: str, instance_type: str, usd: float) -> dict[str, Any]:
    # Hosting has another price here, so that tests notice a client that takes the wrong product.
    price = usd if component == "Training" else round(usd * 1.2, 4)
    sku = hashlib.sha256(f"{region} {component} {instance_type}".encode()).hexdigest()[:16].upper()
    return {
        "product": {
            "sku": sku,
            "productFamily": "ML Instance",
            "attributes": {
                "servicecode": SERVICE_CODE,
                "regionCode": region,
                "instanceName": instance_type,
                "instanceType": f"{instance_type}-{component}",
                "component": component,
                "platoinstancetype": component,
            },
        },
        "serviceCode": SERVICE_CODE,
        "terms": {
            "OnDemand": {
                f"{sku}.LOCAL": {
                    "sku": sku,
                    "priceDimensions": {
                        f"{sku}.LOCAL.HRS": {"unit": "Hrs", "pricePerUnit": {"USD": f"{price:.10f}"}}
                    },
                }
            }
        },
    }
