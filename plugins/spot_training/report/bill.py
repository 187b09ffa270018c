"""The costs line by line, in dollars, or in instance-hours if no price is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spot_training.domain.messages import NET_MEANING, PRICE_BASIS, counted, tests_line, times
from spot_training.domain.money import dollars
from spot_training.domain.parsing import in_words

if TYPE_CHECKING:
    from spot_training.domain.records import Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """One line. `kind` is `part` (of the line above it), `saved`, `lost`, `sum` or empty."""

    label: str
    amount: str
    remark: str = ""
    kind: str = ""


def has_dollars(totals: Totals) -> bool:
    """Whether any price is known."""
    return totals.has_dollars


def amount(totals: Totals, name: str) -> str:
    """A sum of `Totals` as text.

    `name` is `billed`, `clean_run`, `saved`, `net_saved`, `failed`, `spot_failed`, `abandoned`, `replaced` or
    `replaced_spot_failed`.
    """
    return in_money(money(totals, name), in_dollars=has_dollars(totals))


def money(totals: Totals, name: str) -> float:
    """The same as a number: US dollars, or instance-hours."""
    if has_dollars(totals):
        return float(getattr(totals, f"{name}_usd"))
    if name == "saved":
        return (totals.clean_run_seconds - totals.billable_seconds) / 3600
    field = _IN_TIME.get(name, f"{name}_billable_seconds")
    return float(getattr(totals, field)) / 3600


_IN_TIME = {
    "billed": "billable_seconds",
    "clean_run": "clean_run_seconds",
    "net_saved": "net_saved_seconds",
}


def in_money(value: float, *, in_dollars: bool) -> str:
    return dollars(value) if in_dollars else in_words(value * 3600)


def bill(totals: Totals) -> list[BillLine]:
    """The costs of a window. A line for a rare case is left out if it is zero."""
    in_dollars = has_dollars(totals)
    saved, net = money(totals, "saved"), money(totals, "net_saved")
    lines = [
        BillLine(
            label="On demand without interruptions",
            amount=amount(totals, "clean_run"),
            remark=counted(totals.completed, "completed training"),
        ),
        BillLine(label="Billed for them, over all attempts", amount=amount(totals, "billed")),
        BillLine(
            label="of that, for abandoned attempts",
            amount=amount(totals, "abandoned"),
            remark="spot jobs that did not complete the training",
            kind="part",
        ),
        BillLine(
            label="Saved" if saved >= 0 else "Lost",
            amount=in_money(abs(saved), in_dollars=in_dollars),
            remark=_percent(totals.percent_saved),
        ),
        BillLine(
            label="Billed for failed trainings", amount=amount(totals, "failed"), remark=_failed(totals)
        ),
    ]
    lines += _because_of_spot(totals, "spot_failed")
    if money(totals, "replaced"):
        lines.append(
            BillLine(
                label="Billed for trainings that were cleared",
                amount=amount(totals, "replaced"),
                remark="a person cleared them, and they started again",
            )
        )
    lines += _because_of_spot(totals, "replaced_spot_failed")
    lines.append(
        BillLine(
            label="Saved net" if net >= 0 else "Lost net",
            amount=in_money(abs(net), in_dollars=in_dollars),
            remark=_percent(totals.net_savings_percent),
            kind="saved" if net >= 0 else "lost",
        )
    )
    everything = sum(money(totals, name) for name in ("billed", "failed", "replaced"))
    total = in_money(everything, in_dollars=in_dollars)
    return [*lines, BillLine(label="Billed in total", amount=total, kind="sum")]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{abs(value):g} %"


def _because_of_spot(totals: Totals, name: str) -> list[BillLine]:
    if not money(totals, name):
        return []
    return [
        BillLine(
            label="of that, for spot attempts that ended because of spot",
            amount=amount(totals, name),
            remark="a cost of spot",
            kind="part",
        )
    ]


def _failed(totals: Totals) -> str:
    words = counted(totals.failed, "training")
    return f"{words}, and {totals.running} running" if totals.running else words


def headline(totals: Totals) -> str:
    """`Spot saved $0.34 net`. Empty if there is nothing to compare yet."""
    net = money(totals, "net_saved")
    if not net and totals.net_savings_percent is None:
        return ""
    in_dollars = has_dollars(totals)
    size = in_money(abs(net), in_dollars=in_dollars) + ("" if in_dollars else " of instance time")
    return f"Spot saved {size} net" if net >= 0 else f"Spot lost {size} net"


def sentences(totals: Totals) -> list[str]:
    """The most important facts, in up to four sentences."""
    first = headline(totals)
    if first and totals.net_savings_percent is not None:
        first += f", {_percent(totals.net_savings_percent)} of what on-demand would have cost"
    rest = [_what_happened(totals), _what_it_cost(totals), _what_was_lost(totals)]
    return [f"{first}.", *rest] if first else rest


def remarks(totals: Totals) -> list[str]:
    """What the figures are made of, and what they do not include."""
    left_out = [f"The figures may be incomplete: the ledger's {file}" for file in totals.left_out]
    if totals.unknown:
        words = counted(totals.unknown, "training")
        left_out.append(f"The savings do not include {words} for which AWS did not report enough.")
    if has_dollars(totals) and totals.unpriced:
        words = counted(totals.unpriced, "training")
        left_out.append(f"The dollars do not include {words} without a known price in dollars.")
    left_out += [str(other) for other in totals.currencies]
    if not has_dollars(totals) and totals.trainings > totals.running:
        left_out.append("No price in dollars is known, so costs are instance time at the on-demand price.")
    if totals.test_runs:
        left_out.append(tests_line(totals.test_runs, dollars(totals.test_usd) if totals.test_usd else ""))
    if headline(totals):
        left_out.append(NET_MEANING)
    if has_dollars(totals):
        left_out.append(PRICE_BASIS)
    return left_out


def _what_happened(totals: Totals) -> str:
    taken_away = (
        f"spot interrupted them {times(totals.interruptions)}"
        if totals.interruptions
        else "spot never interrupted them"
    )
    others = [
        f"{count} {words}"
        for count, words in ((totals.failed, "failed"), (totals.running, "running"))
        if count
    ]
    done = f"{totals.completed} of {counted(totals.trainings, 'training')} completed"
    attempts = counted(totals.attempts, "attempt")
    return f"{', '.join([done, *others])}, in {attempts}; {taken_away}."


def _what_it_cost(totals: Totals) -> str:
    if totals.percent_saved is None:
        return "None of them can be compared with on-demand yet."
    size = abs(totals.percent_saved)
    verb = "less" if totals.percent_saved >= 0 else "more"
    times_ = (
        f"{in_words(totals.billable_seconds)} of instance time instead of about "
        f"{in_words(totals.clean_run_seconds)} on demand"
    )
    if not has_dollars(totals):
        return f"The completed trainings were billed {times_}: {size:g} % {verb}."
    return (
        f"The completed trainings cost {dollars(totals.billed_usd)} instead of about "
        f"{dollars(totals.clean_run_usd)}, {size:g} % {verb}: billed {times_}."
    )


def _what_was_lost(totals: Totals) -> str:
    return (
        f"All trainings waited {in_words(totals.wait_seconds)} for capacity, at no cost; abandoned attempts "
        f"cost {amount(totals, 'abandoned')}, failed trainings {amount(totals, 'failed')}."
    )
