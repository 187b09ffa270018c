"""A task's arguments about its checkpoints: what is refused, and what a template made."""

from __future__ import annotations

from typing import Any

import pytest

from spot_training.domain.errors import InvalidInput
from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from spot_training.task.checkpoints import checkpoints_of
from spot_training.task.options import TaskOptions
from tests.cloud import make_config


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
