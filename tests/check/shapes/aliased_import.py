# finds: train SPOT001 SPOT002 SPOT003 SPOT004 SPOT013
# changes: train
from datetime import datetime

from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerModelOperator,
    SageMakerTrainingOperator as Train,  # the job
)
from airflow.sdk import DAG

CONFIG = {
    "TrainingJobName": "aliased",
    "EnableManagedSpotTraining": True,
    "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60 * 60, "MaxWaitTimeInSeconds": 2 * 60 * 60},
}

with DAG("aliased", start_date=datetime(2026, 1, 1), schedule=None):
    train = Train(task_id="train", config=CONFIG, print_log=False)
    model = SageMakerModelOperator(task_id="model", config={"ModelName": "churn"})
    train >> model
