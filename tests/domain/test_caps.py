"""What a training may cost at most, and the values that come out of templates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.caps import NO_CAPS, Caps
from spot_training.domain.errors import AboveCap, InvalidInput
from spot_training.domain.parsing import as_region


def _check(caps: Caps, **overrides: Any) -> None:
    asked: dict[str, Any] = {
        "instance_types": ["ml.m5.xlarge"],
        "instance_count": 1,
        "max_runtime_seconds": 3600,
        "max_wait_seconds": None,
        **overrides,
    }
    caps.check(**asked)


def test_without_caps_everything_may_be_asked_for() -> None:
    assert Caps.of(None) == NO_CAPS
    _check(NO_CAPS, instance_count=10**6, keep_alive_seconds=3600, rule_types={"rule": "ml.p5.48xlarge"})


def test_whoever_sets_caps_allows_no_warm_pool_unless_he_says_so() -> None:
    with pytest.raises(AboveCap, match="KeepAlivePeriodInSeconds is 60"):
        _check(Caps.of({"instance_count": 1}), keep_alive_seconds=60)
    _check(Caps.of({"keep_alive": "1m"}), keep_alive_seconds=60)


@given(count=st.integers(1, 50), rules=st.integers(0, 40), cap=st.integers(0, 100))
def test_no_more_instances_than_the_cap_whatever_they_do(count: int, rules: int, cap: int) -> None:
    types = {f"DebugRuleConfigurations[{i}].InstanceType": "ml.m5.large" for i in range(rules)}
    caps = Caps(instance_count=cap)
    if count + rules <= cap:
        _check(caps, instance_count=count, rule_types=types)
    else:
        with pytest.raises(AboveCap):
            _check(caps, instance_count=count, rule_types=types)


@pytest.mark.parametrize(
    "name", ["us-east-1", "eu-west-3", "us-gov-west-1", "ap-southeast-7", "us-isob-east-1"]
)
def test_regions_are_taken_as_they_are(name: str) -> None:
    assert as_region(f" {name} ", field="region_name") == name


@pytest.mark.parametrize(
    "name", ["../../x", "us east 1", "US-EAST-1", "us-east-1.evil.com", "x@y", 7, ["us-east-1"]]
)
def test_what_is_no_region_does_not_become_a_part_of_a_host_name(name: object) -> None:
    with pytest.raises(InvalidInput, match="region_name"):
        as_region(name, field="region_name")


@pytest.mark.parametrize("nothing", [None, "", "None"])
def test_a_region_may_be_left_out(nothing: object) -> None:
    assert as_region(nothing, field="region_name") is None
