"""Every constraint of botocore's model is checked, and reported in AWS's words."""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from local_sagemaker.api.operations import HANDLERS
from local_sagemaker.api.validation import validate
from local_sagemaker.jobs.errors import SerializationError, ValidationError
from local_sagemaker.service_model import compile_pattern, service_model

from .support import Server, request_for


def _errors(operation: str, params: object) -> str:
    with pytest.raises(ValidationError) as caught:
        validate(operation, params)
    return str(caught.value)


def test_a_right_request_passes() -> None:
    validate("CreateTrainingJob", request_for())


def test_a_missing_member_is_reported_as_null() -> None:
    assert _errors("CreateTrainingJob", request_for(RoleArn=None)) == (
        "1 validation error detected: "
        "Value null at 'roleArn' failed to satisfy constraint: Member must not be null"
    )


def test_an_unknown_instance_type_is_reported_with_the_known_ones() -> None:
    error = _errors(
        "CreateTrainingJob",
        request_for(ResourceConfig={"InstanceType": "ml.t2.medium", "InstanceCount": 1, "VolumeSizeInGB": 1}),
    )
    assert error.startswith(
        "1 validation error detected: Value 'ml.t2.medium' at 'resourceConfig.instanceType' failed to "
        "satisfy constraint: Member must satisfy enum value set: [ml."
    )


def test_several_errors_are_told_at_once() -> None:
    error = _errors("CreateTrainingJob", request_for("bad_name!", RoleArn="nonsense-of-twenty-characters"))
    assert error.startswith("2 validation errors detected: Value 'bad_name!' at 'trainingJobName'")
    assert "; Value 'nonsense-of-twenty-characters' at 'roleArn' failed" in error
    assert "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}" in error


def test_members_of_lists_have_their_position_in_the_path() -> None:
    error = _errors(
        "CreateTrainingJob", request_for(Tags=[{"Key": "a", "Value": "b"}, {"Key": "", "Value": "b"}])
    )
    assert (
        "at 'tags.2.member.key' failed to satisfy constraint: Member must have length greater than" in error
    )


def test_values_of_maps_are_told_with_all_their_constraints() -> None:
    error = _errors("CreateTrainingJob", request_for(HyperParameters={"a": "x" * 2501}))
    assert (
        "at 'hyperParameters' failed to satisfy constraint: Map value must satisfy constraint: [Member must"
        in error
    )
    assert "Member must have length less than or equal to 2500, Member must have length greater than" in error


def test_scalars_in_lists_are_told_with_all_their_constraints() -> None:
    error = _errors(
        "CreateTrainingJob", request_for(VpcConfig={"SecurityGroupIds": ["a!"], "Subnets": ["ok"]})
    )
    assert (
        "Value '[a!]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must satisfy"
        in error
    )


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"TrainingJobName": 5}, "NUMBER_VALUE can not be converted to a String"),
        ({"TrainingJobName": ["a"]}, "START_ARRAY can not be converted to a String"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": "60"}},
            "STRING_VALUE can not be converted to a Integer",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": True}},
            "BOOLEAN_VALUE can not be converted to a Integer",
        ),
        ({"EnableManagedSpotTraining": "true"}, "STRING_VALUE can not be converted to a Boolean"),
        ({"Tags": {"a": "b"}}, "START_OBJECT can not be converted to a List"),
        ([], "START_ARRAY can not be converted to a Structure"),
    ],
)
def test_json_of_the_wrong_type_is_no_validation_error(params: object, error: str) -> None:
    with pytest.raises(SerializationError) as caught:
        validate("CreateTrainingJob", params)
    assert str(caught.value) == error


def test_unknown_members_are_ignored_as_on_aws() -> None:
    validate("CreateTrainingJob", request_for() | {"NotYetInvented": {"x": 1}})


def test_tag_keys_may_use_letters_of_every_script() -> None:
    pattern = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"
    assert compile_pattern(pattern).fullmatch("größe 名前_1:/=+-@.")
    assert not compile_pattern(pattern).fullmatch("a!b")
    assert not compile_pattern(pattern).fullmatch("a\nb")


# --- generated from the model: for every constraint at any depth, one value that breaks just it ---


#: Stand in a path for the key and the value of a map's entry.
KEY, VALUE = "<key>", "<value>"


def _sample(shape: Shape, depth: int = 0) -> Any:
    """A value that is right in form."""
    limits = shape.metadata
    if isinstance(shape, StructureShape):
        return {name: _sample(shape.members[name], depth + 1) for name in shape.required_members}
    if isinstance(shape, ListShape):
        return [_sample(shape.member, depth + 1) for _ in range(limits.get("min", 0))]
    if isinstance(shape, MapShape):
        return {}
    if shape.type_name == "boolean":
        return True
    if shape.type_name in ("integer", "long", "float", "double", "timestamp"):
        return max(limits.get("min", 0), 0)
    return _sample_string(shape)


_STRINGS = (
    "a", "Aa1", "1K", "s3://bucket/key", "arn:aws:sagemaker:us-east-1:123456789012:training-job/x",
    "arn:aws:iam::123456789012:role/SageMakerRole", "fs-0123456789",
    "arn:aws:sagemaker:us-east-1:123456789012:training-plan/plan-of-fifty-characters-or-more",
    "arn:aws:lambda:us-east-1:123456789012:function:f", "/a/b", "sg-1",
    "arn:aws:sagemaker:us-east-1:aws:hub-content/Hub/DataSet/name/1.0.0",
    "arn:aws:sagemaker:us-east-1:aws:hub-content/Hub/Model/name/1.0.0",
    "arn:aws:sagemaker:us-east-1:123456789012:mlflow-tracking-server/x",
    "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/x",
    "arn:aws:sagemaker:us-east-1:123456789012:model-package/x",
)  # fmt: skip


def _sample_string(shape: Shape) -> str:
    limits = shape.metadata
    if "enum" in limits:
        return str(limits["enum"][0])
    pattern = compile_pattern(limits.get("pattern", r"[\s\S]*"))
    length = limits.get("min", 0)
    candidates = (s + "a" * max(0, length - len(s)) for s in _STRINGS)
    for candidate in map(str, candidates):
        if pattern.fullmatch(candidate) and len(candidate) <= limits.get("max", 10**6):
            return candidate
    raise LookupError(f"no sample for {shape.name}")


def _breaches(shape: Shape) -> Iterator[tuple[str, Any]]:
    """(constraint, a value that breaks it) of a shape itself."""
    limits = shape.metadata
    candidates: dict[str, Any]
    if isinstance(shape, ListShape):
        candidates = {"max": [_sample(shape.member)] * (limits.get("max", 0) + 1), "min": []}
    elif isinstance(shape, MapShape):
        candidates = {"max": {f"k{i}": _sample(shape.value) for i in range(limits.get("max", 0) + 1)}}
    elif shape.type_name in ("integer", "long"):
        candidates = {"max": limits.get("max", 0) + 1, "min": limits.get("min", 0) - 1}
    elif shape.type_name == "string":
        candidates = _string_breaches(shape)
    else:
        candidates = {}
    for constraint, value in candidates.items():
        is_empty = value in ("", [])
        if constraint in limits and not (is_empty and not limits["min"]):
            yield constraint, value


def _string_breaches(shape: Shape) -> dict[str, Any]:
    limits = shape.metadata
    breaches = {"max": _sample_string(shape) + "a" * (limits.get("max", 0) + 1), "min": ""}
    if "enum" in limits:
        return breaches | {"enum": "no-such-value"}
    anything_goes = compile_pattern(limits.get("pattern", "")).fullmatch("!\n!")
    return breaches if anything_goes else breaches | {"pattern": "!\n!"}


def _places(shape: Shape, path: tuple[str | int, ...] = (), depth: int = 0) -> Iterator[tuple[Any, ...]]:
    """Every (path, shape) below a shape, with lists entered at their first item."""
    yield path, shape
    if depth > 6:
        return
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            yield from _places(member, (*path, name), depth + 1)
    elif isinstance(shape, ListShape):
        yield from _places(shape.member, (*path, 0), depth + 1)
    elif isinstance(shape, MapShape):
        yield (*path, KEY), shape.key
        yield (*path, VALUE), shape.value


def _with(shape: Shape, path: tuple[str | int, ...], value: Any) -> Any:
    """A right value of `shape` with `value` put at a path."""
    if not path:
        return value
    base = _sample(shape)
    first, rest = path[0], path[1:]
    if isinstance(shape, StructureShape):
        base = copy.deepcopy(base)
        base[first] = _with(shape.members[str(first)], rest, value)
        return base
    if isinstance(shape, MapShape):
        entry = {KEY: _sample(shape.key), VALUE: _sample(shape.value)} | {first: value}
        return {entry[KEY]: entry[VALUE]}
    assert isinstance(shape, ListShape)
    return [_with(shape.member, rest, value), *base[1:]]


def _cases() -> Iterator[Any]:
    for operation in HANDLERS:
        shape = service_model().operation_model(operation).input_shape
        assert shape is not None
        for path, place in _places(shape):
            for constraint, value in _breaches(place):
                where = ".".join(str(part) for part in path)
                yield pytest.param(operation, path, value, id=f"{operation}-{where}-{constraint}")


def _error_path(path: tuple[str | int, ...]) -> str:
    """The path as AWS writes it; scalars in lists are reported at the list."""
    path = path[:-1] if path and path[-1] in (KEY, VALUE) else path  # entries of maps are reported at the map
    parts = [part if isinstance(part, str) else f"{part + 1}.member" for part in path]
    return ".".join(part[:1].lower() + part[1:] for part in parts)


@pytest.mark.parametrize(("operation", "path", "value"), list(_cases()))
def test_each_constraint_of_the_model_is_checked(operation: str, path: tuple[Any, ...], value: Any) -> None:
    shape = service_model().operation_model(operation).input_shape
    assert shape is not None
    validate(operation, _sample(shape))
    error = _errors(operation, _with(shape, path, value))
    if path and path[-1] == 0 and not isinstance(value, dict | list):
        path = path[:-1]
    assert f"at '{_error_path(path)}' failed to satisfy constraint" in error


def _edges(shape: Shape) -> Iterator[tuple[str, Any]]:
    """(constraint, a value that just keeps it) of a shape itself."""
    limits = shape.metadata
    found: dict[str, Any]
    match shape:
        case ListShape():
            wanted = {"max": limits.get("max"), "min": limits.get("min")}
            found = {
                name: [_sample(shape.member)] * size for name, size in wanted.items() if size is not None
            }
        case MapShape():
            size = limits.get("max")
            found = {} if size is None else {"max": {f"k{i}": _sample(shape.value) for i in range(size)}}
        case _ if shape.type_name in ("integer", "long"):
            found = {name: limits[name] for name in ("max", "min") if name in limits}
        case _ if shape.type_name == "string":
            found = _string_edges(shape)
        case _:
            found = {}
    yield from found.items()


def _string_edges(shape: Shape) -> dict[str, str]:
    limits = shape.metadata
    if "enum" in limits:
        return {"enum": str(limits["enum"][-1])}
    pattern = compile_pattern(limits.get("pattern", r"[\s\S]*"))
    sample = _sample_string(shape)
    longest, shortest = limits.get("max"), limits.get("min")
    edges = {
        "max": sample + "a" * (longest - len(sample)) if longest is not None else None,
        "min": sample[:shortest] if shortest else None,
        "pattern": sample if "pattern" in limits else None,
    }
    # A pattern may leave no room for a text of just that length that this generator could find.
    return {name: text for name, text in edges.items() if text is not None and pattern.fullmatch(text)}


def _edge_cases() -> list[tuple[str, tuple[Any, ...], Any]]:
    return [
        (operation, path, value)
        for operation in HANDLERS
        for path, place in _places(_input_shape(operation))
        for _, value in _edges(place)
    ]


def _input_shape(operation: str) -> Shape:
    shape = service_model().operation_model(operation).input_shape
    assert shape is not None
    return shape


def _post(connection: http.client.HTTPConnection, operation: str, params: Any) -> tuple[int, dict[str, Any]]:
    """A raw call: no client looks at the input before the server does."""
    scope = "test/20260101/us-east-1/sagemaker/aws4_request"
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"SageMaker.{operation}",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
    }
    connection.request("POST", "/", json.dumps(params), headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or b"{}")


def test_each_breach_is_refused_over_raw_http(server: Server) -> None:
    cases = [(case.values[0], case.values[1], case.values[2]) for case in _cases()]
    assert len(cases) > 300
    wrong = []
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    for operation, path, value in cases:
        status, answer = _post(connection, operation, _with(_input_shape(operation), path, value))
        place = path[:-1] if path and path[-1] == 0 and not isinstance(value, dict | list) else path
        if (status, answer.get("__type")) != (400, "ValidationException") or (
            f"at '{_error_path(place)}' failed to satisfy constraint" not in str(answer)
        ):
            wrong.append((operation, path, status, answer))
    connection.close()
    assert wrong == []


def _outermost_breaches() -> Iterator[tuple[str, Any]]:
    """For every operation of the model, a request that breaks just one constraint near its surface."""
    for operation in service_model().operation_names:
        shape = service_model().operation_model(operation).input_shape
        if shape is None:
            continue
        for path, place in _places(shape):
            if len(path) > 2 or KEY in path or VALUE in path:
                continue
            with contextlib.suppress(LookupError):  # no sample for a pattern
                for _, value in _breaches(place):
                    yield operation, _with(shape, path, value)


def test_no_operation_answers_a_breach_with_a_failure_of_the_server(server: Server) -> None:
    cases = list(_outermost_breaches())
    assert len({operation for operation, _ in cases}) > 300
    wrong = []
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    for operation, params in cases:
        status, answer = _post(connection, operation, params)
        refused = answer.get("__type") == "UnknownOperationException"
        broken = "failed to satisfy constraint" in str(answer)
        if status != 400 or not (refused or broken):
            wrong.append((operation, status, str(answer)[:200]))
    connection.close()
    assert wrong == []


@pytest.mark.parametrize("operation", ["AddTags", "ListTags", "DeleteTags"])
@pytest.mark.parametrize("kind", ["training-job", "model", "no-such-kind", ""])
def test_a_tag_operation_on_any_arn_is_answered_in_the_words_of_the_service(
    server: Server, operation: str, kind: str
) -> None:
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:{kind}/x"
    params: dict[str, Any] = {"ResourceArn": arn, "TagKeys": ["a"], "Tags": [{"Key": "a", "Value": "b"}]}
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    status, answer = _post(connection, operation, params)
    assert (status, answer["__type"].rpartition("#")[2]) == (400, "ValidationException")
    assert "Requested resource not found." in answer.values()
    status, answer = _post(connection, operation, params | {"ResourceArn": arn + "y" * 256})
    connection.close()
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert (
        "at 'resourceArn' failed to satisfy constraint: Member must have length less than or equal to 256"
        in (answer["message"])
    )


def test_each_edge_is_within_the_constraint_over_raw_http(server: Server) -> None:
    """What comes after validation may still refuse it, for another reason."""
    cases = _edge_cases()
    assert len(cases) > 300
    wrong = []
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    for operation, path, value in cases:
        _, answer = _post(connection, operation, _with(_input_shape(operation), path, value))
        if "failed to satisfy constraint" in str(answer):
            wrong.append((operation, path, str(value)[:60], str(answer)[:300]))
    connection.close()
    assert wrong == []


@pytest.mark.parametrize("operation", list(HANDLERS))
def test_each_required_member_is_missed(operation: str) -> None:
    shape = service_model().operation_model(operation).input_shape
    assert shape is not None
    for path, place in _places(shape):
        for name in place.required_members if isinstance(place, StructureShape) else ():
            broken = _sample(place)
            broken.pop(name)
            error = _errors(operation, _with(shape, path, broken))
            assert f"Value null at '{_error_path((*path, name))}'" in error
