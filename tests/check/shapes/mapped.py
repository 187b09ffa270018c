# finds: train SPOT003 SPOT004
# changes: train
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

CONFIGS = [
    {"TrainingJobName": "north", "StoppingCondition": {"MaxRuntimeInSeconds": 3600}},
    {"TrainingJobName": "south", "StoppingCondition": {"MaxRuntimeInSeconds": 3600}},
]

with DAG("mapped", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator.partial(
        task_id="train", deferrable=True, max_attempts=240, check_interval=60
    ).expand(config=CONFIGS)
