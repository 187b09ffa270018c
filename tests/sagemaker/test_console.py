"""Where a person opens a job and its files, for each kind of endpoint."""

from __future__ import annotations

import pytest

from spot_training.sagemaker.console import console_of

MODEL = "s3://bucket/models/churn-1/output/model.tar.gz"


def test_files_on_aws_are_opened_in_the_console_of_their_partition() -> None:
    console = console_of("https://api.sagemaker.eu-central-1.amazonaws.com", region="eu-central-1")
    assert console.files(MODEL) == (
        "https://console.aws.amazon.com/s3/object/bucket"
        "?region=eu-central-1&prefix=models%2Fchurn-1%2Foutput%2Fmodel.tar.gz"
    )
    assert console.files("s3://bucket/checkpoints/run 1").endswith(
        "/s3/buckets/bucket?region=eu-central-1&prefix=checkpoints%2Frun+1%2F"
    )
    assert console.files("s3://bucket").endswith("/s3/buckets/bucket?region=eu-central-1&prefix=")
    assert console.files(None) == console.job("") == ""


@pytest.mark.parametrize(
    ("endpoint", "region", "address"),
    [
        ("https://api.sagemaker.cn-north-1.amazonaws.com.cn", "cn-north-1", "https://console.amazonaws.cn"),
        (
            "https://api.sagemaker.us-gov-west-1.amazonaws.com",
            "us-gov-west-1",
            "https://console.amazonaws-us-gov.com",
        ),
        ("http://127.0.0.1:4566", "us-east-1", "http://127.0.0.1:4566"),
        ("http://local-sagemaker:4566", "us-east-1", ""),
        ("javascript://localhost/%0aalert(1)", "us-east-1", ""),
        (None, "us-east-1", ""),
    ],
)
def test_a_record_knows_its_console_from_its_endpoint(
    endpoint: str | None, region: str, address: str
) -> None:
    assert console_of(endpoint, region=region).address == address


def test_a_local_sagemaker_shows_its_own_pages() -> None:
    local = console_of("http://local-sagemaker:4566", region="us-east-1", local_url="http://localhost:4566/")
    assert local.files(MODEL) == f"http://localhost:4566/_local/objects/{MODEL.removeprefix('s3://')}"
    assert local.job("churn-1") == "http://localhost:4566/_local/#job-churn-1"
    assert local.log("churn-1") == "http://localhost:4566/_local/logs/churn-1"
