"""Before Airflow 3.3: a process that another one has replaced stops nothing, creates nothing, and says why.

It stood still for long, Airflow failed its try, and the task's next try has written the state since. Since
Airflow 3.3 the API server refuses what such a process writes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from include.local_stack import wait_until
from spot_training.domain.errors import StateReplaced
from spot_training.sensors import SpotTrainingSensor
from spot_training.task import kept_state
from spot_training.task.training import TrainingTask
from tests.cloud import Cloud, make_config

from .support import Run, going_on, make_operator

#: A job that ends soon because there is no capacity. The next step of the policy waits for long.
BRIEF = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600}
STEPS = [{"spot": "ml.m5.xlarge", "max_wait": "1h"}, {"spot": "ml.m5.xlarge", "max_wait": "20d"}]
RUN_BEGAN_AT = datetime(2026, 11, 2, 6, tzinfo=UTC)


class LedgerRun(Run):
    """A task instance of an Airflow without a state store, which knows only the id of the latest try."""

    def __init__(self) -> None:
        super().__init__()
        self.pushed: list[str] = []
        self.push = lambda **what: self.pushed.append(f"{self.try_number} {what['key']}")

    def context(self) -> Any:
        found = super().context()
        del found["task_state_store"]
        found["ti"].id = f"try {self.try_number}"
        found["dag_run"] = SimpleNamespace(start_date=RUN_BEGAN_AT, clear_number=0)
        return found

    def next_try(self) -> Any:
        """The context of the try after this one, of which this one may still have a process."""
        self.try_number += 1
        return self.context()


@pytest.fixture(params=[True, False], ids=["Airflow answers", "no answer"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LedgerRun:
    """A task of which Airflow says which try is the latest, or of which it says nothing."""
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", "mine")
    kept_state._kept.forget()
    made = LedgerRun()

    def knows(ti_id: str) -> bool:
        if not request.param:
            raise ConnectionError("the API server is away")
        return ti_id == f"try {made.try_number}"

    monkeypatch.setattr(kept_state, "knows_task_instance", knows)
    return made


def _stand_still_after_waiting(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """The first process that waits on its worker stands still after that, while another one takes over."""
    wait, is_first = TrainingTask.wait, [True]

    def wait_and_stand_still(self: TrainingTask, step: Any) -> None:
        wait(self, step)
        if is_first.pop():
            meanwhile()

    monkeypatch.setattr(TrainingTask, "wait", wait_and_stand_still)


def _names(cloud: Cloud) -> list[str]:
    jobs = cloud.client("sagemaker").list_training_jobs(SortBy="CreationTime", SortOrder="Ascending")
    return [job["TrainingJobName"] for job in jobs["TrainingJobSummaries"]]


def _defer(task: Any, context: Any) -> None:
    with pytest.raises(TaskDeferred):
        task.execute(context)


@pytest.mark.parametrize("resumes", [False, True], ids=["on its worker", "after it was deferred"])
def test_an_operator_that_was_replaced_leaves_the_next_attempt_to_the_try_that_made_it(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch, run: LedgerRun, resumes: bool
) -> None:
    """It is the last try as far as its own process knows, which would stop the job."""
    make = partial(make_operator, config=make_config(StoppingCondition=BRIEF), policy=STEPS)
    first, second = make(), make(deferrable=True)
    context = run.context()
    if resumes:
        _defer(make(deferrable=True), context)
        kept_state._kept.forget()
    _stand_still_after_waiting(monkeypatch, lambda: _defer(second, run.next_try()))
    said = r"Another process of this task \(.*dag_id failing.*\) has written"
    with pytest.raises(StateReplaced, match=said):
        (first.resume if resumes else first.execute)(context)
    first.on_kill()
    assert len(_names(drought)) == 2
    assert going_on(drought) == _names(drought)[1:]
    assert [what for what in run.pushed if what.startswith("1")] == ["1 training_job_name"] * (1 + resumes)
    # The try that took over continues, and its own end still stops the job.
    second.on_kill()
    assert going_on(drought) == []


def test_an_operator_whose_time_is_up_after_it_was_replaced_does_not_stop_the_job(
    drought: Cloud, monkeypatch: pytest.MonkeyPatch, run: LedgerRun
) -> None:
    first = make_operator(training_timeout=1)
    _stand_still_after_waiting(monkeypatch, lambda: _defer(make_operator(deferrable=True), run.next_try()))
    with pytest.raises(StateReplaced):
        first.execute(run.context())
    assert len(going_on(drought)) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({}, StateReplaced), ({"never_fail": True}, AirflowSkipException)],
    ids=["fails", "never fails"],
)
def test_a_sensor_that_was_replaced_pokes_no_more(
    drought: Cloud,
    run: LedgerRun,
    capsys: pytest.CaptureFixture[str],
    arguments: dict[str, Any],
    error: type[Exception],
) -> None:
    """A skip is an end after which a sensor stops its job, if it is still responsible for it."""
    # Long enough that the first process sees the job before it ends, also on a machine that is busy.
    waits = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 6 * 3600}
    request = {**make_config(StoppingCondition=waits), "TrainingJobName": "watched"}
    drought.client("sagemaker").create_training_job(**request, EnableManagedSpotTraining=True)

    def make() -> SpotTrainingSensor:
        return SpotTrainingSensor(
            task_id="task",
            training_job_name="watched",
            policy={"name": "spot_only", "spot_attempts": 2, "first_wait": "20d"},
            deferrable=False,
            poke_interval=0.05,
            **arguments,
        )

    first, second, context = make(), make(), run.context()
    poke = first.poke

    def poke_and_stand_still(context: Any) -> Any:
        found = poke(context)
        if run.try_number == 1:
            assert _names(drought) == ["watched"], "the job ended before this process saw it"
            later = run.next_try()
            wait_until(
                lambda: (second.poke(later), len(_names(drought)) == 2)[1], "the next job", timeout_seconds=30
            )
        return found

    first.poke = poke_and_stand_still  # type: ignore[method-assign]
    with pytest.raises(error):
        first.execute(context)
    first.on_kill()
    assert "Another process of this task" in capsys.readouterr().out
    assert going_on(drought) == _names(drought)[1:]
