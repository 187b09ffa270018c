"""What a Dag may pay in a calendar month, and whether one more on-demand attempt is within that.

On-demand is bought only if its cost is known to be within the budget: not if a price or the ledger is
unknown. What follows from that is in `decide`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .errors import InvalidInput
from .json_text import did_you_mean, from_json_text
from .money import dollars
from .parsing import as_bool, in_words, is_left_out
from .savings import cost_usd

PriceOf = Callable[[str], float | None]
"""On-demand US dollars per hour of an instance type in the training's region, None if it is not known."""

#: No budget for this task, if the installation has one.
UNLIMITED = "unlimited"
#: More is most likely a mistake.
MOST_USD = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """US dollars per Dag and calendar month (UTC).

    `deadline_wins`: on-demand that a deadline needs is bought, whatever was spent. Otherwise the budget wins.
    """

    usd: float
    deadline_wins: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthSpending:
    """What a Dag's trainings cost in the month that began at `began_at`, as far as known, in US dollars.

    `billed_usd`: all attempts that ended in it, also of failed trainings. `running_usd`: what runs now,
    estimated. `reserved_usd`: what other trainings are about to buy. `unpriced` counts the attempts that are
    in none of these, because their price is not known. `unread` counts the records that cannot be read.
    """

    began_at: datetime
    billed_usd: float
    running_usd: float = 0.0
    reserved_usd: float = 0.0
    unpriced: int = 0
    unread: int = 0

    @property
    def usd(self) -> float:
        return self.billed_usd + self.running_usd + self.reserved_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemandCost:
    """What an on-demand attempt is expected to cost.

    `seconds` is how long it will hold its instances, `basis` how that is known. `usd_per_hour` is for all
    instances together, None if a price is not known. `instances` in words: `2 x ml.m5.xlarge`.
    """

    instances: str
    seconds: float
    basis: str
    usd_per_hour: float | None

    @property
    def usd(self) -> float | None:
        return cost_usd(round(self.seconds), self.usd_per_hour)

    def __str__(self) -> str:
        what = f"about {in_words(self.seconds)} on {self.instances}"
        if self.usd is None or self.usd_per_hour is None:
            return f"{what}, at an unknown price"
        return f"{what} at ${self.usd_per_hour:,.4g} an hour, {dollars(self.usd)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCheck:
    """The month's budget, and what one on-demand attempt would cost now.

    `spending` is None if it is not known, and `trouble` says why.
    """

    budget: Budget
    spending: MonthSpending | None
    cost: OnDemandCost
    trouble: str = "the ledger could not be read"

    @property
    def is_known(self) -> bool:
        """Whether the month's spending could be read, and the price is known, as far as they can be."""
        return self.spending is not None or self.cost.usd is None

    @property
    def objection(self) -> str | None:
        """Why on-demand is not bought, in a sentence. None if it is within the budget."""
        budget, spending, usd = dollars(self.budget.usd), self.spending, self.cost.usd
        if spending is None:
            return f"{self.trouble}, so what is left of the budget of {budget} is not known"
        if usd is None:
            return (
                f"the price of {self.cost.instances} is not known, so whether it is within the budget of "
                f"{budget} is not either (give it in [spot_training] prices_file)"
            )
        month = f"{spending.began_at:%B}"
        if spending.usd >= self.budget.usd:
            return f"{month}'s budget of {budget} is spent ({_account(spending)})"
        total = spending.usd + usd
        if total <= self.budget.usd:
            return None
        return (
            f"on-demand would take {month} to {dollars(total)}, its budget is {budget} "
            f"({_account(spending)}, {dollars(usd)} for this training)"
        )


def _account(spending: MonthSpending) -> str:
    parts = [f"{dollars(spending.billed_usd)} billed"]
    if spending.running_usd:
        parts.append(f"{dollars(spending.running_usd)} for what runs now")
    if spending.reserved_usd:
        parts.append(f"{dollars(spending.reserved_usd)} for what is about to start")
    if spending.unpriced:
        jobs = "1 job" if spending.unpriced == 1 else f"{spending.unpriced} jobs"
        parts.append(f"{jobs} of unknown price not counted")
    if spending.unread:
        records = "1 record" if spending.unread == 1 else f"{spending.unread} records"
        parts.append(f"{records} that cannot be read not counted")
    return ", ".join(parts)


def month_of(moment: datetime) -> datetime:
    """The beginning of a moment's calendar month (UTC)."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


# --- what users write ------------------------------------------------------------------------------------


def budget_from(value: object, *, field: str = "budget") -> Budget | None:
    """A budget from dollars (`200`, `"200"`, `"$200"`) or `{"usd": 200, "deadline_wins": true}`.

    The mapping may be JSON text. None for nothing, and for `unlimited`. Raises `InvalidInput`.
    """
    value = from_json_text(value)
    if is_left_out(value) or (isinstance(value, str) and value.strip().lower() == UNLIMITED):
        return None
    if not isinstance(value, Mapping):
        return Budget(usd=usd_from(value, field=field))
    options: dict[str, Any] = dict(value)
    usd, wins = options.pop("usd", None), options.pop("deadline_wins", False)
    if options:
        key = next(iter(options))
        way_out = f"a budget has usd and deadline_wins.{did_you_mean(key, ('usd', 'deadline_wins'))}"
        raise InvalidInput(f"{field}.{key}", options[key], way_out)
    if is_left_out(usd):
        return None
    return Budget(
        usd=usd_from(usd, field=f"{field}.usd"), deadline_wins=as_bool(wins, field=f"{field}.deadline_wins")
    )


def usd_from(value: object, *, field: str) -> float:
    """US dollars from a number or its text (`"$200"`). Raises `InvalidInput`."""
    match value:
        case bool():
            usd = math.nan
        case int() | float():
            usd = float(min(value, MOST_USD + 1))
        case str():
            usd = _usd_of_text(value.strip().removeprefix("$").replace(",", ""))
        case _:
            usd = math.nan
    if not 0 <= usd <= MOST_USD:
        raise InvalidInput(field, value, "give US dollars, 0 or more.")
    return usd


def _usd_of_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
