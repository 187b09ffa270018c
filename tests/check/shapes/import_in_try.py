# finds: train SPOT003 SPOT004 SPOT013
# keeps: train: not imported in one place
try:
    from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
except ImportError:
    from airflow.contrib.operators.sagemaker_training_operator import SageMakerTrainingOperator
from airflow.sdk import DAG
import pendulum

with DAG("try_import", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="train", config={"TrainingJobName": "t", "EnableManagedSpotTraining": False})
