# finds: train SPOT003 SPOT004 SPOT013
# keeps: train: another name in this file
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG


class SpotTrainingOperator:
    """Something of one's own with our name."""


with DAG("taken", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="train", config={"TrainingJobName": "t", "EnableManagedSpotTraining": False})
