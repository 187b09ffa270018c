# The import and the call as in the provider's guide. Says nothing about spot, so it stays on demand.
# finds: train SPOT003 SPOT004 SPOT013
# changes: train
from datetime import datetime

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

with DAG("plain", schedule="@weekly", start_date=datetime(2026, 1, 1)) as dag:
    train = SageMakerTrainingOperator(
        task_id="train",
        config={
            "TrainingJobName": "plain-{{ ds_nodash }}",
            "RoleArn": "arn:aws:iam::123456789012:role/training",
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        },
    )
