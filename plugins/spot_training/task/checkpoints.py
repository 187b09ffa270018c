"""A task's arguments about its checkpoints: what is one, who looks, and what happens when none arrives."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from spot_training.domain.checkpoint_pattern import CheckpointPattern
from spot_training.domain.errors import InvalidInput
from spot_training.domain.json_text import from_json_text
from spot_training.domain.parsing import as_bool, is_left_out, parse_seconds
from spot_training.training.host import CheckpointOptions

ON_STALLED = "on_checkpoints_stalled"
STOP = "stop"
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*[.:][A-Za-z_]\w*")

OnStalled = Callable[[dict[str, Any]], object]


class CheckpointArguments(Protocol):
    """The rendered arguments of a task about its checkpoints."""

    watch_checkpoints: Any
    checkpoint_pattern: Any
    on_checkpoints_stalled: Any


def checkpoints_of(task: CheckpointArguments, *, expected_runtime: object = None) -> CheckpointOptions:
    """The arguments, checked. Raises `InvalidInput`, naming the field."""
    wanted = task.watch_checkpoints
    check_on_stalled(task.on_checkpoints_stalled)
    return CheckpointOptions(
        is_wanted=None if is_left_out(wanted) else as_bool(wanted, field="watch_checkpoints"),
        pattern=CheckpointPattern.of(task.checkpoint_pattern).text,
        given_seconds=_given_interval(expected_runtime),
    )


def check_on_stalled(value: object) -> None:
    """Raise `InvalidInput` unless it is "stop", a function, or the import path of one."""
    if is_left_out(value) or callable(value) or value == STOP:
        return
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        way_out = 'give "stop", or the import path of a function: "my_package.alerts.checkpoints_stalled".'
        raise InvalidInput(ON_STALLED, value, way_out)


def must_stop(value: object, facts: Mapping[str, Any], *, warn: Callable[[str], None]) -> bool:
    """Whether the job has to be stopped. Calls the function; one that fails stops nothing."""
    if is_left_out(value):
        return False
    if value == STOP:
        return True
    try:
        function: OnStalled = value if callable(value) else _imported(str(value))
        return function(dict(facts)) == STOP
    except Exception as error:  # noqa: BLE001 - the user's own code must not fail the training
        warn(f"{ON_STALLED} failed, so the job continues: {type(error).__name__}: {error}")
        return False


def _imported(path: str) -> OnStalled:
    module, _, name = path.replace(":", ".").rpartition(".")
    function: OnStalled = getattr(importlib.import_module(module), name)
    return function


def _given_interval(expected_runtime: object) -> float | None:
    """`checkpoint_every` of `expected_runtime`, if its author says it."""
    value = from_json_text(expected_runtime)
    every = value.get("checkpoint_every") if isinstance(value, Mapping) else None
    return None if is_left_out(every) else parse_seconds(every, field="expected_runtime.checkpoint_every")
