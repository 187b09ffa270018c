# finds: train_by_hook SPOT002 SPOT003 SPOT004 SPOT008 SPOT009 SPOT010
# finds: quiet SPOT001 SPOT003 SPOT004 SPOT005 SPOT099
# keeps: train_by_hook: Python code
# keeps: quiet: Python code
# finds: computed SPOT003 SPOT004 SPOT099
# keeps: computed: Python code
import pendulum
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from airflow.sdk import dag, task

CONFIG = {"TrainingJobName": "hooked", "EnableManagedSpotTraining": True, "StoppingCondition": {"MaxRuntimeInSeconds": 60}}


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def by_hook():
    @task
    def train_by_hook():
        hook = SageMakerHook(aws_conn_id="aws_default")
        return hook.create_training_job(CONFIG, wait_for_completion=False)

    @task(task_id="quiet")
    def train_quietly(config):
        SageMakerHook().create_training_job(config=config, print_log=False, max_ingestion_time=3600)

    @task
    def computed(log):
        SageMakerHook().create_training_job({"EnableManagedSpotTraining": False}, print_log=log)

    computed(False)
    train_by_hook() >> train_quietly({})


by_hook()
