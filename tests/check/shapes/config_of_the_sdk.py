# finds: train SPOT003 SPOT004 SPOT013 SPOT099
# keeps: train: config is not known
# does not load
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG
from sagemaker.estimator import Estimator
from sagemaker.workflow.airflow import training_config
import pendulum

estimator = Estimator(image_uri="i", role="r", instance_count=1, instance_type="ml.m5.xlarge")
config = training_config(estimator=estimator, inputs="s3://bucket/train")
with DAG("by_sdk", start_date=pendulum.datetime(2026, 1, 1), schedule=None) as dag:
    SageMakerTrainingOperator(task_id="train", config=config, wait_for_completion=True)
