"""This calendar month (UTC): what each Dag was billed, net savings, teams, and jobs that a quota refused."""

# ruff: noqa: S608 - the SQL is made of this file's own text; all values are parameters

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.domain.budget import month_of
from spot_training.domain.currencies import CurrencyTotals  # noqa: TC001 - FastAPI reads the annotations
from spot_training.domain.lifecycle import Ending

if TYPE_CHECKING:
    from spot_training.ledger import LedgerReader, Selection

#: How many refusals, and how many Dags and teams, are listed. The figures count all.
MOST_REFUSALS, MOST_ROWS = 20, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DagMonth:
    """What the jobs of a Dag that ended in the month were billed, as far as prices are known."""

    dag_id: str
    billed_usd: float
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamMonth:
    """The trainings of a team that began in the month. `net_saved_usd` is None without any price."""

    team: str
    trainings: int
    billed_usd: float
    net_saved_usd: float | None
    net_savings_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A job that a quota of the account refused."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    model: str
    instance_type: str | None
    purchase: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """The month that began at `began_at`, of the trainings that somebody may read and chose.

    `dags` are ordered by what they were billed. `currencies` are the trainings that began in the month and
    have prices in other currencies. `quota_refusals` counts all that `refusals` lists some of.
    """

    began_at: datetime
    trainings: int = 0
    billed_usd: float = 0.0
    unpriced: int = 0
    has_dollars: bool = False
    net_saved_usd: float = 0.0
    net_saved_hours: float = 0.0
    net_savings_percent: float | None = None
    quota_refusals: int = 0
    dags: tuple[DagMonth, ...] = ()
    teams: tuple[TeamMonth, ...] = ()
    currencies: tuple[CurrencyTotals, ...] = ()
    refusals: tuple[Refusal, ...] = field(default=())


_CHOSEN_BY = "key, installation, dag_id, task_id, model, team, state, instance_type, began_at"
#: A job counts once, whichever tasks watched it (`task.month_spending`).
_JOBS = f"""
CREATE TABLE page_jobs AS
SELECT {_CHOSEN_BY}, run_id, map_index, j.job_name AS job_name, j.ending AS ending, j.purchase AS purchase,
       j.instance_type AS job_type, j.ended_at AS job_ended_at, j.started_at IS NOT NULL AS has_started,
       j.billed_usd AS job_usd
FROM (SELECT {_CHOSEN_BY}, run_id, map_index, unnest(list_concat(attempts, scouts)) AS j
      FROM trainings)
"""


def lay_tables(reader: LedgerReader) -> None:
    """Copy what the month needs into a flat table, once for each view of the ledger."""
    reader.query(_JOBS)


def month_at(reader: LedgerReader, readable: Selection, *, now: datetime) -> Month:
    """The calendar month of `now`. `readable` may choose Dags, models, types and teams, and has no dates."""
    since = month_of(now)
    until = month_of(since + timedelta(days=32))
    began_in_it = replace(readable, since=since, until=until)
    totals = reader.totals(began_in_it)
    dags = _dags(reader, readable, since, until)
    where, parameters = readable.where()
    (refused,) = reader.query(
        f"SELECT count(DISTINCT job_name) AS jobs FROM page_jobs WHERE {where} {_REFUSED}",
        [*parameters, since, until, Ending.QUOTA],
    )
    return Month(
        began_at=since,
        trainings=totals.trainings,
        billed_usd=round(sum(dag.billed_usd for dag in dags), 6),
        unpriced=sum(dag.unpriced for dag in dags),
        has_dollars=totals.has_dollars or any(dag.billed_usd for dag in dags),
        net_saved_usd=totals.net_saved_usd,
        net_saved_hours=totals.net_saved_seconds / 3600,
        net_savings_percent=totals.net_savings_percent,
        quota_refusals=refused["jobs"],
        dags=dags[:MOST_ROWS],
        teams=_teams(reader, began_in_it),
        currencies=totals.currencies,
        refusals=_refusals(reader, readable, since, until),
    )


_REFUSED = "AND job_ended_at >= ? AND job_ended_at < ? AND ending = ?"


def _dags(
    reader: LedgerReader, readable: Selection, since: datetime, until: datetime
) -> tuple[DagMonth, ...]:
    where, parameters = readable.where()
    billed = reader.query(
        f"""
        SELECT dag_id, coalesce(sum(usd), 0) AS usd, count(*) FILTER (usd IS NULL) AS unpriced
        FROM (SELECT dag_id, job_name, max(job_usd) AS usd FROM page_jobs
              WHERE {where} AND has_started AND job_ended_at >= ? AND job_ended_at < ? GROUP BY ALL)
        GROUP BY 1
        """,
        [*parameters, since, until],
    )
    within, parameters = replace(readable, since=since, until=until).where()
    replaced = reader.query(
        f"SELECT dag_id, coalesce(sum(replaced_usd), 0) AS usd FROM trainings WHERE {within} GROUP BY 1",
        parameters,
    )
    cleared = {row["dag_id"]: row["usd"] for row in replaced if row["usd"]}
    rows: dict[str, Mapping[str, Any]] = {row["dag_id"]: row for row in billed}
    found = [
        DagMonth(
            dag_id=dag_id,
            billed_usd=round(rows.get(dag_id, {"usd": 0.0})["usd"] + cleared.get(dag_id, 0.0), 6),
            unpriced=rows.get(dag_id, {"unpriced": 0})["unpriced"],
        )
        for dag_id in {**rows, **cleared}
    ]
    return tuple(sorted(found, key=lambda dag: (-dag.billed_usd, dag.dag_id)))


def _teams(reader: LedgerReader, began_in_it: Selection) -> tuple[TeamMonth, ...]:
    return tuple(
        TeamMonth(
            team=team,
            trainings=totals.trainings,
            billed_usd=round(totals.billed_usd + totals.failed_usd, 6),
            net_saved_usd=totals.net_saved_usd if totals.has_dollars else None,
            net_savings_percent=totals.net_savings_percent,
        )
        for team, totals in reader.totals_by("team", began_in_it).items()
        if team
    )[:MOST_ROWS]


def _refusals(
    reader: LedgerReader, readable: Selection, since: datetime, until: datetime
) -> tuple[Refusal, ...]:
    where, parameters = readable.where()
    rows = reader.query(
        f"""
        SELECT dag_id, run_id, task_id, map_index, model, job_type AS instance_type, purchase,
               job_ended_at AS at
        FROM page_jobs WHERE {where} {_REFUSED} ORDER BY job_ended_at DESC, job_name LIMIT {MOST_REFUSALS}
        """,
        [*parameters, since, until, Ending.QUOTA],
    )
    return tuple(Refusal(**row) for row in rows)
