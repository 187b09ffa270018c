"""What past trainings of the Dags that the user may read tell the advisor: run times, market and prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from spot_training.advise.history import recent_intervals
from spot_training.domain.type_history import TypeHistory  # noqa: TC001 - FastAPI reads the annotations
from spot_training.ledger.type_history import type_histories
from spot_training.task.past_runs import Learned, Teachers, learn

if TYPE_CHECKING:
    from spot_training.ledger import LedgerReader, Selection

#: The newest price of a type on record, in US dollars.
_PRICE = """
SELECT p.usd_per_hour AS usd FROM (
    SELECT began_at, unnest(prices) AS p FROM trainings
    WHERE list_contains($installations::VARCHAR[], installation)
      AND list_contains($dag_ids::VARCHAR[], dag_id) AND region = $region
)
WHERE p.instance_type = $instance_type AND coalesce(p.currency, 'USD') = 'USD'
ORDER BY p.as_of DESC NULLS LAST LIMIT 1
"""


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
            teachers=Teachers(installations=installations, dag_ids=taught_by),
            now=now,
            ask=reader.query,
        )
    return Experience(
        learned=learned,
        types=tuple(_type_seen(reader, readable, each, region=region, now=now) for each in instance_types),
        types_seen=tuple(type_histories(reader, now=now, installations=installations, dag_ids=dag_ids)),
    )


def _type_seen(
    reader: LedgerReader, readable: Selection, instance_type: str, *, region: str, now: datetime
) -> TypeSeen:
    installations, dag_ids = readable.installations or (), readable.dag_ids or ()
    where = {"installations": list(installations), "dag_ids": list(dag_ids), "region": region}
    price = reader.query(_PRICE, {**where, "instance_type": instance_type})
    intervals = recent_intervals(
        region=region,
        instance_type=instance_type,
        installations=installations,
        dag_ids=dag_ids,
        now=now,
        ask=reader.query,
    )
    return TypeSeen(
        instance_type=instance_type,
        intervals=tuple((bool(has_spot), float(seconds)) for has_spot, seconds in intervals),
        on_demand_price=price[0]["usd"] if price else None,
    )
