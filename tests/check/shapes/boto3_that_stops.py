# finds: train SPOT003 SPOT099
# keeps: train: Python code
import boto3
import pendulum
from airflow.sdk import dag, task


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def careful():
    @task.virtualenv(task_id="train", requirements=["boto3"])
    def train_carefully(config: dict):
        import boto3
        import time

        sagemaker = boto3.Session().client("sagemaker")
        sagemaker.create_training_job(**config)
        try:
            while sagemaker.describe_training_job(TrainingJobName="x")["TrainingJobStatus"] == "InProgress":
                time.sleep(30)
        except BaseException:
            sagemaker.stop_training_job(TrainingJobName="x")
            raise

    train_carefully({})


careful()
