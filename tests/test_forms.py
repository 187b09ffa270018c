"""Fields of the trigger form: what Airflow takes is what the operator reads; a task refuses the rest."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import LONGEST_TEXT, parse_seconds
from spot_training.forms import DEADLINE, DURATION, check_form, check_policy, deadline, duration

FIXED: dict[str, Any] = {"title": "Max run time", "description": "How long."}


def _context(params: dict[str, Param], **conf: Any) -> Any:
    """What a task of a run with this conf gets."""
    dag = DAG("form", schedule=None, params=params)
    dag.params.update(conf)
    return {"dag": dag, "params": dag.params.validate()}


class _TooLong(Exception):
    """More than ten years."""


def _seconds(text: str) -> int:
    try:
        return parse_seconds(text, field="field")
    except InvalidInput as error:
        raise (_TooLong if "ten years" in error.way_out else AssertionError)(text) from error


@given(st.from_regex(re.compile(DURATION), fullmatch=True).filter(lambda text: len(text) <= LONGEST_TEXT))
def test_text_that_the_form_takes_for_a_duration_is_read(text: str) -> None:
    with suppress(_TooLong):
        _seconds(text)


@pytest.mark.parametrize("pattern", [DURATION, DEADLINE])
@pytest.mark.parametrize("unit", ["1", "1h ", "1.", " ", "1 ", "h"])
def test_long_text_is_refused_at_once(pattern: str, unit: str) -> None:
    began = time.monotonic()
    assert re.search(pattern, unit * 20_000 + "!") is None
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("value", ["2h", "1d 6h", "7200", 7200])
def test_a_required_duration_is_text_or_seconds_and_not_empty(value: Any) -> None:
    field = duration("1h", **FIXED)
    assert field.resolve(value) == value
    for nothing in (None, ""):
        with pytest.raises(ParamValidationError):
            field.resolve(nothing)


def test_an_optional_duration_may_be_empty() -> None:
    field = duration(None, **FIXED, optional=True)
    for value in (None, "", "2h"):
        assert field.resolve(value) == value


@pytest.mark.parametrize("value", [None, "", "12h", "2026-11-23T06:00:00Z", "2026-11-23 06:00 Europe/Berlin"])
def test_a_deadline_may_be_empty_a_duration_or_a_time(value: Any) -> None:
    assert deadline(description="When.").resolve(value) == value


def test_seconds_outside_the_limits_are_refused_in_the_form_and_text_in_the_first_task() -> None:
    params = {"max_run": duration("1h", **FIXED, shortest="10m", longest="1d")}
    for seconds in (599, 86401):
        with pytest.raises(ParamValidationError):
            _context(params, max_run=seconds)
    for text in ("9m", "2d"):
        with pytest.raises(AirflowFailException, match=r"Max run time \(max_run\) is .*: give 10m to 1d"):
            check_form(_context(params, max_run=text))
    for value in ("10m", "24h", 600):
        check_form(_context(params, max_run=value))


def test_other_fields_and_empty_ones_are_not_checked() -> None:
    params = {
        "wait": duration(None, **FIXED, optional=True, longest="1h"),
        "rounds": Param(5, type="integer", minimum=1),
        "plain": Param("9 lives", type="string"),
    }
    for empty in (None, ""):
        check_form(_context(params, wait=empty))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"policy": {"name": "widen", "first_wait": "1h"}, "max_runtime": "2h"},
            r"first_wait is 3600.*7200., that is 2 h",
        ),
        ({"policy": "deadline", "max_runtime": "1h"}, "needs a deadline"),
        ({"policy": "yolo", "max_runtime": "1h"}, "choose one of"),
        ({"policy": "widen", "max_runtime": "1h", "deadline": "2026-11-23T06:00:00"}, "add a time zone"),
        ({"policy": "widen", "max_runtime": "1h", "deadline": "12 hours"}, "deadline is '12 hours'"),
        ({"policy": "widen", "max_runtime": "soon"}, "max_runtime is 'soon'"),
    ],
)
def test_what_the_operator_would_refuse_fails_the_first_task_without_a_retry(
    arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(AirflowFailException, match=said):
        check_policy(**arguments)


def test_a_policy_that_the_operator_takes_passes() -> None:
    for first_wait in ("1h", "3600", 3600):
        check_policy({"name": "widen", "first_wait": first_wait}, max_runtime="1h")
    # What on-demand does not use may be anything that the form takes.
    check_policy({"name": "on_demand", "first_wait": "1h"}, max_runtime="1d", deadline="")
    check_policy({"name": "deadline", "first_wait": "1h"}, max_runtime=86400, deadline="12h")


def test_the_form_in_the_docs_is_a_dag() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "how-to" / "forms.md").read_text()
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    made: dict[str, Any] = {"__name__": "form_of_the_docs"}
    exec(code, made)  # noqa: S102 - our own docs
    dag = made["retrain_by_hand"]()
    dag.params.update({"max_run": "1d 6h", "deadline": "12h"})
    assert dag.params.validate()["max_run"] == "1d 6h"
    assert [param.schema.get("section") for _, param in dag.params.items()] == [None, None, "Deadline"]
