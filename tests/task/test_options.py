"""The options of a task, cast once from its rendered arguments."""

from __future__ import annotations

from datetime import timedelta

import pytest

from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from spot_training.task.options import TaskOptions


def test_text_out_of_templates_is_cast() -> None:
    task = SpotTrainingOperator(
        task_id="train",
        config={},
        check_interval="2m",
        deferrable="true",
        print_log="LIVE",
        stop_job_on_kill="False",
        wait_for_completion="false",
        retry_failed_script="1",
        training_timeout="2h",
        max_ingestion_time="9h",
        deadline="12h",
        expected_runtime="1h",
        budget="200",
    )
    options = TaskOptions.of_operator(task)
    assert (options.check_interval, options.time_limit) == (120, timedelta(hours=2))
    assert (options.deferrable, options.print_log, options.shows_log_live) == (True, True, True)
    assert (options.stop_job_on_kill, options.wait_for_completion) == (False, False)
    assert options.retry_failed_script is True
    assert options.deadline is not None
    assert options.deadline.deadline == "12h"
    assert options.runtime is not None
    assert options.runtime.mean_seconds == 3600
    assert options.budget is not None
    assert options.budget.usd == 200


@pytest.mark.parametrize(
    ("silent_fail", "deferrable", "expected"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_only_a_sensor_that_pokes_looks_again_after_a_failure(
    silent_fail: bool, deferrable: bool, expected: bool
) -> None:
    sensor = SpotTrainingSensor(
        task_id="watch",
        training_job_name="job",
        timeout=60,
        silent_fail=silent_fail,
        deferrable=deferrable,
    )
    options = TaskOptions.of_sensor(sensor)
    assert options.pokes_again is expected
    assert options.time_limit == timedelta(minutes=1)
    assert (options.deadline, options.budget, options.wait_for_completion) == (None, None, True)
