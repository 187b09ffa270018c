"""Fields of Airflow's trigger form for trainings, and the check of what the form itself cannot check.

    @dag(params={"max_run": duration("1h", title="Max run time", description="...", longest="1d"), ...})

A form shows a Dag's params in their order, under the headings that their keyword `section` gives. The first
ones must have no section: Airflow 3.0 shows an empty form if all have one.

Imported when a Dag is parsed: it imports only what a Dag imports anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from .compat import AirflowFailException
from .domain.errors import InvalidInput
from .domain.parsing import LONGEST_TEXT, as_typed, is_left_out, parse_seconds

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Text that Airflow accepts for a duration: `2h`, `1d 6h`, or seconds. Nothing in it can match in two ways.
DURATION = r"^([0-9]+(\.[0-9]+)? *[smhdwSMHDW] *)+$|^[0-9]+(\.[0-9]+)?$"
#: Text for a deadline: a duration, or what begins like a date.
DEADLINE = DURATION + r"|^[0-9]{4}-[0-9A-Za-z :.+_/\[\]-]*$"
#: Runs of earlier forms have empty text for null.
_EMPTY = r"|^$"


def duration(
    default: str | int | None,
    *,
    title: str,
    description: str,
    shortest: str = "1s",
    longest: str = "3650d",
    optional: bool = False,
    examples: Sequence[str] = ("30m", "2h", "1d 6h"),
    **schema: Any,
) -> Param:
    """A field for a duration as people type it: `2h`, `1d 6h`. It may be empty if it is `optional`.

    Airflow refuses other text in the form. If the field is required, a run's conf may give whole seconds as
    a number, and the form suggests the `examples`. `shortest` and `longest` limit such a number; `check_form`
    compares text with them, which a JSON schema cannot do.
    """
    if optional:
        fixed: dict[str, Any] = {"type": ["null", "string"], "pattern": DURATION + _EMPTY}
    else:
        # Airflow shows the field of the first type. With `examples` it is one line, not a text area.
        fixed = {"type": ["string", "integer"], "pattern": DURATION, "examples": list(examples)}
    limits = {
        "maxLength": LONGEST_TEXT,
        "minimum": parse_seconds(shortest, field="shortest"),
        "maximum": parse_seconds(longest, field="longest"),
    }
    return Param(default, title=title, description=description, **{**fixed, **limits, **schema})


def deadline(
    default: str | None = None, *, title: str = "Deadline", description: str, **schema: Any
) -> Param:
    """A field for the operator's `deadline`, which may be empty: `12h`, or a time with its time zone."""
    fixed = {"type": ["null", "string"], "pattern": DEADLINE + _EMPTY, "maxLength": 80}
    return Param(default, title=title, description=description, **{**fixed, **schema})


def check_form(context: Context) -> None:
    """Raise `AirflowFailException` for a duration of the form that is outside its limits.

    For the beginning of a run's first task. The error names the field, the value and the limits.
    """
    found: Any = context
    for name, param in found["dag"].params.items():
        schema = param.schema
        if DURATION not in str(schema.get("pattern")) or "minimum" not in schema:
            continue
        field, value = f"{schema.get('title', name)} ({name})", found["params"][name]
        if is_left_out(value):
            continue
        try:
            _check_limits(value, schema["minimum"], schema["maximum"], field=field)
        except InvalidInput as error:
            raise AirflowFailException(str(error)) from error


def _check_limits(value: object, shortest: int, longest: int, *, field: str) -> None:
    if not shortest <= parse_seconds(value, field=field) <= longest:
        raise InvalidInput(field, value, f"give {as_typed(shortest)} to {as_typed(longest)}.")


def check_policy(policy: object, *, max_runtime: object, deadline: object = None) -> None:
    """Raise `AirflowFailException` for a policy and a deadline that the operator would refuse.

    For a run's first task, if the training is not the first one. The arguments are the operator's `policy`
    and `deadline`, and `MaxRuntimeInSeconds`.
    """
    from datetime import UTC, datetime

    from .domain.moments import deadline_from
    from .domain.policy_specs import Defaults, policy_from
    from .task.policy_file import named_policies

    now = datetime.now(UTC)
    try:
        ends_at = None if is_left_out(deadline) else deadline_from(deadline, run_started_at=now)
        defaults = Defaults(
            max_runtime_seconds=parse_seconds(max_runtime, field="max_runtime"),
            deadline_in_seconds=(ends_at - now).total_seconds() if ends_at else None,
            named=named_policies(),
        )
        policy_from(policy, defaults)
    except InvalidInput as error:
        raise AirflowFailException(str(error)) from error
