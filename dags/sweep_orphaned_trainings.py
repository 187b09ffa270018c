"""Find training jobs that no task uses any longer."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, get_current_context, task

from spot_training import settings


@dag(
    schedule="@hourly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params={
        "stop": Param(
            settings.flag("sweeper_stops"),
            type="boolean",
            title="Stop the orphans",
            description=(
                "If on, stop the orphans: only with [spot_training] sweeper_stops = True, which is also the "
                "default here. If off, only report them in the task log."
            ),
        ),
    },
    tags=["sagemaker", "spot", "safety"],
    doc_md=__doc__
    + """

Lists the running training jobs with this installation's tags, and decides from the state of each job's task
whether the job is *in use*, an *orphan* (its task is over or gone, so no task uses it any longer), *meant to
outlive its task* (`wait_for_completion=False` or `stop_job_on_kill=False`) or *uncertain*. It reports the
jobs, with the command that stops each one. It stops orphans only if `[spot_training] sweeper_stops = True` is
set and the Param **stop** is on. Read some of its reports before you set that: each metadata database has its
own identity, which `spot-training installation` prints, and jobs of version 0.1.0 do not have it. It uses the
connections in `[spot_training] sweeper_connections` (`aws_default, research@eu-west-1`) and looks in the
regions of the ledger, too.

Then it settles the ledger: it completes the records of tasks that are over with the job's final state from
SageMaker, adds jobs that have no record, and merges settled records into Parquet. That changes nothing in
AWS.
""",
)
def sweep_orphaned_trainings() -> None:
    @task
    def look() -> list[str]:
        """Report the findings, and stop the orphans if that is allowed."""
        from spot_training.ledger import Ledger
        from spot_training.sweep import sweep_this_airflow
        from spot_training.sweep.orphans import Verdict
        from spot_training.task.training import task_states

        context: Any = get_current_context()
        findings = sweep_this_airflow(
            task_state_of=task_states(context["ti"]),
            ledger=Ledger.configured(),
            stop=bool(context["params"]["stop"]),
            say=print,
        )
        return [finding.name for finding in findings if finding.verdict is Verdict.ORPHAN]

    @task(trigger_rule="all_done")
    def settle() -> int:
        """Complete the records of tasks that are gone. Returns how many records changed."""
        from spot_training.connections import AwsAccess
        from spot_training.ledger import Ledger
        from spot_training.ledger.prices import configured_prices
        from spot_training.sweep import settle_this_airflow
        from spot_training.task.training import task_states

        context: Any = get_current_context()
        settled = settle_this_airflow(
            task_state_of=task_states(context["ti"]),
            ledger=Ledger.configured(),
            say=print,
            price_of=configured_prices(AwsAccess()).price_of,
        )
        return len(settled)

    look() >> settle()


sweep_orphaned_trainings()
