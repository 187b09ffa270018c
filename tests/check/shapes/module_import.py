# finds: train SPOT003 SPOT004 SPOT013
# changes: train
import pendulum
from airflow.providers.amazon.aws.operators import sagemaker
from airflow.sdk import DAG

with DAG("module", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    train = sagemaker.SageMakerTrainingOperator(
        task_id="train",
        config=dict(
            TrainingJobName="module",
            EnableManagedSpotTraining=False,
            StoppingCondition=dict(MaxRuntimeInSeconds=3600),
        ),
        wait_for_completion=True,
        check_interval=60,
    )
