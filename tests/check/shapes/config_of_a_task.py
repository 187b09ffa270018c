# finds: train SPOT003 SPOT004 SPOT006 SPOT099
# keeps: train: config is not known
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import dag, task


@task
def prepare():
    return {"TrainingJobName": "x"}


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def by_task():
    SageMakerTrainingOperator(task_id="train", config=prepare(), deferrable=True, max_attempts=10_000)


by_task()
