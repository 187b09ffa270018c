"""A market that takes each spot job away before it can finish: on-demand finishes the training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.errors import MaxRuntimeReached
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import PurchaseOption
from tests.cloud import HOUR, SPEED, Cloud, make_config, serving

from .support import Task

#: Every spot job is interrupted five times, each time after ten minutes of training.
MARKET = "interruptions:\n" + "  - {after: 10m, job: each}\n" * 5


@pytest.fixture(scope="module")
def rough_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    market: Path = tmp_path_factory.mktemp("market") / "market.yaml"
    market.write_text(MARKET)
    with serving("--speed", str(SPEED), "--market", str(market)) as cloud:
        cloud.client("s3").create_bucket(Bucket="bucket")
        yield cloud


def _config(*, minutes: int, has_checkpoints: bool = False) -> dict[str, Any]:
    config = make_config(
        StoppingCondition={"MaxRuntimeInSeconds": HOUR, "MaxWaitTimeInSeconds": 20 * HOUR},
        Environment={"LOCAL_TRAINING_SECONDS": str(minutes * 60)},
    )
    if not has_checkpoints:
        del config["CheckpointConfig"]
    return config


def test_twenty_minutes_of_work_without_checkpoints_are_finished_on_demand(rough_cloud: Cloud) -> None:
    task = Task(rough_cloud, config=_config(minutes=20))
    done = task.finish()
    spot, on_demand = done.attempts
    assert (spot.purchase, spot.ending) == (PurchaseOption.SPOT, Ending.MAX_RUNTIME)
    assert spot.interruptions >= 4
    assert (on_demand.purchase, on_demand.ending) == (PurchaseOption.ON_DEMAND, Ending.COMPLETED)
    assert done.statement.abandoned_instance_seconds == spot.billable_seconds


def test_a_training_that_is_too_long_for_on_demand_too_says_so_there(rough_cloud: Cloud) -> None:
    task = Task(rough_cloud, config=_config(minutes=90))
    task.identity = type(task.identity)(dag_id="retrain", run_id="too long", task_id="train")
    with pytest.raises(MaxRuntimeReached, match="it needs more run time, not more capacity"):
        task.finish()
    assert [attempt.purchase for attempt in task.driver().attempts] == [
        PurchaseOption.SPOT,
        PurchaseOption.ON_DEMAND,
    ]
