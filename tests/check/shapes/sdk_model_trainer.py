# finds: train SPOT001 SPOT003 SPOT004 SPOT099
# keeps: train: Python code
# does not load
import pendulum
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute


def train():
    compute = Compute(instance_type="ml.m5.xlarge", enable_managed_spot_training=True)
    ModelTrainer(training_image="image", compute=compute).train(wait=True)


with DAG("trainer", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    PythonOperator(task_id="train", python_callable=train)
