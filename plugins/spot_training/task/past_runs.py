"""What this Airflow's own records show: how long a model trains.

Several Airflows may share a ledger, and Dags may have models of the same name: a training learns from its own
installation and its own Dag, unless its author names other Dags (`expected_runtime={"like": ...}`).

Nothing here may fail or delay a training: from a ledger that cannot be read, nothing is learned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from spot_training.domain.deadline import LAUNCH_HIGH_SECONDS, LAUNCH_SECONDS, Runtime, high_at_least
from spot_training.installation import names_of_own_records
from spot_training.ledger import Ledger
from spot_training.process import within

if TYPE_CHECKING:
    from spot_training.sagemaker.identity import RunIdentity

log = logging.getLogger(__name__)

#: Asks a view of the ledger for the rows of a query.
Ask: TypeAlias = Callable[[str, dict[str, Any]], list[dict[str, Any]]]
#: The quantile that the deadline's guard uses.
HIGH_QUANTILE = 0.95
#: Older runs no longer show how long the model trains.
RUNS_WITHIN = timedelta(days=180)
#: How long a training waits for the ledger's answer.
ANSWER_WITHIN_SECONDS = 20

#: Completed trainings with all of their work on record: none that continued from an earlier generation's
#: checkpoints, or has lost an attempt.
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

    A launch is everything from CreateTrainingJob to `Training`, and the upload. `billed_launch_seconds` is
    the part of it that held instances.
    """

    runtime: Runtime
    launch_seconds: float
    launch_high_seconds: float
    billed_launch_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers:
    """The trainings to learn from: the names of an Airflow's records, and its Dags (None: all of them).

    With `are_named`, somebody chose these Dags, and the basis of the run time lists them.
    """

    installations: tuple[str, ...]
    dag_ids: tuple[str, ...] | None = None
    are_named: bool = True

    @classmethod
    def of(cls, training: RunIdentity, like: Sequence[str] = ()) -> Teachers:
        """For a training: those of its own Dag, and of the Dags that its author named (`like`)."""
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
    ask: Ask | None = None,
) -> Learned | None:
    """From completed trainings of this model on as many instances of this type. None if there are none.

    `ask` queries a view of the ledger; by default, the configured one is read.
    """
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
    rows = (ask or ask_ledger)(_RUNS, parameters)
    if not rows or not rows[0]["runs"]:
        return None
    row = rows[0]
    runs = "1 past run" if row["runs"] == 1 else f"{row['runs']} past runs"
    on = instance_type if instance_count == 1 else f"{instance_count} x {instance_type}"
    several = teachers.dag_ids or ()
    where = f" in {' and '.join(several)}" if len(several) > 1 and teachers.are_named else ""
    # Spot jobs show the launch itself, but how they get instances says nothing about an on-demand start.
    launch = (row["around"] or 0) + (row["start"] or 0)
    launch_high = (row["around_high"] or 0) + (row["start_high"] or 0)
    return Learned(
        runtime=Runtime(
            mean_seconds=row["mean"],
            high_seconds=max(row["high"], high_at_least(row["mean"], runs=row["runs"])),
            basis=f"learned from {runs} of {model}{where} on {on}",
        ),
        launch_seconds=max(LAUNCH_SECONDS, launch),
        launch_high_seconds=max(LAUNCH_HIGH_SECONDS, launch_high),
        billed_launch_seconds=row["around"] or LAUNCH_SECONDS,
    )


def ask_ledger(sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a query. No rows if the ledger does not answer in time."""

    def ask() -> list[dict[str, Any]]:
        with Ledger.configured().read() as reader:
            return reader.query(sql, parameters)

    try:
        return within(ANSWER_WITHIN_SECONDS, ask)
    except Exception as error:  # noqa: BLE001 - the caller asks for the time, or assumes it
        log.warning("The ledger could not be read for past runs: %s", error)
        return []
