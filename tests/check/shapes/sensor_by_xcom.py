# finds: start SPOT003 SPOT004
# finds: wait SPOT007
# finds: by_output SPOT007 SPOT012
# changes: start wait by_output
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerTrainingSensor
from airflow.sdk import DAG

with DAG("sensor_by_xcom", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    start = SageMakerTrainingOperator(
        task_id="start",
        config={"TrainingJobName": "by-xcom", "EnableManagedSpotTraining": False},
        wait_for_completion=False, max_attempts=5)
    SageMakerTrainingSensor(
        task_id="wait",
        job_name="{{ ti.xcom_pull(task_ids='start')['Training']['TrainingJobName'] }}",
    )
    SageMakerTrainingSensor(task_id="by_output", job_name=start.output["Training"]["TrainingJobName"], region_name="eu-west-1")
