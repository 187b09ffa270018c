# finds: (SageMakerTrainingOperator) SPOT099
# finds: factory SPOT003 SPOT004 SPOT013
# keeps: factory: used in another way
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG


def make(operator, task_id):
    return operator(task_id=task_id, config={"TrainingJobName": task_id})


with DAG("as_value", start_date=pendulum.datetime(2026, 1, 1), schedule=None) as dag:
    make(SageMakerTrainingOperator, "made")
    SageMakerTrainingOperator(task_id="factory", config={"TrainingJobName": "f", "EnableManagedSpotTraining": False})
