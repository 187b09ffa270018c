"""The local SageMaker and `spot_training.domain` each have tables of SageMaker's rules. They are equal."""

from __future__ import annotations

import itertools
import json
from dataclasses import MISSING, fields
from enum import Enum
from types import ModuleType
from typing import Any

import pytest

from local_sagemaker.jobs import lifecycle, stopping
from local_sagemaker.market import traces
from spot_training.advise import traces as domain_traces
from spot_training.domain import lifecycle as domain_lifecycle
from spot_training.domain import stopping as domain_stopping

#: Constants of the domain that describe the product's decisions, not SageMaker.
ONLY_IN_DOMAIN = {"CAPACITY_CAUSES", "WAITING_STATUSES"}


def _plain(value: Any) -> Any:
    """The value without the classes, which differ on both sides."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return {_plain(each) for each in value}
    return value


def _constants(module: ModuleType) -> dict[str, Any]:
    """A module's upper-case constants, and the private ones without their underscore."""
    return {
        name.lstrip("_"): _plain(value)
        for name, value in vars(module).items()
        if name.lstrip("_").isupper()
        and isinstance(value, int | dict | frozenset)
        and name != "TYPE_CHECKING"
    }


@pytest.mark.parametrize("name", ["TrainingStatus", "SecondaryStatus"])
def test_the_statuses_are_equal(name: str) -> None:
    ours, theirs = getattr(lifecycle, name), getattr(domain_lifecycle, name)
    assert {each.name: each.value for each in ours} == {each.name: each.value for each in theirs}


def test_the_groups_and_the_moves_are_equal() -> None:
    ours, theirs = _constants(lifecycle), _constants(domain_lifecycle)
    assert {"TERMINAL_STATUSES", "HOLDING_STATUSES", "NEXT_STATUSES"} <= ours.keys()
    assert theirs.keys() - ours.keys() == ONLY_IN_DOMAIN
    assert ours == {name: value for name, value in theirs.items() if name not in ONLY_IN_DOMAIN}


def test_the_same_moves_are_legal() -> None:
    for before, after in itertools.product(lifecycle.SecondaryStatus, repeat=2):
        expected = domain_lifecycle.is_legal_move(
            domain_lifecycle.SecondaryStatus(before.value), domain_lifecycle.SecondaryStatus(after.value)
        )
        assert lifecycle.is_legal_move(before, after) is expected, f"{before} > {after}"


def test_a_transition_has_the_same_members_and_defaults() -> None:
    """The domain's has one more, for what a newer version wrote into a record."""
    ours = {field.name: field.default for field in fields(lifecycle.Transition)}
    theirs = {field.name: field.default for field in fields(domain_lifecycle.Transition)}
    assert ours == {name: default for name, default in theirs.items() if name != "unknown"}
    assert theirs["unknown"] is MISSING


def test_the_limits_and_their_defaults_are_equal() -> None:
    ours = _constants(stopping)
    assert {"DEFAULT_MAX_RUNTIME_SECONDS", "ALGORITHMS_WITHOUT_CHECKPOINTS"} <= ours.keys()
    theirs = _constants(domain_stopping)
    # Which algorithms have no entry point matters to scouts only.
    assert theirs.pop("ALGORITHMS_WITH_CHECKPOINTS")
    assert ours == theirs


def _images() -> list[str]:
    repositories = [*stopping.ALGORITHMS_WITHOUT_CHECKPOINTS, "sagemaker-xgboost", "pytorch-training", "mine"]
    registries = [
        "683313688378.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "12.dkr.ecr.us-east-1.amazonaws.com",
        "docker.io",
    ]
    return [
        f"{registry}/{repository}{tag}"
        for registry, repository, tag in itertools.product(registries, repositories, ["", ":1", "@sha256:00"])
    ]


@pytest.mark.parametrize("algorithm_name", [None, "", "my-algorithm"])
def test_the_same_algorithms_are_capped(algorithm_name: str | None) -> None:
    images: list[str | None] = [None, "", *_images()]
    ours = {image: stopping.is_capped_algorithm(image, algorithm_name) for image in images}
    assert ours == {image: domain_stopping.is_capped_algorithm(image, algorithm_name) for image in images}
    assert algorithm_name or set(ours.values()) == {True, False}


def _trace(data: Any, gap_seconds: Any = 300) -> str:
    return json.dumps({"metadata": {"gap_seconds": gap_seconds}, "data": data})


@pytest.mark.parametrize("text", [_trace([1, 0, 1]), _trace([True, False], 0.5), _trace(["1", 0], 1)])
def test_a_trace_is_read_alike(text: str) -> None:
    ours, theirs = (module.parse_trace(text, source="a.json") for module in (traces, domain_traces))
    assert (ours.ticks, ours.tick_seconds, ours.seconds) == (
        theirs.ticks,
        theirs.tick_seconds,
        theirs.seconds,
    )
    assert len(ours) == len(theirs)


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "{}",
        json.dumps({"metadata": {"gap_seconds": 300}}),
        json.dumps({"metadata": {}, "data": [1]}),
        _trace([]),
        _trace([1, 2]),
        _trace([1, 256]),
        _trace([1, -1]),
        _trace([1, None]),
        _trace("101"),
        *(_trace([1], gap) for gap in (0, -1, "300", None, True, float("inf"))),
    ],
)
def test_a_trace_that_cannot_be_read_is_refused_alike(text: str) -> None:
    messages = []
    for module in (traces, domain_traces):
        with pytest.raises(ValueError, match=r"^a\.json: ") as refused:
            module.parse_trace(text, source="a.json")
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
