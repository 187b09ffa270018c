"""A task's arguments about its checkpoints: what is one, and who looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from spot_training.domain.checkpoint_pattern import CheckpointPattern
from spot_training.domain.json_text import from_json_text
from spot_training.domain.parsing import as_bool, is_left_out, parse_seconds
from spot_training.training.host import CheckpointOptions


class CheckpointArguments(Protocol):
    """The rendered arguments of a task about its checkpoints."""

    watch_checkpoints: Any
    checkpoint_pattern: Any


def checkpoints_of(task: CheckpointArguments, *, expected_runtime: object = None) -> CheckpointOptions:
    """The arguments, checked. Raises `InvalidInput`, naming the field."""
    wanted = task.watch_checkpoints
    return CheckpointOptions(
        is_wanted=None if is_left_out(wanted) else as_bool(wanted, field="watch_checkpoints"),
        pattern=CheckpointPattern.of(task.checkpoint_pattern).text,
        given_seconds=_given_interval(expected_runtime),
    )


def _given_interval(expected_runtime: object) -> float | None:
    """`checkpoint_every` of `expected_runtime`, if its author says it."""
    value = from_json_text(expected_runtime)
    every = value.get("checkpoint_every") if isinstance(value, Mapping) else None
    return None if is_left_out(every) else parse_seconds(every, field="expected_runtime.checkpoint_every")
