"""The notices of a task: Airflow's notifiers and the author's functions, each called once for each event.

Which events there are is in `training.notices`. They run on the worker, once the next job is created, in
bounded time; one that fails or hangs is logged, and left.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import is_left_out

if TYPE_CHECKING:
    from airflow.sdk import Context

    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.training.driver import TrainingDriver
    from spot_training.training.notices import Notice

STOP = "stop"
ON_STALLED = "on_checkpoints_stalled"
ARGUMENTS = ("on_attempt_over", "on_fallback", "on_deadline_at_risk", ON_STALLED)
#: How long one notice may take, and all notices of one moment. Longer ones run on without being waited for.
NOTICE_SECONDS = 20.0
ALL_SECONDS = 60.0
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*[.:][A-Za-z_]\w*")

#: An argument: a notifier, a function, the import path of one, or a list of these.
Listener = str | Callable[..., object]
Listeners = Listener | Sequence[Listener] | None
#: What each argument lists, by the argument's name. Only arguments that are given.
NoticeOptions = Mapping[str, tuple[Any, ...]]


class NoticeArguments(Protocol):
    """The arguments of a task that are called."""

    on_attempt_over: Any
    on_fallback: Any
    on_deadline_at_risk: Any
    on_checkpoints_stalled: Any


def notices_of(task: NoticeArguments) -> NoticeOptions:
    """The arguments, checked. Raises `InvalidInput`, naming the field."""
    given = {name: getattr(task, name, None) for name in ARGUMENTS}
    return {name: _listed(name, value) for name, value in given.items() if not is_left_out(value)}


def _listed(field: str, value: Any) -> tuple[Any, ...]:
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    for item in items:
        is_path = isinstance(item, str) and _PATH.fullmatch(item)
        is_stop = item == STOP and field == ON_STALLED
        is_code = callable(item) and not isinstance(item, type)
        if not (is_path or is_stop or is_code):
            stop = '"stop", ' if field == ON_STALLED else ""
            way_out = (
                f'give {stop}a notifier, a function, or the import path of one: "my_package.alerts.tell".'
            )
            raise InvalidInput(field, item, way_out)
    return items


class Notices:
    """Sends the notices of one training, in one process of its task."""

    def __init__(self, options: NoticeOptions, *, context: Context, log: Any, driver: TrainingDriver) -> None:
        self._options = options
        self._context = context
        self._log = log
        self._driver = driver

    def send_due(self, job: JobSnapshot | None = None) -> None:
        """Send what has happened and was not sent, with the live `job`. Raises nothing."""
        if not self._options or self._driver.training.is_killed:
            return
        from spot_training.training.notices import due

        try:
            state = self._driver.state
            notices = [
                notice
                for notice in due(state, job, self._driver.jobs.clock.now())
                if notice.key not in state.notified and self._listeners(notice.event)
            ]
            if notices:
                # Before they run: one that ends this process is not called again and again.
                self._driver.remember_notices(notice.key for notice in notices)
                self._send(notices)
        except Exception as error:  # noqa: BLE001 - a notice must not fail the training
            self._log.warning("Notices could not be sent: %s: %s", type(error).__name__, error)

    def uploads_stalled(self, facts: Mapping[str, Any]) -> bool:
        """Say that uploads have stalled, once for each stall. Returns whether to stop the job."""
        from spot_training.training.notices import Event, Notice

        listeners = self._listeners(Event.CHECKPOINTS_STALLED)
        key = f"{Event.CHECKPOINTS_STALLED} {facts['stalled_at']}"
        wants_stop = (
            STOP in self._options.get(ON_STALLED, ()) or f"{key} {STOP}" in self._driver.state.notified
        )
        if not listeners or key in self._driver.state.notified:
            return wants_stop
        self._driver.remember_notices([key])
        notice = Notice(
            event=Event.CHECKPOINTS_STALLED,
            key=key,
            text=f"Training job {facts['training_job_name']}: {facts['reason']}.",
            training_job_name=facts["training_job_name"],
            reason=facts["reason"],
            facts=dict(facts),
        )
        if STOP in self._send([notice]):
            self._driver.remember_notices([f"{key} {STOP}"])
            return True
        return wants_stop

    def _listeners(self, event: str) -> tuple[Any, ...]:
        return tuple(item for item in self._options.get(f"on_{event}", ()) if item != STOP)

    def _send(self, notices: Iterable[Notice]) -> list[object]:
        """What the listeners returned."""
        until = time.monotonic() + ALL_SECONDS
        return [
            self._call(listener, notice, min(NOTICE_SECONDS, until - time.monotonic()))
            for notice in notices
            for listener in self._listeners(notice.event)
        ]

    def _call(self, listener: Any, notice: Notice, seconds: float) -> object:
        from spot_training.process import within

        context: Any = self._context
        payload = _payload(notice, context["ti"])
        what = f"on_{notice.event} ({listener if isinstance(listener, str) else _name_of(listener)})"

        def call() -> tuple[object, BaseException | None]:
            try:
                return _call(listener, payload, context), None
            except BaseException as error:  # noqa: BLE001 - whatever the author's code raises ends there
                return None, error

        try:
            answer, error = within(max(0.0, seconds), call)
        except TimeoutError:
            self._log.warning("%s took more than %g s, and is not waited for.", what, seconds)
            return None
        if error is not None:
            self._log.warning("%s failed: %s: %s", what, type(error).__name__, error)
        return answer


def _payload(notice: Notice, ti: Any) -> dict[str, Any]:
    """What a notice gets, as plain JSON (docs/how-to/alerts.md)."""
    return {
        "event": str(notice.event),
        "text": notice.text,
        "dag_id": ti.dag_id,
        "run_id": ti.run_id,
        "task_id": ti.task_id,
        "map_index": -1 if ti.map_index is None else ti.map_index,
        "training_job_name": notice.training_job_name,
        "reason": notice.reason,
        **notice.facts,
    }


def _call(listener: Any, payload: dict[str, Any], context: Mapping[str, Any]) -> object:
    from airflow.sdk.bases.notifier import BaseNotifier

    if isinstance(listener, str):
        module, _, name = listener.replace(":", ".").rpartition(".")
        listener = getattr(importlib.import_module(module), name)
    if isinstance(listener, BaseNotifier):
        # A notifier renders its own fields, for good: each event gets a fresh one.
        return copy.copy(listener)({**context, "notice": payload})
    return listener(payload, context) if _takes_two(listener) else listener(payload)


def _takes_two(function: Any) -> bool:
    """Whether the function also takes Airflow's context."""
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def _name_of(listener: Any) -> str:
    return getattr(listener, "__name__", None) or type(listener).__name__
