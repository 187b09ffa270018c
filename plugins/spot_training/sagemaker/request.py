"""CreateTrainingJob requests: cast, checked, and made again for each attempt.

The user's `config` is a CreateTrainingJob request in which any value may have come out of a template as
text. It is cast and checked against botocore's own service model, in full and before anything is created;
botocore itself checks neither patterns nor maxima before it sends. Enums are left to AWS, which learns new
instance types before botocore does.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spot_training.domain.caps import NO_CAPS, Caps
from spot_training.domain.errors import EmptyValue, InvalidInput
from spot_training.domain.parsing import HIDDEN, MASK, as_bool, as_instance_type, as_whole_number, is_left_out
from spot_training.domain.policy_specs import Defaults
from spot_training.domain.savings import PurchaseOption
from spot_training.domain.stopping import (
    DEFAULT_MAX_RUNTIME_SECONDS,
    StoppingLimits,
    check_wait_for_algorithm,
    is_capped_algorithm,
)

if TYPE_CHECKING:
    from botocore.model import ServiceModel, Shape, StructureShape

    from spot_training.domain.ladder import Policy, Step

    from .identity import RunIdentity


#: Maps of the request that people put passwords into, although AWS shows them to whoever may describe a job.
MAY_HOLD_SECRETS = frozenset({"Environment", "HyperParameters"})

#: What to do about a field that is wrong, where the model's own words would not help.
_WAYS_OUT = {
    "RoleArn": "give the role's full ARN, like arn:aws:iam::123456789012:role/SageMakerTraining.",
    "OutputDataConfig.S3OutputPath": "give an S3 URI, like s3://my-bucket/models.",
    "CheckpointConfig.S3Uri": "give an S3 URI, like s3://my-bucket/checkpoints.",
}


#: SageMaker's model as a client of this process has it: parsing it takes longer than all else here.
_shared_model: ServiceModel | None = None


def share_service_model(model: ServiceModel) -> None:
    """Take the model that a SageMaker client has parsed already."""
    global _shared_model  # noqa: PLW0603 - the same for all clients of a process
    _shared_model = model


def _service_model() -> ServiceModel:
    return _shared_model or _own_service_model()


@lru_cache(maxsize=1)
def _own_service_model() -> ServiceModel:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")


def _create_shape() -> StructureShape:
    shape = _service_model().operation_model("CreateTrainingJob").input_shape
    assert shape is not None  # noqa: S101 - the call has arguments
    return shape


# Casting -----------------------------------------------------------------------------------------


def cast_request(config: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `config` with every value of the type SageMaker's model asks for.

    Raises `EmptyValue` or `InvalidInput`, naming the field by its path in the request. `TrainingJobName` may
    be missing: the names of attempts are made, and it serves as their prefix.
    """
    if not isinstance(config, Mapping):
        raise InvalidInput("config", HIDDEN, "give a CreateTrainingJob request as a dictionary.")
    request = _cast_structure(dict(config), _create_shape(), "", skip=frozenset({"TrainingJobName"}))
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


def _cast(value: Any, shape: Shape, path: str) -> Any:
    if value is None:
        raise EmptyValue(path, value, _way_out(path, "give a value or leave the field out."))
    match shape.type_name:
        case "structure":
            return _cast_structure(_expect(value, Mapping, path, "a dictionary"), shape, path)
        case "list":
            items = _expect(value, list | tuple, path, "a list")
            _check_length(len(items), shape, path, value, "item")
            return [_cast(item, shape.member, f"{path}[{i}]") for i, item in enumerate(items)]  # type: ignore[attr-defined]
        case "map":
            return _cast_map(_expect(value, Mapping, path, "a dictionary"), shape, path)
        case "boolean":
            return as_bool(value, field=path)
        case "integer" | "long":
            return _cast_int(value, shape, path)
        case "float" | "double":
            return _cast_float(value, path)
        case "string":
            return _cast_string(value, shape, path)
        case _:
            return value


def _expect(value: Any, kind: Any, path: str, what: str) -> Any:
    if is_left_out(value):
        raise EmptyValue(path, value, _way_out(path, f"give {what}."))
    if not isinstance(value, kind):
        raise InvalidInput(path, value, f"give {what}.")
    return value


def _cast_structure(
    value: Mapping[str, Any], shape: Any, path: str, skip: frozenset[str] = frozenset()
) -> dict[str, Any]:
    for name in value:
        if name not in shape.members:
            raise InvalidInput(
                _join(path, str(name)),
                # A slip in the name of `Environment` tells no more than the right name would.
                value[name] if path else HIDDEN,
                f"SageMaker has no such field; known here: {', '.join(shape.members)}.",
            )
    for name in shape.required_members:
        if name not in value and name not in skip:
            raise EmptyValue(_join(path, name), None, _way_out(_join(path, name), "the field is required."))
    return {
        name: copy.copy(item) if name in skip else _cast_member(item, shape.members[name], _join(path, name))
        for name, item in value.items()
    }


def _cast_member(value: Any, shape: Shape, path: str) -> Any:
    """`_cast`, with an error that does not tell the value where it may hold a password."""
    if path not in MAY_HOLD_SECRETS or is_left_out(value):
        return _cast(value, shape, path)
    try:
        return _cast(value, shape, path)
    except InvalidInput as error:
        raise type(error)(error.field, HIDDEN, error.way_out) from None


def _cast_map(value: Mapping[Any, Any], shape: Any, path: str) -> dict[str, Any]:
    _check_length(len(value), shape, path, value, "entry")
    return {
        _cast_string(key, shape.key, f"{path} (a key)"): _cast(_as_text(item), shape.value, f"{path}.{key}")
        for key, item in value.items()
    }


def _as_text(value: Any) -> Any:
    """Hyperparameters and environment values are text in SageMaker: numbers and flags become JSON."""
    return json.dumps(value) if isinstance(value, bool | int | float | list | dict) else value


def _cast_int(value: Any, shape: Shape, path: str) -> int:
    whole = as_whole_number(value, field=path)
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and whole < low) or (high is not None and whole > high):
        raise InvalidInput(path, value, f"give a whole number {_range_in_words(low, high)}.")
    return whole


def _cast_float(value: Any, path: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidInput(path, value, "give a number.") from None


def _cast_string(value: Any, shape: Shape, path: str) -> str:
    if isinstance(value, bool | bytes | list | tuple | Mapping):
        raise InvalidInput(path, value, "give text.")
    text = str(value)
    pattern = _compiled(shape.metadata.get("pattern"))
    low = shape.metadata.get("min", 0)
    if not text.strip() and (low or (pattern and not pattern.fullmatch(text))):
        raise EmptyValue(path, value, _way_out(path, "give a value; did a template render to nothing?"))
    if path in _WAYS_OUT and pattern and not pattern.fullmatch(text):
        raise InvalidInput(path, value, _WAYS_OUT[path])
    _check_length(len(text), shape, path, value, "character")
    if pattern and not pattern.fullmatch(text):
        raise InvalidInput(path, value, f"it must match {pattern.pattern}.")
    return text


@lru_cache(maxsize=512)
def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    """The model's pattern, where Python can read it (a few use Java's `\\p{...}` classes)."""
    if not pattern:
        return None
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        return None


def _check_length(length: int, shape: Shape, path: str, value: Any, unit: str) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and length < low) or (high is not None and length > high):
        shown = value if len(str(value)) <= 200 else f"{str(value)[:200]}..."
        plural = "entries" if unit == "entry" else f"{unit}s"
        raise InvalidInput(
            path, shown, f"it has {length} {plural}; SageMaker takes {_range_in_words(low, high)}."
        )


def _range_in_words(low: Any, high: Any) -> str:
    if low is not None and high is not None:
        return f"from {low} to {high}"
    return f"of at least {low}" if low is not None else f"of at most {high}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _way_out(path: str, otherwise: str) -> str:
    return _WAYS_OUT.get(path, otherwise)


# Reading a request ---------------------------------------------------------------------------------


def max_runtime_of(request: Mapping[str, Any]) -> int:
    """`MaxRuntimeInSeconds`, SageMaker's default included."""
    return int(request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_SECONDS))


def defaults_of(request: Mapping[str, Any]) -> Defaults:
    """What the request says of the values a policy may leave out."""
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
    known = _create_shape().members
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
    """Take the values of a map that AWS's error names out of what it says: AWS quotes them."""
    told = str(error).lower()
    values = [
        str(value)
        for name in MAY_HOLD_SECRETS
        if name.lower() in told
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
        """Plan the attempts of one logical run, with a checkpoint prefix of its own.

        `keep_checkpoints`: generations after the first go on from the first one's checkpoints.
        """
        base = request.get("CheckpointConfig", {}).get("S3Uri")
        whose = identity.first if keep_checkpoints else identity
        return cls(
            request=request,
            identity=identity,
            name_prefix=name_prefix,
            checkpoint_uri=whose.checkpoint_uri(base, name_prefix) if base else None,
            caps=caps or NO_CAPS,
            is_stopped_with_task=is_stopped_with_task,
            is_resumed=bool(base) and whose != identity,
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
        for step in policy.steps:
            _check_caps(self.attempt_request(step, number=1), self.caps)

    def job_name(self, number: int) -> str:
        return self.identity.job_name(self.name_prefix, number)

    def attempt_request(self, step: Step, *, number: int) -> dict[str, Any]:
        """The CreateTrainingJob request of attempt `number` on `step`."""
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
    """The instances that debugger and profiler rules run on beside the job, by field."""
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
