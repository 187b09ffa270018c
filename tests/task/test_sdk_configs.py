"""What the SageMaker SDK exports for the Amazon provider's operator is carried out.

`fixtures/sdk_configs.json` is a real export; where the SDK is installed, it is exported again.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from spot_training.connections import AwsAccess
from spot_training.domain.errors import InvalidInput, RequestRefused, ServiceFailed
from spot_training.sagemaker.identity import without_sdk_time
from spot_training.sagemaker.request import cast_request
from spot_training.sagemaker.roles import arn_of_role, is_role_name
from spot_training.sagemaker.uploads import S3Operations
from tests.cloud import ROOT, Cloud, live_jobs, make_config

from .support import Run, make_operator

FIXTURES = Path(__file__).parent / "fixtures"
ARN = "arn:aws:iam::123456789012:role/SageMakerTraining"
TRUST = {"Version": "2012-10-17", "Statement": []}


def _stored(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((FIXTURES / "sdk_configs.json").read_text())[name]
    return config


@pytest.fixture
def account(cloud: Cloud, drought: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An account with the role and the bucket, and a worker that has the script in its folder."""
    for type_ in ("ml.m5.xlarge", "ml.g5.xlarge"):
        cloud.set_capacity(available=True, instance_type=type_)
    cloud.client("iam").create_role(RoleName="SageMakerTraining", AssumeRolePolicyDocument=json.dumps(TRUST))
    cloud.client("s3").create_bucket(Bucket="my-bucket")
    for channel in ("train", "test"):
        cloud.client("s3").put_object(Bucket="my-bucket", Key=f"data/{channel}/1.csv", Body=b"1")
    monkeypatch.setattr(AwsAccess, "_client", lambda _self, service, **_config: cloud.client(service))
    (tmp_path / "src" / "lib").mkdir(parents=True)
    (tmp_path / "src" / "train.py").write_text("print('trained')")
    (tmp_path / "src" / "lib" / "model.py").write_text("")
    monkeypatch.chdir(tmp_path)
    return cloud


def _train(config: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    config = {**config, "Environment": {"LOCAL_TRAINING_SECONDS": "600"}}
    return make_operator(config=config, **arguments).execute(Run().context())


def _files_in(cloud: Cloud, upload: dict[str, Any]) -> set[str]:
    body = cloud.client("s3").get_object(Bucket=upload["Bucket"], Key=upload["Key"])["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return set(archive.getnames())


@pytest.mark.parametrize(
    ("name", "files"),
    [("source_dir", {"train.py", "lib", "lib/model.py"}), ("one_file", {"train.py"}), ("own_image", None)],
)
def test_an_export_is_carried_out(account: Cloud, name: str, files: set[str] | None) -> None:
    config = _stored(name)
    done = _train(config)
    job = done["Training"]
    assert job["TrainingJobStatus"] == "Completed"
    assert job["RoleArn"] == ARN
    assert {"S3Operations"} & config.keys() == (set() if files is None else {"S3Operations"})
    if files:
        (upload,) = config["S3Operations"]["S3Upload"]
        assert _files_in(account, upload) == files
        where = json.dumps(f"s3://{upload['Bucket']}/{upload['Key']}")
        assert job["HyperParameters"]["sagemaker_submit_directory"] == where


def test_the_sdk_exports_today_what_is_stored(account: Cloud, tmp_path: Path) -> None:
    python = ROOT / ".venv-clients" / "bin" / "python"
    if not python.exists():
        pytest.skip("no environment .venv-clients: scripts/test makes it")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": account.url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
    }
    command = [str(python), str(FIXTURES / "export_configs.py"), "configs.json"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=200)
    exported = json.loads((tmp_path / "configs.json").read_text())
    for name, config in exported.items():
        assert _without_time(config) == _without_time(_stored(name))
    assert _train(exported["source_dir"])["Training"]["TrainingJobStatus"] == "Completed"


def _without_time(config: dict[str, Any]) -> Any:
    return json.loads(json.dumps(config).replace(config["TrainingJobName"], "churn"))


def test_attempts_of_one_training_share_names_and_checkpoints_although_each_parse_exports_another_time() -> (
    None
):
    assert without_sdk_time("churn-2026-11-29-03-15-59-123") == "churn"
    for kept in ("churn-2026-11-29", "churn", "churn-2026-11-29-03-15-59"):
        assert without_sdk_time(kept) == kept


def test_the_upload_is_made_again_for_each_job(account: Cloud) -> None:
    """The key of an export changes with each parse: the code of a job is at the key of its own request."""
    account.set_capacity(available=False, instance_type="ml.g5.xlarge")
    puts: list[str] = []
    client = account.client("s3")
    client.meta.events.register("before-call.s3.PutObject", lambda **_: puts.append("put"))
    task = make_operator(
        config={**_stored("source_dir"), "Environment": {"LOCAL_TRAINING_SECONDS": "60"}},
        policy=[{"spot": "ml.g5.xlarge", "max_wait": "2h"}, "on_demand"],
    )
    access: Any = AwsAccess
    make, access.s3 = access.s3, lambda _self: client
    try:
        done = task.execute(Run().context())
    finally:
        access.s3 = make
    assert len(done["attempts"]) == len(puts) == 2


@pytest.mark.parametrize(
    ("operations", "field", "says"),
    [
        ({"S3Uploads": []}, "S3Operations.S3Uploads", r"Did you mean S3Upload\?"),
        ({"S3Upload": [{"Path": "src", "Key": "k"}]}, "S3Operations.S3Upload[0].Bucket", "give a value"),
        (
            {"S3Upload": [{"Path": 7, "Bucket": "b", "Key": "k"}]},
            "S3Operations.S3Upload[0].Path",
            "give text",
        ),
        (
            {"S3Upload": [{"Path": "x", "Bucket": "b", "Key": "k", "Tar": "si"}]},
            "S3Operations.S3Upload[0].Tar",
            "true",
        ),
        ({"S3Upload": {"Path": "src"}}, "S3Operations.S3Upload", "a list"),
        ("upload", "S3Operations", "dictionary"),
        ({"S3CreateBucket": [{"Name": "b"}]}, "S3Operations.S3CreateBucket[0].Name", "Bucket"),
    ],
)
def test_operations_that_cannot_be_read_are_refused_before_anything_is_done(
    operations: Any, field: str, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        cast_request({**make_config(), "S3Operations": operations})
    assert refused.value.field == field


def test_a_missing_script_creates_no_job_and_says_where_it_was_looked_for(
    account: Cloud, tmp_path: Path
) -> None:
    config = _stored("source_dir")
    config["S3Operations"]["S3Upload"][0]["Path"] = "elsewhere"
    says = rf"S3Upload\[0\]\.Path is 'elsewhere': .* in {tmp_path} .*No training job was created\.$"
    with pytest.raises(AirflowFailException, match=says):
        _train(config)
    assert live_jobs(account) == []


def test_a_missing_bucket_creates_no_job_unless_the_config_creates_it(account: Cloud) -> None:
    config = _stored("one_file")
    config["S3Operations"]["S3Upload"][0]["Bucket"] = "new-bucket"
    with pytest.raises(
        AirflowFailException, match=r"S3 refused PutObject s3://new-bucket/.*No training job was"
    ):
        _train(config)
    assert live_jobs(account) == []
    config["S3Operations"]["S3CreateBucket"] = [{"Bucket": "new-bucket"}]
    assert _train(config)["Training"]["TrainingJobStatus"] == "Completed"
    S3Operations.of(config).carry_out(lambda: account.client("s3"), say=lambda _text: None)


@pytest.mark.parametrize(
    ("name", "is_name"),
    [
        ("SageMakerTraining", True),
        ("a+b=c,d.e@f-g", True),
        (ARN, False),
        ("", False),
        ("x" * 65, False),
        (7, False),
    ],
)
def test_a_name_is_distinguished_from_an_arn(name: object, *, is_name: bool) -> None:
    assert is_role_name(name) is is_name


def test_a_role_that_iam_does_not_know_creates_no_job(account: Cloud) -> None:
    with pytest.raises(
        AirflowFailException, match=r"RoleArn is 'Nobody': IAM has no role of this name.*full ARN"
    ):
        _train({**make_config(), "RoleArn": "Nobody"})
    assert live_jobs(account) == []


@pytest.mark.parametrize(
    ("status", "code", "error", "says"),
    [
        (403, "AccessDenied", InvalidInput, "AWS denied iam:GetRole"),
        (
            500,
            "ServiceFailure",
            ServiceFailed,
            "GetRole SageMakerTraining failed .*No training job was created",
        ),
    ],
)
def test_a_role_that_cannot_be_looked_up_is_said_with_the_way_out(
    account: Cloud, status: int, code: str, error: type[Exception], says: str
) -> None:
    client = account.client("iam")

    def refuse(**_: Any) -> None:
        error = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(error, "GetRole")  # type: ignore[arg-type]

    client.meta.events.register("before-call.iam.GetRole", refuse)
    with pytest.raises(error, match=says):
        arn_of_role("SageMakerTraining", lambda: client)


def test_a_refused_upload_is_no_running_job(account: Cloud) -> None:
    client = account.client("s3")

    def deny(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")

    client.meta.events.register("before-call.s3.PutObject", deny)
    with pytest.raises(
        RequestRefused, match=r"AWS denied PutObject s3://.*No training job was created"
    ) as it:
        S3Operations.of(_stored("one_file")).carry_out(lambda: client, say=lambda _text: None)
    assert it.value.nothing_was_created
