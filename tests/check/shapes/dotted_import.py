# finds: train SPOT003 SPOT004 SPOT013
# changes: train
import airflow.providers.amazon.aws.operators.sagemaker
import pendulum
from airflow.sdk import DAG

with DAG("dotted", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    airflow.providers.amazon.aws.operators.sagemaker.SageMakerTrainingOperator(
        task_id="train", config={"TrainingJobName": "dotted"}, action_if_job_exists="fail"
    )
