# finds: train SPOT003 SPOT004 SPOT013
# changes: train
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

ARGUMENTS = {"task_id": "train", "config": {"TrainingJobName": "unpacked"}, "max_attempts": 3}

with DAG("unpacked_without_spot", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(**ARGUMENTS)
