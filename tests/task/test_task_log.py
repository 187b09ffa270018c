"""What a task's log says of simulated time, and when it says what a training came to."""

from __future__ import annotations

import re
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sensors import SpotTrainingSensor
from tests.cloud import SPEED, Cloud, make_config

from .support import Run, make_operator, start_elsewhere

MARK = f"local cloud, clock x{SPEED}: times and costs are simulated."
#: A time in figures at the beginning, behind the log's own one.
BEGINS_WITH_A_TIME = re.compile(r"\[?\d{4}-\d\d-\d\d|\[?\d\d:\d\d")


class _Log:
    """Takes the place of a task's log: the lines, without their times."""

    def __init__(self, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        for level in ("info", "warning", "error"):
            monkeypatch.setattr(task.log, level, self._take)

    def _take(self, line: str, *arguments: object) -> None:
        if "outside of the Task Runner" not in line:  # Airflow's, because a test calls `execute`
            self.lines.append(line % arguments if arguments else line)


def test_each_try_begins_with_the_speed_of_a_simulated_clock(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(max_tries=1)
    first = make_operator(deferrable=True)
    log = _Log(first, monkeypatch)
    with pytest.raises(TaskDeferred):
        first.execute(run.context())
    assert log.lines[0] == MARK
    again = make_operator(deferrable=True)
    log = _Log(again, monkeypatch)
    with pytest.raises(TaskDeferred):
        again.resume(run.context())
    assert MARK not in log.lines
    run.try_number = 2
    log = _Log(again, monkeypatch)
    with pytest.raises(TaskDeferred):
        again.execute(run.context())
    assert log.lines[0] == MARK


def test_a_sensor_says_it_at_its_first_look(drought: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    run, name = Run(), start_elsewhere(drought)
    marks = []
    for _look in range(2):
        sensor = SpotTrainingSensor(task_id="task", training_job_name=name, mode="reschedule")
        log = _Log(sensor, monkeypatch)
        sensor.poke(run.context())
        marks.append(log.lines.count(MARK))
    assert marks == [1, 0]


def test_nothing_is_said_of_the_clock_where_the_endpoint_is_aws(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "https://sagemaker.us-east-1.amazonaws.com"
    monkeypatch.setattr(TrainingJobs, "endpoint_url", property(lambda _self: address))
    task = make_operator(deferrable=True)
    log = _Log(task, monkeypatch)
    with pytest.raises(TaskDeferred):
        task.execute(Run().context())
    assert log.lines
    assert not any("local cloud" in line for line in log.lines)


@pytest.mark.parametrize(
    "policy", ["on_demand", {"name": "spot_only", "first_wait": 3600, "spot_attempts": 1}]
)
def test_the_savings_are_the_last_line_and_no_line_has_two_times(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch, policy: Any
) -> None:
    config = make_config(StoppingCondition={"MaxRuntimeInSeconds": 3600})
    task = make_operator(config=config, policy=policy)
    log = _Log(task, monkeypatch)
    if policy == "on_demand":
        task.execute(Run().context())
    else:
        with pytest.raises(AirflowFailException, match="no step is left"):
            task.execute(Run().context())
    assert log.lines[-1].startswith(
        "Training completed: " if policy == "on_demand" else "Training not completed"
    )
    # The cloud's clock is another one: its hour is over in a second.
    assert any(re.match(r"failing-\S+ \w+ at (\S+ )?\d\d:\d\d UTC: ", line) for line in log.lines)
    assert not [line for line in log.lines if BEGINS_WITH_A_TIME.match(line)]
