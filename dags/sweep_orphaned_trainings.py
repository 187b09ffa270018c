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

    look()


sweep_orphaned_trainings()
