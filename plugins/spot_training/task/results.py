"""What a task leaves behind: its return value and its XComs, as plain JSON."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.messages import statement_line
from spot_training.domain.text import with_whole_text
from spot_training.sagemaker.request import without_secrets
from spot_training.training.counting import is_deadline_missed

if TYPE_CHECKING:
    from spot_training.domain.savings import SavingsStatement
    from spot_training.training.driver import TrainingDriver

XCOM_SAVINGS = "savings"
XCOM_ATTEMPTS = "attempts"
XCOM_SCOUTS = "scouts"
XCOM_DEADLINE = "deadline"
XCOM_JOB_NAME = "training_job_name"


def push_outcome(
    ti: Any, driver: TrainingDriver, statement: SavingsStatement, *, local_cloud: str | None = None, log: Any
) -> dict[str, Any]:
    """Push what the attempts of a training came to, and return it.

    `local_cloud` describes the clock of a local SageMaker: the savings then say that they are simulated.
    """
    outcome = {
        XCOM_SAVINGS: {**statement.to_json(), **({"local_cloud": local_cloud} if local_cloud else {})},
        XCOM_ATTEMPTS: [attempt.to_json(with_transitions=False) for attempt in driver.attempts],
        **_deadline_outcome(driver, log),
    }
    if scouts := driver.state.scouts_over:
        outcome[XCOM_SCOUTS] = [scout.to_json(with_transitions=False) for scout in scouts]
    for key, value in outcome.items():
        ti.xcom_push(key=key, value=value)
    if driver.attempts:
        log.info("%s", statement_line(statement))
    return outcome


def returned_description(description: dict[str, Any] | None) -> Any:
    """`DescribeTrainingJob`'s answer for XCom, which everybody who may read the Dag may read."""
    return None if description is None else as_plain_json(without_secrets(description))


def as_plain_json(value: Any) -> Any:
    """A boto3 response as numbers, strings, lists and dictionaries: times become ISO 8601."""
    return with_whole_text(json.loads(json.dumps(value, default=_iso)))


def _deadline_outcome(driver: TrainingDriver, log: Any) -> dict[str, Any]:
    """Whether the deadline was kept, on AWS's clock; nothing without one, or while a job is alive."""
    deadline, attempts = driver.state.deadline, driver.attempts
    if deadline is None or not attempts or driver.live_job:
        return {}
    ended_at, kept = attempts[-1].ended_at, not is_deadline_missed(driver.state)
    if not kept:
        log.warning("The deadline %s was missed.", f"{deadline.at:%Y-%m-%d %H:%M} UTC")
    return {
        XCOM_DEADLINE: {
            "at": deadline.at.isoformat(),
            "kept": kept,
            "ended_at": ended_at.isoformat() if ended_at else None,
        }
    }


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not plain JSON")
