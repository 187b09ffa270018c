"""The operator and the sensor in every way of waiting, on simulated jobs."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor


def _config(**overrides: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "variant",
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": "s3://variants/models"},
        "ResourceConfig": {
            "InstanceType": "{{ params.instance_type }}",
            "InstanceCount": "1",
            "VolumeSizeInGB": 10,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": "3600"},
        "CheckpointConfig": {"S3Uri": "s3://variants/checkpoints"},
        "Environment": {"LOCAL_TRAINING_SECONDS": "{{ params.seconds }}"},
        **overrides,
    }


PARAMS = {
    "instance_type": Param("ml.m5.xlarge", type="string"),
    "seconds": Param(600, type="integer", minimum=1),
    "max_run": Param(3600, type="integer"),
    "policy": Param("widen", type="string"),
    "deadline": Param("12h", type="string"),
}
QUICK: dict[str, Any] = {"check_interval": "1"}


@task
def read_back(trained: Any) -> str:
    """A downstream task that uses the model."""
    return str(trained["Training"]["ModelArtifacts"]["S3ModelArtifacts"])


def _dag(**kwargs: Any) -> Any:
    return dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), params=PARAMS, **kwargs)


@_dag(dag_id="variant_operator")
def operator_in_every_mode() -> None:
    for name, deferrable in (("waits", False), ("defers", "True")):
        trained = SpotTrainingOperator(
            task_id=name,
            config=_config(),
            policy={"name": "{{ params.policy }}", "first_wait": "3600", "spot_attempts": "1"},
            deferrable=deferrable,
            **QUICK,
        )
        read_back.override(task_id=f"read_{name}")(trained.output)


@_dag(dag_id="variant_types")
def operator_that_takes_any_of_several_types() -> None:
    """The request's own type is the first of three."""
    for name, deferrable in (("waits", False), ("defers", True)):
        SpotTrainingOperator(
            task_id=name,
            config=_config(),
            policy={
                "name": "widen",
                "instance_types": ["{{ params.instance_type }}", "ml.c6i.2xlarge", "ml.c7i.2xlarge"],
                "first_wait": "10d",
                "spot_attempts": 1,
            },
            deferrable=deferrable,
            **QUICK,
        )


@_dag(dag_id="variant_mapped")
def operator_that_is_mapped() -> None:
    """The first training gets capacity at once; the second one's instance type is the Param's."""
    configs = [
        _config(
            ResourceConfig={"InstanceType": name, "InstanceCount": 1, "VolumeSizeInGB": 10},
            StoppingCondition={"MaxRuntimeInSeconds": "{{ params.max_run }}"},
        )
        for name in ("ml.m5.xlarge", "{{ params.instance_type }}")
    ]
    for name, deferrable in (("waits", False), ("defers", True)):
        SpotTrainingOperator.partial(
            task_id=name,
            policy={"name": "widen", "first_wait": "{{ params.max_run }}", "spot_attempts": 1},
            deferrable=deferrable,
            **QUICK,
        ).expand(config=configs)


@_dag(dag_id="variant_deadline")
def operator_with_a_deadline() -> None:
    """Ten simulated minutes a second: what Airflow does in some seconds has to fit into the reserve."""
    for name, deferrable in (("waits", False), ("defers", True)):
        SpotTrainingOperator(
            task_id=name,
            config=_config(),
            deadline="{{ params.deadline }}",
            expected_runtime={"mean": "10m", "high": "30m"},
            deadline_reserve="6h",
            deferrable=deferrable,
            retries=1,
            **QUICK,
        )


@_dag(dag_id="variant_sensor")
def sensor_in_every_mode() -> None:
    start = SpotTrainingOperator(
        task_id="start",
        config=_config(),
        policy={"name": "spot_only", "first_wait": "1h", "spot_attempts": 1},
        wait_for_completion=False,
        **QUICK,
    )
    modes: dict[str, dict[str, Any]] = {
        "poke": {"mode": "poke", "poke_interval": 1},
        "reschedule": {"mode": "reschedule", "poke_interval": 5},
        "defer": {"deferrable": True, **QUICK},
    }
    for name, how in modes.items():
        start >> SpotTrainingSensor(
            task_id=name,
            training_job_name="{{ ti.xcom_pull('start')['Training']['TrainingJobName'] }}",
            policy="{{ params.policy }}" if name == "defer" else None,
            **how,
        )


@_dag(dag_id="variant_bad_input")
def bad_input() -> None:
    """Every task must fail with a clear error and create no job."""
    kmeans = "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1"
    cases: dict[str, dict[str, Any]] = {
        "wait_below_run": {
            "config": _config(StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 60})
        },
        "builtin_waits_too_long": {
            "config": _config(AlgorithmSpecification={"TrainingImage": kmeans, "TrainingInputMode": "File"}),
            "policy": {"name": "widen", "first_wait": "2h"},
        },
        "unknown_policy": {"config": _config(), "policy": "{{ 'yolo' }}"},
        "empty_template": {
            "config": _config(OutputDataConfig={"S3OutputPath": "{{ dag_run.conf.get('nowhere', '') }}"})
        },
        "no_arn": {"config": _config(RoleArn="SageMakerTraining")},
        "bad_flag": {"config": _config(), "deferrable": "{{ 'perhaps' }}"},
    }
    for name, arguments in cases.items():
        SpotTrainingOperator(task_id=name, retries=2, **arguments)
    SpotTrainingSensor(task_id="sensor_without_job", training_job_name="{{ dag_run.conf.get('nowhere') }}")
    SpotTrainingSensor(task_id="sensor_of_nothing", training_job_name="nowhere", poke_interval=1, retries=2)


@_dag(dag_id="variant_failing_script")
def failing_script() -> None:
    @task
    def upload() -> dict[str, str]:
        import io
        import json
        import tarfile

        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        script = b"print('loading the data')\nraise ValueError('the label column is missing')\n"
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            member = tarfile.TarInfo("train.py")
            member.size = len(script)
            tar.addfile(member, io.BytesIO(script))
        s3: Any = S3Hook().get_conn()
        s3.create_bucket(Bucket="variants")
        s3.put_object(Bucket="variants", Key="failing/sourcedir.tar.gz", Body=archive.getvalue())
        return {
            "sagemaker_program": json.dumps("train.py"),
            "sagemaker_submit_directory": json.dumps("s3://variants/failing/sourcedir.tar.gz"),
        }

    for name, deferrable in (("waits", False), ("defers", True)):
        SpotTrainingOperator(
            task_id=name,
            config=_config(HyperParameters=upload.override(task_id=f"upload_{name}")(), Environment={}),
            deferrable=deferrable,
            retries=2,
            print_log=False,
            **QUICK,
        )


operator_in_every_mode()
operator_that_takes_any_of_several_types()
operator_that_is_mapped()
operator_with_a_deadline()
sensor_in_every_mode()
bad_input()
failing_script()
