"""The trainings of a selection by day, week or month, for the report and the page."""

# ruff: noqa: S608 - the SQL is made of this file's own text; all values are parameters

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from spot_training.domain.savings import saved_percent

from .totals import sums_sql

if TYPE_CHECKING:
    from .reader import LedgerReader
    from .selection import Selection


class Grain(StrEnum):
    """The length of a period in a chart."""

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
    """The shortest period that leaves bars wide enough to see. `table` may have fewer columns."""
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

    `savings_percent` is that of the dollars if prices are known, else of instance time. None if nothing can
    be compared.
    """
    where, parameters = selection.where()
    figures = sums_sql("trainings", "billable_seconds", "clean_run_seconds", "billed_usd", "clean_run_usd")
    rows = reader.query(
        f"SELECT date_trunc('{step}', began_at)::DATE AS starts_on, {figures} "
        f"FROM {table} WHERE counts AND {where} AND began_at IS NOT NULL GROUP BY 1 ORDER BY 1",
        parameters,
    )
    return tuple(map(_period, rows))


def _period(row: Mapping[str, Any]) -> Period:
    in_dollars = saved_percent(row["billed_usd"], row["clean_run_usd"])
    in_time = saved_percent(row["billable_seconds"], row["clean_run_seconds"])
    return Period(
        starts_on=row["starts_on"],
        trainings=row["trainings"],
        billed_hours=row["billable_seconds"] / 3600,
        clean_run_hours=row["clean_run_seconds"] / 3600,
        billed_usd=row["billed_usd"],
        clean_run_usd=row["clean_run_usd"],
        savings_percent=in_time if in_dollars is None else in_dollars,
    )
