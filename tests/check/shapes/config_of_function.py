# finds: train SPOT002 SPOT003 SPOT004 SPOT006
# changes: train
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import dag


def training_request(name):
    request = {
        "TrainingJobName": name,
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 14400},
    }
    request["CheckpointConfig"] = {"S3Uri": f"s3://bucket/{name}"}
    return request


@dag(schedule="@daily", start_date=pendulum.datetime(2026, 1, 1), catchup=False)
def by_function():
    SageMakerTrainingOperator(task_id="train", config=training_request("daily"), deferrable=True)


by_function()
