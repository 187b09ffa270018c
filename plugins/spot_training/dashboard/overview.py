"""What spot saved, the waits and interruptions, and the most expensive trainings of a selection."""

# ruff: noqa: S608 - the SQL is made of this file's own text; all values are parameters

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from spot_training.domain.savings import saved_percent
from spot_training.domain.totals import Totals  # noqa: TC001 - FastAPI reads the annotations
from spot_training.ledger.periods import Grain, Period, periods_of, step_of

if TYPE_CHECKING:
    from spot_training.ledger import LedgerReader, Selection

#: Rows on one page of the table of trainings.
PAGE_ROWS = 25
#: How many running trainings are shown, and how many values a filter offers.
MOST_LIVE, MOST_CHOICES = 50, 500


class Window(StrEnum):
    """How far back to look."""

    WEEK = "7d"
    MONTH = "30d"
    QUARTER = "90d"
    YEAR = "365d"
    ALL = "all"

    @property
    def days(self) -> int | None:
        return None if self is Window.ALL else int(self.value[:-1])


class Order(StrEnum):
    """The order of the table of trainings."""

    COST = "cost"
    LOST = "lost"
    WAITED = "waited"
    INTERRUPTED = "interrupted"
    NEWEST = "newest"


#: Dollars first, then another currency, then what has no price.
_BY_COST = ", ".join(
    f"coalesce({column}, 0) DESC"
    for column in ("billed_usd", "billed_in_currency", "billable_instance_seconds")
)
_ORDERS = {
    Order.COST: _BY_COST,
    Order.LOST: f"coalesce(savings_percent, 0) ASC, {_BY_COST}",
    Order.WAITED: "wait_seconds DESC",
    Order.INTERRUPTED: "interruptions DESC",
    Order.NEWEST: "began_at DESC NULLS LAST",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters that a user chose. Dates are UTC days, both included, and override the window."""

    window: Window = Window.MONTH
    since: date | None = None
    until: date | None = None
    dag_id: str | None = None
    model: str | None = None
    instance_type: str | None = None
    team: str | None = None

    def selection(self, readable: Selection, *, now: datetime) -> Selection:
        """The trainings that the user may read and that match."""
        dag_ids = readable.dag_ids or ()
        return replace(
            readable,
            since=self._since(now),
            until=_end_of(self.until),
            dag_ids=dag_ids if self.dag_id is None else tuple({self.dag_id}.intersection(dag_ids)),
            models=_only(self.model),
            instance_types=_only(self.instance_type),
            teams=_only(self.team),
        )

    def _since(self, now: datetime) -> datetime | None:
        if self.since is not None:
            return _midnight(self.since)
        if self.until is not None or self.window.days is None:
            return None
        return _midnight(now.date() - timedelta(days=self.window.days - 1))


def _end_of(day: date | None) -> datetime | None:
    return None if day is None or day == date.max else _midnight(day + timedelta(days=1))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _only(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else (value,)


@dataclass(frozen=True, slots=True, kw_only=True)
class HourOfDay:
    """Spot attempts of an instance type submitted in an hour of the day (UTC), and interruptions in that
    hour.

    `wait_seconds` is the mean over the attempts, None without attempts.
    """

    instance_type: str
    hour: int
    attempts: int
    wait_seconds: float | None
    interruptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTypeRow:
    """Spot attempts on one instance type. `held_hours` are the instance-hours that they held."""

    instance_type: str
    attempts: int
    without_capacity: int
    wait_seconds: float
    interruptions: int
    held_hours: float
    savings_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """One training in a table. `local_cloud` describes the clock, if its times and costs are simulated."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    model: str
    team: str | None
    state: str
    began_at: datetime | None
    ended_at: datetime | None
    instance_type: str | None
    local_cloud: str | None
    attempts: int
    interruptions: int
    wait_seconds: int
    billable_instance_seconds: int | None
    billed_usd: float | None
    saved_usd: float | None
    savings_percent: float | None
    is_test: bool | None
    currency: str | None
    billed_in_currency: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The values of the filters: those of the trainings that the user may read."""

    dag_ids: tuple[str, ...]
    models: tuple[str, ...]
    instance_types: tuple[str, ...]
    teams: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything that the page shows about a selection. `simulated` trainings ran on a local cloud."""

    totals: Totals
    simulated: int
    step: Grain
    periods: tuple[Period, ...]
    hours: tuple[HourOfDay, ...]
    instance_types: tuple[InstanceTypeRow, ...]
    live: tuple[TrainingRow, ...]
    trainings: tuple[TrainingRow, ...]

    @property
    def has_dollars(self) -> bool:
        """Whether any price is known. If not, the page shows instance-hours instead of money."""
        return self.totals.has_dollars


#: The columns that a `Selection` needs. Every table of the page has them.
_CHOSEN_BY = "key, installation, dag_id, task_id, model, team, state, instance_type, began_at"
_TABLES = {
    "page_trainings": f"""
        SELECT {_CHOSEN_BY}, counts, is_test, run_id, map_index, ended_at, local_cloud, completed,
               interruptions, wait_seconds, billable_instance_seconds, clean_run_instance_seconds,
               coalesce(net_savings_percent, savings_percent) AS savings_percent,
               billed_usd, clean_run_usd, saved_usd, currency, billed_in_currency,
               len(attempts) + CASE WHEN current_job IS NULL THEN 0 ELSE 1 END AS attempts
        FROM trainings
    """,
    "page_attempts": f"""
        SELECT {_CHOSEN_BY}, a.instance_type AS spot_type, a.created_at AS submitted_at,
               a.started_at IS NULL AS never_started, a.wait_seconds AS waited, a.interruptions AS losses,
               a.training_seconds * a.instance_count AS held, a.billable_seconds * a.instance_count AS billed
        FROM (SELECT {_CHOSEN_BY}, unnest(attempts) AS a FROM trainings WHERE counts)
        WHERE a.purchase = 'spot' AND a.instance_type IS NOT NULL
    """,
    "page_losses": f"""
        SELECT {_CHOSEN_BY}, t.started_at AS lost_at,
               [a FOR a IN attempts IF a.number = t.attempt AND a.purchase = 'spot'][1].instance_type
                   AS spot_type
        FROM (
            SELECT {_CHOSEN_BY}, attempts,
                   unnest([visit FOR visit IN transitions IF visit.status = 'Interrupted']) AS t
            FROM trainings WHERE interruptions > 0 AND counts
        ) WHERE spot_type IS NOT NULL
    """,
}


def lay_tables(reader: LedgerReader) -> None:
    """Copy what the page needs from the records into flat tables, once for each view of the ledger.

    Otherwise, each query would unpack the attempts of all trainings.
    """
    for name, select in _TABLES.items():
        reader.query(f"CREATE TABLE {name} AS {select}")


def overview_of(
    reader: LedgerReader, selection: Selection, *, order: Order = Order.COST, page: int = 1
) -> Overview:
    """Query the ledger for everything that the page shows."""
    step = step_of(reader, selection, table="page_trainings")
    return Overview(
        totals=reader.totals(selection),
        simulated=_simulated(reader, selection),
        step=step,
        periods=periods_of(reader, selection, step, table="page_trainings"),
        hours=_hours(reader, selection),
        instance_types=_instance_types(reader, selection),
        live=live_trainings(reader, selection),
        trainings=trainings(reader, selection, order=order, page=page),
    )


def trainings(
    reader: LedgerReader, selection: Selection, *, order: Order, page: int, rows: int = PAGE_ROWS
) -> tuple[TrainingRow, ...]:
    """One page of the table of trainings."""
    where, parameters = selection.where()
    found = reader.query(
        f"SELECT {_ROW} FROM page_trainings WHERE {where} ORDER BY {_ORDERS[order]}, key LIMIT ? OFFSET ?",
        [*parameters, rows, (page - 1) * rows],
    )
    return tuple(_row(row) for row in found)


def live_trainings(reader: LedgerReader, selection: Selection) -> tuple[TrainingRow, ...]:
    """The running trainings, newest first, regardless of when they started."""
    at_any_time = replace(selection, since=None, until=None, states=("running",))
    return trainings(reader, at_any_time, order=Order.NEWEST, page=1, rows=MOST_LIVE)


def choices(reader: LedgerReader, readable: Selection) -> Choices:
    """The values of each filter, in order."""
    where, parameters = readable.where()

    def distinct(column: str) -> tuple[str, ...]:
        rows = reader.query(
            f"SELECT DISTINCT {column} AS name FROM page_trainings WHERE {where} AND {column} IS NOT NULL "
            f"AND {column} <> '' ORDER BY 1 LIMIT {MOST_CHOICES}",
            parameters,
        )
        return tuple(row["name"] for row in rows)

    return Choices(
        dag_ids=distinct("dag_id"),
        models=distinct("model"),
        instance_types=distinct("instance_type"),
        teams=distinct("team"),
    )


_ROW = ", ".join(f.name for f in fields(TrainingRow))


def _row(row: Mapping[str, Any]) -> TrainingRow:
    return TrainingRow(**row)


def _simulated(reader: LedgerReader, selection: Selection) -> int:
    where, parameters = selection.where()
    (row,) = reader.query(
        f"SELECT count(*) AS trainings FROM page_trainings "
        f"WHERE {where} AND counts AND local_cloud IS NOT NULL",
        parameters,
    )
    return int(row["trainings"])


def _hours(reader: LedgerReader, selection: Selection) -> tuple[HourOfDay, ...]:
    where, parameters = selection.where()
    rows = reader.query(
        f"""
        WITH waits AS (
            SELECT spot_type, hour(submitted_at) AS hour, count(*) AS attempts, avg(waited) AS wait_seconds
            FROM page_attempts WHERE {where} AND submitted_at IS NOT NULL GROUP BY ALL
        ),
        losses AS (
            SELECT spot_type, hour(lost_at) AS hour, count(*) AS interruptions
            FROM page_losses WHERE {where} GROUP BY ALL
        )
        SELECT spot_type AS instance_type, hour, coalesce(attempts, 0) AS attempts, wait_seconds,
               coalesce(interruptions, 0) AS interruptions
        FROM waits FULL JOIN losses USING (spot_type, hour) ORDER BY 1, 2
        """,
        [*parameters, *parameters],
    )
    return tuple(HourOfDay(**row) for row in rows)


def _instance_types(reader: LedgerReader, selection: Selection) -> tuple[InstanceTypeRow, ...]:
    where, parameters = selection.where()
    rows = reader.query(
        f"""
        SELECT spot_type AS instance_type, count(*) AS attempts,
               count(*) FILTER (never_started) AS without_capacity,
               avg(waited) AS wait_seconds, sum(losses) AS interruptions,
               coalesce(sum(held), 0) / 3600 AS held_hours, coalesce(sum(billed), 0) / 3600 AS billed
        FROM page_attempts WHERE {where} GROUP BY 1 ORDER BY attempts DESC, 1
        """,
        parameters,
    )
    return tuple(_instance_type_row(row) for row in rows)


def _instance_type_row(row: dict[str, Any]) -> InstanceTypeRow:
    billed = row.pop("billed")
    return InstanceTypeRow(**row, savings_percent=saved_percent(billed, row["held_hours"]))
