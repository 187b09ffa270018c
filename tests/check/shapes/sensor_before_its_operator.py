# The result of a task cannot be used before there is the task: both stay.
# finds: wait SPOT007
# finds: start SPOT003 SPOT004
# keeps: start: waits for its job
# changes: wait
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerTrainingSensor
from airflow.sdk import DAG

with DAG("before", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    wait = SageMakerTrainingSensor(task_id="wait", job_name="before-job")
    start = SageMakerTrainingOperator(
        task_id="start", config={"TrainingJobName": "before-job"}, wait_for_completion=False
    )
    start >> wait
