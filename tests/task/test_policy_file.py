"""Policies that an installation names in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from spot_training.domain.errors import InvalidInput
from spot_training.domain.policy_specs import Defaults, policy_from
from spot_training.task.policy_file import named_policies, read_policies

FILE = """
patient:
  name: widen
  first_wait: 8h
two-types:
  - {spot: ml.m5.xlarge, max_wait: 2h}
  - {spot: ml.c5.2xlarge, max_wait: 2h}
  - {on_demand: [ml.m5.xlarge, ml.m5.2xlarge]}
"""


def test_a_name_of_the_file_is_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(FILE)
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__POLICY_FILE", str(path))
    defaults = Defaults(max_runtime_seconds=3600, named=named_policies())
    assert [r.max_wait_seconds for r in policy_from("patient", defaults).steps] == [28800, 57600, None]
    assert [r.instance_types for r in policy_from("two-types", defaults).steps] == [
        ("ml.m5.xlarge",),
        ("ml.c5.2xlarge",),
        ("ml.m5.xlarge", "ml.m5.2xlarge"),
    ]


def test_a_file_may_be_older_than_the_policy_deadline_and_have_its_own(tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text("deadline: {name: widen, first_wait: 8h}")
    defaults = Defaults(max_runtime_seconds=3600, deadline_in_seconds=90000, named=read_policies(path))
    assert policy_from("deadline", defaults).steps[0].max_wait_seconds == 28800


def test_without_the_setting_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__SPOT_TRAINING__POLICY_FILE", raising=False)
    assert named_policies() == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("patient: {name: [", "cannot be read"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
        ("- widen", "a mapping of names"),
        ("3: widen", "a mapping of names"),
        ("widen: {name: on_demand}", "a built-in policy has this name"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "policies.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInput, match=rf"policy_file is .*{words}"):
        read_policies(path)
