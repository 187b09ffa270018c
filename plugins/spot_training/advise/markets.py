"""The spot market for simulations: recorded traces, or traces drawn from intervals or a scenario."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spot_training.advise.traces import Trace, make_trace, parse_trace
from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import parse_seconds

if TYPE_CHECKING:
    from spot_training.advise.moves import Intervals

#: How many simulations a comparison has.
RUNS = 60
TICK_SECONDS = 300.0


def market_of(
    intervals: Intervals | None,
    scenario: str | None,
    trace: str | Path | Sequence[str | Path] | None,
    *,
    seconds: float,
) -> Sequence[Trace]:
    """The traces of the market that is given. Raises `InvalidInput` and `InvalidTrace`."""
    given = {"history": intervals is not None, "scenario": bool(scenario), "trace": bool(trace)}
    if sum(given.values()) != 1:
        way_out = "give one of intervals (or own_history), scenario and trace."
        raise InvalidInput("market", [name for name, is_given in given.items() if is_given], way_out)
    if trace:
        return [_read_trace(place) for place in _several(trace)]
    if scenario:
        return _traces_from(scenario, seconds=seconds, field="scenario")
    return traces_like(intervals or (), seconds=seconds)


def other_markets(
    histories: Sequence[Intervals],
    scenarios: str | Sequence[str] | None,
    traces: str | Path | Sequence[str | Path] | None,
    *,
    seconds: float,
) -> list[Sequence[Trace]]:
    """The traces of each further instance type: of each history, scenario and trace.

    Raises `InvalidInput` and `InvalidTrace`.
    """
    # Another seed for each: types with the same intervals are not available at the same moments.
    seeds = count(2)
    return [
        *(traces_like(history, seconds=seconds, seed=next(seeds)) for history in histories),
        *(
            _traces_from(scenario, seconds=seconds, field="also_scenario", seed=next(seeds))
            for scenario in _several(scenarios)
        ),
        *([_read_trace(place)] for place in _several(traces)),
    ]


def _several(values: Any) -> Sequence[Any]:
    """One value or several, as a sequence."""
    if not values:
        return ()
    return [values] if isinstance(values, str | Path) else values


def _read_trace(place: str | Path) -> Trace:
    file = file_at(place)
    return parse_trace(file.read_text(), source=str(file))


def _traces_from(scenario: str, *, seconds: float, field: str, seed: int = 1) -> list[Trace]:
    up, slash, down = scenario.partition("/")
    if not slash:
        raise InvalidInput(field, scenario, "give two durations, like 3h/40m.")
    lengths = (parse_seconds(part, field=field) for part in (up, down))
    return traces_of_scenario(*lengths, seconds=seconds, seed=seed)


def file_at(place: str | Path) -> Any:
    """A path, or a file in object storage if it is a URL."""
    if "://" not in str(place):
        return Path(place)
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(str(place))


def read_intervals(text: str, *, source: str) -> Intervals:
    """Availability intervals from JSON, `[[has_spot, seconds], ...]`. Raises `InvalidInput`."""
    try:
        return intervals_from(json.loads(text), source=source)
    except json.JSONDecodeError as exc:
        raise InvalidInput(source, text[:60], _INTERVALS) from exc


_INTERVALS = "give availability intervals, oldest first: [[true, 7200], [false, 1800], ...]."


def intervals_from(values: Any, *, source: str) -> Intervals:
    """Availability intervals from plain values. Raises `InvalidInput`."""
    try:
        return tuple((bool(has_spot), float(seconds)) for has_spot, seconds in values)
    except (ValueError, TypeError) as exc:
        raise InvalidInput(source, str(values)[:60], _INTERVALS) from exc


def traces_like(intervals: Intervals, *, seconds: float, count: int = RUNS, seed: int = 1) -> list[Trace]:
    """Traces drawn from the lengths of past intervals, alternately with and without capacity."""
    lengths = {
        kind: [length for has_spot, length in intervals if has_spot is kind and length > 0]
        for kind in (True, False)
    }
    if not lengths[True] and not lengths[False]:
        raise InvalidInput("history", list(intervals), "give at least one interval as [has_spot, seconds].")
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    return [_draw(lengths, seconds, chance, f"history {n + 1}") for n in range(count)]


def traces_of_scenario(
    up_seconds: float, down_seconds: float, *, seconds: float, count: int = RUNS, seed: int = 1
) -> list[Trace]:
    """Traces with exponentially distributed intervals of these mean lengths."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    lengths = {
        kind: [chance.expovariate(1 / mean) if mean else 0.0 for _ in range(400)]
        for kind, mean in ((True, up_seconds), (False, down_seconds))
    }
    return [_draw(lengths, seconds, chance, f"scenario {n + 1}") for n in range(count)]


def _draw(lengths: dict[bool, list[float]], seconds: float, chance: random.Random, name: str) -> Trace:
    up, down = (sum(lengths[kind]) for kind in (True, False))
    has_spot = chance.random() < up / (up + down)
    ticks: list[int] = []
    while len(ticks) * TICK_SECONDS < seconds:
        kind = has_spot if lengths[has_spot] else not has_spot
        ticks += [int(kind)] * max(1, round(chance.choice(lengths[kind]) / TICK_SECONDS))
        has_spot = not has_spot
    return make_trace(ticks[: math.ceil(seconds / TICK_SECONDS)], TICK_SECONDS, name=name)
