# finds: (SageMakerHook.create_training_job) SPOT001 SPOT003 SPOT004 SPOT099
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerBaseOperator
from airflow.sdk import DAG


class Train(SageMakerBaseOperator):
    def execute(self, context):
        return self.hook.create_training_job(self.config, wait_for_completion=True, print_log=False)


with DAG("own_hook", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    Train(task_id="train", config={})
