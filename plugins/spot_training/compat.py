"""What differs between Airflow 3.0 and 3.3. No other module asks for Airflow's version.

Each name is Airflow's newest place for it, with the place of earlier versions after it. What a version lacks
is a flag, and the module that needs it says what the user gets instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger

if TYPE_CHECKING:
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
    "HAS_ON_KILL_OF_TRIGGERS",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "TaskDeferralError",
    "airflow_state_store",
    "conf",
    "keep_for_ever",
    "state_rows",
    "wants_no_other_try",
]

#: Since 3.3 Airflow calls a trigger's `on_kill`; before, a trigger only sees that it is cancelled.
HAS_ON_KILL_OF_TRIGGERS = hasattr(BaseTrigger, "on_kill")


def airflow_state_store(context: Any) -> Any:
    """Airflow's task state store, or None before 3.3."""
    return context.get("task_state_store")


def keep_for_ever() -> dict[str, Any]:
    """The argument of the state store's `set` with which Airflow keeps a value as long as the run."""
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    return {"retention": NEVER_EXPIRE}


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
