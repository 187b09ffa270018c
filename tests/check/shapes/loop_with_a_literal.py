# finds: f'train_{region}' SPOT002 SPOT003 SPOT004 SPOT013
# changes: f'train_{region}'
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

for region in ["eu-west-1", "us-east-1"]:
    with DAG(f"train_{region}", start_date=pendulum.datetime(2026, 1, 1), schedule=None) as dag:
        SageMakerTrainingOperator(
            task_id=f"train_{region}",
            config={
                "TrainingJobName": f"train-{region}",
                "EnableManagedSpotTraining": True,
                "CheckpointConfig": {"S3Uri": f"s3://bucket/{region}"},
                "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600},
            },
            region_name=region,
        )
