"""What AWS's errors mean, and whether a retry could help."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from spot_training.domain.errors import (
    CredentialsExpired,
    RequestRefused,
    ServiceFailed,
    TrainingNotCompleted,
)
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.calls import unreachable
from spot_training.sagemaker.request import cast_request
from tests.cloud import Cloud, answer_with, make_config


def _create(jobs: Any) -> None:
    request = {**cast_request(make_config()), "TrainingJobName": "model-1"}
    jobs.create_or_adopt(request, key="key", nonce="nonce")


@pytest.mark.parametrize(
    ("code", "text", "error", "words"),
    [
        ("ResourceNotFound", "Experiment does not exist.", RequestRefused, "Correct the request"),
        ("ValidationException", "Could not find S3 object s3://a/b", RequestRefused, "Correct the request"),
        ("InvalidSignatureException", "Credential is wrong.", RequestRefused, "credentials"),
        ("MissingAuthenticationToken", "No token.", RequestRefused, "credentials"),
        ("ExpiredTokenException", "The token expired.", CredentialsExpired, "fresh credentials"),
        ("ExpiredToken", "The token expired.", CredentialsExpired, "fresh credentials"),
        ("SomethingNew", "What is this?", ServiceFailed, "finds it"),
    ],
)
def test_a_refused_call_tells_whether_a_retry_helps(
    cloud: Cloud, code: str, text: str, error: type[TrainingNotCompleted], words: str
) -> None:
    jobs = cloud.jobs()
    answer_with(jobs, "CreateTrainingJob", 400, code, text)
    with pytest.raises(error, match=words) as raised:
        _create(jobs)
    assert text in str(raised.value)
    assert raised.value.is_retryable is (error is not RequestRefused)


def test_a_stop_without_a_valid_session_says_that_the_job_goes_on(cloud: Cloud) -> None:
    jobs = cloud.jobs()
    answer_with(jobs, "StopTrainingJob", 400, "ExpiredTokenException", "The token expired.")
    with pytest.raises(CredentialsExpired, match="continues and is billed"):
        jobs.stop("model-1", StopReason.TASK_ENDED)


def test_a_job_that_is_gone_has_no_tags(cloud: Cloud) -> None:
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/gone"
    assert cloud.jobs().tags(arn) == {}


def test_a_long_list_of_what_is_allowed_is_cut_short(cloud: Cloud) -> None:
    """AWS answers an instance type it does not know with all it knows, some thousand characters."""
    jobs = cloud.jobs()
    config = make_config()
    config["ResourceConfig"]["InstanceType"] = "ml.m5.huge"
    request = {**cast_request(config), "TrainingJobName": "model-1"}
    with pytest.raises(
        RequestRefused, match=r"'ml\.m5\.huge' .* enum value set: \[ml\..*, \.\.\.\]\. "
    ) as refused:
        jobs.create_or_adopt(request, key="key", nonce="nonce")
    assert len(str(refused.value)) < 600


def test_an_address_that_does_not_answer_is_named_with_what_to_check() -> None:
    error = unreachable(
        EndpointConnectionError(endpoint_url="https://api.sagemaker.us-east.example"), "ListTags"
    )
    assert isinstance(error, ServiceFailed)
    assert "api.sagemaker.us-east.example" in str(error)
    assert "Check the region, AWS_ENDPOINT_URL and the network." in str(error)
