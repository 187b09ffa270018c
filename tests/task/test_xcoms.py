"""What a task pushes to XCom, by the keys that downstream tasks pull."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from spot_training.operators import SpotTrainingOperator
from spot_training.sagemaker.local_cloud import describe_clock
from spot_training.sensors import SpotTrainingSensor
from tests.cloud import Cloud, make_config

from .support import Run, make_operator, start_elsewhere


def _run() -> tuple[Run, dict[str, Any]]:
    """A task instance, and its XComs."""
    run, pushed = Run(), {}

    def push(*, key: str, value: Any) -> None:
        pushed[key] = value

    run.push = push
    return run, pushed


def _execute(task: SpotTrainingOperator | SpotTrainingSensor, run: Run) -> Any:
    return task.execute(run.context())


def test_a_training_pushes_its_job_its_attempts_its_savings_and_whether_it_was_in_time(
    drought: Cloud,
) -> None:
    drought.set_capacity(available=True)
    run, pushed = _run()
    in_time = (datetime.now(UTC) + timedelta(days=700)).isoformat()
    returned = _execute(make_operator(deferrable=False, deadline=in_time, expected_runtime="1h"), run)
    assert returned.keys() == {"Training", "savings", "attempts", "deadline"}
    assert pushed == {
        "training_job_name": returned["Training"]["TrainingJobName"],
        "savings": returned["savings"],
        "attempts": returned["attempts"],
        "deadline": returned["deadline"],
    }
    assert pushed["deadline"].keys() == {"at", "kept", "ended_at"}
    assert pushed["deadline"]["kept"] is True
    assert pushed["savings"]["completed"] is True
    assert pushed["savings"]["local_cloud"] == describe_clock(drought.url) is not None
    assert [attempt["rung"] for attempt in pushed["attempts"]] == [0]


def test_a_training_that_fails_pushes_its_attempts_and_savings_too(drought: Cloud) -> None:
    run, pushed = _run()
    task = make_operator(config=make_config(), policy="spot_only", deferrable=False)
    with pytest.raises(AirflowFailException, match="no step is left"):
        _execute(task, run)
    assert pushed.keys() == {"training_job_name", "savings", "attempts"}
    assert [attempt["ending"] for attempt in pushed["attempts"]] == ["never got capacity"] * 2
    assert pushed["savings"]["completed"] is False


def test_a_sensor_pushes_the_same_of_the_job_it_was_given(drought: Cloud) -> None:
    name = start_elsewhere(drought)
    drought.set_capacity(available=True)
    run, pushed = _run()
    sensor = SpotTrainingSensor(
        task_id="task", training_job_name=name, deferrable=False, poke_interval=0.2, print_log=False
    )
    returned = _execute(sensor, run)
    assert returned["Training"]["TrainingJobName"] == name
    assert pushed["attempts"] == returned["attempts"]
    assert pushed["savings"] == returned["savings"]
    assert [attempt["job_name"] for attempt in pushed["attempts"]] == [name]
