# The sensor gets the result of the operator, which gives its jobs other names.
# finds: start SPOT003 SPOT004
# finds: wait SPOT007
# changes: start wait
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerTrainingSensor
from airflow.sdk import DAG

JOB = "apart-{{ ds_nodash }}"

with DAG("sensor_apart", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    start = SageMakerTrainingOperator(
        task_id="start", config={"TrainingJobName": JOB}, wait_for_completion=False
    )
    wait = SageMakerTrainingSensor(
        task_id="wait",
        job_name=JOB,
        mode="reschedule",
        poke_interval=120,
        timeout=24 * 3600,
    )
    start >> wait
