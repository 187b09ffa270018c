# finds: strange SPOT003 SPOT004 SPOT013
# finds: zero SPOT003 SPOT004 SPOT013
# finds: region SPOT003 SPOT004 SPOT012 SPOT013
# keeps: strange: provide_context
# keeps: zero: check_interval is 0
# keeps: region: region_name is 'Ireland'
# does not load
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

CONFIG = {"TrainingJobName": "a", "EnableManagedSpotTraining": False}

with DAG("not_accepted", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="strange", config=CONFIG, provide_context=True)
    SageMakerTrainingOperator(task_id="zero", config=CONFIG, check_interval=0)
    SageMakerTrainingOperator(task_id="region", config=CONFIG, region_name="Ireland")
