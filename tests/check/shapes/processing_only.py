# Nothing trains here.
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerProcessingOperator, SageMakerTransformOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerTransformSensor
from airflow.sdk import DAG

with DAG("processing", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerProcessingOperator(task_id="prepare", config={"ProcessingJobName": "p"})
    SageMakerTransformOperator(task_id="score", config={})
    SageMakerTransformSensor(task_id="wait", job_name="t")
