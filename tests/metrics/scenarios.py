"""What a process of Airflow does that is seen in metrics: `python -m tests.metrics.scenarios URL FOLDER`.

Real drivers, triggers and sweeps on the local SageMaker at URL, with the ledger in FOLDER. Where the metrics
go is in the environment, as for Airflow.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import airflow.sdk  # noqa: F401 - what a process of Airflow has loaded first

from include.local_stack import wait_until
from spot_training import metrics, triggers
from spot_training.connections import AwsAccess
from spot_training.domain.checkpoints_seen import SeenCheckpoints
from spot_training.domain.errors import SpotTrainingError
from spot_training.domain.savings import statement_of
from spot_training.domain.stop_reasons import StopReason
from spot_training.ledger import Ledger
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sweep.orphans import sweep
from spot_training.training.counting import count_end
from spot_training.training.driver import Waiting
from spot_training.training.host import CheckpointOptions
from tests.cloud import Cloud, answer_with, make_config
from tests.sweep.support import start_job
from tests.training.support import Training, spot_step

ON_DEMAND = {"on_demand": "ml.m5.xlarge"}


def fall_back(cloud: Cloud, ledger: Ledger) -> None:
    """No spot capacity for an hour, then on-demand."""
    training = Training(cloud, ledger, policy=[spot_step("1h"), ON_DEMAND], dag_id="falls.back")
    training.config = make_config()
    cloud.set_capacity(available=False)
    training.finish()
    driver, books = training.process()
    count_end(driver.state, driver.training.identity, _statement(driver.state, books.prices))


def _statement(state: Any, prices: Any) -> Any:
    return statement_of(state.attempts, prices, scouts=state.scouts_over)


def stall(cloud: Cloud, ledger: Ledger) -> None:
    """The author says that the script saves every ten minutes. It saves every five hours."""
    cloud.set_capacity(available=True)
    training = Training(cloud, ledger, dag_id="stalls", policy="on_demand")
    training.config = make_config(
        Environment={"LOCAL_TRAINING_SECONDS": str(100 * 3600)},
        StoppingCondition={"MaxRuntimeInSeconds": 20 * 86400},
    )
    driver, _ = training.process()
    host: Any = driver.training.host
    host.checkpoints = CheckpointOptions(is_wanted=True, given_seconds=600)
    step = driver.proceed(try_number=1, max_tries=3)
    assert isinstance(step, Waiting)
    assert step.checkpoints is not None
    event = asyncio.run(asyncio.wait_for(_wait(step, driver.training.identity), 60))
    assert event["status"] == triggers.LOOK_AT_CHECKPOINTS
    driver.saw_checkpoints(SeenCheckpoints.from_json(event["checkpoints"]))
    driver.advance()


async def _wait(step: Waiting, identity: Any) -> Any:
    """As the triggerer does."""
    trigger = triggers.TrainingJobTrigger(
        training_job_name=step.job.name,
        check_interval=0.1,
        checkpoints=step.checkpoints.to_json() if step.checkpoints else None,
        aws_conn_id=None,
        region_name="us-east-1",
    )
    ti: Any = SimpleNamespace(dag_id=identity.dag_id, task_id=identity.task_id)
    with contextlib.suppress(AttributeError):
        trigger._task_instance = ti
    trigger.task_instance = ti
    async for event in trigger.run():
        return event.payload
    raise AssertionError("never fired")


def fail_to_stop(cloud: Cloud, ledger: Ledger) -> None:
    """AWS does not let the job be stopped."""
    training = Training(cloud, ledger, dag_id="cannot_stop")
    training.begin()
    driver, _ = training.process()
    answer_with(training.jobs, "StopTrainingJob", 400, "AccessDeniedException", "not allowed", times=1)
    with contextlib.suppress(SpotTrainingError):
        driver.stop(StopReason.TASK_ENDED)
    driver.stop(StopReason.TASK_ENDED)


def leave_an_orphan(cloud: Cloud, jobs: TrainingJobs) -> None:
    """A job of which Airflow says that its task has failed."""
    cloud.set_capacity(available=False)
    start_job(cloud)
    sweep(jobs, installation="prod", task_state_of=lambda _: "failed", stop=False, say=lambda _: None)
    sweep(jobs, installation="prod", task_state_of=lambda _: "failed", stop=True, say=lambda _: None)


def main(url: str, folder: str) -> None:
    metrics.GAUGE_SECONDS = 0.1
    with mock.patch.multiple(triggers, seconds_to_settle=lambda: 0.0, warm_up=lambda _task_instance: None):
        run(url, folder)


def run(url: str, folder: str) -> None:
    cloud, ledger = Cloud(url), Ledger.at(str(Path(folder) / "ledger"))
    access = AwsAccess(aws_conn_id=None, region_name="us-east-1")
    cloud.fail("DescribeTrainingJob", "ThrottlingException")
    access.jobs().describe("none")
    fall_back(cloud, ledger)
    stall(cloud, ledger)
    fail_to_stop(cloud, ledger)
    leave_an_orphan(cloud, access.jobs())
    wait_until(lambda: not _waiting_threads(), "the last gauges", timeout_seconds=20)


def _waiting_threads() -> list[str]:
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name in {"spot-training-watcher", "spot-training-checkpoints"}]


if __name__ == "__main__":
    main(*sys.argv[1:])
