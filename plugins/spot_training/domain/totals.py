"""Sums over trainings: the one definition, which page, report, mail and log use.

`FIGURES` says of each sum which column of a record it adds up (`docs/ledger.md` describes the columns), and
over which trainings. `totals_of` sums records by it, and `ledger.totals` makes SQL of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

from .currencies import CurrencyTotals, totals_by_currency
from .savings import saved_percent

if TYPE_CHECKING:
    from .currencies import Amounts
    from .savings import SavingsStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over trainings. Seconds are instance-seconds, except for `wait_seconds`.

    The savings compare what was billed for *completed* trainings, abandoned attempts included, with the
    clean on-demand runs they replaced. What failed trainings cost is a sum of its own. `unknown` counts
    completed trainings for which AWS did not say enough: they are in no sum of savings. `unpriced` counts
    trainings without a known price: they are in no sum of dollars. `replaced` is what was billed for
    trainings that a person cleared afterwards to train again. `left_out` names files of the ledger that
    cannot be read, of whatever trainings: the sums may be incomplete.

    `spot_failed` is the part of `failed` that is spot's fault (`savings.spot_failures`), and
    `replaced_spot_failed` that of `replaced`. `net` figures are the savings minus both. `net_savings_percent`
    is of the dollars if prices are known, else of instance time.

    `test_runs` are trainings of `airflow dags test` and `airflow tasks test`, which are in no other sum, and
    `test_usd` is what they were billed. `currencies` are the sums of trainings with prices in other
    currencies, which are in no sum of dollars.
    """

    trainings: int
    running: int
    completed: int
    failed: int
    attempts: int
    interruptions: int
    wait_seconds: int
    billable_seconds: int
    clean_run_seconds: int
    failed_billable_seconds: int
    abandoned_billable_seconds: int
    replaced_billable_seconds: int
    savings_percent: float | None
    unknown: int
    billed_usd: float
    clean_run_usd: float
    saved_usd: float
    failed_usd: float
    abandoned_usd: float
    replaced_usd: float
    unpriced: int
    left_out: tuple[str, ...] = ()
    # An XCom of an earlier version has none of these.
    spot_failed_billable_seconds: int = 0
    replaced_spot_failed_billable_seconds: int = 0
    net_saved_seconds: int = 0
    net_savings_percent: float | None = None
    spot_failed_usd: float = 0.0
    replaced_spot_failed_usd: float = 0.0
    net_saved_usd: float = 0.0
    test_runs: int = 0
    test_usd: float = 0.0
    currencies: tuple[CurrencyTotals, ...] = ()

    @property
    def percent_saved(self) -> float | None:
        """The percentage to show with the sums: of the dollars if prices are known, else of instance time.

        The two differ where expensive and cheap instance types saved differently.
        """
        in_dollars = saved_percent(self.billed_usd, self.clean_run_usd)
        return self.savings_percent if in_dollars is None else in_dollars

    @property
    def has_dollars(self) -> bool:
        """Whether any price is known. If not, instance-hours are shown instead of money."""
        return self.clean_run_usd > 0 or self.billed_usd > 0 or self.failed_usd > 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            **asdict(self),
            "left_out": list(self.left_out),
            "currencies": [totals.to_json() for totals in self.currencies],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Totals:
        """Undo `to_json`. Other members are ignored."""
        sums = {name: data.get(name, 0) for name in FIGURES}
        totals = totals_from(sums, left_out=tuple(data.get("left_out") or ()))
        return replace(
            totals,
            test_runs=data.get("test_runs", 0),
            test_usd=data.get("test_usd", 0.0),
            currencies=tuple(map(CurrencyTotals.from_json, data.get("currencies") or ())),
        )


# What each figure sums --------------------------------------------------------------------------------


class Is(Enum):
    """What a condition asks of a column."""

    TRUE = auto()
    FALSE = auto()
    KNOWN = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Condition:
    """A column is true, is known (and so on), or has this text."""

    column: str
    wanted: Is | str

    def holds(self, row: Mapping[str, Any]) -> bool:
        value = row[self.column]
        match self.wanted:
            case Is.TRUE:
                return value is True
            case Is.FALSE:
                return value is False
            case Is.KNOWN:
                return value is not None
            case Is.UNKNOWN:
                return value is None
            case text:
                return bool(value == text)


_COMPLETED = Condition("completed", Is.TRUE)
_NOT_COMPLETED = Condition("completed", Is.FALSE)
#: Trainings that can be compared with a clean on-demand run, in time and in dollars.
_COMPARED = (_COMPLETED, Condition("savings_percent", Is.KNOWN))
_PRICED = (*_COMPARED, Condition("saved_usd", Is.KNOWN))
_FAILED = Condition("state", "failed")


@dataclass(frozen=True, slots=True)
class Figure:
    """The sum of a column over the trainings that meet all conditions. Without a column: how many they are.

    Unknown values are left out of a sum.
    """

    column: str | None = None
    over: tuple[Condition, ...] = ()

    def of(self, rows: Iterable[Mapping[str, Any]]) -> int | float:
        chosen = [row for row in rows if all(condition.holds(row) for condition in self.over)]
        return len(chosen) if self.column is None else sum(row[self.column] or 0 for row in chosen)


FIGURES: Mapping[str, Figure] = {
    "trainings": Figure(),
    "running": Figure(over=(Condition("state", "running"),)),
    "completed": Figure(over=(_COMPLETED,)),
    "failed": Figure(over=(_FAILED,)),
    "attempts": Figure("attempt_count"),
    "interruptions": Figure("interruptions"),
    "wait_seconds": Figure("wait_seconds"),
    "billable_seconds": Figure("billable_instance_seconds", _COMPARED),
    "clean_run_seconds": Figure("clean_run_instance_seconds", _COMPARED),
    "failed_billable_seconds": Figure("billable_instance_seconds", (_NOT_COMPLETED,)),
    "abandoned_billable_seconds": Figure("abandoned_instance_seconds", (_COMPLETED,)),
    "replaced_billable_seconds": Figure("replaced_instance_seconds"),
    "unknown": Figure(over=(_COMPLETED, Condition("savings_percent", Is.UNKNOWN))),
    "billed_usd": Figure("billed_usd", _PRICED),
    "clean_run_usd": Figure("clean_run_usd", _PRICED),
    "saved_usd": Figure("saved_usd", _PRICED),
    "failed_usd": Figure("billed_usd", (_NOT_COMPLETED,)),
    "abandoned_usd": Figure("abandoned_usd", (_COMPLETED,)),
    "replaced_usd": Figure("replaced_usd"),
    "unpriced": Figure(over=(Condition("billed_usd", Is.UNKNOWN),)),
    "spot_failed_billable_seconds": Figure("spot_failed_instance_seconds", (_FAILED,)),
    "replaced_spot_failed_billable_seconds": Figure("replaced_spot_failed_instance_seconds"),
    "spot_failed_usd": Figure("spot_failed_usd", (_FAILED,)),
    "replaced_spot_failed_usd": Figure("replaced_spot_failed_usd"),
}


def totals_from(sums: Mapping[str, Any], *, left_out: tuple[str, ...] = ()) -> Totals:
    """The totals with these values of `FIGURES`. Other members of `sums` are ignored."""
    known: dict[str, Any] = {
        name: round(sums[name], 6) if name.endswith("_usd") else int(sums[name]) for name in FIGURES
    }
    percent = saved_percent(known["billable_seconds"], known["clean_run_seconds"])
    return Totals(**known, **_net(known), savings_percent=percent, left_out=left_out)


def _net(known: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of the savings after the trainings that failed because of spot."""
    wasted = known["spot_failed_billable_seconds"] + known["replaced_spot_failed_billable_seconds"]
    wasted_usd = known["spot_failed_usd"] + known["replaced_spot_failed_usd"]
    in_time = saved_percent(known["billable_seconds"] + wasted, known["clean_run_seconds"])
    in_dollars = saved_percent(known["billed_usd"] + wasted_usd, known["clean_run_usd"])
    return {
        "net_saved_seconds": known["clean_run_seconds"] - known["billable_seconds"] - wasted,
        "net_saved_usd": round(known["saved_usd"] - wasted_usd, 6),
        "net_savings_percent": in_time if in_dollars is None else in_dollars,
    }


class Summed(Protocol):
    """What is summed of a `TrainingRecord`, with the columns of its statement."""

    @property
    def state(self) -> str: ...
    @property
    def is_test(self) -> bool | None: ...
    @property
    def statement(self) -> SavingsStatement: ...
    @property
    def amounts(self) -> Amounts | None: ...
    @property
    def replaced_instance_seconds(self) -> int | None: ...
    @property
    def replaced_usd(self) -> float | None: ...
    @property
    def replaced_spot_failed_instance_seconds(self) -> int | None: ...
    @property
    def replaced_spot_failed_usd(self) -> float | None: ...


def totals_of(records: Iterable[Summed]) -> Totals:
    """Sum up trainings, and count test runs."""
    tests: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    in_currencies: list[Amounts] = []
    for record in records:
        (tests if record.is_test else rows).append(_columns_of(record))
        if not record.is_test and record.state != "running" and (amounts := record.amounts):
            in_currencies.append(amounts)
    totals = totals_from({name: figure.of(rows) for name, figure in FIGURES.items()})
    test_usd = round(sum(row["billed_usd"] or 0.0 for row in tests), 6)
    currencies = totals_by_currency(in_currencies)
    return replace(totals, test_runs=len(tests), test_usd=test_usd, currencies=currencies)


def _columns_of(record: Summed) -> dict[str, Any]:
    statement = record.statement
    return {
        **statement.to_json(),
        "attempt_count": statement.attempts,
        "state": str(record.state),
        "replaced_instance_seconds": record.replaced_instance_seconds,
        "replaced_usd": record.replaced_usd,
        "replaced_spot_failed_instance_seconds": record.replaced_spot_failed_instance_seconds,
        "replaced_spot_failed_usd": record.replaced_spot_failed_usd,
    }
