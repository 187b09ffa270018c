# finds: train SPOT003 SPOT004 SPOT013
# changes: train
from airflow.providers.amazon.aws.operators.sagemaker import *
from airflow.sdk import DAG
import pendulum

with DAG("star", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="train", config={"TrainingJobName": "star"})
    SageMakerModelOperator(task_id="model", config={})
