"""How long a training takes, as given by its author or learned, and how much of its work checkpoints keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from .errors import InvalidInput
from .json_text import did_you_mean, from_json_text
from .lifecycle import SecondaryStatus, Transition
from .parsing import is_left_out, parse_seconds

if TYPE_CHECKING:
    from .attempts import Attempt

#: The work since the last checkpoint that an interruption loses, if nobody says how often the script saves.
CHECKPOINT_EVERY_SECONDS = 600
#: The least high quantile (1 in 20 runs is slower), as a share of the mean. The margin for a small number of
#: runs is added to it, divided by that number.
HIGH_AT_LEAST = 1.15
HIGH_FOR_FEW = 0.35

_KEYS = ("mean", "high", "checkpoint_every", "like")


def high_at_least(mean_seconds: float, *, runs: int | None = None) -> float:
    """The least high quantile for a mean: 15 % above a mean that is known, 50 % above that of a single run.

    A few runs do not show the slow ones, and their mean may be wrong. The margin shrinks with each run.
    """
    return mean_seconds * (HIGH_AT_LEAST + (HIGH_FOR_FEW / runs if runs else 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How long the training itself takes (time in `Training`), in seconds: the mean for costs, the high
    quantile for the guard.

    `basis` says where the figures come from. An interruption loses at most `checkpoint_every_seconds`.
    """

    mean_seconds: float
    high_seconds: float
    basis: str = "given"
    checkpoint_every_seconds: float = CHECKPOINT_EVERY_SECONDS

    def __post_init__(self) -> None:
        if not 0 < self.mean_seconds <= self.high_seconds:
            raise InvalidInput(
                "expected_runtime",
                {"mean": self.mean_seconds, "high": self.high_seconds},
                "give a mean above zero, and a high that is not below it.",
            )


# --- the work that checkpoints keep ----------------------------------------------------------------------


def kept_by_visits(transitions: Sequence[Transition], now: datetime, lost_per_launch: float) -> float:
    """Seconds of work in checkpoints, if each launch lost the work after its last checkpoint."""
    stretches = (
        ((visit.ended_at or now) - visit.started_at).total_seconds()
        for visit in transitions
        if visit.status is SecondaryStatus.TRAINING
    )
    return sum(max(0.0, seconds - lost_per_launch) for seconds in stretches)


def kept_by_attempts(attempts: Iterable[Attempt], lost_per_launch: float) -> float:
    """The same for attempts that are over. An attempt without checkpoints keeps nothing."""
    return sum(
        max(0.0, attempt.work_seconds - lost_per_launch * (attempt.interruptions + 1))
        for attempt in attempts
        if attempt.has_checkpoints and attempt.work_seconds
    )


# --- what users write ------------------------------------------------------------------------------------


def runtime_from(value: object, *, field_name: str = "expected_runtime") -> Runtime | None:
    """A runtime from seconds or text (`"4h"`), or from a mapping with `mean`, `high` and `checkpoint_every`.

    The mapping may be JSON text. A single value is both mean and high: the user says that it never takes
    longer. Without `high`, it is `high_at_least` of the mean; without `mean`, the mean is `high`. None if
    nothing is given, and for `{"like": ...}`: then the runtime is learned. Raises `InvalidInput`.
    """
    value = from_json_text(value)
    if is_left_out(value) or like_from(value, field_name=field_name):
        return None
    if not isinstance(value, Mapping):
        seconds = parse_seconds(value, field=field_name)
        return Runtime(mean_seconds=seconds, high_seconds=seconds)
    options = dict(value)
    given = {
        key: parse_seconds(options.pop(key), field=f"{field_name}.{key}")
        for key in ("mean", "high", "checkpoint_every")
        if not is_left_out(options.get(key))
    }
    if unknown := [key for key in options if key not in {"mean", "high", "checkpoint_every"}]:
        raise InvalidInput(
            f"{field_name}.{unknown[0]}",
            options[unknown[0]],
            f"it takes mean, high and checkpoint_every, or like.{did_you_mean(unknown[0], _KEYS)}",
        )
    if not {"mean", "high"} & set(given):
        raise InvalidInput(field_name, dict(value), "give mean, high, or both, as seconds or text.")
    mean = given.get("mean", given.get("high", 0))
    return Runtime(
        mean_seconds=mean,
        high_seconds=given.get("high", high_at_least(mean)),
        checkpoint_every_seconds=given.get("checkpoint_every", CHECKPOINT_EVERY_SECONDS),
    )


def like_from(value: object, *, field_name: str = "expected_runtime") -> tuple[str, ...]:
    """The Dags of `{"like": "other_dag"}` or `{"like": ["one", "another"]}`, to learn from their runs, too.

    Raises `InvalidInput`.
    """
    value = from_json_text(value)
    if not isinstance(value, Mapping) or is_left_out(like := value.get("like")):
        return ()
    names = (like,) if isinstance(like, str) else like
    if not isinstance(names, Sequence) or not all(isinstance(n, str) and n.strip() for n in names):
        way_out = "give the id of a Dag, or a list of Dag ids, to learn from their runs of this model."
        raise InvalidInput(f"{field_name}.like", like, way_out)
    if others := [key for key in value if key != "like"]:
        way_out = "a runtime is either given or learned: remove this key, or remove like."
        raise InvalidInput(f"{field_name}.{others[0]}", value[others[0]], way_out)
    return tuple(name.strip() for name in names)
