"""When spot capacity of an instance type was available recently, as this Airflow's jobs saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from spot_training.domain.deadline import LAUNCH_SECONDS
from spot_training.domain.lifecycle import SecondaryStatus, Transition
from spot_training.task.past_runs import Ask, ask_ledger

from .intervals import Stretch, intervals_seen, stretches_of

if TYPE_CHECKING:
    from spot_training.advise.moves import Intervals

#: Older observations say nothing about the market now.
CAPACITY_WITHIN = timedelta(days=7)
MAX_INTERVALS = 200
MOST_ATTEMPTS = 500

#: The newest spot attempts of a type, and each visit of their jobs to a status.
_CAPACITY = """
WITH lately AS (
    SELECT key, number, ended_at FROM attempts
    WHERE list_contains($installations::VARCHAR[], installation)
      AND ($dag_ids IS NULL OR list_contains($dag_ids::VARCHAR[], dag_id))
      AND purchase = 'spot' AND instance_type = $instance_type AND region = $region AND ended_at >= $since
    ORDER BY ended_at DESC LIMIT $most
)
SELECT l.key, l.number, l.ended_at AS over_at, t.status, t.started_at
FROM lately l JOIN transitions t ON t.key = l.key AND t.attempt = l.number
ORDER BY l.key, l.number, t.started_at, t.ended_at NULLS LAST
"""


def recent_intervals(
    *,
    region: str,
    instance_type: str,
    installations: Sequence[str],
    dag_ids: Sequence[str] | None = None,
    now: datetime | None = None,
    ask: Ask | None = None,
) -> Intervals:
    """Intervals with and without capacity, oldest first.

    The market is the same for all Dags of an Airflow (`dag_ids`: only what those saw). Another Airflow may
    use another AWS account. `ask` as in `learn`.
    """
    since = (now or datetime.now(UTC)) - CAPACITY_WITHIN
    parameters = {
        "installations": list(installations),
        "dag_ids": None if dag_ids is None else list(dag_ids),
        "region": region,
        "instance_type": instance_type,
        "since": since,
        "most": MOST_ATTEMPTS,
    }
    rows = [
        row for row in (ask or ask_ledger)(_CAPACITY, parameters) if row["status"] in set(SecondaryStatus)
    ]
    jobs = groupby(rows, key=lambda row: (row["key"], row["number"]))
    return intervals_seen([_stretches(list(visits)) for _, visits in jobs])[-MAX_INTERVALS:]


def _stretches(rows: Sequence[Mapping[str, Any]]) -> list[Stretch]:
    visits = [Transition(status=SecondaryStatus(row["status"]), started_at=row["started_at"]) for row in rows]
    return stretches_of(visits, over_at=rows[0]["over_at"], launch_seconds=LAUNCH_SECONDS)
