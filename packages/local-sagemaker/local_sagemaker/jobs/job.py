"""A training job at one moment: not how it moves (`life`), nor how a client sees it (`description`)."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from local_sagemaker.account import ACCOUNT, REGION, partition_of

from .errors import IllegalMoveError
from .lifecycle import (
    HOLDING_STATUSES,
    TERMINAL_STATUSES,
    SecondaryStatus,
    TrainingStatus,
    Transition,
    is_legal_move,
)
from .stopping import DEFAULT_MAX_RUNTIME_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def arn_of(name: str, region: str = REGION) -> str:
    """SageMaker writes the name in lower case in the ARN, and keeps its case everywhere else."""
    return f"arn:{partition_of(region)}:sagemaker:{region}:{ACCOUNT}:training-job/{name.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalMetric:
    """The last value of an algorithm metric."""

    value: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One training job at one moment. `request` is the CreateTrainingJob request.

    Only `final_metrics` is shared by all moments of a job: what reads the job's log writes to it.
    """

    name: str
    request: Mapping[str, Any]
    created_at: datetime
    last_modified_at: datetime
    status: TrainingStatus = TrainingStatus.IN_PROGRESS
    transitions: tuple[Transition, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    held_seconds: float = 0.0
    billable_seconds: float = 0.0
    failure_reason: str | None = None
    selected_type: str | None = None
    region: str = REGION
    final_metrics: dict[str, FinalMetric] = field(default_factory=dict, compare=False)

    @property
    def arn(self) -> str:
        return arn_of(self.name, self.region)

    @property
    def secondary_status(self) -> SecondaryStatus:
        return self.transitions[-1].status

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL_STATUSES

    @property
    def is_spot(self) -> bool:
        return bool(self.request.get("EnableManagedSpotTraining"))

    @property
    def resources(self) -> Mapping[str, Any]:
        return self.request.get("ResourceConfig") or {}

    @property
    def choices(self) -> tuple[tuple[str, ...], ...]:
        """What the job may run on, by preference. Each choice is the instance types that must all have
        capacity.
        """
        preferred = self.resources.get("InstancePreferences") or ()
        groups = self.resources.get("InstanceGroups") or ()
        if preferred:
            return tuple((p["InstanceType"],) for p in preferred)
        if groups:
            return (tuple(dict.fromkeys(g["InstanceType"] for g in groups)),)
        return ((self.resources.get("InstanceType", "ml.m5.large"),),)

    @property
    def possible_types(self) -> list[str]:
        """Every instance type the job may run on, each once."""
        return list(dict.fromkeys(itertools.chain(*self.choices)))

    @property
    def instance_type(self) -> str:
        """The type, or that of the first instance group."""
        return self.selected_type or self.choices[0][0]

    @property
    def instances(self) -> Mapping[str, int]:
        """The number of instances of each type."""
        groups = self.resources.get("InstanceGroups") or ()
        if groups:
            counts = Counter[str]()
            for group in groups:
                counts[group["InstanceType"]] += int(group["InstanceCount"])
            return counts
        for preference in self.resources.get("InstancePreferences") or ():
            if preference["InstanceType"] == self.instance_type and preference.get("InstanceCount"):
                return {self.instance_type: int(preference["InstanceCount"])}
        return {self.instance_type: max(1, int(self.resources.get("InstanceCount") or 1))}

    @property
    def instance_count(self) -> int:
        return max(1, sum(self.instances.values()))

    @property
    def max_runtime_seconds(self) -> int:
        condition = self.request.get("StoppingCondition") or {}
        return int(condition.get("MaxRuntimeInSeconds") or DEFAULT_MAX_RUNTIME_SECONDS)

    @property
    def max_wait_seconds(self) -> int | None:
        return (self.request.get("StoppingCondition") or {}).get("MaxWaitTimeInSeconds")

    @property
    def max_pending_seconds(self) -> int | None:
        return (self.request.get("StoppingCondition") or {}).get("MaxPendingTimeInSeconds")

    @property
    def retry_attempts(self) -> int:
        return int((self.request.get("RetryStrategy") or {}).get("MaximumRetryAttempts") or 0)

    @property
    def environment(self) -> Mapping[str, str]:
        return self.request.get("Environment") or {}

    @property
    def hyperparameters(self) -> Mapping[str, str]:
        return self.request.get("HyperParameters") or {}

    @property
    def training_image(self) -> str:
        return str((self.request.get("AlgorithmSpecification") or {}).get("TrainingImage") or "")

    @property
    def checkpoint_uri(self) -> str | None:
        return (self.request.get("CheckpointConfig") or {}).get("S3Uri")

    @property
    def output_uri(self) -> str:
        """`<S3OutputPath>/<job>/output`, without a slash at the end."""
        path = str(self.request["OutputDataConfig"]["S3OutputPath"]).rstrip("/")
        return f"{path}/{self.name}/output"

    @property
    def is_uncompressed_output(self) -> bool:
        return bool(self.request["OutputDataConfig"].get("CompressionType") == "NONE")

    @property
    def model_uri(self) -> str:
        return f"{self.output_uri}/{'model/' if self.is_uncompressed_output else 'model.tar.gz'}"

    def held_seconds_at(self, now: datetime) -> float:
        """Seconds in which the job held instances, including the current status."""
        current = self.transitions[-1]
        if current.status in HOLDING_STATUSES and current.ended_at is None:
            return self.held_seconds + (now - current.started_at).total_seconds()
        return self.held_seconds

    def training_seconds_at(self, now: datetime) -> int | None:
        """`TrainingTimeInSeconds`: None for a job that never held instances, else at least 1."""
        return None if self.started_at is None else max(1, math.floor(self.held_seconds_at(now)))

    @property
    def billed_seconds(self) -> int | None:
        """`BillableTimeInSeconds`: None until the job is over, and for a job that never started."""
        if not self.is_over or self.started_at is None:
            return None
        training_seconds = max(1, math.floor(self.held_seconds))
        return (
            min(training_seconds, max(1, round(self.billable_seconds))) if self.is_spot else training_seconds
        )

    def entered(
        self, status: SecondaryStatus, at: datetime, message: str, *, price_ratio: float = 1.0
    ) -> TrainingJob:
        """The job after a move to another secondary status. Raises `IllegalMoveError`."""
        done = self.transitions
        held = billable = 0.0
        if done:
            current = done[-1]
            if not is_legal_move(current.status, status):
                raise IllegalMoveError(
                    f"{self.name}: {current.status} > {status} is not a move of SageMaker's lifecycle"
                )
            done = (*done[:-1], replace(current, ended_at=at))
            if current.status in HOLDING_STATUSES:
                held = (at - current.started_at).total_seconds()
                billable = held * price_ratio
        return replace(
            self,
            transitions=(*done, Transition(status=status, started_at=at, message=message)),
            held_seconds=self.held_seconds + held,
            billable_seconds=self.billable_seconds + billable,
            last_modified_at=at,
        )

    def saying(self, message: str, at: datetime) -> TrainingJob:
        """The job with another message on its current transition, which SageMaker overwrites in place."""
        if self.transitions[-1].message == message:
            return self
        current = replace(self.transitions[-1], message=message)
        return replace(self, transitions=(*self.transitions[:-1], current), last_modified_at=at)

    def ended(
        self, status: TrainingStatus, at: datetime, *, failure_reason: str | None = None
    ) -> TrainingJob:
        """The job after its last move. The last transition starts and ends at the same instant."""
        closed = replace(self.transitions[-1], ended_at=at)
        return replace(
            self,
            status=status,
            transitions=(*self.transitions[:-1], closed),
            ended_at=at if self.started_at is not None else None,
            failure_reason=failure_reason[:1024] if failure_reason else None,
            last_modified_at=at,
        )
