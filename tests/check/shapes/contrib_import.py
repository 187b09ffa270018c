# As in Airflow 1.10, with an action that is no more.
# finds: train SPOT003 SPOT004 SPOT014
# finds: wait SPOT007 SPOT014
# changes: train wait
# does not load
from airflow.contrib.operators.sagemaker_training_operator import SageMakerTrainingOperator
from airflow.contrib.sensors.sagemaker_training_sensor import SageMakerTrainingSensor
from airflow import DAG
from datetime import datetime

dag = DAG("contrib", start_date=datetime(2026, 1, 1), schedule=None, default_args={"owner": "ml"})
config = {"TrainingJobName": "contrib-job"}
train = SageMakerTrainingOperator(
    task_id="train", config=config, wait_for_completion=False,
    check_interval=30, check_if_job_exists=True, action_if_job_exists="increment", dag=dag)
wait = SageMakerTrainingSensor(task_id="wait", job_name="contrib-job", dag=dag)
train >> wait
