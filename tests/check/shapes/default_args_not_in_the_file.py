# What is imported is not looked at, and the Dag cannot be loaded here.
# finds: train SPOT003 SPOT004 SPOT013 SPOT099
# changes: train
# does not load, changed neither
from company.defaults import DEFAULT_ARGS
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG
import pendulum

with DAG("defaults", default_args=DEFAULT_ARGS, start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="train", config={"TrainingJobName": "d", "EnableManagedSpotTraining": False})
