"""What a task pushes to XCom, by the keys that downstream tasks pull."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.sdk.execution_time.context import OutletEventAccessors

from spot_training.ledger import Ledger
from spot_training.operators import SpotTrainingOperator
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sagemaker.local_cloud import describe_clock
from spot_training.sensors import SpotTrainingSensor
from tests.cloud import Cloud, make_config

from .support import Run, fail, make_operator, start_elsewhere


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
    assert returned.keys() == {"Training", "savings", "attempts", "deadline", "model"}
    assert pushed == {
        "training_job_name": returned["Training"]["TrainingJobName"],
        "savings": returned["savings"],
        "attempts": returned["attempts"],
        "deadline": returned["deadline"],
        "model": returned["Training"]["ModelArtifacts"]["S3ModelArtifacts"],
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


# The model ----------------------------------------------------------------------------------------------

METRICS = [
    {"MetricName": "validation:auc", "Value": 0.5, "Timestamp": datetime(2026, 3, 2, tzinfo=UTC)},
    {"MetricName": "loss", "Value": math.nan, "Timestamp": datetime(2026, 3, 2, tzinfo=UTC)},
]


@pytest.fixture
def measured(drought: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is capacity, and SageMaker has found metrics in the log of each job."""
    drought.set_capacity(available=True)
    describe = TrainingJobs.describe

    def with_metrics(self: TrainingJobs, name: str, **options: Any) -> Any:
        found = describe(self, name, **options)
        return found and {**found, "FinalMetricDataList": METRICS}

    monkeypatch.setattr(TrainingJobs, "describe", with_metrics)


def _with_outlets(task: Any, run: Run, *outlets: Any) -> tuple[Any, OutletEventAccessors]:
    events = OutletEventAccessors()
    task.outlets = list(outlets)
    return {**run.context(), "task": task, "outlet_events": events}, events


def test_a_model_and_its_metrics_are_in_xcom_ledger_and_the_events_of_assets(
    measured: None,
) -> None:
    run, pushed = _run()
    asset, mine, alias = Asset("model"), Asset("mine"), AssetAlias("alias")
    task = make_operator(config=make_config(), deferrable=True)
    with pytest.raises(TaskDeferred):
        task.execute(run.context())
    task._may_defer = False
    context, events = _with_outlets(task, run, asset, mine, alias)
    events[mine].extra["metrics"] = "my own"
    returned = task.resume(context)
    model = returned["Training"]["ModelArtifacts"]["S3ModelArtifacts"]
    assert (pushed["model"], pushed["metrics"]) == (model, {"validation:auc": 0.5})
    facts = {"savings": pushed["savings"], "metrics": pushed["metrics"], "model": model}
    assert events[asset].extra == facts
    assert events[mine].extra == {**facts, "metrics": "my own"}
    assert json.loads(json.dumps(facts)) == facts
    with Ledger.configured().read() as reader:
        (record,) = reader.records()
    assert (record.metrics, record.model_uri) == ({"validation:auc": 0.5}, model)
    assert record.format == 2


def test_a_sensor_describes_its_assets_too(measured: None, drought: Cloud) -> None:
    name = start_elsewhere(drought)
    run, _ = _run()
    sensor = SpotTrainingSensor(task_id="task", training_job_name=name, poke_interval=0.2, print_log=False)
    context, events = _with_outlets(sensor, run, Asset("model"))
    sensor.execute(context)
    assert events[Asset("model")].extra["metrics"] == {"validation:auc": 0.5}


def test_events_that_cannot_be_described_fail_no_training(
    measured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = _run()
    task = make_operator(config=make_config(), deferrable=False)
    context, events = _with_outlets(task, run, Asset("model"))
    monkeypatch.setattr(OutletEventAccessors, "__getitem__", fail)
    assert task.execute(context)["savings"]["completed"]
    assert len(events) == 0
