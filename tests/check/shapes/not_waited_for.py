# finds: train SPOT003 SPOT004 SPOT008
# changes: train
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

with DAG("not_waited_for", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="train", config={"TrainingJobName": "n"}, wait_for_completion=False, deferrable=True)
