# finds: train SPOT003 SPOT004 SPOT013 SPOT099
# keeps: train: config is not known
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

CONFIG = {"TrainingJobName": "changed", "EnableManagedSpotTraining": False}


def with_spot(config):
    config["EnableManagedSpotTraining"] = True


with_spot(CONFIG)
with DAG("changed", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="train", config=CONFIG)
