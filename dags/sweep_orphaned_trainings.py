"""Find training jobs that no task will look at again."""

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
            description="Off: only report them in the task log. On: stop them, where [spot_training] "
            "sweeper_stops is set, which is also the default.",
        ),
    },
    tags=["sagemaker", "spot", "safety"],
    doc_md=__doc__
    + """

Lists the live training jobs that carry this installation's tags and judges each by the state of its task: *in
use*, *orphan* (its task is over or gone, nobody will look at it again), *meant to outlive its task*
(`wait_for_completion=False` or `stop_job_on_kill=False`) or *uncertain*. It reports them, with the command
that stops each by hand. It stops orphans only where `[spot_training] sweeper_stops = True` is set, and the
Param **stop** is on. Read some of its reports before you set that: each metadata database has an identity of
its own, which `spot-training installation` prints, and jobs of version 0.1.0 do not have it. It
looks where `[spot_training] sweeper_connections` says (`aws_default, research@eu-west-1`), and in the
ledger's regions.

Then settles the books: records whose task is over get the last word on their job from SageMaker,
jobs that are on no record are put there, and settled records are merged into Parquet. That changes nothing in
AWS.
""",
)
def sweep_orphaned_trainings() -> None:
    @task
    def look() -> list[str]:
        """Report the findings, and stop the orphans where that is allowed."""
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
        """Write down what tasks that are gone could not. Returns how many records changed."""
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
