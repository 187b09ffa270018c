"""The trainings of a selection by day, week or month: one answer for the report and the page."""

# ruff: noqa: S608 - the SQL is made of this file's own text; all values are parameters

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .reader import LedgerReader, Selection


class Grain(StrEnum):
    """How long a period of a chart is."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A day, week or month: what its completed trainings were billed, and one clean on-demand run of each.

    `trainings` counts all that began in it. Hours are instance-hours.
    """

    starts_on: date
    trainings: int
    billed_hours: float
    clean_run_hours: float
    billed_usd: float
    clean_run_usd: float
    savings_percent: float | None


def step_of(reader: LedgerReader, selection: Selection, *, table: str = "trainings") -> Grain:
    """The finest step that leaves bars wide enough to see. `table` may be a narrower one of the same rows."""
    where, parameters = selection.where()
    (row,) = reader.query(
        f"SELECT date_diff('day', min(began_at), max(began_at)) AS days FROM {table} WHERE {where}",
        parameters,
    )
    days = row["days"] or 0
    return Grain.DAY if days <= 45 else Grain.WEEK if days <= 400 else Grain.MONTH


def periods_of(
    reader: LedgerReader, selection: Selection, step: Grain, *, table: str = "trainings"
) -> tuple[Period, ...]:
    """The periods in which trainings began, oldest first.

    `savings_percent` is that of the dollars where prices are known, else of instance time; None where nothing
    can be compared.
    """
    where, parameters = selection.where()
    rows = reader.query(
        f"""
        SELECT date_trunc('{step}', began_at)::DATE AS starts_on,
               count(*) AS trainings,
               coalesce(sum(billable_instance_seconds) FILTER (compared), 0) / 3600 AS billed_hours,
               coalesce(sum(clean_run_instance_seconds) FILTER (compared), 0) / 3600 AS clean_run_hours,
               coalesce(sum(billed_usd) FILTER (priced), 0) AS billed_usd,
               coalesce(sum(clean_run_usd) FILTER (priced), 0) AS clean_run_usd
        FROM (SELECT *, completed AND savings_percent IS NOT NULL AS compared,
                     compared AND saved_usd IS NOT NULL AS priced
              FROM {table} WHERE {where} AND began_at IS NOT NULL)
        GROUP BY 1 ORDER BY 1
        """,
        parameters,
    )
    return tuple(
        Period(
            **row,
            savings_percent=saved_percent(row["billed_usd"], row["clean_run_usd"])
            if row["clean_run_usd"]
            else saved_percent(row["billed_hours"], row["clean_run_hours"]),
        )
        for row in rows
    )


def saved_percent(paid: float, full: float) -> float | None:
    """How much less than the full price was paid, in percent; None where there is no full price."""
    return round((1 - paid / full) * 100, 1) if full else None
