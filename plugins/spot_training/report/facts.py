"""The facts of a report: the trainings of a window, with totals by Dag, model, instance type and team.

Report and page query the ledger with the same reader, so they show the same figures.
"""

# ruff: noqa: S608 - the SQL is made of this file's own text; all values are parameters

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import is_left_out
from spot_training.ledger.periods import Grain, Period, periods_of, step_of

if TYPE_CHECKING:
    from spot_training.domain.records import TrainingRecord
    from spot_training.domain.totals import Totals
    from spot_training.ledger import LedgerReader, Selection

#: What a report can be grouped by, and the heading of each group.
GROUPS: dict[str, str] = {
    "dag_id": "Dag",
    "model": "Model",
    "instance_type": "Instance type",
    "team": "Team",
}
#: How many groups and trainings a report lists. The CSV has all of them.
MOST_GROUPS, MOST_TRAININGS = 15, 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The trainings that started in [since, until). None is open. Days are UTC."""

    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of_days(cls, since: object, until: object) -> Window:
        """From the first to the last of these days (ISO dates), both included. No value is open."""
        first, last = _day("since", since), _day("until", until)
        if first and last and last < first:
            raise InvalidInput("until", str(until), f"give {first} or later, or no day.")
        return cls(
            since=_midnight(first) if first else None,
            until=_midnight(last + timedelta(days=1)) if last else None,
        )

    @classmethod
    def last_days(cls, days: int, *, before: datetime, whole: bool) -> Window:
        """This number of days up to `before`.

        With `whole`, the window ends with the last complete day, so that no training is in two reports.
        Otherwise it is open, and includes the newest training.
        """
        today = before.astimezone(UTC).date()
        return cls(since=_midnight(today - timedelta(days=days)), until=_midnight(today) if whole else None)

    def __str__(self) -> str:
        first = f"{self.since:%Y-%m-%d}" if self.since else None
        last = f"{self.until - timedelta(days=1):%Y-%m-%d}" if self.until else None
        match first, last:
            case None, None:
                return "all time"
            case None, _:
                return f"until {last}"
            case _, None:
                return f"since {first}"
            case _:
                return f"{first} to {last}"


def _day(field: str, value: object) -> date | None:
    if is_left_out(value):
        return None
    try:
        return date.fromisoformat(str(value).strip()[:10])
    except ValueError as error:
        raise InvalidInput(field, value, "give a day, like 2026-11-23.") from error


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long spot attempts on an instance type waited for capacity on average."""

    instance_type: str
    attempts: int
    wait_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The facts of one report.

    `groups` has the totals by name for each requested member of `GROUPS`, the most expensive first. The name
    is None for trainings without one. `dearest` has the most expensive trainings. `simulated` is how
    many trainings ran on a local cloud.
    """

    title: str
    window: Window
    made_at: datetime
    totals: Totals
    step: Grain
    periods: tuple[Period, ...]
    waits: tuple[Wait, ...]
    groups: Mapping[str, Mapping[str | None, Totals]]
    dearest: tuple[TrainingRecord, ...]
    simulated: int = 0


def report_of(
    reader: LedgerReader,
    selection: Selection,
    *,
    title: str,
    made_at: datetime,
    group_by: Sequence[str] = tuple(GROUPS),
) -> Report:
    """Query the ledger. Raises `InvalidInput` for an unknown group."""
    if unknown := [group for group in group_by if group not in GROUPS]:
        raise InvalidInput("group_by", unknown[0], f"choose from {', '.join(GROUPS)}.")
    step = step_of(reader, selection)
    return Report(
        title=title,
        window=Window(since=selection.since, until=selection.until),
        made_at=made_at,
        totals=reader.totals(selection),
        step=step,
        periods=periods_of(reader, selection, step),
        waits=_waits(reader, selection),
        groups={group: reader.totals_by(group, selection) for group in group_by},
        dearest=tuple(reader.records(selection, order="billed_usd", limit=MOST_TRAININGS)),
        simulated=_simulated(reader, selection),
    )


def _simulated(reader: LedgerReader, selection: Selection) -> int:
    where, parameters = selection.where()
    (row,) = reader.query(
        f"SELECT count(*) AS trainings FROM trainings WHERE counts AND local_cloud IS NOT NULL AND {where}",
        parameters,
    )
    return int(row["trainings"])


def _waits(reader: LedgerReader, selection: Selection) -> tuple[Wait, ...]:
    """The average waits, the longest first."""
    where, parameters = selection.where()
    rows = reader.query(
        f"""
        SELECT a.instance_type, count(*) AS attempts, avg(a.wait_seconds) AS wait_seconds
        FROM (SELECT unnest(attempts) AS a FROM trainings WHERE counts AND {where})
        WHERE a.purchase = 'spot' AND a.instance_type IS NOT NULL
        GROUP BY 1 ORDER BY wait_seconds DESC, 1
        """,
        parameters,
    )
    return tuple(Wait(**row) for row in rows)
