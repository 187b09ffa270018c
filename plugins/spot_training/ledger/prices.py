"""On-demand prices with their date: from a prices file, or from AWS, kept in the ledger.

What one worker asks, all workers share: `prices/<region>/<instance type>.json` below the ledger's root.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from spot_training.domain.json_text import did_you_mean
from spot_training.domain.records import Price
from spot_training.domain.savings import Rate

from .opening import prices_file
from .store import Ledger

if TYPE_CHECKING:
    from .files import LedgerFiles

log = logging.getLogger(__name__)

PRICES = "prices"
SOURCE = "AWS Price List API"
#: AWS changes prices rarely. A price that was not available may become so with a permission.
GOOD_FOR = timedelta(days=7)
UNKNOWN_FOR = timedelta(hours=1)
#: In a prices file: the prices of every region.
ANY_REGION = "*"
_CODE = re.compile(r"[A-Z]{3}")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")


class PriceList(Protocol):
    """AWS's price list, as far as it is used here: `sagemaker.prices` has one."""

    def price_per_hour(self, *, region: str, instance_type: str) -> tuple[float, str | None] | None:
        """The on-demand price of an instance-hour, and its currency if that is not the US dollar.

        None where AWS lists no price. Raises botocore's errors.
        """


class PriceAccess(Protocol):
    """Who can reach the price list that knows the prices of a region: `connections.AwsAccess` can."""

    def prices(self, region: str) -> PriceList: ...


class PricesFileError(ValueError):
    """A prices file that cannot be used. The message names the file, the entry and what to do."""

    def __init__(self, file: Path, trouble: str) -> None:
        super().__init__(f"[spot_training] prices_file {file}: {trouble}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """What an instance costs per hour on demand.

    With a `file`, AWS is never asked. `open_price_list` makes the client for a region when it is needed.
    """

    ledger: LedgerFiles
    open_price_list: Callable[[str], PriceList]
    file: Path | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def price_of(self, region: str, instance_type: str) -> Price | None:
        """The price, or None where it is not known. Raises botocore's errors and `PricesFileError`."""
        if self.file is not None:
            return _price_in(self.file, region, instance_type)
        if not (_NAME.fullmatch(region) and _NAME.fullmatch(instance_type)):
            return None
        kept = self._kept(region, instance_type)
        if kept is not None:
            return kept.price
        return self._ask(region, instance_type)

    def _ask(self, region: str, instance_type: str) -> Price | None:
        """Ask AWS, and keep the answer. A failure is kept too, so that not every task asks again."""
        found = None
        try:
            found = self.open_price_list(region).price_per_hour(region=region, instance_type=instance_type)
        finally:
            self._keep(region, instance_type, found)
        if found is None:
            return None
        amount, currency = found
        return Price(
            instance_type=instance_type,
            usd_per_hour=amount,
            as_of=self.now(),
            source=SOURCE,
            currency=currency,
        )

    def _path(self, region: str, instance_type: str) -> str:
        return self.ledger.path(PRICES, region, f"{instance_type}.json")

    def _kept(self, region: str, instance_type: str) -> _Kept | None:
        path = self._path(region, instance_type)
        content = self.ledger.fetch([path]).get(path)
        try:
            kept = None if content is None else _Kept.from_json(json.loads(content), instance_type)
        except (ValueError, KeyError, TypeError):
            log.warning("The price in %s cannot be read, so AWS is asked again", path)
            return None
        return kept if kept and self.now() - kept.asked_at < kept.good_for else None

    def _keep(self, region: str, instance_type: str, found: tuple[float, str | None] | None) -> None:
        """A version that knows no currencies finds no price in one that it could take for dollars."""
        amount, currency = found or (None, None)
        price = {_USD: amount} if currency is None else {_USD: None, _OTHER: amount, _CURRENCY: currency}
        answer = {**price, "asked_at": self.now().isoformat(), "source": SOURCE}
        self.ledger.put(self._path(region, instance_type), json.dumps(answer).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    price: Price | None
    asked_at: datetime

    @property
    def good_for(self) -> timedelta:
        return UNKNOWN_FOR if self.price is None else GOOD_FOR

    @classmethod
    def from_json(cls, data: Mapping[str, Any], instance_type: str) -> _Kept:
        asked_at, currency = datetime.fromisoformat(data["asked_at"]), data.get(_CURRENCY)
        amount = data[_USD if currency is None else _OTHER]
        if amount is None:
            return cls(price=None, asked_at=asked_at)
        price = Price(
            instance_type=instance_type,
            usd_per_hour=float(amount),
            as_of=asked_at,
            source=data["source"],
            currency=currency,
        )
        return cls(price=price, asked_at=asked_at)


def _price_in(file: Path, region: str, instance_type: str) -> Price | None:
    try:
        changed = file.stat().st_mtime
    except OSError as error:
        raise PricesFileError(file, f"{error.strerror}.") from error
    prices = _read(file, changed)
    found = prices.get(region, {}).get(instance_type) or prices.get(ANY_REGION, {}).get(instance_type)
    if found is None:
        return None
    rate, currency = found
    return Price(
        instance_type=instance_type,
        usd_per_hour=float(rate),
        as_of=datetime.fromtimestamp(changed, UTC),
        source=file.name,
        discount_percent=rate.discount_percent or None,
        currency=currency,
    )


@lru_cache(maxsize=4)
def _read(
    file: Path,
    changed: float,  # noqa: ARG001 - a part of the key
) -> dict[str, dict[str, tuple[Rate, str | None]]]:
    """Region (or `*`) -> instance type -> price, and its currency if it is not the US dollar."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise PricesFileError(file, f"it cannot be read ({error}).") from error
    if not isinstance(content, dict) or not all(
        isinstance(prices, dict) and not str(region).startswith("ml.") for region, prices in content.items()
    ):
        raise PricesFileError(
            file, "give regions (or '*'), and in each instance types with US dollars per hour."
        )
    return {
        str(region): {str(kind): _rate(file, f"{region}: {kind}", entry) for kind, entry in prices.items()}
        for region, prices in content.items()
    }


_USD, _DISCOUNT, _OTHER, _CURRENCY = "usd_per_hour", "discount_percent", "per_hour", "currency"
_KEYS = (_USD, _DISCOUNT, _OTHER, _CURRENCY)


def _rate(file: Path, name: str, entry: object) -> tuple[Rate, str | None]:
    """The price of a number, or of a mapping with `usd_per_hour` and `discount_percent`.

    A price in another currency is a mapping with `per_hour` and `currency`.
    """
    facts = entry if isinstance(entry, dict) else {_USD: entry}
    for key in facts:
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS)
            raise PricesFileError(file, f"{name} has {key!r}: give {_USD} and {_DISCOUNT}.{hint}")
    currency = _currency(file, name, facts)
    usd, discount = facts.get(_USD if currency is None else _OTHER), facts.get(_DISCOUNT, 0)
    if not _is_number(usd) or not 0 < usd < 10_000:
        what = "US dollars" if currency is None else f"{_OTHER} in {currency}"
        raise PricesFileError(file, f"{name} is {usd!r}: give {what} per hour, above 0.")
    if not _is_number(discount) or not 0 <= discount < 100:
        raise PricesFileError(
            file,
            f"{name} has the {_DISCOUNT} {discount!r}: give how much less on-demand costs, from 0 to below "
            "100.",
        )
    return Rate(usd, discount), currency


def _currency(file: Path, name: str, facts: Mapping[str, Any]) -> str | None:
    """The code of the currency, None for US dollars. An amount and its currency belong together."""
    code = facts.get(_CURRENCY)
    if (_OTHER in facts) != (_CURRENCY in facts) or (_OTHER in facts and _USD in facts):
        raise PricesFileError(file, f"{name}: give {_USD}, or {_OTHER} and its {_CURRENCY}.")
    if code is None and _CURRENCY not in facts:
        return None
    if not isinstance(code, str) or not _CODE.fullmatch(code) or code == "USD":
        raise PricesFileError(file, f"{name} has the {_CURRENCY} {code!r}: give a code such as CNY.")
    return code


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def configured_prices(access: PriceAccess) -> PriceBook:
    """Prices by `[spot_training] prices_file`, else from AWS by way of `access`."""
    return PriceBook(ledger=Ledger.configured(), open_price_list=access.prices, file=prices_file())
