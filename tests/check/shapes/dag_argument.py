# finds: train SPOT002 SPOT003 SPOT004 SPOT006
# changes: train
from datetime import datetime, timedelta

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

default_args = {
    "owner": "ml",
    "retries": 3,
    "retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=6),
    "aws_conn_id": "aws_ml",
    "deferrable": True,
}
dag = DAG(dag_id="dag_argument", default_args=default_args, start_date=datetime(2026, 1, 1), schedule=None)

train = SageMakerTrainingOperator(
    task_id='train',
    config={'TrainingJobName': 'dag-argument', 'EnableManagedSpotTraining': True,
            'StoppingCondition': {'MaxRuntimeInSeconds': 6 * 3600, 'MaxWaitTimeInSeconds': 12 * 3600},
            'CheckpointConfig': {'S3Uri': 's3://bucket/checkpoints'}},
    dag=dag,
)
