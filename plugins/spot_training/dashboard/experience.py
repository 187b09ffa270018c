"""What past trainings of the Dags that the user may read tell the advisor: run times, market and prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from spot_training.advise.history import recent_intervals
from spot_training.domain.type_history import TypeHistory  # noqa: TC001 - FastAPI reads the annotations
from spot_training.ledger.type_history import type_histories
from spot_training.task.past_runs import Learned, Teachers, learn

if TYPE_CHECKING:
    from spot_training.ledger import LedgerReader, Selection

#: The newest prices of some types on record, in US dollars.
_PRICES = """
SELECT p.instance_type AS instance_type, arg_max(p.usd_per_hour, p.as_of) AS usd FROM (
    SELECT unnest(prices) AS p FROM trainings
    WHERE list_contains($installations::VARCHAR[], installation)
      AND list_contains($dag_ids::VARCHAR[], dag_id) AND region = $region AND began_at >= $since
)
WHERE list_contains($types::VARCHAR[], p.instance_type) AND coalesce(p.currency, 'USD') = 'USD'
GROUP BY 1
"""
#: Prices change rarely, and older ones say little.
PRICES_WITHIN = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeSeen:
    """An instance type: whether it had spot capacity, and for how many seconds, oldest first; its price.

    The price is in US dollars per instance-hour on demand, and None if none is on record.
    """

    instance_type: str
    intervals: tuple[tuple[bool, float], ...]
    on_demand_price: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """`learned` is None without a model, and without past runs. `types` are in the order of the question."""

    learned: Learned | None
    types: tuple[TypeSeen, ...]
    types_seen: tuple[TypeHistory, ...]


def experience_of(
    reader: LedgerReader,
    readable: Selection,
    *,
    instance_types: Sequence[str],
    region: str,
    model: str | None,
    dag_id: str | None,
    instance_count: int,
    now: datetime,
) -> Experience:
    """Ask the ledger what the advisor asks. `readable` has the user's Dags, and this Airflow's names."""
    installations, dag_ids = readable.installations or (), readable.dag_ids or ()
    taught_by = dag_ids if dag_id is None else tuple({dag_id}.intersection(dag_ids))
    learned = None
    if model and instance_types:
        learned = learn(
            model=model,
            instance_type=instance_types[0],
            instance_count=instance_count,
            teachers=Teachers(installations=installations, dag_ids=taught_by, are_named=False),
            now=now,
            ask=reader.query,
        )
    known = {
        "installations": list(installations),
        "dag_ids": list(dag_ids),
        "region": region,
        "since": now - PRICES_WITHIN,
        "types": list(instance_types),
    }
    prices = {row["instance_type"]: row["usd"] for row in reader.query(_PRICES, known)}
    return Experience(
        learned=learned,
        types=tuple(
            TypeSeen(
                instance_type=each,
                intervals=_intervals(reader, readable, each, region=region, now=now),
                on_demand_price=prices.get(each),
            )
            for each in instance_types
        ),
        types_seen=tuple(type_histories(reader, now=now, installations=installations, dag_ids=dag_ids)),
    )


def _intervals(
    reader: LedgerReader, readable: Selection, instance_type: str, *, region: str, now: datetime
) -> tuple[tuple[bool, float], ...]:
    found = recent_intervals(
        region=region,
        instance_type=instance_type,
        installations=readable.installations or (),
        dag_ids=readable.dag_ids or (),
        now=now,
        ask=reader.query,
    )
    return tuple((bool(has_spot), float(seconds)) for has_spot, seconds in found)
