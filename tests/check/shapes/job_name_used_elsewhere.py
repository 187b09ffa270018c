# The model's address has the job's name in it, which would change.
# finds: train SPOT003 SPOT004 SPOT013
# finds: named SPOT003 SPOT004 SPOT013
# keeps: train: uses the job's name
# keeps: named: uses the job's name
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerModelOperator, SageMakerTrainingOperator
from airflow.sdk import DAG

JOB_NAME = "churn-model-{{ ds_nodash }}"

with DAG("name_elsewhere", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    train = SageMakerTrainingOperator(task_id="train", config={"TrainingJobName": "churn", "EnableManagedSpotTraining": False})
    named = SageMakerTrainingOperator(task_id="named", config={"TrainingJobName": JOB_NAME, "EnableManagedSpotTraining": False})
    SageMakerModelOperator(
        task_id="model",
        config={"PrimaryContainer": {"ModelDataUrl": "s3://bucket/models/churn/output/model.tar.gz"}},
    )
    SageMakerModelOperator(task_id="other", config={"ModelName": JOB_NAME})
