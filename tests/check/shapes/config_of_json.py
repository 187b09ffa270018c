# finds: text SPOT002 SPOT003 SPOT004 SPOT009 SPOT010 SPOT013
# finds: file SPOT003 SPOT004 SPOT013 SPOT099
# keeps: file: config is not known
# changes: text
import json
from pathlib import Path

import pendulum
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk import DAG

TEXT = '{"TrainingJobName": "j", "EnableManagedSpotTraining": true, "StoppingCondition": {"MaxRuntimeInSeconds": 60}}'
Path("/tmp/spot-check-config.json").write_text("{}")
with open("/tmp/spot-check-config.json") as file:
    LOADED = json.load(file)

with DAG("by_json", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    SageMakerTrainingOperator(task_id="text", config=json.loads(TEXT))
    SageMakerTrainingOperator(task_id="file", config=LOADED)
