# finds: known SPOT001 SPOT003 SPOT004 SPOT013
# finds: unknown SPOT003 SPOT004 SPOT099
# changes: known
# keeps: unknown: a mapping that is imported from company
# does not load, changed neither
from company import COMMON_ARGUMENTS
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG
import pendulum

KNOWN = {"aws_conn_id": "aws_ml", "print_log": False, "config": {"TrainingJobName": "known", "EnableManagedSpotTraining": False}}

with DAG("unpacked", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="known", **KNOWN)
    SageMakerTrainingOperator(task_id="unknown", config={"TrainingJobName": "u"}, **COMMON_ARGUMENTS)
