# One base, changed for each task in the three usual ways.
# finds: spread SPOT002 SPOT003 SPOT004 SPOT013
# finds: merged SPOT003 SPOT004 SPOT010 SPOT013
# finds: copied SPOT002 SPOT003 SPOT004 SPOT009 SPOT013
# changes: spread merged copied
import copy
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

BASE = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
}
SPREAD = {**BASE, "TrainingJobName": "spread", "CheckpointConfig": {"S3Uri": "s3://b/s"}}
MERGED = BASE | {"TrainingJobName": "merged", "EnableManagedSpotTraining": False}
COPIED = copy.deepcopy(BASE)
COPIED["TrainingJobName"] = "copied"
COPIED["StoppingCondition"]["MaxWaitTimeInSeconds"] = 9000

with DAG("base", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="spread", config=SPREAD)
    SageMakerTrainingOperator(task_id="merged", config=MERGED)
    SageMakerTrainingOperator(task_id="copied", config=COPIED)
