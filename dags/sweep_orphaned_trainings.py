"""Find training jobs that no task will look at again."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, get_current_context, task


@dag(
    schedule="@hourly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params={
        "stop": Param(
            False,
            type="boolean",
            title="Stop the orphans",
            description="Off: only report them in the task log.",
        ),
    },
    tags=["sagemaker", "spot", "safety"],
    doc_md=__doc__
    + """

Lists the live training jobs that carry this installation's tags and judges each by the state of its task: *in
use*, *orphan* (its task is over or gone, nobody will look at it again), *meant to outlive its task*
(`wait_for_completion=False` or `stop_job_on_kill=False`) or *uncertain*. Only reports, unless the Param
**stop** is on. AWS accounts are shared: give each Airflow a name of its own in `[spot_training] installation`
(`AIRFLOW__SPOT_TRAINING__INSTALLATION`) before you let it stop anything.

Then settles the books: records whose task is over get the last word on their job from SageMaker,
jobs that are on no record are put there, and settled records are merged into Parquet. That changes nothing in
AWS.
""",
)
def sweep_orphaned_trainings() -> None:
    @task
    def look() -> list[str]:
        """Report the findings, and stop the orphans if asked to."""
        from spot_training.aws.sweeper import Verdict, sweep
        from spot_training.hooks import AwsAccess
        from spot_training.training_task import installation, task_states

        context: Any = get_current_context()
        findings = sweep(
            AwsAccess().jobs(),
            installation=installation(),
            task_state_of=task_states(context["ti"]),
            stop=bool(context["params"]["stop"]),
            say=print,
        )
        return [finding.job.name for finding in findings if finding.verdict is Verdict.ORPHAN]

    @task(trigger_rule="all_done")
    def settle() -> int:
        """Write down what tasks that are gone could not. Returns how many records changed."""
        from spot_training.hooks import AwsAccess
        from spot_training.ledger import Ledger
        from spot_training.ledger.prices import configured_prices
        from spot_training.ledger.settling import Settling
        from spot_training.training_task import installation, task_states

        context: Any = get_current_context()
        ledger, access = Ledger.configured(), AwsAccess()
        settled = Settling(
            ledger=ledger,
            jobs=access.jobs(),
            installation=installation(),
            task_state_of=task_states(context["ti"]),
            say=print,
            price_of=configured_prices(access).price_of,
        ).settle()
        print(f"{ledger.compact()}.")
        return len(settled)

    look() >> settle()


sweep_orphaned_trainings()
