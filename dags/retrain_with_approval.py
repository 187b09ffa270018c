"""Retrain the flight-delay model on managed spot, and ask a person before buying on-demand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, get_current_context, task

from spot_training.approval import ask_before_on_demand
from spot_training.forms import check_form, duration
from spot_training.operators import SpotTrainingOperator

BUCKET = "{{ var.value.get('flight_delays_bucket', 'flight-delays') }}"
ROLE_ARN = "{{ var.value.get('flight_delays_role_arn', 'arn:aws:iam::123456789012:role/SageMakerTraining') }}"
TRAINING_IMAGE = (
    "{{ var.value.get('flight_delays_image', "
    "'683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1') }}"
)
INSTANCE_TYPES = ["ml.m5.large", "ml.m5.xlarge", "ml.m5.2xlarge", "ml.c5.xlarge", "ml.c5.2xlarge"]

#: Without an answer, the training then keeps waiting for spot.
ANSWER_WITHIN = timedelta(hours=4)

#: In the order in which they matter: the machine, the wait for spot, the question after it.
PARAMS = {
    "instance_type": Param(
        "ml.m5.xlarge",
        type="string",
        enum=INSTANCE_TYPES,
        title="Instance type",
        description="The machine that trains. Spot capacity differs between types.",
    ),
    "first_wait": duration(
        "2h",
        title="First wait",
        shortest="1h",
        longest="7d",
        description=(
            "How long the first spot job may wait and run together (MaxWaitTimeInSeconds), from 1h to 7d. "
            "The second spot job waits twice as long. For example: 2h, 1d 6h."
        ),
    ),
    "limit_usd": Param(
        1,
        type="number",
        minimum=0,
        maximum=1000,
        title="Ask above (US dollars)",
        description=(
            "Only if spot capacity never comes. If on-demand costs more than this, a person is asked. For "
            "example: 0 (always ask), 2.50. An unknown price always needs an answer."
        ),
    ),
}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2013, 3, 3, tz="UTC"),
    catchup=False,
    max_active_runs=4,
    params=PARAMS,
    tags=["sagemaker", "spot", "training", "human in the loop"],
    doc_md=__doc__
    + """

1. **prepare** checks the form, and writes the channels and the training script to S3.
2. **train_on_spot** waits twice for spot, the second time twice as long. It fails if there is no capacity.
3. **on_demand** runs only then. `price` estimates what on-demand would cost from the last checkpoint. Up to
   the Param *Ask above*, `go_on` buys it at once. Above it, `ask` puts a question under *Required Actions*.
   Without an answer within four hours, the training keeps waiting for spot.
4. **model** returns the location of the trained model.

See `docs/how-to/budgets.md`.
""",
)
def retrain_with_approval() -> None:
    @task(retries=2)
    def prepare(bucket: str) -> dict[str, Any]:
        """Check the form, then write the channels and the training script of this run's window to S3."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from include.flight_delays.data import S3Destination, as_day, prepare_channels
        from include.flight_delays.package import upload_package
        from include.flight_delays.storage import use_bucket

        context: Any = get_current_context()
        check_form(context)
        as_of = as_day(context["dag_run"].run_after)
        s3 = S3Hook().get_conn()
        use_bucket(s3, bucket)
        where = S3Destination(client=s3, bucket=bucket, prefix=f"channels/{as_of}")
        made = prepare_channels(as_of, where)
        package = upload_package(s3, bucket=bucket, prefix="code")
        return {
            "train": made.train.uri,
            "validation": made.validation.uri,
            "hyperparameters": package.hyperparameters({"num_round": 200}),
        }

    @task(trigger_rule="one_success")
    def model() -> str:
        """The location of the model, trained on spot or on demand."""
        ti: Any = get_current_context()["ti"]
        trained = ti.xcom_pull(task_ids="train_on_spot") or ti.xcom_pull(task_ids="on_demand.go_on")
        return str(trained["Training"]["ModelArtifacts"]["S3ModelArtifacts"])

    train_on_spot = SpotTrainingOperator(
        task_id="train_on_spot",
        config=_config(prepare(BUCKET)),
        policy={"name": "spot_only", "first_wait": "{{ params.first_wait }}", "spot_attempts": 2},
        caps={"instance_types": INSTANCE_TYPES, "instance_count": 1, "max_runtime": "1d", "max_wait": "14d"},
        deferrable=True,
        check_interval="{{ var.value.get('spot_training_check_interval', '30') }}",
    )
    went_on = ask_before_on_demand(
        train_on_spot, limit_usd="{{ params.limit_usd }}", answer_within=ANSWER_WITHIN
    )
    [train_on_spot, went_on] >> model()


def _config(prepared: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "flight-delays",
        "RoleArn": ROLE_ARN,
        "AlgorithmSpecification": {"TrainingImage": TRAINING_IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": prepared["hyperparameters"],
        "InputDataConfig": [
            {
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
            for name in ("train", "validation")
        ],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/models"},
        "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/checkpoints"},
        "ResourceConfig": {
            "InstanceType": "{{ params.instance_type }}",
            "InstanceCount": 1,
            "VolumeSizeInGB": 10,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }


retrain_with_approval()
