"""Checks a request against botocore's service model, as SageMaker does.

A client checks only required members, types and minimums before it sends. This checks all constraints at any
depth, and reports all errors at once, in AWS's words:

    2 validation errors detected: Value 'bad_name!' at 'trainingJobName' failed to satisfy constraint: Member
    must satisfy regular expression pattern: ...; Value null at 'roleArn' failed to satisfy constraint: Member
    must not be null

A wrong JSON type is a `SerializationException`. It is reported alone, because AWS finds it before it checks
constraints.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from botocore.model import ListShape, MapShape, Shape, StructureShape

from local_sagemaker.jobs.errors import SerializationError, ValidationError
from local_sagemaker.service_model import compile_pattern, service_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def validate(operation: str, params: object) -> None:
    """Raise `SerializationError` or `ValidationError` if SageMaker refuses the form of `params`."""
    shape, is_fine = _input_of(operation)
    if shape is None or is_fine(params):
        return
    check_types(shape, params)
    errors = list(_violations(shape, params, ""))
    if errors:
        count = f"{len(errors)} validation error{'s' if len(errors) > 1 else ''} detected: "
        raise ValidationError(count + "; ".join(errors))


@lru_cache(maxsize=64)
def _input_of(operation: str) -> tuple[Shape | None, Accept]:
    """The shape of an operation's input, and a quick check that accepts valid requests."""
    shape = service_model().operation_model(operation).input_shape
    return shape, (lambda _: True) if shape is None else acceptor(shape, {})


# --- the quick check: a closure for each shape, made once ---

#: True if the value is valid. After False, the functions below find the errors.
Accept: TypeAlias = Callable[[Any], bool]


def acceptor(shape: Shape, known: dict[str, Accept]) -> Accept:
    """The quick check of a shape. `known` has those of structures, which can contain themselves."""
    if isinstance(shape, StructureShape):
        if shape.name not in known:
            # A structure that contains itself looks its own check up when it is used.
            known[shape.name] = lambda value: known[shape.name](value)  # noqa: PLW0108
            known[shape.name] = _structure_acceptor(shape, known)
        return known[shape.name]
    low, high = shape.metadata.get("min", float("-inf")), shape.metadata.get("max", float("inf"))
    if isinstance(shape, ListShape):
        member = acceptor(shape.member, known)
        return lambda value: (
            type(value) is list
            and low <= len(value) <= high
            and all(item is None or member(item) for item in value)
        )
    if isinstance(shape, MapShape):
        key_fits, value_fits = acceptor(shape.key, known), acceptor(shape.value, known)
        return lambda value: (
            type(value) is dict
            and low <= len(value) <= high
            and all(key_fits(key) and (item is None or value_fits(item)) for key, item in value.items())
        )
    if shape.type_name == "boolean":
        return lambda value: type(value) is bool
    if str in _EXPECTED[shape.type_name]:
        return _string_acceptor(shape, low, high)
    kinds = _EXPECTED[shape.type_name]
    return lambda value: type(value) in kinds and low <= value <= high


def _structure_acceptor(shape: StructureShape, known: dict[str, Accept]) -> Accept:
    members = {name: acceptor(member, known) for name, member in shape.members.items()}
    required = tuple(shape.required_members)

    def accept(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for name in required:
            if value.get(name) is None:
                return False
        for name, item in value.items():
            if item is not None and name in members and not members[name](item):
                return False
        return True

    return accept


def _string_acceptor(shape: Shape, low: float, high: float) -> Accept:
    enum = frozenset(shape.metadata["enum"]) if "enum" in shape.metadata else None
    matches = compile_pattern(shape.metadata["pattern"]).fullmatch if "pattern" in shape.metadata else None

    def accept(value: Any) -> bool:
        return (
            type(value) is str
            and low <= len(value) <= high
            and (enum is None or value in enum)
            and (matches is None or matches(value) is not None)
        )

    return accept


# --- types ---

_JSON_NAMES = ((bool, "BOOLEAN_VALUE"), (str, "STRING_VALUE"), (list, "START_ARRAY"), (dict, "START_OBJECT"))
_EXPECTED = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
    "boolean": (bool,),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "blob": (str,),
}
_TYPE_NAMES = {
    "string": "String", "integer": "Integer", "long": "Long", "float": "Float", "double": "Double",
    "timestamp": "Timestamp", "boolean": "Boolean", "structure": "Structure", "map": "Map", "list": "List",
    "blob": "Blob",
}  # fmt: skip


def check_types(shape: Shape, value: object) -> None:
    """Raise `SerializationError` for the first value with another JSON type than its shape."""
    if value is None:
        return
    if not _is_of_type(shape, value):
        raise SerializationError(
            f"{_json_name(value)} can not be converted to a {_TYPE_NAMES[shape.type_name]}"
        )
    for child, item in _children(shape, value):
        check_types(child, item)


def _is_of_type(shape: Shape, value: object) -> bool:
    if isinstance(value, bool):
        return shape.type_name == "boolean"
    return isinstance(value, _EXPECTED[shape.type_name])


def _json_name(value: object) -> str:
    return next((name for kind, name in _JSON_NAMES if isinstance(value, kind)), "NUMBER_VALUE")


def _children(shape: Shape, value: Any) -> Iterator[tuple[Shape, Any]]:
    if isinstance(shape, StructureShape):
        yield from ((member, value.get(name)) for name, member in shape.members.items())
    elif isinstance(shape, ListShape):
        yield from ((shape.member, item) for item in value)
    elif isinstance(shape, MapShape):
        yield from ((shape.value, item) for item in value.values())


# --- constraints ---


def _violations(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    for constraint in _broken(shape, value):
        yield _sentence(value, path, constraint)
    if isinstance(shape, StructureShape):
        yield from _structure_violations(shape, value, path)
    elif isinstance(shape, ListShape):
        yield from _list_violations(shape, value, path)
    elif isinstance(shape, MapShape):
        yield from _map_violations(shape, value, path)


def _structure_violations(shape: StructureShape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, member in shape.members.items():
        at = f"{path}.{_lower_first(name)}" if path else _lower_first(name)
        item = value.get(name)
        if item is None and name in shape.required_members:
            yield f"Value null at '{at}' failed to satisfy constraint: Member must not be null"
        yield from _violations(member, item, at)


def _list_violations(shape: ListShape, value: list[Any], path: str) -> Iterator[str]:
    if _is_scalar(shape.member):
        if any(item is not None and any(_broken(shape.member, item)) for item in value):
            yield _sentence(
                value, path, f"Member must satisfy constraint: [{', '.join(_constraints(shape.member))}]"
            )
        return
    for position, item in enumerate(value, start=1):
        yield from _violations(shape.member, item, f"{path}.{position}.member")


def _map_violations(shape: MapShape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    if any(any(_broken(shape.key, key)) for key in value):
        yield _sentence(
            value, path, f"Map keys must satisfy constraint: [{', '.join(_constraints(shape.key))}]"
        )
    if not _is_scalar(shape.value):
        for key, item in value.items():
            yield from _violations(shape.value, item, f"{path}.{key}.member")
    elif any(item is not None and any(_broken(shape.value, item)) for item in value.values()):
        yield _sentence(
            value, path, f"Map value must satisfy constraint: [{', '.join(_constraints(shape.value))}]"
        )


def _is_scalar(shape: Shape) -> bool:
    return shape.type_name not in ("structure", "list", "map")


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints of the shape itself (not of its members) that the value violates, in AWS's words."""
    limits = shape.metadata
    measure, what = (value, "value") if isinstance(value, int | float) else (len(value), "length")
    if not isinstance(value, bool):
        if "max" in limits and measure > limits["max"]:
            yield f"Member must have {what} less than or equal to {limits['max']}"
        if "min" in limits and measure < limits["min"]:
            yield f"Member must have {what} greater than or equal to {limits['min']}"
    if isinstance(value, str):
        if "pattern" in limits and not compile_pattern(limits["pattern"]).fullmatch(value):
            yield f"Member must satisfy regular expression pattern: {limits['pattern']}"
        if "enum" in limits and value not in limits["enum"]:
            yield f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"


def _constraints(shape: Shape) -> Iterator[str]:
    """All constraints of a scalar. AWS lists all if a member of a list or map violates one."""
    limits, what = shape.metadata, "length" if shape.type_name in ("string", "blob") else "value"
    if "max" in limits:
        yield f"Member must have {what} less than or equal to {limits['max']}"
    if "min" in limits:
        yield f"Member must have {what} greater than or equal to {limits['min']}"
    if "pattern" in limits:
        yield f"Member must satisfy regular expression pattern: {limits['pattern']}"
    if "enum" in limits:
        yield f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"


def _sentence(value: object, path: str, constraint: str) -> str:
    return f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: {constraint}"


def _shown(value: object) -> str:
    """A value as AWS's Java prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)


def _lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]
