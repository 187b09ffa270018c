"""The service that is asked: its clients, the pace of the calls, and how fast its clock runs.

AWS and this server are asked with the same calls. Only this server has a control API.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local_sagemaker.account import make_session
from local_sagemaker.process import ControlError, ServerHandle

#: The header in which the local SageMaker says how fast its clock runs. AWS has none.
_SPEED_HEADER = "x-clock-speed"
#: AWS's quota for CreateTrainingJob is one call per second.
_SECONDS_BETWEEN_CREATES = 1.0
#: Throttled calls are tried again with growing pauses, by botocore.
_RETRIES = {"mode": "standard", "total_max_attempts": 10}
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")
LOCAL_ROLE = "arn:aws:iam::123456789012:role/Conformance"
#: An image in which the script's own words reach FailureReason.
LOCAL_IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-cpu-py312"


class TargetError(ValueError):
    """The service cannot be asked. The text says why and what to give."""


class Kind(StrEnum):
    AWS = "aws"
    LOCAL = "local-sagemaker"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of the service."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Wire:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(slots=True, kw_only=True)
class Target:
    """Used by one thread. `wire` is the last raw answer to each operation of SageMaker."""

    kind: Kind
    #: None: where botocore and the environment say, which differs from service to service.
    endpoint: str | None
    role: str
    image: str
    instance_type: str
    bucket: str = ""
    region: str = "us-east-1"
    account: str = ""
    speed: float = 1.0
    control: ServerHandle | None = None
    session: boto3.Session = field(default_factory=make_session)
    wire: dict[str, Wire] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict)
    _created_at: float = 0.0

    def client(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(retries=_RETRIES, connect_timeout=10, read_timeout=60)  # type: ignore[arg-type]
            make: Any = self.session.client
            self._clients[service] = make(service, endpoint_url=self.endpoint, config=config)
            if service == "sagemaker":
                self._clients[service].meta.events.register("before-parse.sagemaker.*", self._keep)
        return self._clients[service]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    @property
    def url(self) -> str:
        """Where SageMaker is."""
        return str(self.sagemaker.meta.endpoint_url)

    @property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    def _keep(self, operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
        try:
            body = json.loads(response_dict["body"] or b"{}")
        except ValueError:
            body = None
        headers = {name.lower(): value for name, value in response_dict["headers"].items()}
        self.wire[operation_model.name] = Wire(response_dict["status_code"], headers, body)
        self.speed = float(headers.get(_SPEED_HEADER, 1.0))

    def real(self, seconds: float, *, least: float = 0.0) -> float:
        """How long so many seconds of the service really take."""
        return max(least, seconds / self.speed)

    def create(self, request: dict[str, Any]) -> None:
        """CreateTrainingJob, at most once per second. A repeated call that finds its own job is fine."""
        time.sleep(max(0.0, self._created_at + self.real(_SECONDS_BETWEEN_CREATES) - time.monotonic()))
        self._created_at = time.monotonic()
        self.sagemaker.create_training_job(**request)

    def describe(self, name: str) -> dict[str, Any] | None:
        """None if there is no such job."""
        try:
            described: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
        except ClientError as exc:
            if is_not_found(exc):
                return None
            raise
        return described


def is_not_found(exc: ClientError) -> bool:
    return exc.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound")


def refusal_of(call: Any, **params: Any) -> Refusal | None:
    """The error with which the service refuses a call, or None if it accepts it."""
    try:
        call(**params)
    except ClientError as exc:
        return Refusal(exc.response["Error"]["Code"], exc.response["Error"]["Message"])
    return None


def local_target(url: str, *, role: str | None, image: str | None, instance_type: str, bucket: str) -> Target:
    """The SageMaker at an address. Raises `TargetError` if nothing answers there."""
    target = Target(
        kind=Kind.OTHER,
        endpoint=url.rstrip("/"),
        role=role or LOCAL_ROLE,
        image=image or LOCAL_IMAGE,
        instance_type=instance_type,
        bucket=bucket,
    )
    control = ServerHandle(url=str(target.endpoint), pid=0)
    try:
        control.control("GET", "clock")
    except (ControlError, ValueError):
        pass  # another server
    except OSError as exc:
        raise TargetError(f"--endpoint {url}: nothing answers there ({exc}).") from exc
    else:
        target.kind, target.control = Kind.LOCAL, control
    _greet(target, f"--endpoint {url}")
    return target


def aws_target(*, role: str, image: str, instance_type: str, bucket: str) -> Target:
    """The account of the environment's credentials. Raises `TargetError` before anything is made."""
    if not _ROLE.fullmatch(role):
        raise TargetError(f"--role {role}: give the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME.")
    session = boto3.Session()
    if not session.region_name:
        raise TargetError("--aws: there is no region. Set AWS_DEFAULT_REGION, or AWS_PROFILE.")
    target = Target(
        kind=Kind.AWS, endpoint=None, role=role, image=image, instance_type=instance_type, bucket=bucket,
        session=session,
    )  # fmt: skip
    _greet(target, "--aws")
    try:
        found = target.client("s3").head_bucket(Bucket=bucket)
    except ClientError as exc:
        raise TargetError(f"--bucket {bucket}: {exc}. Give a bucket of this account and region.") from exc
    # botocore follows S3 to another region, and SageMaker does not.
    elsewhere = found["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", target.region)
    if elsewhere != target.region:
        raise TargetError(f"--bucket {bucket}: it is in {elsewhere}. Give a bucket in {target.region}.")
    return target


def _greet(target: Target, option: str) -> None:
    """Who we are there, whether it is a SageMaker, and how fast its clock runs."""
    try:
        target.account = target.client("sts").get_caller_identity()["Account"]
        target.sagemaker.list_training_jobs(MaxResults=1)
    except (BotoCoreError, ClientError) as exc:
        raise TargetError(f"{option}: {exc}") from exc
    target.region = target.sagemaker.meta.region_name
