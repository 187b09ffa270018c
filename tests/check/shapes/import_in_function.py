# The import stays where it is, with its indentation.
# finds: train SPOT003 SPOT004 SPOT005 SPOT013
# changes: train
import pendulum
from airflow.sdk import dag


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def lazy():
    """Import late, so that the Dag parses fast."""
    from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator

    SageMakerTrainingOperator(
        task_id="train",
        config={"TrainingJobName": "lazy"},
        max_ingestion_time=2 * 3600,  # two hours
        max_attempts=None,
    )


lazy()
