"""The spot jobs of the last two weeks, by instance type and region (`domain.type_history`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from spot_training.domain.attempts import PurchaseOption
from spot_training.domain.lifecycle import Ending
from spot_training.domain.type_history import WITHIN, SpotJob, TypeHistory, histories_of

if TYPE_CHECKING:
    from .reader import LedgerReader

#: A training that began earlier has no job that ended lately: SageMaker ends a job after 28 days. So only the
#: files of two or three months are read.
_LONGEST_RUN = timedelta(days=30)
#: The newest, of very many.
MOST_JOBS = 5000

_JOBS = """
WITH lately AS (
    SELECT region, began_at, attempts, scouts FROM trainings
    WHERE counts AND began_at >= $began_since AND list_contains($installations::VARCHAR[], installation)
      AND ($dag_ids IS NULL OR list_contains($dag_ids::VARCHAR[], dag_id))
      AND ($region IS NULL OR region = $region)
      AND ($is_simulated IS NULL OR (local_cloud IS NOT NULL) = $is_simulated)
), jobs AS (
    SELECT region, began_at, false AS is_scout, unnest(attempts) AS a,
           unnest(list_prepend(NULL, [each.ending FOR each IN attempts])) AS ending_before
    FROM lately
    UNION ALL SELECT region, began_at, true, unnest(scouts), NULL FROM lately
)
SELECT coalesce(region, '') AS region, a.instance_type AS instance_type, is_scout, ending_before,
       a.ending AS ending, a.created_at AS created_at, a.started_at AS started_at,
       coalesce(a.interruptions, 0) AS interruptions, a.training_seconds AS training_seconds,
       a.billable_seconds AS billable_seconds
FROM jobs
WHERE a.purchase = $spot AND a.instance_type IS NOT NULL
  AND coalesce(a.ended_at, began_at) >= $since  -- a refused job has no moments
  AND ($types IS NULL OR list_contains($types::VARCHAR[], a.instance_type))
ORDER BY coalesce(a.ended_at, began_at) DESC LIMIT $most
"""


def type_histories(
    reader: LedgerReader,
    *,
    now: datetime,
    installations: Sequence[str],
    dag_ids: Sequence[str] | None = None,
    region: str | None = None,
    types: Sequence[str] | None = None,
    is_simulated: bool | None = None,
) -> list[TypeHistory]:
    """The histories of these types in this region (None: of all). `now` is AWS's time.

    The market is the same for all Dags of an Airflow (`dag_ids`: only what those saw). `is_simulated`: only
    that of local SageMakers, or only AWS's (None: both).
    """
    parameters = {
        "began_since": now - WITHIN - _LONGEST_RUN,
        "since": now - WITHIN,
        "installations": list(installations),
        "dag_ids": None if dag_ids is None else list(dag_ids),
        "region": region,
        "types": None if types is None else list(types),
        "is_simulated": is_simulated,
        "spot": str(PurchaseOption.SPOT),
        "most": MOST_JOBS,
    }
    endings = set(Ending)
    rows = [row for row in reader.query(_JOBS, parameters) if row["ending"] in endings]
    return histories_of(
        SpotJob(
            **{
                **row,
                "ending": Ending(row["ending"]),
                "ending_before": Ending(row["ending_before"]) if row["ending_before"] in endings else None,
            }
        )
        for row in rows
    )
