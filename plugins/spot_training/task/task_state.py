"""Whether a trigger's task has ended, so that its job must be stopped: Airflow knows.

Airflow cancels a trigger in the same way when a person marked or cleared its task, when its run was deleted,
and when another triggerer has taken it over. Only the job of a task that has ended, or is gone, must be
stopped: in every other state another process is responsible for the job, or will be.

The question goes through the triggerer's supervisor, in an asyncio task that is never cancelled (on Airflow
3.0 to 3.2.1 a question that is cancelled before its answer ends the whole triggerer), and every wait has a
limit (at shutdown there may be no answer). The first question of a process takes seconds, so a trigger asks
one at its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from spot_training.compat import answers_no_more
from spot_training.process import PerProcess
from spot_training.sweep.orphans import OVER_STATES

log = logging.getLogger(__name__)

#: Airflow cancels what waits here again and again; the answer of a warm process takes a tenth of a second.
ANSWER_SECONDS = 5.0


class Fate(Enum):
    """What becomes of a trigger's task."""

    ENDED = "has ended"
    #: Its run was deleted, or the task was taken out of it.
    GONE = "is gone"
    GOES_ON = "goes on"
    UNKNOWN = "unknown"

    @property
    def is_over(self) -> bool:
        """Whether nobody will look at the task's job again."""
        return self in {Fate.ENDED, Fate.GONE}


class NoAnswerError(Exception):
    """Airflow did not say what state the task is in."""


@dataclass(slots=True)
class _Questions:
    """What this process asks Airflow."""

    #: Those without an answer so far: asyncio itself keeps no task alive.
    open: set[asyncio.Task[Any]] = field(default_factory=set)
    is_warm: bool = False


_kept: PerProcess[_Questions] = PerProcess()


def _questions() -> _Questions:
    return _kept.get(_Questions)


def warm_up(task_instance: Any) -> None:
    """Ask once in this process, and ignore the answer: the first one takes seconds, which is too late."""
    questions = _questions()
    if not questions.is_warm and task_instance is not None:
        questions.is_warm = True
        _ask(task_instance).add_done_callback(_cool_down_if_failed)


def _cool_down_if_failed(question: asyncio.Task[Any]) -> None:
    """Without an answer, the next trigger asks again."""
    if question.cancelled() or question.exception() is not None:
        _questions().is_warm = False


async def fate_of(task_instance: Any, *, say: Callable[[str], None] = log.warning) -> tuple[Fate, str]:
    """What becomes of the task, and its state in Airflow, within `ANSWER_SECONDS`.

    Continues to wait when it is cancelled: that is meant for the trigger, not for the question.
    """
    if task_instance is None:
        return Fate.UNKNOWN, "this trigger has no task"
    if answers_no_more():
        return Fate.UNKNOWN, "the triggerer ends"
    question = _ask(task_instance)
    loop = asyncio.get_running_loop()
    over_at = loop.time() + ANSWER_SECONDS
    while not question.done() and (left := over_at - loop.time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({question}, timeout=left)
    if not question.done():
        return Fate.UNKNOWN, f"no answer within {ANSWER_SECONDS:g} s"
    if question.cancelled() or question.exception() is not None:
        reason = "the question was cancelled" if question.cancelled() else str(question.exception())
        say(f"Airflow could not be asked for the state of the task: {reason}")
        return Fate.UNKNOWN, reason
    return _fate_from(question.result(), task_instance)


def _ask(task_instance: Any) -> asyncio.Task[Any]:
    question = asyncio.ensure_future(_send(task_instance))
    _questions().open.add(question)
    question.add_done_callback(_close)
    return question


def _close(question: asyncio.Task[Any]) -> None:
    _questions().open.discard(question)
    if not question.cancelled():
        question.exception()  # read it: asyncio warns about an exception that nobody reads


async def _send(task_instance: Any) -> Any:
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStates

    # Set when the triggerer's runner starts; other processes have none.
    comms: Any = task_runner.SUPERVISOR_COMMS
    answer = await comms.asend(
        GetTaskStates(
            dag_id=task_instance.dag_id,
            run_ids=[task_instance.run_id],
            task_ids=[task_instance.task_id],
            map_index=_map_index(task_instance) if _map_index(task_instance) >= 0 else None,
        )
    )
    if isinstance(answer, ErrorResponse):
        raise NoAnswerError(f"{answer.error}: {answer.detail}")
    return answer


def _fate_from(answer: Any, task_instance: Any) -> tuple[Fate, str]:
    """Read `TaskStatesResult`: states by run, and by task, with its index where it is mapped."""
    states = answer.task_states.get(task_instance.run_id, {})
    index = _map_index(task_instance)
    name = task_instance.task_id if index < 0 else f"{task_instance.task_id}_{index}"
    if name not in states:
        return Fate.GONE, "no such task"
    state = states[name]
    return (Fate.ENDED if state in OVER_STATES else Fate.GOES_ON), str(state)


def _map_index(task_instance: Any) -> int:
    index = task_instance.map_index
    return -1 if index is None else int(index)
