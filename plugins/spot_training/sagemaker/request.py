"""CreateTrainingJob requests: cast, checked, and made again for each attempt.

The user's `config` is such a request. It is cast and checked in full before anything is created (`casting`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spot_training.domain.back_to_spot import check_can_go_back
from spot_training.domain.caps import NO_CAPS, Caps
from spot_training.domain.errors import EmptyValue, InvalidInput
from spot_training.domain.json_text import as_mapping
from spot_training.domain.parsing import HIDDEN, MASK, as_instance_type
from spot_training.domain.policy_specs import Defaults
from spot_training.domain.savings import PurchaseOption
from spot_training.domain.stopping import (
    DEFAULT_MAX_RUNTIME_SECONDS,
    StoppingLimits,
    check_wait_for_algorithm,
    is_capped_algorithm,
)

from .casting import MAY_HOLD_SECRETS, cast_structure, create_shape
from .identity import MOST_OUR_TAGS, MOST_TAGS
from .roles import is_role_name
from .scouts import check_can_scout, scout_request
from .uploads import FIELD, S3Operations

if TYPE_CHECKING:
    from spot_training.domain.ladder import Policy, Step

    from .identity import RunIdentity


def config_of(config: Mapping[str, Any] | str) -> dict[str, Any]:
    """An operator's rendered `config` as a dictionary. Raises `EmptyValue` or `InvalidInput`."""
    wanted = "a CreateTrainingJob request as a dictionary"
    return dict(as_mapping(config, field="config", wanted=wanted, shown=HIDDEN))


def cast_request(config: Mapping[str, Any] | str, *, takes_role_name: bool = False) -> dict[str, Any]:
    """A deep copy of `config` with every value of the type SageMaker's model asks for.

    `config`, and each mapping or list in it, may be JSON text, as `| tojson` renders it. `TrainingJobName`
    may be missing: the names of attempts are made, and it serves as their prefix. Raises `EmptyValue` or
    `InvalidInput`, naming the field by its path in the request.

    `S3Operations`, which the SageMaker SDK exports, is no part of the request. With `takes_role_name`, a
    role may be given by its name; whoever sends the request puts the ARN in its place.
    """
    given = config_of(config)
    S3Operations.of(given)
    given.pop(FIELD, None)
    if takes_role_name and is_role_name(given.get("RoleArn")):
        given["RoleArn"] = f"arn:aws:iam::000000000000:role/{given['RoleArn']}"
    request = cast_structure(given, create_shape(), "", skip=frozenset({"TrainingJobName"}))
    if "ResourceConfig" not in request or "AlgorithmSpecification" not in request:
        missing = "ResourceConfig" if "ResourceConfig" not in request else "AlgorithmSpecification"
        raise EmptyValue(missing, None, "a training job needs it.")
    _check_instances(request["ResourceConfig"])
    return request


def _check_instances(resources: dict[str, Any]) -> None:
    """What SageMaker's model leaves open, because groups and preferences take the place of both."""
    if (kind := resources.get("InstanceType")) is not None:
        resources["InstanceType"] = as_instance_type(kind, field="ResourceConfig.InstanceType")
    has_others = resources.get("InstanceGroups") or resources.get("InstancePreferences")
    if resources.get("InstanceCount") == 0 and not has_others:
        raise InvalidInput("ResourceConfig.InstanceCount", 0, "give 1 or more.")


# Reading a request ---------------------------------------------------------------------------------


def max_runtime_of(request: Mapping[str, Any]) -> int:
    """`MaxRuntimeInSeconds`, SageMaker's default included."""
    return int(request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_SECONDS))


def defaults_of(request: Mapping[str, Any]) -> Defaults:
    """The request's values for what a policy may leave out."""
    algorithm = request.get("AlgorithmSpecification", {})
    return Defaults(
        max_runtime_seconds=max_runtime_of(request),
        max_wait_seconds=request.get("StoppingCondition", {}).get("MaxWaitTimeInSeconds"),
        is_capped=is_capped_algorithm(algorithm.get("TrainingImage"), algorithm.get("AlgorithmName")),
    )


def request_from_description(description: Mapping[str, Any]) -> dict[str, Any]:
    """The request that would make the described job again (`DescribeTrainingJob` -> `CreateTrainingJob`).

    Only fields the request knows are kept, without what the server fills in empty. Tags are not part of a
    description.
    """
    known = create_shape().members
    return {
        name: _without_empty(value)
        for name, value in description.items()
        if name in known and name != "TrainingJobName" and value not in ("", None, [], {})
    }


def without_secrets(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description as it may be kept for everyone to read: `Environment` with its names, not its values."""
    environment = description.get("Environment")
    if not environment:
        return dict(description)
    return {**description, "Environment": dict.fromkeys(environment, MASK)}


def hide_secrets(error: Exception, request: Mapping[str, Any]) -> None:
    """Remove the values of a map that AWS's error names from its text: AWS quotes them."""
    text = str(error).lower()
    values = [
        str(value)
        for name in MAY_HOLD_SECRETS
        if name.lower() in text
        for value in request.get(name, {}).values()
        if str(value)
    ]
    for value in sorted(values, key=len, reverse=True):
        error.args = tuple(arg.replace(value, MASK) if isinstance(arg, str) else arg for arg in error.args)
        details = getattr(error, "response", {}).get("Error", {})
        if "Message" in details:
            details["Message"] = str(details["Message"]).replace(value, MASK)


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in ("", None)}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value


# Making attempts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """A checked request, and how its attempts differ: name, purchase option, wait, checkpoint prefix, tags.

    `request` is the user's, cast. `checkpoint_uri` is the logical run's own prefix, None when the request has
    no CheckpointConfig (an interruption then starts from zero). `is_resumed`: earlier generations of the run
    left their checkpoints there.
    """

    request: dict[str, Any]
    identity: RunIdentity
    name_prefix: str
    checkpoint_uri: str | None
    caps: Caps = NO_CAPS
    is_stopped_with_task: bool = True
    is_resumed: bool = False

    @classmethod
    def of(
        cls,
        request: dict[str, Any],
        *,
        identity: RunIdentity,
        name_prefix: str,
        caps: Caps | None = None,
        keep_checkpoints: bool = False,
        is_stopped_with_task: bool = True,
    ) -> TrainingPlan:
        """Plan the attempts of one logical run, with its own checkpoint prefix.

        `keep_checkpoints`: later generations continue from the first one's checkpoints.
        """
        base = request.get("CheckpointConfig", {}).get("S3Uri")
        owner = identity.first if keep_checkpoints else identity
        return cls(
            request=request,
            identity=identity,
            name_prefix=name_prefix,
            checkpoint_uri=owner.checkpoint_uri(base, name_prefix) if base else None,
            caps=caps or NO_CAPS,
            is_stopped_with_task=is_stopped_with_task,
            is_resumed=bool(base) and owner != identity,
        )

    @property
    def instance_count(self) -> int:
        """How many instances the request asks for, over all groups; the first choice of several."""
        resources = self.request["ResourceConfig"]
        groups = (
            resources.get("InstanceGroups") or resources.get("InstancePreferences", ())[:1] or [resources]
        )
        return sum(int(group.get("InstanceCount") or 1) for group in groups)

    @property
    def instance_type(self) -> str:
        """The request's own type; the first one of several."""
        resources = self.request["ResourceConfig"]
        several = [*resources.get("InstanceGroups", ()), *resources.get("InstancePreferences", ())]
        types = (r.get("InstanceType") for r in [resources, *several])
        return next((str(t) for t in types if t), "")

    def check(self, policy: Policy) -> None:
        """Raise the `InvalidInput` that SageMaker would answer with on any of the policy's steps.

        And `AboveCap` where a step asks for more than the Dag's author allows.
        """
        self._check_tags()
        goes_back = getattr(policy, "back_to_spot", False)
        if goes_back:
            check_can_go_back(has_checkpoints=self.checkpoint_uri is not None)
        for step in policy.steps:
            if step.needs_scouts or (goes_back and step.purchase is PurchaseOption.SPOT):
                check_can_scout(self.request, step)
            for one in step.by_type:
                _check_caps(self.attempt_request(one, number=1), self.caps)

    def _check_tags(self) -> None:
        own, most = len(self.request.get("Tags", ())), MOST_TAGS - 1 - MOST_OUR_TAGS
        if own > most:
            raise InvalidInput(
                "Tags (their number)",
                own,
                f"SageMaker takes {MOST_TAGS} for each job. This package adds up to {MOST_OUR_TAGS}, and one "
                f"stays free for the reason of a stop, so there may be {most}: leave out {own - most}.",
            )

    def job_name(self, number: int) -> str:
        return self.identity.job_name(self.name_prefix, number)

    def scout_name(self, number: int) -> str:
        return self.identity.scout_name(self.name_prefix, number)

    def attempt_request(self, step: Step, *, number: int) -> dict[str, Any]:
        """The CreateTrainingJob request of attempt `number` on `step`; of several spot types the first."""
        step = step.with_type()
        request = copy.deepcopy(self.request)
        request["TrainingJobName"] = self.job_name(number)
        request["EnableManagedSpotTraining"] = step.purchase is PurchaseOption.SPOT
        request["StoppingCondition"] = self._stopping_condition(step)
        request["ResourceConfig"] = _resources(request["ResourceConfig"], step)
        if self.checkpoint_uri:
            request["CheckpointConfig"]["S3Uri"] = self.checkpoint_uri
        request["Tags"] = [
            *request.get("Tags", []),
            *self.identity.tags(number, is_stopped_with_task=self.is_stopped_with_task),
        ]
        return request

    def scout_request(
        self, step: Step, instance_type: str, *, number: int, wait_seconds: int, run_seconds: int
    ) -> dict[str, Any]:
        """The CreateTrainingJob request of scout `number`, which looks for one type of `step`.

        The caps hold for it, too.
        """
        limits = (self.caps.max_runtime_seconds, self.caps.max_wait_seconds)
        run_seconds = min([run_seconds, *(limit for limit in limits if limit is not None)])
        if self.caps.max_wait_seconds is not None:
            wait_seconds = min(wait_seconds, self.caps.max_wait_seconds - run_seconds)
        return scout_request(
            self.request,
            name=self.scout_name(number),
            tags=self.identity.tags(number, is_scout=True),
            step=step,
            instance_type=instance_type,
            wait_seconds=wait_seconds,
            run_seconds=run_seconds,
        )

    def _stopping_condition(self, step: Step) -> dict[str, Any]:
        limits = StoppingLimits(
            max_runtime_seconds=max_runtime_of(self.request), max_wait_seconds=step.max_wait_seconds
        )
        algorithm = self.request["AlgorithmSpecification"]
        check_wait_for_algorithm(
            limits,
            training_image=algorithm.get("TrainingImage"),
            algorithm_name=algorithm.get("AlgorithmName"),
        )
        condition = dict(self.request.get("StoppingCondition", {}))
        condition["MaxRuntimeInSeconds"] = limits.max_runtime_seconds
        # On demand the field must go, not stay unused: SageMaker refuses it without the spot flag.
        condition.pop("MaxWaitTimeInSeconds", None)
        if limits.max_wait_seconds is not None:
            condition["MaxWaitTimeInSeconds"] = limits.max_wait_seconds
        return condition


def _check_caps(request: Mapping[str, Any], caps: Caps) -> None:
    resources = request["ResourceConfig"]
    several = [*resources.get("InstanceGroups", ()), *resources.get("InstancePreferences", ())]
    groups = resources.get("InstanceGroups") or [resources]
    types = [r["InstanceType"] for r in [resources, *several] if r.get("InstanceType")]
    counts = [sum(int(group.get("InstanceCount", 1)) for group in groups)]
    counts += [int(choice.get("InstanceCount", 1)) for choice in resources.get("InstancePreferences", ())]
    stopping = request["StoppingCondition"]
    caps.check(
        instance_types=types,
        instance_count=max(counts),
        rule_types=_rule_types(request),
        keep_alive_seconds=resources.get("KeepAlivePeriodInSeconds", 0),
        max_runtime_seconds=stopping["MaxRuntimeInSeconds"],
        max_wait_seconds=stopping.get("MaxWaitTimeInSeconds"),
    )


def _rule_types(request: Mapping[str, Any]) -> dict[str, str]:
    """The instances of debugger and profiler rules, which run in addition to the job, by field."""
    return {
        f"{rules}[{i}].InstanceType": rule["InstanceType"]
        for rules in ("DebugRuleConfigurations", "ProfilerRuleConfigurations")
        for i, rule in enumerate(request.get(rules, ()))
        if rule.get("InstanceType")
    }


def _resources(resources: dict[str, Any], step: Step) -> dict[str, Any]:
    changed = dict(resources)
    if step.purchase is PurchaseOption.SPOT:
        for field in ("KeepAlivePeriodInSeconds", "InstancePreferences"):
            if changed.get(field):
                raise InvalidInput(
                    f"ResourceConfig.{field}",
                    changed[field],
                    "SageMaker does not take it together with managed spot training: leave it out, or use "
                    "the policy on_demand.",
                )
    match step.instance_types:
        case ():
            pass
        case (only,):
            changed["InstanceType"] = only
        case several:
            count = changed.pop("InstanceCount", 1)
            changed.pop("InstanceType", None)
            changed["InstancePreferences"] = [{"InstanceType": t, "InstanceCount": count} for t in several]
    return changed
