# finds: run SPOT099
# finds: tune SPOT099
# keeps: run: no operator of this package
# keeps: tune: no operator of this package
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerStartPipelineOperator, SageMakerTuningOperator
from airflow.sdk import DAG

with DAG("pipelines", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerStartPipelineOperator(task_id="run", pipeline_name="train")
    SageMakerTuningOperator(task_id="tune", config={})
