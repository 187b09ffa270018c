"""What moto would answer for: records are stored, and work that nobody did is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from moto.sagemaker.responses import SageMakerResponse

from local_sagemaker.__main__ import main
from local_sagemaker.api.operations import HANDLERS
from local_sagemaker.service_model import operation_names
from local_sagemaker.services.stand_ins import CLAIMS_WORK, STORED_ONLY

from .support import ROOT, Server, running_server

ROLE = "arn:aws:iam::123456789012:role/R"
#: They read, or end what was made before.
_HARMLESS = ("Describe", "List", "Delete", "Stop", "Disassociate", "Search", "AddTags")
_TUNING = {
    "HyperParameterTuningJobName": "tuner",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Random",
        "ResourceLimits": {"MaxParallelTrainingJobs": 1, "MaxNumberOfTrainingJobs": 1},
    },
}
_REFUSED: dict[str, dict[str, Any]] = {
    "create_hyper_parameter_tuning_job": _TUNING,
    "create_endpoint": {"EndpointName": "e", "EndpointConfigName": "c"},
    "create_processing_job": {
        "ProcessingJobName": "p",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
    },
    "create_transform_job": {
        "TransformJobName": "t",
        "ModelName": "m",
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k"}}},
        "TransformOutput": {"S3OutputPath": "s3://b/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    },
    "create_auto_ml_job_v2": {
        "AutoMLJobName": "a",
        "AutoMLJobInputDataConfig": [{}],
        "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "y"}},
        "RoleArn": ROLE,
    },
    "start_pipeline_execution": {"PipelineName": "p", "ClientRequestToken": "x" * 32},
}


def _refusal(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error["Code"], error["Message"]


@pytest.mark.parametrize("call", list(_REFUSED))
def test_work_that_nobody_does_is_refused_by_name(server: Server, call: str) -> None:
    client = server.client("sagemaker")
    operation = client.meta.method_to_api_mapping[call]
    code, message = _refusal(getattr(client, call), **_REFUSED[call])
    assert code == "UnknownOperationException"
    assert message == (
        f"{operation} is refused: the local SageMaker has no {CLAIMS_WORK[operation]}. Start it with "
        "--stand-ins allow, and moto pretends that the work was done."
    )


def test_an_endpoint_is_not_invoked(server: Server) -> None:
    runtime = server.client("sagemaker-runtime")
    for call, body in (
        (runtime.invoke_endpoint, {"Body": b"1"}),
        (runtime.invoke_endpoint_async, {"InputLocation": "s3://b/k"}),
    ):
        code, message = _refusal(call, EndpointName="e", **body)
        assert (code, message.partition(":")[0]) == ("UnknownOperationException", "InvokeEndpoint is refused")


def test_what_moto_does_not_have_is_refused_by_name_and_not_retried(server: Server) -> None:
    code, message = _refusal(server.client("sagemaker").list_labeling_jobs)
    assert (code, message) == (
        "UnknownOperationException",
        "ListLabelingJobs is not part of the local SageMaker, nor of moto.",
    )


def test_what_does_not_exist_is_a_refusal_and_no_failure_of_the_server(server: Server) -> None:
    client = server.client("sagemaker", retries={"max_attempts": 1})
    calls = {
        "describe_experiment": {"ExperimentName": "e"},
        "describe_feature_group": {"FeatureGroupName": "f"},
        "describe_endpoint": {"EndpointName": "e"},
        "describe_model": {"ModelName": "m"},
        "describe_processing_job": {"ProcessingJobName": "p"},
        "delete_model": {"ModelName": "m"},
        "stop_processing_job": {"ProcessingJobName": "p"},
    }
    for call, names in calls.items():
        assert _refusal(getattr(client, call), **names)[0] in ("ValidationException", "ResourceNotFound"), (
            call
        )


def test_records_are_stored_and_returned(server: Server) -> None:
    client = server.client("sagemaker")
    client.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "i"})
    assert client.describe_model(ModelName="m")["PrimaryContainer"]["Image"] == "i"
    client.create_model_package_group(ModelPackageGroupName="g")
    package = client.create_model_package(ModelPackageGroupName="g")["ModelPackageArn"]
    assert client.describe_model_package(ModelPackageName=package)["ModelPackageGroupName"] == "g"
    assert client.list_endpoints()["Endpoints"] == []


def test_moto_may_pretend_if_the_user_says_so() -> None:
    with running_server("--stand-ins", "allow") as server:
        client = server.client("sagemaker")
        client.create_hyper_parameter_tuning_job(**_TUNING)
        job = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="tuner")
        assert job["HyperParameterTuningJobStatus"] == "Completed"
        answer = server.client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"1")
        assert answer["Body"].read() == b"body"


def test_every_operation_of_moto_is_known_as_a_record_or_a_claim() -> None:
    """A new version of moto must not bring back what pretends."""
    for operation in operation_names():
        if not hasattr(SageMakerResponse, xform_name(operation)) or operation in HANDLERS:
            continue
        known = operation in CLAIMS_WORK or operation in STORED_ONLY or operation.startswith(_HARMLESS)
        assert known, operation
    assert not set(CLAIMS_WORK) & set(STORED_ONLY)


def test_what_is_stored_only_is_in_the_help_and_in_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    docs = " ".join(Path(ROOT, "docs", "local-sagemaker.md").read_text(encoding="utf-8").split())
    for operation in STORED_ONLY:
        assert operation in text
        assert f"`{operation}`" in docs
    for operation in CLAIMS_WORK:
        assert f"`{operation}`" in docs
