"""Arguments that a Dag gives as constants are refused when the Dag is parsed, not when the task runs.

A value with a template, an XComArg or anything else that Airflow resolves later is left to `execute`, as are
values that only the machine of the task can check (files, settings of botocore). Imports what it needs for
the arguments that are given, because every Dag file is parsed again and again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from spot_training.domain.caps import Caps
from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import (
    as_bool,
    as_log_mode,
    as_region,
    at_least_a_second,
    is_left_out,
    parse_seconds,
)

from .notices import notices_of

Check = Callable[[Any, str], object]

_PLAIN = (bool, int, float, date, timedelta, bytes)
#: What begins something that Jinja renders.
_TEMPLATES = ("{{", "{%", "{#")


def check_constants(task: Any) -> None:
    """Check the arguments of an operator or a sensor. Raises `InvalidInput`, naming the field."""
    # Airflow makes the task of a mapped one with rendered values. Execute refuses those without a retry.
    if getattr(task, "_BaseOperator__from_mapped", False):
        return
    Caps.of(task.caps)
    notices_of(task)
    for field, check in _CHECKS.items():
        value = getattr(task, field, None)
        if value is not None and is_constant(value):
            check(value, field)
    _check_policy(task)


def is_constant(value: Any) -> bool:
    """Whether nothing in the value is resolved after the Dag was parsed."""
    match value:
        case None:
            return True
        case str():
            return not any(start in value for start in _TEMPLATES)
        case Mapping():
            return all(is_constant(item) for pair in value.items() for item in pair)
        case list() | tuple() | set() | frozenset():
            return all(map(is_constant, value))
        case _:
            return isinstance(value, _PLAIN)


def _flag(value: Any, field: str) -> None:
    as_bool(value, field=field)


def _log_mode(value: Any, field: str) -> None:
    as_log_mode(value, field=field)


def _interval(value: Any, field: str) -> None:
    at_least_a_second(value, field=field)


def _limit(value: Any, field: str) -> None:
    if not is_left_out(value):
        at_least_a_second(value, field=field)


def _duration(value: Any, field: str) -> None:
    if not is_left_out(value):
        parse_seconds(value, field=field)


def _region(value: Any, field: str) -> None:
    as_region(value, field=field)


def _deadline(value: Any, _field: str) -> None:
    from spot_training.domain.moments import deadline_from

    if not is_left_out(value):
        deadline_from(value, run_started_at=datetime.now(UTC))


def _runtime(value: Any, _field: str) -> None:
    from spot_training.domain.runtime import runtime_from

    runtime_from(value)


def _budget(value: Any, _field: str) -> None:
    from spot_training.domain.budget import budget_from

    budget_from(value)


def _one_of(*choices: str) -> Check:
    def check(value: Any, field: str) -> None:
        if value not in choices:
            raise InvalidInput(field, value, f"give {' or '.join(map(json.dumps, choices))}.")

    return check


def _checkpoint_pattern(value: Any, field: str) -> None:  # noqa: ARG001 - it has its own name
    from spot_training.domain.checkpoint_pattern import CheckpointPattern

    CheckpointPattern.of(value)


def _training_job(value: Any, field: str) -> None:
    from spot_training.sagemaker.naming import NamedJob

    NamedJob.of(value, field=field)


_CHECKS: dict[str, Check] = {
    "wait_for_completion": _flag,
    "deferrable": _flag,
    "stop_job_on_kill": _flag,
    "retry_failed_script": _flag,
    "keep_checkpoints": _flag,
    "check_if_job_exists": _flag,
    "print_log": _log_mode,
    "check_interval": _interval,
    "training_timeout": _limit,
    "max_ingestion_time": _limit,
    "deadline": _deadline,
    "deadline_reserve": _duration,
    "expected_runtime": _runtime,
    "on_missed_deadline": _one_of("fail", "late"),
    "action_if_job_exists": _one_of("timestamp", "fail"),
    "budget": _budget,
    "region_name": _region,
    "training_job_name": _training_job,
    "watch_checkpoints": _flag,
    "checkpoint_pattern": _checkpoint_pattern,
}


def _check_policy(task: Any) -> None:
    """Against the widest limits: the request that a policy completes may be rendered later."""
    policy = task.policy
    if policy is None or not is_constant(policy):
        return
    from spot_training.domain.policy_specs import AFTER_DEADLINE_SECONDS, Defaults, policy_from

    deadline = getattr(task, "deadline", None)
    has_deadline = not (is_constant(deadline) and is_left_out(deadline))
    widest = Defaults(
        max_runtime_seconds=1,
        max_wait_seconds=1,
        deadline_in_seconds=AFTER_DEADLINE_SECONDS if has_deadline else None,
    )
    try:
        policy_from(policy, widest)
    except InvalidInput:
        policy_from(policy, replace(widest, named=_named_policies(policy)))


def _named_policies(policy: Any) -> Mapping[str, Any]:
    """Those of the policy file; if this machine cannot read it, the policy itself: `execute` says so."""
    from .policy_file import named_policies

    try:
        return named_policies()
    except InvalidInput:
        name = policy.get("name") if isinstance(policy, Mapping) else policy
        return {str(name): "on_demand"}
