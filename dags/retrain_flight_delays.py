"""Retrain the flight-delay model every week on managed spot."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Asset, Param, dag, get_current_context, task, task_group

from spot_training.compat import AirflowSkipException, CronDataIntervalTimetable
from spot_training.forms import check_form, check_policy, deadline, duration
from spot_training.operators import SpotTrainingOperator

#: From Airflow Variables, so that a change to real AWS needs no change of the code.
BUCKET = "{{ var.value.get('flight_delays_bucket', 'flight-delays') }}"
ROLE_ARN = "{{ var.value.get('flight_delays_role_arn', 'arn:aws:iam::123456789012:role/SageMakerTraining') }}"
TRAINING_IMAGE = (
    "{{ var.value.get('flight_delays_image', "
    "'683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1') }}"
)

#: The Airflow Variable with the recipients of the report of each training. Without it, none is sent.
NOTIFIER = "flight_delays_notifier"

MODEL = Asset("flight_delays_model", uri="x-model://flight-delays/champion")

METRIC = {"Name": "validation:auc", "Regex": r"validation-auc:([0-9.]+)"}

#: Upper limits of each run, whatever its params are.
CAPS: dict[str, Any] = {
    "instance_types": ["ml.m5.large", "ml.m5.xlarge", "ml.m5.2xlarge", "ml.c5.xlarge", "ml.c5.2xlarge"],
    "instance_count": 1,
    "max_runtime": "1d",
    "max_wait": "14d",
}

#: Everything that can be set when a run is triggered. Other keys of its conf have no effect. A form shows the
#: first fields under *Run Parameters*; the others have a section each.
PARAMS = {
    "instance_type": Param(
        "ml.m5.xlarge",
        type="string",
        enum=CAPS["instance_types"],
        title="Instance type",
        description="The machine that trains. Spot capacity differs between types.",
    ),
    "max_run": duration(
        "1h",
        title="Max run time",
        shortest="10m",
        longest="1d",
        description=(
            "How long a training job may run (MaxRuntimeInSeconds), from 10m to 1d. For example: 45m, 2h, 1h "
            "30m."
        ),
    ),
    "deadline": deadline(
        description=(
            "When the model must be ready. For example: 12h (after the run starts), or a time with its time "
            "zone, 2026-11-23T06:00:00Z or 2026-11-23 06:00 Europe/Berlin. If empty, there is no deadline."
        ),
    ),
    "use_spot": Param(
        True,
        type="boolean",
        section="Spot",
        title="Managed spot",
        description="If off, the training runs on demand at once, and the fields below have no effect.",
    ),
    "policy": Param(
        None,
        type=["null", "string"],
        section="Spot",
        # The form suggests these. A cleared run is checked against the pattern only, so earlier names of
        # `deadline` in the conf of an earlier run still work.
        examples=["widen", "spot_only", "on_demand", "deadline"],
        pattern=r"^(|widen|spot_only|on_demand|deadline|rule|planner)$",
        title="Policy",
        description_md=(
            "Only with Managed spot. What to do if spot capacity is not available:\n\n"
            "- widen: spot, spot with a longer wait, then on-demand\n"
            "- spot_only: the same, then fail\n"
            "- on_demand: on-demand at once\n"
            "- deadline: spot for as long as the deadline allows, then on-demand; only with a Deadline\n\n"
            "If empty: deadline with a Deadline, else widen."
        ),
    ),
    "first_wait": duration(
        "1h",
        section="Spot",
        title="First wait",
        shortest="10m",
        longest="7d",
        description=(
            "Only with Managed spot and the policies widen and spot_only. How long the first spot job may "
            "wait and run together (MaxWaitTimeInSeconds), so at least the Max run time, and at most 7d. The "
            "second spot job waits twice as long. For example: 2h, 1d 6h."
        ),
    ),
    "num_round": Param(
        200,
        type="integer",
        section="Model",
        minimum=10,
        maximum=5000,
        title="Boosting rounds",
        description="The number of trees that XGBoost builds, from 10 to 5000.",
    ),
}

#: What to try. An empty policy is the operator's own default.
POLICY = {
    "name": (
        "{{ 'on_demand' if not params.use_spot else params.policy "
        "or ('deadline' if params.deadline else 'widen') }}"
    ),
    "first_wait": "{{ params.first_wait }}",
}


@dag(
    schedule=CronDataIntervalTimetable("@weekly", timezone="UTC"),
    start_date=pendulum.datetime(2013, 3, 3, tz="UTC"),
    catchup=False,
    max_active_runs=8,
    default_args={"retries": 1, "retry_delay": timedelta(minutes=1)},
    params=PARAMS,
    tags=["sagemaker", "spot", "training"],
    doc_md=__doc__
    + """

Predicts whether a flight from New York arrives more than 15 minutes late, from data that is known before
departure. Each run trains on the **eight weeks before the end of its data interval** and is evaluated on the
**week after**. The flights are those of 2013, used as a calendar that repeats: a run of any year uses the
same days of 2013.

1. **prepare** checks the form, and writes the channels and the training script to S3.
2. **train** runs on managed spot. If capacity is not available or is interrupted, the policy decides on the
   next attempt, which resumes from the last checkpoint.
3. **evaluate** tests the model on the holdout and compares it with the champion.
4. **publish** publishes the model if it is not worse, as an event of the asset `flight_delays_model`.
5. **report_savings** reports what the training cost and saved, also if it failed.

`report_savings` reads the XComs `savings` and `attempts` of `train.train`, so it reports on this run only: in
its log, in its XCom `report` (Markdown), and by mail or on Slack if the Airflow Variable
`flight_delays_notifier` is set (`docs/reports.md`). It runs even if the training failed, and a run with a
failed training stays failed. The weekly report over all runs, `spot_savings_report`, reads the ledger
instead.

With the policy `deadline`, a run waits for spot as long as its deadline allows, then uses on-demand to the
end.

You can backfill it: each run has its own channels, checkpoint prefix and job names.
""",
)
def retrain_flight_delays() -> None:
    @task_group
    def prepare() -> Any:
        return channels(BUCKET, POLICY)

    @task_group
    def train(prepared: Any) -> Any:
        return SpotTrainingOperator(
            task_id="train",
            config={
                "TrainingJobName": "flight-delays",
                "RoleArn": ROLE_ARN,
                "AlgorithmSpecification": {
                    "TrainingImage": TRAINING_IMAGE,
                    "TrainingInputMode": "File",
                    "MetricDefinitions": [METRIC],
                },
                "HyperParameters": prepared["hyperparameters"],
                "InputDataConfig": [_channel("train", prepared), _channel("validation", prepared)],
                "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/models"},
                "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/checkpoints"},
                "ResourceConfig": {
                    "InstanceType": "{{ params.instance_type }}",
                    "InstanceCount": 1,
                    "VolumeSizeInGB": 10,
                },
                "StoppingCondition": {"MaxRuntimeInSeconds": "{{ params.max_run }}"},
            },
            policy=POLICY,
            deadline="{{ params.deadline or '' }}",
            caps=CAPS,
            deferrable=True,
            check_interval="{{ var.value.get('spot_training_check_interval', '30') }}",
        ).output

    @task_group
    def evaluate(prepared: Any, trained: Any) -> Any:
        return compare(BUCKET, prepared, trained)

    @task_group
    def publish(compared: Any) -> None:
        publish_model(compared)

    prepared = prepare()
    trained = train(prepared)
    publish(evaluate(prepared, trained))
    trained >> report_savings(f"{{{{ var.value.get('{NOTIFIER}', '') }}}}")


@task
def channels(bucket: str, policy: dict[str, str]) -> dict[str, Any]:
    """Check the form, then write the channels and the training script of this run's window to S3."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from include.flight_delays.data import S3Destination, as_day, prepare_channels
    from include.flight_delays.package import upload_package
    from include.flight_delays.storage import use_bucket

    context: Any = get_current_context()
    run, params = context["dag_run"], context["params"]
    check_form(context)
    check_policy(policy, max_runtime=params["max_run"], deadline=params["deadline"])
    # A run that is triggered manually may have no data interval. It uses the time of the run.
    as_of = as_day(context.get("data_interval_end") or run.run_after)
    s3 = S3Hook().get_conn()
    use_bucket(s3, bucket)
    where = S3Destination(client=s3, bucket=bucket, prefix=f"channels/{as_of}")
    made = prepare_channels(as_of, where)
    package = upload_package(s3, bucket=bucket, prefix="code")
    print(
        f"Trains on {made.train.rows} flights of {made.train.window}, "
        f"judged on {made.holdout.rows} of {made.holdout.window}."
    )
    return {
        "as_of": str(as_of),
        "train": made.train.uri,
        "validation": made.validation.uri,
        "hyperparameters": package.hyperparameters({"num_round": params["num_round"]}),
    }


# One XCom: a champion may be missing, and Airflow 3.0 cannot push None.
@task(multiple_outputs=False)
def compare(bucket: str, prepared: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the new model on the holdout, and make it the champion if it is not worse."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from include.flight_delays.promotion import promote

    context: Any = get_current_context()
    return promote(
        S3Hook().get_conn(),
        bucket=bucket,
        as_of=prepared["as_of"],
        model_uri=trained["Training"]["ModelArtifacts"]["S3ModelArtifacts"],
        job_name=trained["Training"]["TrainingJobName"],
        run_id=context["dag_run"].run_id,
    )


@task(outlets=[MODEL])
def publish_model(compared: dict[str, Any]) -> None:
    """Publish an asset event for the new champion."""
    if not compared["promoted"]:
        raise AirflowSkipException(compared["reason"])
    context: Any = get_current_context()
    context["outlet_events"][MODEL].extra = compared
    print(compared["reason"])


# If the training fails, the run fails too, because `evaluate` depends on the training and does not run.
@task(trigger_rule="all_done")
def report_savings(notifier: str) -> None:
    """Report what the training cost and saved, also if it failed."""
    from spot_training.report import TrainingReport
    from spot_training.report.sending import send

    context: Any = get_current_context()
    ti = context["ti"]
    savings = ti.xcom_pull(task_ids="train.train", key="savings")  # None: it ended before its first attempt
    attempts = ti.xcom_pull(task_ids="train.train", key="attempts")
    report = TrainingReport.of(savings, attempts, title=f"{ti.dag_id} {ti.run_id}")
    print(report.text)
    ti.xcom_push(key="report", value=report.markdown)
    sent = send(notifier, report, context, variable=NOTIFIER)
    print(sent or f"The report is not sent: the Variable {NOTIFIER} is empty.")


def _channel(name: str, prepared: Any) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "ContentType": "text/csv",
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": prepared[name],
                "S3DataDistributionType": "FullyReplicated",
            }
        },
    }


retrain_flight_delays()
