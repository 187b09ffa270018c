# One task is ours already: its import is used.
# finds: ours SPOT009
# finds: theirs SPOT002 SPOT003 SPOT004 SPOT013
# changes: theirs
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG
from spot_training.operators import SpotTrainingOperator

with DAG("both", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SpotTrainingOperator(task_id="ours", config={"TrainingJobName": "ours"})
    SageMakerTrainingOperator(task_id="theirs", config={"TrainingJobName": "theirs", "EnableManagedSpotTraining": True, "CheckpointConfig": {"S3Uri": "s3://b/c"}, "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}})
