# finds: own SPOT099
# finds: init SPOT003 SPOT004 SPOT099
# finds: kill SPOT003 SPOT013 SPOT099
# keeps: own: it is a subclass
# keeps: init: it is a subclass
# keeps: kill: it is a subclass
import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG


class TaggedTraining(SageMakerTrainingOperator):
    """Adds tags."""

    def execute(self, context):
        self.config["Tags"] = [{"Key": "team", "Value": "ml"}]
        return super().execute(context)


class ShortTraining(SageMakerTrainingOperator):
    def __init__(self, *, job, **kwargs):
        super().__init__(config={"TrainingJobName": job}, print_log=False, **kwargs)


class StoppedTraining(SageMakerTrainingOperator):
    def on_kill(self):
        self.hook.get_conn().stop_training_job(TrainingJobName=self.config["TrainingJobName"])


with DAG("subclass", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    TaggedTraining(task_id="own", config={"TrainingJobName": "t"})
    ShortTraining(task_id="init", job="short")
    StoppedTraining(task_id="kill", config={"TrainingJobName": "k", "EnableManagedSpotTraining": False})
