"""Mappings and lists that a template made text of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.budget import Budget, budget_from
from spot_training.domain.caps import Caps
from spot_training.domain.errors import EmptyValue, InvalidInput
from spot_training.domain.json_text import as_items, as_mapping, did_you_mean
from spot_training.domain.policy_specs import Defaults, policy_from
from spot_training.domain.runtime import like_from, runtime_from


@pytest.mark.parametrize("value", [{"a": 1}, '{"a": 1}', ' \n{"a": 1} '])
def test_json_text_is_read_as_the_mapping_it_is(value: Any) -> None:
    assert as_mapping(value, field="config") == {"a": 1}


@pytest.mark.parametrize("value", [[1], (1,), "[1]"])
def test_json_text_is_read_as_the_list_it_is(value: Any) -> None:
    assert list(as_items(value, field="Tags")) == [1]


@pytest.mark.parametrize(
    ("value", "error", "got"),
    [
        (None, EmptyValue, "not None: the upstream task pushed nothing"),
        ("None", EmptyValue, "not the text 'None': the upstream task pushed nothing"),
        ("", EmptyValue, "not the text '': the upstream task pushed nothing"),
        ("{'a': 1}", InvalidInput, r"not other text \(str\)"),
        ("{", InvalidInput, r"not other text \(str\)"),
        ("[1]", InvalidInput, r"not JSON text of a list \(str\)"),
        ("[" * 100_000, InvalidInput, r"not other text \(str\)"),
        (7, InvalidInput, "not a value of type int"),
        ([1], InvalidInput, "not a value of type list"),
        (b"{}", InvalidInput, "not a value of type bytes"),
    ],
)
def test_a_refusal_names_the_type_and_the_ways_out(value: Any, error: type[InvalidInput], got: str) -> None:
    with pytest.raises(
        error, match=rf"^config is .*give a dictionary, or JSON text of it, and {got}"
    ) as refused:
        as_mapping(value, field="config")
    assert type(refused.value) is error
    for way in ("`prep.output`", "`| tojson`", "render_template_as_native_obj=True"):
        assert way in str(refused.value)


@given(st.text())
def test_any_text_is_a_mapping_or_refused(text: str) -> None:
    try:
        assert isinstance(as_mapping(text, field="config"), dict)
    except InvalidInput as refused:
        assert refused.field == "config"  # noqa: PT017 - most text is refused


def test_the_budget_and_the_run_time_may_be_json_text_too() -> None:
    assert budget_from('{"usd": 200, "deadline_wins": true}') == Budget(usd=200, deadline_wins=True)
    assert runtime_from('{"mean": "3h", "high": "4h"}') == runtime_from({"mean": "3h", "high": "4h"})
    assert like_from('{"like": "other_dag"}') == ("other_dag",)
    assert runtime_from('{"like": "other_dag"}') is None


@pytest.mark.parametrize(
    ("make", "meant"),
    [
        (lambda: policy_from("widenn", Defaults()), "Did you mean widen?"),
        (lambda: policy_from("on-demand", Defaults()), "Did you mean on_demand?"),
        (lambda: policy_from("patent", Defaults(named={"patient": "widen"})), "Did you mean patient?"),
        (lambda: policy_from({"name": "widen", "firstwait": "2h"}, Defaults()), "Did you mean first_wait?"),
        (
            lambda: policy_from([{"spot": "ml.m5.xlarge", "maxwait": "2h"}], Defaults()),
            "Did you mean max_wait?",
        ),
        (lambda: Caps.of({"instance_type": ["ml.m5.*"]}), "Did you mean instance_types?"),
        (lambda: runtime_from({"mean": "1h", "hihg": "2h"}), "Did you mean high?"),
        (lambda: budget_from({"usd": 1, "deadline_win": True}), "Did you mean deadline_wins?"),
    ],
)
def test_a_mistyped_name_comes_with_the_name_that_was_meant(make: Any, meant: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        make()
    assert str(refused.value).endswith(meant)


def test_nothing_is_meant_by_a_name_that_is_close_to_none() -> None:
    assert did_you_mean("xyz", ["widen", "spot_only"]) == ""
