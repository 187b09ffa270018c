# finds: train SPOT003 SPOT004 SPOT013 SPOT099
# keeps: train: config is not known
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

with DAG("by_output", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    prepare = PythonOperator(task_id="prepare", python_callable=dict)
    SageMakerTrainingOperator(task_id="train", config=prepare.output)
