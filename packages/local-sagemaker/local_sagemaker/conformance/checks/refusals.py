"""Requests that the service refuses, in its own words where they are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local_sagemaker.conformance.check import Answer, Check, Group, answered, expect_that, skipped, unknown
from local_sagemaker.conformance.requests import base_request
from local_sagemaker.conformance.target import refusal_of

if TYPE_CHECKING:
    from local_sagemaker.conformance.evidence import Run

GROUP = Group("refusals")
#: What an accepted request may run at most. It is stopped at once.
RISK_SECONDS = 60
_KMEANS = "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request that differs from a correct spot job. `text` is None if the service's words are unknown."""

    name: str
    question: str
    source: str
    change: Callable[[Run], dict[str, Any]]
    text: str | None = None
    #: Whether it is unknown if the service refuses it at all.
    may_be_accepted: bool = False
    is_accepted: bool = False
    only_region: str | None = None

    def ask(self, run: Run) -> Answer:
        if self.only_region not in (None, run.target.region):
            return skipped(f"it needs an image of {self.only_region}, and this is {run.target.region}")
        request = base_request(run, self.name, is_spot=True, max_runtime_seconds=RISK_SECONDS)
        request |= self.change(run)
        refusal = refusal_of(run.target.create, request={k: v for k, v in request.items() if v is not None})
        if refusal is None or refusal.code == "ResourceInUse":  # a repeated call: the first was accepted
            stop = {"TrainingJobName": request["TrainingJobName"]}
            refusal_of(run.target.sagemaker.stop_training_job, **stop)
            if self.may_be_accepted:
                return answered("accepted")
            return expect_that(self.is_accepted, self.text or "a ValidationException", "accepted")
        if refusal.code == "ResourceLimitExceeded":
            return unknown(f"the quota comes first: {refusal.message}")
        if self.is_accepted:
            return expect_that(False, "accepted", refusal)
        if self.may_be_accepted:
            return answered(refusal)
        is_so = refusal.code == "ValidationException"
        if is_so and self.text is None:
            return answered(refusal)
        return expect_that(
            is_so and (self.text or "") in refusal.message, self.text or "a ValidationException", refusal
        )


def _resources(run: Run, **change: Any) -> dict[str, Any]:
    resources = {"InstanceType": run.target.instance_type, "InstanceCount": 1, "VolumeSizeInGB": 1} | change
    return {"ResourceConfig": {name: value for name, value in resources.items() if value is not None}}


def _group(run: Run) -> dict[str, Any]:
    return {"InstanceGroupName": "group", "InstanceType": run.target.instance_type, "InstanceCount": 1}


def _channel(run: Run, uri: str = "", **source: Any) -> dict[str, Any]:
    where = {"S3DataType": "S3Prefix", "S3Uri": uri or f"{run.s3_uri}/data/train"} | source
    return {"ChannelName": "train", "DataSource": {"S3DataSource": where}}


def _condition(runtime: int, wait: int | None = None) -> dict[str, Any]:
    condition = {"MaxRuntimeInSeconds": runtime} | ({} if wait is None else {"MaxWaitTimeInSeconds": wait})
    return {"StoppingCondition": condition}


def _is_constraint(member: str, constraint: str, value: str) -> str:
    return f"Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"


_MUST_BE_PRESENT = "must be present and be greater than or equal to MaxRuntimeInSeconds"
_PATTERN = "failed to satisfy constraint: Member must satisfy regular expression pattern"
_NO_REFUSAL_TEXT = "said to be refused; none (the text)"
REFUSED = (
    Refused(
        name="max-wait-without-spot",
        question="Is a max wait refused without spot?",
        source="sagify #111; amazon-sagemaker-examples #869",
        change=lambda _: {"EnableManagedSpotTraining": False},
        text="Invalid MaxWaitTimeInSeconds. "
        "It is only supported when EnableManagedSpotTraining is set to true",
    ),
    Refused(
        name="spot-without-max-wait",
        question="Is spot refused without a max wait?",
        source="seen in public code (the tail)",
        change=lambda _: _condition(60),
        text=_MUST_BE_PRESENT,
    ),
    Refused(
        name="max-wait-below-max-runtime",
        question="Is a max wait that is shorter than the max runtime refused?",
        source="seen in public code (the tail)",
        change=lambda _: _condition(60, 59),
        text=_MUST_BE_PRESENT,
    ),
    Refused(
        name="max-wait-as-long-as-max-runtime",
        question="Is a max wait that is as long as the max runtime accepted?",
        source="a dump of a completed job: 100000 and 100000",
        change=lambda _: {},
        is_accepted=True,
    ),
    Refused(
        name="max-wait-with-retries-on-demand",
        question="Is a max wait accepted on demand with a RetryStrategy?",
        source="sagemaker-python-sdk #2316",
        change=lambda _: {
            "EnableManagedSpotTraining": False,
            "RetryStrategy": {"MaximumRetryAttempts": 1},
        },
        is_accepted=True,
    ),
    Refused(
        name="retries-with-spot",
        question="Is a RetryStrategy accepted with spot?",
        source="none: nothing in the model forbids it",
        change=lambda _: {"RetryStrategy": {"MaximumRetryAttempts": 1}},
        may_be_accepted=True,
    ),
    Refused(
        name="long-wait-without-checkpoints",
        question="Is a max wait above an hour refused for a built-in algorithm without checkpoints?",
        source="seen in public code (DeepAR)",
        change=lambda _: (
            _condition(60, 3601)
            | {
                "AlgorithmSpecification": {"TrainingImage": _KMEANS, "TrainingInputMode": "File"},
                "HyperParameters": {"k": "2", "feature_dim": "1"},
            }
        ),
        text="MaxWaitTimeInSeconds above 3600 is not supported for the given algorithm",
        only_region="us-east-1",
    ),
    Refused(
        name="max-runtime-above-28-days",
        question="How is a max runtime of more than 28 days refused?",
        source="guide (28 days; a new account has 5); none (the text)",
        change=lambda _: _condition(2_419_201, 2_419_201),
    ),
    Refused(
        name="warm-pool-with-spot",
        question="How is a warm pool refused with spot?",
        source="guide, warm pools; none (the text)",
        change=lambda run: _resources(run, KeepAlivePeriodInSeconds=60),
    ),
    Refused(
        name="instance-preferences-with-spot",
        question="How are InstancePreferences refused with spot?",
        source="model; none (the text)",
        change=lambda run: {
            "ResourceConfig": {
                "InstancePreferences": [{"InstanceType": run.target.instance_type, "InstanceCount": 1}],
                "VolumeSizeInGB": 1,
            }
        },
    ),
    Refused(
        name="groups-and-type",
        question="How are InstanceGroups refused next to an InstanceType?",
        source="model; none (the text)",
        change=lambda run: _resources(run, InstanceGroups=[_group(run)]),
    ),
    Refused(
        name="a-channel-twice",
        question="How are two channels of the same name refused?",
        source="none (the text)",
        change=lambda run: {"InputDataConfig": [_channel(run), _channel(run)]},
    ),
    Refused(
        name="a-channel-of-no-group",
        question="How is a channel for an instance group that does not exist refused?",
        source="none (the text)",
        change=lambda run: {"InputDataConfig": [_channel(run, InstanceGroupNames=["nobody"])]},
    ),
    Refused(
        name="a-channel-without-objects",
        question="Is a channel without objects refused?",
        source="amazon-sagemaker-examples #2267",
        change=lambda run: {"InputDataConfig": [_channel(run, f"{run.s3_uri}/nothing/")]},
        text="No S3 objects found under S3 URL",
    ),
    Refused(
        name="no-algorithm",
        question="How is a job without an image and an algorithm refused?",
        source="model; none (the text)",
        change=lambda _: {"AlgorithmSpecification": {"TrainingInputMode": "File"}},
    ),
    Refused(
        name="no-resources",
        question="How is a job without a ResourceConfig refused?",
        source="model; none (the text)",
        change=lambda _: {"ResourceConfig": None},
    ),
    Refused(
        name="zero-instances",
        question="How are zero instances refused?",
        source=_NO_REFUSAL_TEXT,
        change=lambda run: _resources(run, InstanceCount=0),
    ),
    Refused(
        name="a-key-for-a-local-disk",
        question="How is VolumeKmsKeyId refused for a type with NVMe disks?",
        source=_NO_REFUSAL_TEXT,
        change=lambda run: _resources(run, InstanceType="ml.r5d.large", VolumeKmsKeyId="alias/aws/ebs"),
    ),
    Refused(
        name="another-profiling-interval",
        question="How is a profiling interval other than the six refused?",
        source=_NO_REFUSAL_TEXT,
        change=lambda run: {
            "ProfilerConfig": {
                "S3OutputPath": f"{run.s3_uri}/profile",
                "ProfilingIntervalInMilliseconds": 300,
            }
        },
    ),
    Refused(
        name="a-reserved-tag",
        question="How is a tag key that begins with aws: refused?",
        source=_NO_REFUSAL_TEXT,
        change=lambda _: {"Tags": [{"Key": "aws:owner", "Value": "a"}]},
    ),
    Refused(
        name="a-tag-twice",
        question="How is a tag key that occurs twice refused?",
        source=_NO_REFUSAL_TEXT,
        change=lambda _: {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]},
    ),
    Refused(
        name="checkpoints-in-the-model",
        question="How is /opt/ml/model refused as the checkpoint folder?",
        source=_NO_REFUSAL_TEXT,
        change=lambda run: {
            "CheckpointConfig": {"S3Uri": f"{run.s3_uri}/checkpoints/x", "LocalPath": "/opt/ml/model"}
        },
    ),
    Refused(
        name="an-unknown-type",
        question="Is an instance type refused in the form of a validation error?",
        source="seen in public code",
        change=lambda run: _resources(run, InstanceType="ml.t2.medium"),
        text=_is_constraint(
            "resourceConfig.instanceType", "Member must satisfy enum value set: [", "ml.t2.medium"
        ),
    ),
    Refused(
        name="a-bad-name",
        question="Is a name that does not fit the pattern refused?",
        source="model; the form as for enums",
        change=lambda run: {"TrainingJobName": f"{run.id}_bad"},
        text=f"at 'trainingJobName' {_PATTERN}",
    ),
    Refused(
        name="a-bad-role",
        question="Is the ARN of a user refused as a role?",
        source="model; the form as for enums",
        change=lambda run: {"RoleArn": run.target.role.partition(":role/")[0] + ":user/nobody"},
        text=f"at 'roleArn' {_PATTERN}",
    ),
    Refused(
        name="two-errors-at-once",
        question="How are two validation errors reported at once?",
        source="none",
        change=lambda run: (
            _resources(run, InstanceType="ml.t2.medium") | {"TrainingJobName": f"{run.id}_bad"}
        ),
    ),
)
GROUP.checks.extend(
    Check(
        name=each.name,
        group=GROUP.name,
        question=each.question,
        source=each.source,
        ask=each.ask,
        risk_seconds=RISK_SECONDS,
    )
    for each in REFUSED
)
