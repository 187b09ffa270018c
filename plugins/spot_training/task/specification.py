"""What a task trains: from an operator's `config`, or from the job that a sensor watches.

Imported when a Dag is parsed, so it imports nothing of a training's machinery at the top.

A plan or a policy is made only when there is something to decide or to create, that is when no job is alive.
Bad input is refused then, so a Dag that was changed meanwhile spoils no training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from spot_training.domain.caps import Caps
from spot_training.domain.errors import InvalidInput, RequestRefused
from spot_training.domain.parsing import as_bool

if TYPE_CHECKING:
    from spot_training.domain.ladder import Policy
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.jobs import TrainingJobs
    from spot_training.sagemaker.request import TrainingPlan

    from .options import TaskOptions


class Specification(Protocol):
    """What to train, and what to try."""

    @property
    def only_watches(self) -> bool:
        """Whether there is no policy for what follows a job that was started elsewhere."""

    def prepare(self, say: Callable[[str], None]) -> Mapping[str, Any]:
        """What comes before each job is created: uploads. Returns the fields that are known only then."""

    def plan(self, identity: RunIdentity) -> TrainingPlan:
        """What to train, under the names of this identity."""

    def policy(self, seconds_left: float | None) -> Policy:
        """What to try next. `seconds_left` until the deadline; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredTraining:
    """The training that an operator's rendered arguments ask for."""

    config: Mapping[str, Any] | str
    policy_spec: object
    caps: Mapping[str, Any] | None
    keep_checkpoints: object
    options: TaskOptions
    only_watches: bool = False

    def prepare(self, say: Callable[[str], None]) -> Mapping[str, Any]:
        from spot_training.sagemaker.request import config_of
        from spot_training.sagemaker.roles import is_role_name
        from spot_training.sagemaker.uploads import S3Operations

        config, access = config_of(self.config), self.options.access
        role = config.get("RoleArn")
        found = {"RoleArn": access.role_arn(role)} if isinstance(role, str) and is_role_name(role) else {}
        S3Operations.of(config).carry_out(access.s3, say=say)
        return found

    def plan(self, identity: RunIdentity) -> TrainingPlan:
        from spot_training.sagemaker.identity import without_sdk_time
        from spot_training.sagemaker.request import TrainingPlan

        request = self._request()
        name_prefix = request.get("TrainingJobName") or f"{identity.dag_id}-{identity.task_id}"
        return TrainingPlan.of(
            request,
            identity=identity,
            name_prefix=without_sdk_time(str(name_prefix)),
            caps=Caps.of(self.caps),
            keep_checkpoints=as_bool(self.keep_checkpoints, field="keep_checkpoints"),
            # A job that nobody waits for outlives its task.
            is_stopped_with_task=self.options.wait_for_completion and self.options.stop_job_on_kill,
        )

    def policy(self, seconds_left: float | None) -> Policy:
        from spot_training.domain.policy_specs import DEFAULT_WITH_DEADLINE, policy_from
        from spot_training.sagemaker.request import defaults_of

        from .policy_file import named_policies

        self._check_is_guarded()
        request = self._request()
        spec, named = self.policy_spec, named_policies()
        if spec is None:
            wants_spot = request.get("EnableManagedSpotTraining", True)
            without_deadline = "widen" if wants_spot else "on_demand"
            spec = without_deadline if seconds_left is None else DEFAULT_WITH_DEADLINE
            named = {}
        defaults = replace(defaults_of(request), deadline_in_seconds=seconds_left, named=named)
        policy = policy_from(spec, defaults)
        if not self.options.wait_for_completion and any(step.needs_scouts for step in policy.steps):
            raise InvalidInput(
                "wait_for_completion",
                self.options.wait_for_completion,
                "nobody would look at the scouts of a policy with several types: leave it out, or give one.",
            )
        return policy

    def _request(self) -> dict[str, Any]:
        from spot_training.sagemaker.request import cast_request

        return cast_request(self.config, takes_role_name=True)

    def _check_is_guarded(self) -> None:
        """The guard of a deadline lives in the task and its trigger, so it needs a task that waits."""
        if not self.options.wait_for_completion and self.options.deadline is not None:
            raise InvalidInput(
                "wait_for_completion",
                self.options.wait_for_completion,
                f"nobody would hold the training to its deadline ({self.options.deadline.deadline}). Leave "
                "it out (deferrable=True waits without a worker slot), or leave out the deadline.",
            )


class WatchedJob:
    """A job that was started elsewhere, and how it is carried on: with attempts like itself."""

    def __init__(
        self,
        jobs: TrainingJobs,
        name: str,
        *,
        policy_spec: object = None,
        caps: Mapping[str, Any] | None = None,
        is_stopped_with_task: bool = True,
    ) -> None:
        self._jobs = jobs
        self._name = name
        self._policy_spec = policy_spec
        self._caps = caps
        self._is_stopped_with_task = is_stopped_with_task

    @property
    def only_watches(self) -> bool:
        return self._policy_spec is None

    def prepare(self, say: Callable[[str], None]) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: a description has an ARN and uploads nothing."""
        return {}

    def plan(self, identity: RunIdentity) -> TrainingPlan:
        """Attempts on the job's own checkpoint prefix, which holds the work done so far."""
        from spot_training.sagemaker.request import TrainingPlan

        return TrainingPlan(
            request=self._request,
            identity=identity,
            name_prefix=self._name,
            checkpoint_uri=self._request.get("CheckpointConfig", {}).get("S3Uri"),
            caps=Caps.of(self._caps),
            is_stopped_with_task=self._is_stopped_with_task,
        )

    def policy(self, seconds_left: float | None) -> Policy:  # noqa: ARG002 - a sensor has no deadline
        from spot_training.domain.policy_specs import policy_from
        from spot_training.sagemaker.request import defaults_of

        from .policy_file import named_policies

        return policy_from(self._policy_spec, replace(defaults_of(self._request), named=named_policies()))

    @cached_property
    def _request(self) -> dict[str, Any]:
        """The job's description as a request for another one like it."""
        from spot_training.sagemaker.identity import is_our_tag
        from spot_training.sagemaker.request import request_from_description

        description = self._jobs.describe(self._name)
        if description is None:
            raise RequestRefused(
                f"Training job {self._name} does not exist any more, so it cannot be carried on. Nothing was "
                "created."
            )
        tags = self._jobs.tags(description["TrainingJobArn"])
        own = [{"Key": key, "Value": value} for key, value in tags.items() if not is_our_tag(key)]
        return request_from_description(description) | ({"Tags": own} if own else {})
