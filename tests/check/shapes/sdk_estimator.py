# finds: fit SPOT001 SPOT003 SPOT004 SPOT009 SPOT010
# keeps: fit: Python code
# does not load
import pendulum
from airflow.sdk import dag, task
from sagemaker.pytorch import PyTorch


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def by_estimator():
    @task
    def fit():
        estimator = PyTorch(entry_point="train.py", use_spot_instances=True, max_run=3600, max_wait=1800)
        estimator.fit("s3://bucket/train", job_name="fixed")

    fit()


by_estimator()
