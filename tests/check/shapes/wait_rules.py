# finds: missing SPOT002 SPOT003 SPOT004 SPOT010 SPOT013
# finds: short SPOT002 SPOT003 SPOT004 SPOT010 SPOT013
# finds: without SPOT003 SPOT004 SPOT010 SPOT013
# finds: retried SPOT003 SPOT004 SPOT013
# finds: text SPOT002 SPOT003 SPOT004 SPOT011 SPOT013
# keeps: short: correct that first
# changes: missing without retried text
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

CHECKPOINTS = {"S3Uri": "s3://bucket/checkpoints"}

with DAG("wait_rules", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(
        task_id="missing",
        config={"TrainingJobName": "missing-wait", "EnableManagedSpotTraining": True, "CheckpointConfig": CHECKPOINTS,
                "StoppingCondition": {"MaxRuntimeInSeconds": 3600}},
    )
    SageMakerTrainingOperator(
        task_id="short",
        config={"TrainingJobName": "short-wait", "EnableManagedSpotTraining": True, "CheckpointConfig": CHECKPOINTS,
                "StoppingCondition": {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 3600}},
    )
    SageMakerTrainingOperator(
        task_id="without",
        config={"TrainingJobName": "without-spot",
                "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}},
    )
    SageMakerTrainingOperator(
        task_id="retried",
        config={"TrainingJobName": "retried", "RetryStrategy": {"MaximumRetryAttempts": 2},
                "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}},
    )
    SageMakerTrainingOperator(
        task_id="text",
        config={"TrainingJobName": "as-text", "EnableManagedSpotTraining": "true", "CheckpointConfig": CHECKPOINTS,
                "StoppingCondition": {"MaxRuntimeInSeconds": "3600", "MaxWaitTimeInSeconds": "7200"}},
    )
