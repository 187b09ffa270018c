# The sensor may wait for either.
# finds: first SPOT003 SPOT004
# finds: second SPOT003 SPOT004
# finds: wait SPOT007
# changes: wait
# keeps: first: waits for its job by name
# keeps: second: waits for its job by name
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerTrainingSensor
from airflow.sdk import DAG

CONFIG = {"TrainingJobName": "one-job", "EnableManagedSpotTraining": False}

with DAG("two_tasks", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    first = SageMakerTrainingOperator(task_id="first", config=CONFIG, wait_for_completion=False)
    second = SageMakerTrainingOperator(task_id="second", config=CONFIG, wait_for_completion=False)
    SageMakerTrainingSensor(task_id="wait", job_name="one-job")
