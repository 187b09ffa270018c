"""A person marks or clears a deferred task: its trigger stops the job, however Airflow treats the trigger."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStates, TaskStatesResult

from spot_training import triggers
from spot_training.connections import AwsAccess
from spot_training.domain.errors import ServiceFailed
from spot_training.domain.lifecycle import SecondaryStatus, TrainingStatus
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.task import task_state
from spot_training.triggers import TrainingJobTrigger
from spot_training.watching.reports import Over

NAME = "model-1"
RUN, TASK = "run 1", "train"
Make: TypeAlias = Callable[..., TrainingJobTrigger]


class _Jobs(TrainingJobs):
    """`stop` does as it is told; the region is what the command by hand names."""

    def __init__(self, stop: Callable[[], bool], reasons: list[StopReason]) -> None:
        self._stop_as_told = stop
        self._reasons = reasons

    @property
    def region(self) -> str:
        return "eu-west-1"

    def stop(self, name: str, why: StopReason, **_options: Any) -> bool:
        assert name in {NAME, "scout-1", "scout-2"}
        self._reasons.append(why)
        return self._stop_as_told()


class _Airflow:
    """The triggerer's supervisor: says which state the task is in, after a while, or not at all."""

    def __init__(self, answer: Any = "failed", *, after: float = 0.0) -> None:
        self.answer = answer
        self.after = after
        self.asked: list[GetTaskStates] = []
        self.was_cancelled = False

    async def asend(self, message: GetTaskStates) -> Any:
        self.asked.append(message)
        try:
            await asyncio.sleep(self.after)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, ErrorResponse):
            return self.answer
        states = self.answer if isinstance(self.answer, dict) else {TASK: self.answer}
        return TaskStatesResult(task_states={RUN: states} if states else {})


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> _Airflow:
    """An Airflow in which the task was marked failed, until a test says otherwise."""
    answering = _Airflow()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", answering, raising=False)
    monkeypatch.setattr(task_state._questions(), "is_warm", False)
    return answering


@pytest.fixture
def reasons() -> list[StopReason]:
    """Why the job was stopped, each time it was."""
    return []


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, airflow: _Airflow, reasons: list[StopReason]) -> Make:
    """A trigger, as a triggerer runs it."""

    def trigger(
        stop: Callable[[], bool] = lambda: True, *, map_index: int = -1, **arguments: Any
    ) -> TrainingJobTrigger:
        monkeypatch.setattr(AwsAccess, "jobs", lambda _self: _Jobs(stop, reasons))
        monkeypatch.setattr(TrainingJobTrigger, "log", logging.getLogger(__name__))
        made = TrainingJobTrigger(training_job_name=NAME, **arguments)
        known: Any = SimpleNamespace(dag_id="dag", run_id=RUN, task_id=TASK, map_index=map_index)
        made.task_instance = known
        return made

    return trigger


async def _kill_as_airflow_does(trigger: TrainingJobTrigger, is_over: Callable[[], bool]) -> None:
    """`wait_for` around on_kill, and one more cancellation after the other until the trigger is over."""
    killing = asyncio.ensure_future(asyncio.wait_for(trigger.on_kill(), 30))
    while not (killing.done() and is_over()):
        await asyncio.sleep(0.1)
        killing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killing


@pytest.mark.slow
def test_a_stop_that_takes_long_is_carried_through_and_told(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    may_stop, stopped = threading.Event(), threading.Event()

    def stop() -> bool:
        assert may_stop.wait(30)
        stopped.set()
        return True

    def is_over() -> bool:
        if "could NOT be stopped" in caplog.text:
            may_stop.set()
        return stopped.is_set()

    trigger = make(stop)
    asyncio.run(_kill_as_airflow_does(trigger, is_over))
    command = f"aws sagemaker stop-training-job --training-job-name {NAME} --region eu-west-1"
    assert f"{NAME} could NOT be stopped and is still billed" in caplog.text
    assert f"Stop it by hand: {command}" in caplog.text


def test_a_stop_that_works_at_once_is_said_so(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        asyncio.run(make(lambda: True).on_kill())
    assert f"Stopped training job {NAME}: its task has ended (failed)." in caplog.text
    assert "could NOT" not in caplog.text


def test_scouts_are_stopped_with_the_task_even_if_the_job_is_not(
    make: Make, reasons: list[StopReason], caplog: pytest.LogCaptureFixture
) -> None:
    call = {"scouts": ["scout-1", "scout-2"]}
    asyncio.run(make(scout_call=call).on_kill())
    assert reasons == [StopReason.TASK_ENDED] * 3
    with caplog.at_level(logging.INFO):
        asyncio.run(make(scout_call=call, stop_job_on_kill=False).on_kill())
    assert reasons == [StopReason.TASK_ENDED] * 5
    assert f"Training job {NAME} continues" in caplog.text
    assert "Stopped the scouts: its task has ended (failed)." in caplog.text
    asyncio.run(make(stop_job_on_kill=False).on_kill())
    assert len(reasons) == 5
    # One that has brought its news is not awaited any longer, and may still run.
    asyncio.run(make(scout_call={"scouts": []}, scouts_alive=["scout-1"]).on_kill())
    assert len(reasons) == 7
    asyncio.run(make(scout_call=call, scouts_alive=["scout-2", "scout-1"]).on_kill())
    assert len(reasons) == 10, "each once"


def test_threads_that_others_block_do_not_hold_up_a_stop(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A triggerer also runs other people's triggers, which may use up the event loop's own threads."""
    is_told = threading.Event()

    async def stop_while_others_block() -> None:
        others = [asyncio.ensure_future(asyncio.to_thread(is_told.wait, 60)) for _ in range(100)]
        try:
            await asyncio.wait_for(make(lambda: True).on_kill(), 30)
        finally:
            is_told.set()
            await asyncio.gather(*others)

    with caplog.at_level(logging.INFO):
        asyncio.run(stop_while_others_block())
    assert f"Stopped training job {NAME}: its task has ended (failed)." in caplog.text
    assert "could NOT" not in caplog.text


def test_a_stop_that_fails_for_good_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> bool:
        raise ServiceFailed("StopTrainingJob failed after botocore's retries.")

    asyncio.run(make(fail).on_kill())
    assert "could NOT be stopped and is still billed: StopTrainingJob failed" in caplog.text


def test_a_job_that_is_to_outlive_its_task_is_left_and_nobody_is_asked(
    make: Make, airflow: _Airflow, reasons: list[StopReason]
) -> None:
    trigger = make()
    trigger.stop_job_on_kill = False
    asyncio.run(trigger.on_kill())
    assert reasons == []
    assert airflow.asked == []


# Whose action it was ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed", "removed"])
def test_the_job_of_a_task_that_has_ended_is_stopped_with_the_reason(
    make: Make, airflow: _Airflow, reasons: list[StopReason], state: str
) -> None:
    airflow.answer = state
    asyncio.run(make().on_kill())
    assert reasons == [StopReason.TASK_ENDED]


def test_the_job_of_a_task_that_is_gone_is_stopped(
    make: Make, airflow: _Airflow, reasons: list[StopReason]
) -> None:
    airflow.answer = {}
    asyncio.run(make().on_kill())
    assert reasons == [StopReason.TASK_ENDED]


@pytest.mark.parametrize(
    "state",
    [
        *("deferred", "scheduled", "queued", "running", "up_for_retry", "up_for_reschedule", "restarting"),
        *(None, "awaiting_input", "a state that Airflow gets one day"),
    ],
)
def test_in_every_other_state_the_job_continues(
    make: Make,
    airflow: _Airflow,
    reasons: list[StopReason],
    caplog: pytest.LogCaptureFixture,
    state: str | None,
) -> None:
    """Another triggerer took the trigger over, or a person cleared the task: its next process decides."""
    airflow.answer = state
    with caplog.at_level(logging.INFO):
        asyncio.run(make().on_kill())
    assert reasons == []
    assert f"training job {NAME} continues: the task is {state}" in caplog.text


@pytest.mark.parametrize(
    "answer", [RuntimeError("the database is away"), ErrorResponse(detail={"message": "no"})]
)
def test_without_an_answer_the_job_continues_and_the_log_says_so(
    make: Make,
    airflow: _Airflow,
    reasons: list[StopReason],
    caplog: pytest.LogCaptureFixture,
    answer: object,
) -> None:
    airflow.answer = answer
    asyncio.run(make().on_kill())
    assert reasons == []
    assert "Airflow did not say whether the task has ended" in caplog.text
    assert f"Training job {NAME} continues" in caplog.text


def test_where_there_is_no_supervisor_the_job_continues(
    make: Make, reasons: list[StopReason], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(task_runner, "SUPERVISOR_COMMS")
    asyncio.run(make().on_kill())
    assert reasons == []


def test_an_answer_that_never_comes_holds_nothing_up_and_is_not_cancelled(
    make: Make,
    airflow: _Airflow,
    reasons: list[StopReason],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At shutdown no answer ever comes; a question that is cancelled ends the triggerer of older Airflows."""
    monkeypatch.setattr(task_state, "ANSWER_SECONDS", 0.5)
    airflow.after = 3600

    async def kill() -> bool:
        await _kill_as_airflow_does(make(), lambda: "no answer within 0.5 s" in caplog.text)
        return airflow.was_cancelled

    assert not asyncio.run(kill())
    assert reasons == []


def test_a_triggerer_that_ends_and_answers_no_more_is_not_asked(
    make: Make, airflow: _Airflow, reasons: list[StopReason], caplog: pytest.LogCaptureFixture
) -> None:
    """Since 3.2.2. The wait would delay a redeploy by five seconds."""
    airflow.after = 3600

    async def kill() -> None:
        reader = asyncio.ensure_future(asyncio.sleep(3600))
        reader.cancel()
        await asyncio.wait({reader})
        airflow._reader_task = reader  # type: ignore[attr-defined]
        await asyncio.wait_for(make().on_kill(), 1)

    asyncio.run(kill())
    assert (reasons, airflow.asked) == ([], [])
    assert "did not say whether the task has ended (the triggerer ends)" in caplog.text


@pytest.mark.slow
def test_an_answer_that_takes_longer_than_airflow_waits_still_counts(
    make: Make, airflow: _Airflow, reasons: list[StopReason]
) -> None:
    airflow.after = 0.6
    asyncio.run(_kill_as_airflow_does(make(), lambda: bool(reasons)))
    assert reasons == [StopReason.TASK_ENDED]
    assert not airflow.was_cancelled


@pytest.mark.parametrize(
    ("calls_on_kill", "state", "is_asked", "is_stopped"),
    [
        (False, "failed", True, True),
        (False, "deferred", True, False),  # a takeover, a clear, or a triggerer that ends
        (True, "failed", False, False),  # `on_kill` does it: here it may be a triggerer that ends
    ],
)
def test_where_airflow_has_no_on_kill_a_cancelled_trigger_does_the_same(
    make: Make,
    airflow: _Airflow,
    reasons: list[StopReason],
    monkeypatch: pytest.MonkeyPatch,
    calls_on_kill: bool,
    state: str,
    is_asked: bool,
    is_stopped: bool,
) -> None:
    """Before 3.3 Airflow cancels `run` again every second, and waits for its `CancelledError`."""
    monkeypatch.setattr(triggers, "calls_on_kill_of_triggers", lambda: calls_on_kill)
    monkeypatch.setattr(TrainingJobTrigger, "_follower", lambda _self: _OverAfter(3600))
    monkeypatch.setattr(triggers, "warm_up", lambda _: None)
    airflow.answer, airflow.after = state, 0.3

    async def run(trigger: TrainingJobTrigger) -> None:
        async for _ in trigger.run():
            pass

    async def cancel_until_over() -> None:
        running = asyncio.ensure_future(run(make()))
        await asyncio.sleep(0)  # it waits for the job now
        while not running.done():
            running.cancel()
            await asyncio.wait({running}, timeout=0.1)
        assert running.cancelled()

    asyncio.run(asyncio.wait_for(cancel_until_over(), 20))
    assert bool(airflow.asked) is is_asked
    assert not airflow.was_cancelled
    assert reasons == ([StopReason.TASK_ENDED] if is_stopped else [])


@pytest.mark.parametrize(
    ("states", "is_stopped"),
    [
        ({"train_3": "failed", "train_4": "deferred"}, True),
        ({"train_3": "deferred", "train_4": "failed"}, False),
        ({"train": "deferred"}, True),
    ],
)
def test_a_mapped_task_is_asked_for_by_its_index(
    make: Make, airflow: _Airflow, reasons: list[StopReason], states: dict[str, str], *, is_stopped: bool
) -> None:
    airflow.answer = states
    asyncio.run(make(map_index=3).on_kill())
    assert bool(reasons) is is_stopped
    (asked,) = airflow.asked
    assert (asked.dag_id, asked.run_ids, asked.task_ids, asked.map_index) == ("dag", [RUN], [TASK], 3)


def test_a_question_that_was_answered_is_forgotten(make: Make, airflow: _Airflow) -> None:
    """A triggerer lives for weeks, and asks for each of its triggers."""

    async def ask_twice() -> None:
        for _ in range(2):
            await make().on_kill()
        await asyncio.sleep(0)
        assert task_state._questions().open == set()

    asyncio.run(ask_twice())
    assert len(airflow.asked) == 2


class _OverAfter:
    """In place of a `Follower`: the job is over after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def __aiter__(self) -> AsyncIterator[Over]:
        await asyncio.sleep(self.seconds)
        yield Over(
            name="nightly-1", status=TrainingStatus.COMPLETED, secondary_status=SecondaryStatus.COMPLETED
        )

    def close(self) -> None: ...


def test_the_first_trigger_of_a_process_asks_once_so_that_later_answers_come_in_time(
    make: Make, airflow: _Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start_three() -> None:
        monkeypatch.setattr(TrainingJobTrigger, "_follower", lambda _self: _OverAfter(0.0))
        monkeypatch.setattr(triggers, "seconds_to_settle", lambda: 0.0)
        for _ in range(3):
            async for _event in make().run():
                pass

    asyncio.run(start_three())
    assert len(airflow.asked) == 1


def test_a_first_question_that_fails_fails_no_trigger(
    make: Make, airflow: _Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow.answer = RuntimeError("the database is away")

    monkeypatch.setattr(TrainingJobTrigger, "_follower", lambda _self: _OverAfter(0.05))
    monkeypatch.setattr(triggers, "seconds_to_settle", lambda: 0.0)

    async def run() -> list[Any]:
        return [event.payload["status"] async for event in make().run()]

    assert asyncio.run(run()) == ["Completed"]
