# The provider casts MaxRuntimeInSeconds, and nothing else here.
# finds: train SPOT003 SPOT004 SPOT011 SPOT013 SPOT099
# changes: train
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

with DAG("templated", start_date=pendulum.datetime(2026, 1, 1), schedule=None, params={"wait": 7200, "spot": True}):
    SageMakerTrainingOperator(
        task_id="train",
        config={
            "TrainingJobName": "templated",
            "EnableManagedSpotTraining": "{{ params.spot }}",
            "StoppingCondition": {
                "MaxRuntimeInSeconds": "{{ params.run }}",
                "MaxWaitTimeInSeconds": "{{ params.wait }}",
            },
        },
    )
