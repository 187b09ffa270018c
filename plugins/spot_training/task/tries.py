"""What Airflow says of this try of a task: is it the last one, and has a later one replaced it?

Asked while a process ends, so each answer has a second at most, and no answer means "no".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spot_training.sagemaker.identity import RunIdentity

    from .kept_state import TaskState

#: Airflow kills a process five seconds after SIGTERM. Each question may take one of them.
ANSWER_SECONDS = 1.0


def is_last_try(ti: Any) -> bool:
    """Whether a task instance that fails now is not tried again."""
    return bool(ti.try_number > ti.max_tries)


def is_replaced(state: TaskState) -> bool:
    """Whether this process was silent for so long that Airflow has given its task to a later try.

    XCom does not check the try: a late push would replace what the later try has pushed.
    """
    from spot_training.process import within

    try:
        return not within(ANSWER_SECONDS, state.knows_this_try)
    except Exception:  # noqa: BLE001 - the API server is away, or this process's token is too old
        return False


def is_replaced_by_live_try(state: TaskState, ti: Any, identity: RunIdentity) -> bool:
    """Whether a later try runs, or will run; not where the task is over or its run was deleted."""
    from spot_training.process import within
    from spot_training.sweep.orphans import NO_SUCH_TASK, OVER_STATES

    if not is_replaced(state):
        return False
    try:
        found = within(ANSWER_SECONDS, lambda: task_states(ti)(identity))
    except Exception:  # noqa: BLE001
        return False
    return found != NO_SUCH_TASK and found not in OVER_STATES


def task_states(ti: Any) -> Callable[[RunIdentity], str | None]:
    """How a task asks for the state of another one, by Airflow's API server: the sweeper's question."""
    from spot_training.sweep.orphans import NO_SUCH_TASK

    def state_of(identity: RunIdentity) -> str | None:
        found = ti.get_task_states(
            dag_id=identity.dag_id, run_ids=[identity.run_id], task_ids=[identity.task_id]
        ).get(identity.run_id, {})
        suffix = f"_{identity.map_index}" if identity.map_index >= 0 else ""
        state: str | None = found.get(f"{identity.task_id}{suffix}", NO_SUCH_TASK)
        return state

    return state_of
