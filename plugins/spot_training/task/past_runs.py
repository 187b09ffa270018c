"""What this Airflow's own records teach: how long a model trains.

Several Airflows may share a ledger, and Dags may have models of the same name: a training learns from its own
installation and its own Dag, unless its author names other Dags (`expected_runtime={"like": ...}`).

Nothing here may fail or hold up a training: a ledger that cannot be read teaches nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.domain.deadline import LAUNCH_HIGH_SECONDS, LAUNCH_SECONDS, Runtime, high_at_least
from spot_training.installation import names_of_own_records

if TYPE_CHECKING:
    from spot_training.sagemaker.identity import RunIdentity

log = logging.getLogger(__name__)

#: The quantile for the guard.
HIGH_QUANTILE = 0.95
#: Older runs are another model by now.
RUNS_WITHIN = timedelta(days=180)
#: How long a training waits for what past runs could teach it.
ANSWER_WITHIN_SECONDS = 20

#: Trainings whose whole work is on record: not what went on from checkpoints of others, or lost an attempt.
_RUNS = """
SELECT count(*) AS runs, avg(work) AS mean, quantile_cont(work, $quantile) AS high,
       avg(around) AS around, quantile_cont(around, $quantile) AS around_high,
       avg(start) AS start, quantile_cont(start, $quantile) AS start_high
FROM (
    SELECT t.clean_run_seconds - coalesce(a.launch_seconds, 0) AS work, a.launch_seconds AS around,
           CASE WHEN a.purchase = 'on-demand' THEN a.wait_seconds END AS start
    FROM trainings t JOIN attempts a ON a.key = t.key AND a.ending = 'completed'
    WHERE list_contains($installations::VARCHAR[], t.installation)
      AND ($dag_ids IS NULL OR list_contains($dag_ids::VARCHAR[], t.dag_id))
      AND t.model = $model AND a.instance_type = $instance_type AND a.instance_count = $instance_count
      AND t.clean_run_seconds IS NOT NULL AND t.training_seconds IS NOT NULL AND t.began_at >= $since
      AND t.watches IS NULL AND NOT coalesce(t.is_resumed, t.generation > 0) AND a.number <= t.attempt_count
)
WHERE work > 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What past runs of a model took: the training, and each on-demand launch around it (seconds).

    A launch is all from CreateTrainingJob to `Training`, and the upload; `billed_launch_seconds` is what of
    it held instances.
    """

    runtime: Runtime
    launch_seconds: float
    launch_high_seconds: float
    billed_launch_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers:
    """Whose trainings teach: the names of an Airflow's records, and Dags of it (None: all of them)."""

    installations: tuple[str, ...]
    dag_ids: tuple[str, ...] | None = None

    @classmethod
    def of(cls, training: RunIdentity, like: Sequence[str] = ()) -> Teachers:
        """Those of a training: its own Dag's, and of the Dags that its author named (`like`)."""
        return cls(
            installations=names_of_own_records(training.installation),
            dag_ids=tuple(dict.fromkeys([training.dag_id, *like])),
        )


def learn(
    *,
    model: str,
    instance_type: str,
    instance_count: int = 1,
    teachers: Teachers,
    now: datetime | None = None,
) -> Learned | None:
    """From completed trainings of this model on as many instances of this type; None where there are none."""
    since = (now or datetime.now(UTC)) - RUNS_WITHIN
    parameters = {
        "installations": list(teachers.installations),
        "dag_ids": None if teachers.dag_ids is None else list(teachers.dag_ids),
        "model": model,
        "instance_type": instance_type,
        "instance_count": instance_count,
        "since": since,
        "quantile": HIGH_QUANTILE,
    }
    rows = ask_ledger(_RUNS, parameters)
    if not rows or not rows[0]["runs"]:
        return None
    row = rows[0]
    runs = "1 past run" if row["runs"] == 1 else f"{row['runs']} past runs"
    on = instance_type if instance_count == 1 else f"{instance_count} x {instance_type}"
    several = teachers.dag_ids or ()
    whose = f" in {' and '.join(several)}" if len(several) > 1 else ""
    # Beside what spot jobs show: how they come to instances says nothing of an on-demand start.
    launch = (row["around"] or 0) + (row["start"] or 0)
    launch_high = (row["around_high"] or 0) + (row["start_high"] or 0)
    return Learned(
        runtime=Runtime(
            mean_seconds=row["mean"],
            high_seconds=max(row["high"], high_at_least(row["mean"], runs=row["runs"])),
            basis=f"learned from {runs} of {model}{whose} on {on}",
        ),
        launch_seconds=max(LAUNCH_SECONDS, launch),
        launch_high_seconds=max(LAUNCH_HIGH_SECONDS, launch_high),
        billed_launch_seconds=row["around"] or LAUNCH_SECONDS,
    )


def ask_ledger(sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    from spot_training.ledger import Ledger
    from spot_training.process import within

    def ask() -> list[dict[str, Any]]:
        with Ledger.configured().read() as reader:
            return reader.query(sql, parameters)

    try:
        return within(ANSWER_WITHIN_SECONDS, ask)
    except Exception as error:  # noqa: BLE001 - what cannot be learned is asked for, or assumed
        log.warning("The ledger could not be asked about past runs: %s", error)
        return []
