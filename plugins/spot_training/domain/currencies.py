"""Amounts in currencies other than the US dollar. They are never added to amounts in dollars.

AWS's price list for China is in yuan, and a prices file may name any currency. A training has such an amount
if all of its prices are in the same currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .messages import counted
from .money import in_currency
from .savings import SavingsStatement, saved_percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What one training came to in a currency that is not the US dollar. None where it is not known."""

    currency: str
    billed: float | None
    clean_run: float | None
    saved: float | None

    @classmethod
    def of(cls, currency: str, statement: SavingsStatement) -> Amounts:
        """Those of a statement that was made with prices in this currency."""
        return cls(
            currency=currency,
            billed=statement.billed_usd,
            clean_run=statement.clean_run_usd,
            saved=statement.saved_usd,
        )

    def to_json(self) -> dict[str, Any]:
        """As columns of a record, and members of the XCom `savings`."""
        return {
            "currency": self.currency,
            **{f"{name}_in_currency": getattr(self, name) for name in ("billed", "clean_run", "saved")},
        }


#: The columns of a record that a training in dollars does not have.
COLUMNS = tuple(Amounts(currency="", billed=None, clean_run=None, saved=None).to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencyTotals:
    """Sums over the trainings with prices in one other currency that are over.

    `billed` is for all of them but the `unknown`, for which AWS or the prices do not say enough. `compared`
    is the part for completed trainings, which replaced on-demand runs that would have cost `clean_run`.
    """

    currency: str
    trainings: int
    billed: float
    compared: float
    clean_run: float
    unknown: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CurrencyTotals:
        """Undo `to_json`. Other members are ignored."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        """`In CNY: 2 trainings were billed CNY 12.60; completed ones cost CNY 8.40 instead of ...`"""
        were = "was" if self.trainings == 1 else "were"
        trainings = counted(self.trainings, "training")
        said = f"In {self.currency}: {trainings} {were} billed {self._money(self.billed)}"
        if self.unknown:
            said += f" (the cost of {self.unknown} more is not known)"
        percent = saved_percent(self.compared, self.clean_run)
        if percent is None:
            return f"{said}."
        verb = "less" if percent >= 0 else "more"
        return (
            f"{said}; completed trainings cost {self._money(self.compared)} instead of "
            f"{self._money(self.clean_run)} on demand, {abs(percent):g} % {verb}."
        )

    def _money(self, value: float) -> str:
        return in_currency(value, self.currency)


def totals_by_currency(amounts: Iterable[Amounts]) -> tuple[CurrencyTotals, ...]:
    """The sums of each currency, in the order of their codes."""
    found: dict[str, list[Amounts]] = {}
    for each in amounts:
        found.setdefault(each.currency, []).append(each)
    return tuple(_sum(currency, found[currency]) for currency in sorted(found))


def _sum(currency: str, amounts: list[Amounts]) -> CurrencyTotals:
    known = [each for each in amounts if each.billed is not None]
    compared = [each for each in amounts if each.saved is not None]
    return CurrencyTotals(
        currency=currency,
        trainings=len(known),
        unknown=len(amounts) - len(known),
        billed=round(sum(each.billed or 0.0 for each in known), 6),
        compared=round(sum(each.billed or 0.0 for each in compared), 6),
        clean_run=round(sum(each.clean_run or 0.0 for each in compared), 6),
    )
