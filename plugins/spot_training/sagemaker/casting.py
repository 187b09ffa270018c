"""Values of a CreateTrainingJob request, cast and checked against botocore's own service model.

Any value may be text that a template rendered. botocore itself checks neither patterns nor maxima before it
sends a request. Enums are left to AWS, which learns new instance types before botocore does.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import EmptyValue, InvalidInput
from spot_training.domain.json_text import as_items, as_mapping, did_you_mean
from spot_training.domain.parsing import HIDDEN, as_bool, as_whole_number, is_left_out, parse_seconds

if TYPE_CHECKING:
    from botocore.model import Shape, StructureShape

#: Maps of the request that may hold passwords, although AWS shows them to everybody who may describe a job.
MAY_HOLD_SECRETS = frozenset({"Environment", "HyperParameters"})

#: How to correct a field, where the model's pattern would not help.
_WAYS_OUT = {
    "RoleArn": "give the role's full ARN, like arn:aws:iam::123456789012:role/SageMakerTraining.",
    "OutputDataConfig.S3OutputPath": "give an S3 URI, like s3://my-bucket/models.",
    "CheckpointConfig.S3Uri": "give an S3 URI, like s3://my-bucket/checkpoints.",
}

#: A message lists up to so many fields of a list's items.
_FEW = 4

_LETTER = re.compile("[A-Za-z]")

#: `TrainingPlan.check` counts tags: this package adds some.
_COUNTED_LATER = "Tags"


def create_shape() -> StructureShape:
    from .service_models import sagemaker_model

    shape = sagemaker_model().operation_model("CreateTrainingJob").input_shape
    assert shape is not None  # noqa: S101 - the call has arguments
    return shape


def _cast(value: Any, shape: Shape, path: str) -> Any:
    if value is None and shape.type_name not in {"structure", "list", "map"}:
        raise EmptyValue(path, value, _way_out(path, "give a value or leave the field out."))
    match shape.type_name:
        case "structure":
            return cast_structure(as_mapping(value, field=path), shape, path)
        case "list":
            items = as_items(value, field=path, wanted=_list_of(shape.member))  # type: ignore[attr-defined]
            if path != _COUNTED_LATER:
                _check_length(len(items), shape, path, value, "item")
            return [_cast(item, shape.member, f"{path}[{i}]") for i, item in enumerate(items)]  # type: ignore[attr-defined]
        case "map":
            return _cast_map(as_mapping(value, field=path), shape, path)
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


def _list_of(member: Shape) -> str:
    """What the list holds, where that is short to say: `a list, each with Key, Value`."""
    names = list(getattr(member, "members", ()))
    return f"a list, each with {', '.join(names)}" if 0 < len(names) <= _FEW else "a list"


def cast_structure(
    value: Mapping[str, Any], shape: Any, path: str, skip: frozenset[str] = frozenset()
) -> dict[str, Any]:
    for name in value:
        if name not in shape.members:
            raise InvalidInput(
                _join(path, str(name)),
                # A misspelled `Environment` must not show its values either.
                value[name] if path else HIDDEN,
                f"SageMaker has no such field{_meant(str(name), path, shape)}",
            )
    for name in shape.required_members:
        if name not in value and name not in skip:
            raise EmptyValue(_join(path, name), None, _way_out(_join(path, name), "the field is required."))
    return {
        name: copy.copy(item) if name in skip else _cast_member(item, shape.members[name], _join(path, name))
        for name, item in value.items()
    }


def _meant(name: str, path: str, shape: Any) -> str:
    """Where a field of that name belongs, the closest name here, or all names here."""
    top = create_shape().members
    homes = [part for part, inner in top.items() if part != path and name in getattr(inner, "members", ())]
    if homes or (path and name in top):
        return f". Did you mean {'.'.join([*homes[:1], name])}?"
    if meant := did_you_mean(name, shape.members):
        return f".{meant}"
    return f"; known here: {', '.join(shape.members)}."


def _cast_member(value: Any, shape: Shape, path: str) -> Any:
    """`_cast`, with an error that hides a value that may hold a password."""
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
    # `MaxRuntimeInSeconds` may be a duration as people type it, like `2h`.
    is_duration = path.endswith("InSeconds") and isinstance(value, str) and _LETTER.search(value)
    whole = parse_seconds(value, field=path) if is_duration else as_whole_number(value, field=path)
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
