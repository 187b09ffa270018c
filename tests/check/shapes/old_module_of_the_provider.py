# finds: train SPOT003 SPOT004 SPOT013 SPOT014
# changes: train
# does not load
from airflow.providers.amazon.aws.operators.sagemaker_training import SageMakerTrainingOperator
from airflow.sdk import DAG
import pendulum

with DAG("old_module", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="train", config={"TrainingJobName": "old", "EnableManagedSpotTraining": False})
