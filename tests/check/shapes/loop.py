# finds: f'train_{name}' SPOT003 SPOT004 SPOT013 SPOT099
# keeps: f'train_{name}': config is not known
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG


def config_of(name, spot):
    if spot:
        return {"TrainingJobName": name, "EnableManagedSpotTraining": True}
    return {"TrainingJobName": name}


with DAG("loop", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    for name in ("north", "south"):
        SageMakerTrainingOperator(task_id=f"train_{name}", config=config_of(name, True))
