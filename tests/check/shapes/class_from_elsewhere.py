# A class with the provider's name may be the provider's.
# finds: train SPOT099
# keeps: train: not clear what it makes
# does not load
from company.operators import SageMakerTrainingOperator
from airflow.sdk import DAG
import pendulum

with DAG("elsewhere", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="train", config={"TrainingJobName": "e"})
