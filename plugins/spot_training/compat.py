"""What differs between Airflow 3.0 and 3.3. No other module asks for Airflow's version.

Each name is Airflow's newest place for it, with the place of earlier versions after it. What a version lacks
is a flag, and the module that needs it says what the user gets instead.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.exceptions import AirflowRuntimeError

from .process import PerProcess

T = TypeVar("T")

if TYPE_CHECKING:
    from airflow.sdk import AssetOrTimeSchedule, CronDataIntervalTimetable, CronTriggerTimetable
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowFailException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        TaskDeferralError,
    )
else:
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # before 3.2
        from airflow.configuration import conf
    try:
        from airflow.sdk.exceptions import (
            AirflowFailException,
            AirflowRescheduleException,
            AirflowSensorTimeout,
            AirflowSkipException,
            TaskDeferralError,
        )
    except ImportError:  # before 3.2
        from airflow.exceptions import (
            AirflowFailException,
            AirflowRescheduleException,
            AirflowSensorTimeout,
            AirflowSkipException,
            TaskDeferralError,
        )

__all__ = [
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AssetOrTimeSchedule",
    "CronDataIntervalTimetable",
    "CronTriggerTimetable",
    "TaskDeferralError",
    "airflow_state_store",
    "answers_no_more",
    "ask_airflow",
    "ask_one_at_a_time",
    "calls_on_kill_of_triggers",
    "conf",
    "hitl_operator",
    "is_test_run",
    "keep_for_ever",
    "keeps_login_in_storage",
    "knows_task_instance",
    "leads_into_framed_pages",
    "metrics_backend",
    "remember_event_loop",
    "state_rows",
    "wants_no_other_try",
]

_NOT_FOUND = 404
#: Where timetables are before 3.2.
_TIMETABLES = {
    "AssetOrTimeSchedule": "airflow.timetables.assets",
    "CronDataIntervalTimetable": "airflow.timetables.interval",
    "CronTriggerTimetable": "airflow.timetables.trigger",
}


def __getattr__(name: str) -> Any:
    """Timetables, which only Dag files need: other processes do not load them."""
    if name not in _TIMETABLES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import airflow.sdk

    place: Any = airflow.sdk
    if name not in airflow.sdk.__all__:
        place = importlib.import_module(_TIMETABLES[name])
    return getattr(place, name)


def calls_on_kill_of_triggers() -> bool:
    """Whether Airflow calls a trigger's `on_kill` (since 3.3). Before, a trigger only sees a cancellation."""
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "on_kill")


def airflow_state_store(context: Any) -> Any:
    """Airflow's task state store, or None before 3.3."""
    return context.get("task_state_store")


#: How `airflow tasks test` names a run that it makes, and the user of a run of `dag.test()` since 3.1.
_TEMPORARY_RUN = "__airflow_temporary_run_"
_DAG_TEST = "dag_test"


def is_test_run(context: Any) -> bool:
    """Whether `airflow dags test`, `airflow tasks test` or `dag.test()` runs the task.

    They run it in their own process, with an object in place of the supervisor. With `use_executor` the task
    has a real supervisor, and only the run's user says it, which 3.0 does not have.
    """
    from airflow.sdk.execution_time import task_runner

    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    run = context["dag_run"]
    return (
        type(comms).__name__ == "InProcessSupervisorComms"
        or str(getattr(run, "run_id", "")).startswith(_TEMPORARY_RUN)
        or getattr(run, "triggering_user_name", None) == _DAG_TEST
    )


def hitl_operator() -> Any:
    """The operator that asks a person in Airflow's UI (since 3.1). Raises `ImportError` before."""
    try:
        from airflow.providers.standard.operators.hitl import HITLOperator
    except Exception as error:  # the provider raises its own kind of error on an Airflow without it
        raise ImportError(
            "ask_before_on_demand needs Airflow 3.1 or later, which can ask a person, and "
            "apache-airflow-providers-standard 1.7 or later. On an earlier version, set a `budget`: then a "
            "training waits for spot instead of exceeding it."
        ) from error
    return HITLOperator


def leads_into_framed_pages() -> bool:
    """Whether an address of Airflow's UI leads to any page of a plugin within its frame (since 3.3).

    From 3.1 on, the UI frames the first page of a plugin, and 3.0 frames none.
    """
    from airflow import __version__

    return tuple(map(int, __version__.split(".")[:2])) >= (3, 3)


def keeps_login_in_storage() -> bool:
    """Whether Airflow's UI keeps the login in the browser's storage (before 3.1.1).

    Since then it is a cookie, which the browser sends when a person opens an address. For the API server.
    """
    from airflow.api_fastapi.core_api.security import get_user

    return "request" not in inspect.signature(get_user).parameters


def keep_for_ever() -> dict[str, Any]:
    """The argument of the state store's `set` with which Airflow keeps a value as long as the run."""
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    return {"retention": NEVER_EXPIRE}


#: The event loop of a triggerer; empty in other processes.
_loops: PerProcess[list[asyncio.AbstractEventLoop]] = PerProcess()


def remember_event_loop() -> None:
    """Called in a triggerer's event loop, so that `ask_airflow` can use it."""
    _loops.get(list)[:] = [asyncio.get_running_loop()]


def ask_airflow(call: Callable[[], T]) -> T:
    """Make a call that may ask Airflow for a connection or a Variable, in any thread.

    Before 3.2.2 a triggerer has one stream of answers, which its event loop reads. A thread that reads it too
    may take another one's answer, and that ends the whole triggerer. So the event loop starts the call, in a
    thread that sends its questions through the loop.
    """
    triggerer: Any = sys.modules.get("airflow.jobs.triggerer_job_runner")
    loops = _loops.get(list)
    if triggerer is None or not loops or hasattr(triggerer.TriggerCommsDecoder, "start_reader"):
        return call()
    if _is_started_by_loop.get() or _is_in(loops[0]):
        return call()
    from asgiref.sync import sync_to_async

    async def start() -> T:
        _is_started_by_loop.set(True)
        return await sync_to_async(call, thread_sensitive=False)()

    return asyncio.run_coroutine_threadsafe(start(), loops[0]).result(ANSWER_SECONDS)


def _is_in(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the loop's own thread. It must not wait for itself, and Airflow refuses a question."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


#: asgiref copies the context into the thread that it starts.
_is_started_by_loop: ContextVar[bool] = ContextVar("is_started_by_loop", default=False)
#: How long Airflow may take, with a secrets backend that it asks first.
ANSWER_SECONDS = 60.0


def ask_one_at_a_time() -> None:
    """Let the threads of a task's process ask Airflow one after the other, as it does itself since 3.2.

    Before 3.2 the process has one stream of answers and no lock: of two threads that ask at the same time,
    each may read parts of the other's answer, and both hang. A thread that asks for a connection
    is enough, or one that nobody waits for any more. A signal handler may ask within a question of its own
    thread, as before.
    """
    from airflow.sdk.execution_time.comms import CommsDecoder

    decoder: Any = CommsDecoder
    if hasattr(decoder, "_thread_lock") or hasattr(decoder.send, "__wrapped__"):
        return
    lock, send = threading.RLock(), decoder.send

    @functools.wraps(send)
    def send_alone(self: Any, msg: Any) -> Any:
        with lock:
            return send(self, msg)

    decoder.send = send_alone


def answers_no_more() -> bool:
    """Whether the triggerer ends. Since 3.2.2 it then reads no more answers, and still takes questions."""
    from airflow.sdk.execution_time import task_runner

    reader = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "_reader_task", None)
    return reader is not None and bool(reader.done())


def knows_task_instance(ti_id: Any) -> bool:
    """Whether Airflow knows this task instance id. Each try has its own one, and only the latest is known.

    Asks for what Airflow itself asks at a task's end: it changes nothing, and is in every version.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse, ValidateInletsAndOutlets

    comms: Any = task_runner.SUPERVISOR_COMMS
    try:
        answer = comms.send(ValidateInletsAndOutlets(ti_id=ti_id))
    except AirflowRuntimeError as error:
        answer = error.error
    if not isinstance(answer, ErrorResponse):
        return True
    if (answer.detail or {}).get("status_code") != _NOT_FOUND:
        raise AirflowRuntimeError(answer)
    return False


def state_rows() -> Any:
    """The database's table of task states, or None before 3.3. For Airflow's server processes only."""
    try:
        from airflow.models.task_state_store import TaskStateStoreModel
    except ImportError:
        return None
    return TaskStateStoreModel


def wants_no_other_try(task: Any, error: Exception, context: Any) -> bool:
    """Whether the task's `retry_policy` (since 3.3) fails it for good after this error."""
    policy = getattr(task, "retry_policy", None)
    if policy is None:
        return False
    from airflow.sdk import RetryAction

    ti = context["ti"]
    decision = policy.evaluate(error, ti.try_number, ti.max_tries, context)
    return bool(decision.action is RetryAction.FAIL)


#: The ways in which Airflow sends metrics, in the order in which it looks at them.
_DATADOG, _STATSD, _OTEL = "statsd_datadog_enabled", "statsd_on", "otel_on"


def metrics_backend() -> tuple[Any, bool] | None:
    """Airflow's `Stats`, and whether its names need the tags, too. None if metrics are off.

    That is so for a StatsD server without tags, unless `legacy_names_on` (since 3.2) is False.
    """
    is_on = {kind: conf.getboolean("metrics", kind, fallback=False) for kind in (_DATADOG, _STATSD, _OTEL)}
    if not any(is_on.values()):
        return None
    has_tags = is_on[_DATADOG] or not is_on[_STATSD] or _is_set("statsd_influxdb_enabled", default=False)
    return _stats(), not has_tags and _is_set("legacy_names_on", default=True)


def _is_set(name: str, *, default: bool) -> bool:
    return bool(conf.getboolean("metrics", name, fallback=default))


def _stats() -> Any:
    """Airflow's `Stats`. Since 3.2 the Task SDK has it, and not every process has initialized it."""
    try:
        from airflow.sdk.observability import stats
        from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
    except ImportError:
        from airflow.stats import Stats

        return Stats
    found: Any = stats.Stats
    make: Any = get_stats_factory
    if hasattr(stats, "DualStatsManager"):  # before 3.3
        if found.factory is None:
            found.initialize(factory=make(found))
    elif getattr(sys.modules[stats.incr.__module__], "_factory", None) is None:
        found.initialize(factory=make(), export_legacy_names=_is_set("legacy_names_on", default=True))
    return found
