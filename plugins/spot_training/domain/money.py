"""Amounts of money as text, to the cent, the same everywhere."""

from __future__ import annotations


def dollars(usd: float) -> str:
    """`$1,231.00`, `$9.40`, `<$0.01`."""
    return _with_sign(usd, "$")


def in_currency(value: float, currency: str | None) -> str:
    """An amount with the code of its currency (ISO 4217): `CNY 9.40`. None is the US dollar: `$9.40`."""
    return dollars(value) if currency is None else _with_sign(value, f"{currency} ")


def _with_sign(value: float, unit: str) -> str:
    sign, size = "-" if value < 0 else "", abs(value)
    return f"{sign}<{unit}0.01" if 0 < size < 0.005 else f"{sign}{unit}{size:,.2f}"
