# finds: default SPOT003 SPOT004 SPOT006
# finds: enough SPOT003 SPOT004
# finds: too_few SPOT003 SPOT004 SPOT006
# changes: default enough too_few
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

CONFIG = {"TrainingJobName": "t", "EnableManagedSpotTraining": False, "StoppingCondition": {"MaxRuntimeInSeconds": 14400}}

with DAG("thirty_minutes", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="default", config=CONFIG, deferrable=True)
    SageMakerTrainingOperator(task_id="enough", config=CONFIG, deferrable=True, max_attempts=300, check_interval=60)
    SageMakerTrainingOperator(task_id="too_few", config=CONFIG, deferrable=True, check_interval=120)
