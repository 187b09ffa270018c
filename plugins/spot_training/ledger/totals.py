"""The sums of `domain.totals` as SQL over the ledger's `trainings`, or a table with some of its columns."""

from __future__ import annotations

from spot_training.domain.totals import FIGURES, Condition, Figure, Is


def sums_sql(*names: str) -> str:
    """The columns of a SELECT: these figures under their names, or all of them."""
    return ", ".join(f"{_sum(FIGURES[name])} AS {name}" for name in names or FIGURES)


def tests_sql() -> str:
    """The columns of a SELECT over test runs only."""
    return "count(*) AS test_runs, round(coalesce(sum(billed_usd), 0), 6) AS test_usd"


def currency_sums_sql() -> str:
    """The columns of a SELECT that groups by `currency`: `CurrencyTotals`."""
    compared = "FILTER (saved_in_currency IS NOT NULL)"
    sums = {
        "billed": "sum(billed_in_currency)",
        "compared": f"sum(billed_in_currency) {compared}",
        "clean_run": f"sum(clean_run_in_currency) {compared}",
    }
    rounded = ", ".join(f"round(coalesce({total}, 0), 6) AS {name}" for name, total in sums.items())
    counts = "count(billed_in_currency) AS trainings, count(*) - count(billed_in_currency) AS unknown"
    return f"currency, {counts}, {rounded}"


def _sum(figure: Figure) -> str:
    kept = f" FILTER ({' AND '.join(map(_condition, figure.over))})" if figure.over else ""
    return f"count(*){kept}" if figure.column is None else f"coalesce(sum({figure.column}){kept}, 0)"


def _condition(condition: Condition) -> str:
    column = condition.column
    match condition.wanted:
        case Is.TRUE:
            return column
        case Is.FALSE:
            return f"NOT {column}"
        case Is.KNOWN:
            return f"{column} IS NOT NULL"
        case Is.UNKNOWN:
            return f"{column} IS NULL"
        case text:
            return f"{column} = '{text}'"
