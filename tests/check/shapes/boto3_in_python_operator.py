# finds: train SPOT001 SPOT002 SPOT003 SPOT004 SPOT009
# keeps: train: Python code
import boto3
import pendulum
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG


def train(**context):
    client = boto3.client("sagemaker")
    name = f"job-{context['ds_nodash']}"
    client.create_training_job(
        TrainingJobName=name,
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
    )
    client.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name)


with DAG("boto", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    PythonOperator(task_id="train", python_callable=train)
