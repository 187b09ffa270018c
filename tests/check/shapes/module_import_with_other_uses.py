# The module stays imported for the other operator.
# finds: train SPOT002 SPOT003 SPOT004 SPOT009 SPOT010 SPOT013
# changes: train
import pendulum
import airflow.providers.amazon.aws.operators.sagemaker as sm
from airflow.sdk import DAG

with DAG("module_twice", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    train = sm.SageMakerTrainingOperator(
        task_id="train",
        config={"TrainingJobName": "m", "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 3600}},
    )
    train >> sm.SageMakerModelOperator(task_id="model", config={})
