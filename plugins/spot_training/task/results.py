"""What a task leaves behind: its return value and its XComs, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.messages import statement_line
from spot_training.domain.text import with_whole_text
from spot_training.sagemaker.descriptions import snapshot_of
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
XCOM_METRICS = "metrics"
XCOM_MODEL = "model"


def push_outcome(
    ti: Any, driver: TrainingDriver, statement: SavingsStatement, *, also: Mapping[str, Any], log: Any
) -> dict[str, Any]:
    """Push what the attempts of a training came to, and return it. `also` is what else the savings say."""
    outcome = {
        **attempts_outcome(driver, statement, also=also),
        **_deadline_outcome(driver, log),
    }
    if scouts := driver.state.scouts_over:
        outcome[XCOM_SCOUTS] = [scout.to_json(with_transitions=False) for scout in scouts]
    for key, value in outcome.items():
        ti.xcom_push(key=key, value=value)
    if driver.attempts:
        log.info("%s", statement_line(statement))
    return outcome


def attempts_outcome(
    driver: TrainingDriver, statement: SavingsStatement, *, also: Mapping[str, Any]
) -> dict[str, Any]:
    """The attempts of a training, and what they came to."""
    return {
        XCOM_SAVINGS: {**statement.to_json(), **also},
        XCOM_ATTEMPTS: [attempt.to_json(with_transitions=False) for attempt in driver.attempts],
    }


def push_model(ti: Any, description: dict[str, Any]) -> dict[str, Any]:
    """Push where the model of a completed training is, and its last metrics, if it has any."""
    job = snapshot_of(description) if description else None
    found = {XCOM_MODEL: job.model_uri, XCOM_METRICS: dict(job.metrics)} if job else {}
    outcome = {key: value for key, value in found.items() if value}
    for key, value in outcome.items():
        ti.xcom_push(key=key, value=value)
    return outcome


def describe_outlets(outlets: Iterable[Any], events: Any, outcome: Mapping[str, Any], *, log: Any) -> None:
    """Give the events of the task's assets what the training cost and came to. Raises nothing.

    What the Dag's author has put into an event's `extra` stays.
    """
    from airflow.sdk import Asset

    facts = {key: outcome[key] for key in (XCOM_SAVINGS, XCOM_METRICS, XCOM_MODEL) if key in outcome}
    try:
        for outlet in outlets:
            if isinstance(outlet, Asset):
                extra = events[outlet].extra
                extra.update({key: value for key, value in facts.items() if key not in extra})
    except Exception as error:  # noqa: BLE001 - the training is done
        log.warning("The assets of this task have no savings and metrics: %s", error)


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
