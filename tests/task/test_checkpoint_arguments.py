"""A task's arguments about its checkpoints: what is refused, and what happens when uploads stall."""

from __future__ import annotations

from typing import Any

import pytest

from spot_training.domain.errors import InvalidInput
from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from spot_training.task.checkpoints import check_on_stalled, checkpoints_of, must_stop
from spot_training.task.options import TaskOptions
from tests.cloud import make_config

FACTS = {"training_job_name": "job", "reason": "uploads have stalled"}
CALLED: list[dict[str, Any]] = []


def stop_it(facts: dict[str, Any]) -> str:
    """Named by its import path below."""
    CALLED.append(facts)
    return "stop"


def _operator(**arguments: Any) -> SpotTrainingOperator:
    return SpotTrainingOperator(task_id="train", config=make_config(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"watch_checkpoints": "perhaps"}, "watch_checkpoints"),
        ({"checkpoint_pattern": "step-["}, "checkpoint_pattern"),
        ({"checkpoint_pattern": "^("}, "checkpoint_pattern"),
        ({"on_checkpoints_stalled": "page me"}, "on_checkpoints_stalled"),
        ({"on_checkpoints_stalled": 7}, "on_checkpoints_stalled"),
    ],
)
@pytest.mark.parametrize("make", [_operator, None])
def test_what_cannot_work_is_refused_when_the_dag_is_parsed(
    make: Any, arguments: dict[str, Any], field: str
) -> None:
    make = make or (lambda **given: SpotTrainingSensor(task_id="wait", training_job_name="job", **given))
    with pytest.raises(InvalidInput) as caught:
        make(**arguments)
    assert caught.value.field == field


def test_what_a_template_made_is_cast() -> None:
    task = _operator(watch_checkpoints="True", expected_runtime='{"mean": "4h", "checkpoint_every": "20m"}')
    options = TaskOptions.of_operator(task)
    assert options.checkpoints.is_wanted is True
    assert options.checkpoints.given_seconds == 1200
    assert checkpoints_of(_operator(), expected_runtime="4h").given_seconds is None
    assert TaskOptions.of_operator(_operator()).checkpoints.is_wanted is None
    assert TaskOptions.of_operator(_operator(watch_checkpoints=False)).checkpoints.is_wanted is False


def test_a_sensor_looks_while_it_is_deferred_only() -> None:
    def sensor(**given: Any) -> SpotTrainingSensor:
        return SpotTrainingSensor(task_id="wait", training_job_name="job", **given)

    watched = sensor(watch_checkpoints=True, deferrable=True)
    assert TaskOptions.of_sensor(watched).checkpoints.is_wanted is True
    with pytest.raises(InvalidInput, match="deferrable=True"):
        TaskOptions.of_sensor(sensor(watch_checkpoints=True))
    assert TaskOptions.of_sensor(sensor()).checkpoints.is_wanted is None


def test_stop_stops_and_nothing_does_not() -> None:
    warned: list[str] = []
    assert must_stop("stop", FACTS, warn=warned.append)
    assert not must_stop(None, FACTS, warn=warned.append)
    assert not must_stop("", FACTS, warn=warned.append)
    assert warned == []


@pytest.mark.parametrize("path", [f"{__name__}.stop_it", f"{__name__}:stop_it", stop_it])
def test_a_function_or_its_import_path_decides(path: Any) -> None:
    CALLED.clear()
    check_on_stalled(path)
    assert must_stop(path, FACTS, warn=pytest.fail)
    assert CALLED == [FACTS]
    assert not must_stop(lambda _facts: None, FACTS, warn=pytest.fail)


@pytest.mark.parametrize("broken", ["no_such_module.function", f"{__name__}.no_such", lambda: None])
def test_a_function_that_fails_stops_nothing_and_the_log_says_so(broken: Any) -> None:
    warned: list[str] = []
    assert not must_stop(broken, FACTS, warn=warned.append)
    assert warned[0].startswith("on_checkpoints_stalled failed, so the job continues")
