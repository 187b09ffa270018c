# finds: train SPOT003 SPOT004 SPOT013 SPOT099
# keeps: train: config is not known
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

with DAG("jinja", start_date=pendulum.datetime(2026, 1, 1), schedule=None, render_template_as_native_obj=True):
    SageMakerTrainingOperator(
        task_id="train", config="{{ ti.xcom_pull(task_ids='prepare', key='config') }}"
    )
