# finds: train SPOT003 SPOT004 SPOT013 SPOT099
# finds: kwargs SPOT003 SPOT004 SPOT099
# keeps: train: config is not known
# keeps: kwargs: expand_kwargs gives at run time
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import dag, task


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def mapped_over_a_task():
    @task
    def configs():
        return [{"TrainingJobName": "a"}]

    SageMakerTrainingOperator.partial(task_id="train").expand(config=configs())
    SageMakerTrainingOperator.partial(task_id="kwargs").expand_kwargs(configs())


mapped_over_a_task()
