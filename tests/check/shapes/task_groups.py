# finds: models.train SPOT003 SPOT004 SPOT013
# finds: per_model.fit SPOT001 SPOT003 SPOT004 SPOT013
# changes: models.train per_model.fit
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import TaskGroup, dag, task_group

CONFIG = {"TrainingJobName": "grouped", "EnableManagedSpotTraining": False}


@dag("groups", schedule=None, start_date=pendulum.datetime(2026, 1, 1), default_args={"retries": 3})
def in_groups():
    with TaskGroup("models"):
        SageMakerTrainingOperator(task_id="train", config=CONFIG)

    @task_group(default_args={"print_log": False})
    def per_model():
        SageMakerTrainingOperator(task_id="fit", config=CONFIG)

    per_model()


in_groups()
