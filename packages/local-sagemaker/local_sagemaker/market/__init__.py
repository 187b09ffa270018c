"""Who has spot capacity when, at what price, and which jobs are interrupted.

A market file (YAML) describes spot capacity. Top-level keys apply to every instance type;
`instance_types.<type>` overrides them:

    description: what the file is for
    origin: server-start       # or first-job: when the first spot job that asks for the type is created
    available: true            # spot capacity where nothing below says otherwise
    price_ratio: 0.3           # spot price / on-demand price; or steps, counted from the origin:
                               # [{from: 0m, ratio: 0.3}, {from: 2h, ratio: 0.6}]
    launch: 2m                 # from capacity to Downloading
    download: 1m               # at least; real copying may take longer
    upload: 1m                 # at least
    enforcement_lag: 1m        # how late max runtime and max wait are enforced (AWS: minutes)
    instance_types:
      ml.m5.xlarge:
        capacity:              # windows since the origin; the later entry wins; no `to` means for ever
          - {from: 0m, to: 90m, available: false}
        interruptions:         # each fires once
          - {after_checkpoints: 3, away: 20m}   # checkpoint uploads in one stretch of training; capacity then
                                                # stays away for 20 minutes (default: it is back at once)
          - {after: 10m, job: 2}                # time in status Training in one stretch
          - {after: 10m, job: each}
        internal_errors:       # each fires once: InternalServerError after that time in status Training,
          - {after: 10m}       # for the first job that gets there, spot or not; or once for each job. A job
          - {after: 2m, job: each}             # with a RetryStrategy restarts as often as that says
        on_demand:
          capacity: [{from: 0m, to: 1h, available: false}]
          shortage: fail       # or wait, the default: Pending until there is capacity
          fail_after: 10m      # how long a job is Pending before CapacityError
        quota: {spot: 0, on_demand: 4}   # instances; more are refused at once with ResourceLimitExceeded

Instead of `capacity`, one of

        # a file {"metadata": {"gap_seconds": n}, "data": [1, 0, ...]}, relative to the market file
        trace: {file: us-east-1a.json, repeat: true, skip: 6h}
        # stays with exponential lengths of these means, the first one with capacity
        random: {seed: 7, available_for: 6h, away_for: 45m}

`job` of an interruption says which job it hits. Left out: the first job of the type that gets that far, once.
A number n: the n-th spot job of the type that got instances. `each`: once for every job. Two entries
interrupt a job twice: the second counts from the restart. Durations are `90s`, `90m`, `2h`, `1d` or plain
seconds. The same file and seed give the same capacity.
"""

from __future__ import annotations

import bisect
import difflib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import yaml

from local_sagemaker.service_model import about_instance_type, instance_types

from .traces import parse_trace

SCENARIOS = Path(__file__).parent / "scenarios"

#: Capacity as it changes: (seconds since the origin, available), starting at 0, possibly without end.
Changes: TypeAlias = Iterator[tuple[float, bool]]


class MarketFileError(ValueError):
    """A market file that cannot be used: names the file, the key, the value, and what to give instead."""


class Origin(StrEnum):
    """Where the times of a type's capacity count from."""

    SERVER_START = "server-start"
    FIRST_JOB = "first-job"


class Shortage(StrEnum):
    """What an on-demand job does without capacity."""

    WAIT = "wait"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """A scripted interruption. `job` is None (first to get there), a number, or "each"."""

    after_seconds: float | None = None
    after_checkpoints: int | None = None
    job: int | str | None = None
    away_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRule:
    """What the file says of one instance type (or, at the top level, of all)."""

    origin: Origin = Origin.SERVER_START
    available: bool = True
    price_steps: tuple[tuple[float, float], ...] = ((0.0, 0.3),)
    launch_seconds: float = 120.0
    download_seconds: float = 60.0
    upload_seconds: float = 60.0
    enforcement_lag_seconds: float = 60.0
    spot_changes: Callable[[str], Changes] | None = None
    interruptions: tuple[Interruption, ...] = ()
    internal_errors: tuple[Interruption, ...] = ()
    on_demand_changes: Callable[[str], Changes] | None = None
    shortage: Shortage = Shortage.WAIT
    fail_after_seconds: float = 600.0
    spot_quota: int | None = None
    on_demand_quota: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSpec:
    """A whole market file."""

    description: str = ""
    general: TypeRule = field(default_factory=TypeRule)
    by_type: Mapping[str, TypeRule] = field(default_factory=dict)

    def rule_for(self, instance_type: str) -> TypeRule:
        return self.by_type.get(instance_type, self.general)


class Timeline:
    """Capacity over the seconds since an origin, drawn from its changes as far as it was asked for."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._starts: list[float] = []
        self._values: list[bool] = []
        self._ended = False

    def is_available_at(self, seconds: float) -> bool:
        self._draw_beyond(seconds)
        return self._values[max(0, bisect.bisect_right(self._starts, seconds) - 1)]

    def next_change_after(self, seconds: float) -> float | None:
        self._draw_beyond(seconds)
        position = bisect.bisect_right(self._starts, seconds)
        return self._starts[position] if position < len(self._starts) else None

    def _draw_beyond(self, seconds: float) -> None:
        while not self._ended and (not self._starts or self._starts[-1] <= seconds):
            change = next(self._changes, None)
            if change is None:
                self._ended = True
            elif not self._values or change[1] != self._values[-1]:
                # To the millisecond: an instant and back must give the very same number.
                self._starts.append(round(change[0], 3))
                self._values.append(change[1])


@dataclass(slots=True)
class _TypeState:
    """What happened so far to one instance type."""

    rule: TypeRule
    origin_at: datetime | None
    spot: Timeline
    on_demand: Timeline
    forced: bool | None = None
    away_until: datetime | None = None
    jobs: dict[str, int] = field(default_factory=dict)
    started: int = 0
    #: By whom they concern: a job's name, or nothing for those that happen once.
    fired: dict[str, set[int]] = field(default_factory=dict)
    failed: dict[str, set[int]] = field(default_factory=dict)


class Market:
    """The story as it unfolds. Not thread-safe: the engine calls it under its lock."""

    def __init__(self, spec: MarketSpec, *, started_at: datetime) -> None:
        self.spec = spec
        self._started_at = started_at
        self._states: dict[str, _TypeState] = {}

    def reset(self, at: datetime) -> None:
        """Start the story anew, as if the server started at `at`."""
        self._started_at = at
        self._states.clear()

    def rule(self, instance_type: str) -> TypeRule:
        return self._state(instance_type).rule

    def note_spot_request(self, instance_type: str, at: datetime) -> None:
        """A spot job asks for the type: with `origin: first-job` its story begins with the first."""
        state = self._state(instance_type)
        if state.origin_at is None:
            state.origin_at = at

    def note_spot_start(self, instance_type: str, job_name: str) -> None:
        """A spot job got instances: it is the n-th of its type that did."""
        state = self._state(instance_type)
        if job_name not in state.jobs:
            state.started += 1
            state.jobs[job_name] = state.started

    def note_end(self, job_name: str) -> None:
        """The job is over: what was noted of it alone is not needed any more."""
        for state in self._states.values():
            state.jobs.pop(job_name, None)
            state.fired.pop(job_name, None)
            state.failed.pop(job_name, None)

    def is_spot_available(self, instance_type: str, at: datetime) -> bool:
        state = self._state(instance_type)
        if state.forced is not None:
            return state.forced
        if state.away_until is not None and at < state.away_until:
            return False
        return state.spot.is_available_at(_since(state.origin_at, at))

    def next_spot_change(self, instance_type: str, at: datetime) -> datetime | None:
        """When spot capacity of the type may next be another, as far as the story knows."""
        state = self._state(instance_type)
        if state.forced is not None:
            return None
        candidates = [_next_change(state.spot, state.origin_at, at)]
        if state.away_until is not None and at < state.away_until:
            candidates.append(state.away_until)
        return min((c for c in candidates if c is not None), default=None)

    def is_on_demand_available(self, instance_type: str, at: datetime) -> bool:
        state = self._state(instance_type)
        return state.on_demand.is_available_at(_since(state.origin_at, at))

    def next_on_demand_change(self, instance_type: str, at: datetime) -> datetime | None:
        state = self._state(instance_type)
        return _next_change(state.on_demand, state.origin_at, at)

    def price_ratio(self, instance_type: str, at: datetime) -> float:
        """Spot price / on-demand price at an instant."""
        state = self._state(instance_type)
        seconds = _since(state.origin_at, at)
        return [ratio for start, ratio in state.rule.price_steps if start <= max(seconds, 0.0)][-1]

    def set_capacity(self, instance_type: str, *, available: bool) -> None:
        """A person says so: from now on the story of the type's spot capacity does not count."""
        self._state(instance_type).forced = available

    def withdraw_until(self, instance_type: str, until: datetime) -> None:
        self._state(instance_type).away_until = until

    def interruptions_for(self, instance_type: str, job_name: str) -> list[tuple[int, Interruption]]:
        """The scripted interruptions this job may still meet, in the file's order."""
        state = self._state(instance_type)
        return [
            (index, interruption)
            for index, interruption in enumerate(state.rule.interruptions)
            if _concerns(interruption, state.jobs.get(job_name))
            and index not in state.fired.get(_scope(interruption, job_name), ())
        ]

    def fire(self, instance_type: str, index: int, job_name: str) -> Interruption:
        """Note that an interruption happened; returns it."""
        state = self._state(instance_type)
        interruption = state.rule.interruptions[index]
        state.fired.setdefault(_scope(interruption, job_name), set()).add(index)
        return interruption

    def internal_errors_for(self, instance_type: str, job_name: str) -> list[tuple[int, float]]:
        """The internal errors this job may still meet: number, and seconds in status Training."""
        state = self._state(instance_type)
        return [
            (index, error.after_seconds or 0.0)
            for index, error in enumerate(state.rule.internal_errors)
            if index not in state.failed.get(_scope(error, job_name), ())
        ]

    def note_internal_error(self, instance_type: str, index: int, job_name: str) -> None:
        state = self._state(instance_type)
        scope = _scope(state.rule.internal_errors[index], job_name)
        state.failed.setdefault(scope, set()).add(index)

    def _state(self, instance_type: str) -> _TypeState:
        state = self._states.get(instance_type)
        if state is None:
            rule = self.spec.rule_for(instance_type)
            state = _TypeState(
                rule=rule,
                origin_at=self._started_at if rule.origin is Origin.SERVER_START else None,
                spot=Timeline(_changes(rule.spot_changes, instance_type, rule.available)),
                on_demand=Timeline(_changes(rule.on_demand_changes, instance_type, default=True)),
            )
            self._states[instance_type] = state
        return state


def _changes(source: Callable[[str], Changes] | None, instance_type: str, default: bool) -> Changes:
    return source(instance_type) if source else iter([(0.0, default)])


def _since(origin_at: datetime | None, at: datetime) -> float:
    return (at - origin_at).total_seconds() if origin_at else 0.0


def _next_change(timeline: Timeline, origin_at: datetime | None, at: datetime) -> datetime | None:
    if origin_at is None:
        return None
    seconds = timeline.next_change_after(_since(origin_at, at))
    return None if seconds is None else origin_at + timedelta(seconds=seconds)


def _concerns(interruption: Interruption, job_number: int | None) -> bool:
    return not isinstance(interruption.job, int) or interruption.job == job_number


def _scope(interruption: Interruption, job_name: str) -> str:
    return job_name if interruption.job == "each" else ""


# --- the sources of capacity ---


def _windows(windows: list[tuple[float, float, bool]], default: bool) -> Callable[[str], Changes]:
    edges = sorted(
        {0.0, *(edge for start, end, _ in windows for edge in (start, end) if edge != float("inf"))}
    )

    def value(seconds: float) -> bool:
        matching = [available for start, end, available in windows if start <= seconds < end]
        return matching[-1] if matching else default

    return lambda _instance_type: iter([(edge, value(edge)) for edge in edges])


def _trace(
    data: list[bool], *, gap_seconds: float, skip_seconds: float, repeat: bool
) -> Callable[[str], Changes]:
    skipped = int(skip_seconds // gap_seconds)
    rotated = data[skipped:] + (data[:skipped] if repeat else [])

    def changes(_instance_type: str) -> Changes:
        values = itertools.cycle(rotated) if repeat and len(set(rotated)) > 1 else iter(rotated)
        return ((tick * gap_seconds, value) for tick, value in enumerate(values))

    return changes


def _random(*, seed: int, available_for_seconds: float, away_for_seconds: float) -> Callable[[str], Changes]:
    def changes(instance_type: str) -> Changes:
        # Not for secrets: the same seed must tell the same story. Each type has a stream of its own.
        stream = random.Random(f"{seed}:{instance_type}")  # noqa: S311
        at = 0.0
        for available in itertools.cycle((True, False)):
            yield at, available
            at += max(1.0, stream.expovariate(1 / (available_for_seconds if available else away_for_seconds)))

    return changes


# --- reading the file ---

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h|d)?$")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}


def load_market(name_or_path: str | None, *, price_ratio: float | None = None) -> MarketSpec:
    """Read a market file, or a shipped scenario by name; `price_ratio` is for files that give none."""
    if name_or_path is None:
        return _Reader("(no market file)", Path()).market({}, price_ratio)
    path = _find(name_or_path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise MarketFileError(f"{path} cannot be read: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise MarketFileError(f"{path} is not YAML: {exc}") from exc
    return _Reader(str(path), path.parent).market({} if content is None else content, price_ratio)


def scenario_names() -> list[str]:
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = SCENARIOS / f"{name_or_path.removesuffix('.yaml')}.yaml"
    if shipped.is_file():
        return shipped
    raise MarketFileError(
        f"--market {name_or_path}: no such file, and no shipped scenario of that name. "
        f"Give a path, or one of: {', '.join(scenario_names())}."
    )


_RULE_KEYS = {
    "origin", "available", "price_ratio", "launch", "download", "upload", "enforcement_lag",
    "capacity", "trace", "random", "interruptions", "internal_errors", "on_demand", "quota",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns plain values into a `MarketSpec`; complaints name the file, the key, the value and a way out."""

    file: str
    folder: Path

    def market(self, content: Any, price_ratio: float | None) -> MarketSpec:
        top = self._mapping("the file", content, _RULE_KEYS | {"description", "instance_types"})
        start = TypeRule() if price_ratio is None else TypeRule(price_steps=((0.0, price_ratio),))
        types = top.get("instance_types", {})
        general = self._rule("", {k: v for k, v in top.items() if k in _RULE_KEYS}, start)
        if not isinstance(types, dict):
            self._complain("instance_types", types, "give a mapping of instance type to its rules")
        for name in types:
            if name not in instance_types():
                self._complain(f"instance_types.{name}", types[name], about_instance_type(str(name)))
        return MarketSpec(
            description=str(top.get("description", "")),
            general=general,
            by_type={
                str(name): self._rule(f"instance_types.{name}.", rule, general)
                for name, rule in types.items()
            },
        )

    def _rule(self, where: str, content: Any, base: TypeRule) -> TypeRule:
        rule = self._mapping(where.rstrip(".") or "the file", content, _RULE_KEYS)
        changed: dict[str, Any] = {}
        for key in ("launch", "download", "upload", "enforcement_lag"):
            if key in rule:
                changed[f"{key}_seconds"] = self._duration(where + key, rule[key])
        if "origin" in rule:
            changed["origin"] = self._one_of(where + "origin", rule["origin"], Origin)
        if "available" in rule:
            changed["available"] = self._boolean(where + "available", rule["available"])
        if "price_ratio" in rule:
            changed["price_steps"] = self._price(where + "price_ratio", rule["price_ratio"])
        available = bool(changed.get("available", base.available))
        changed |= self._capacity_source(where, rule, default=available)
        if "available" in changed and "spot_changes" not in changed:
            changed["spot_changes"] = None
        if "interruptions" in rule:
            changed["interruptions"] = self._interruptions(where + "interruptions", rule["interruptions"])
        if "internal_errors" in rule:
            changed["internal_errors"] = self._internal_errors(
                where + "internal_errors", rule["internal_errors"]
            )
        changed |= self._on_demand(where + "on_demand", rule.get("on_demand"))
        changed |= self._quota(where + "quota", rule.get("quota"))
        assert set(changed) <= {f.name for f in fields(TypeRule)}  # noqa: S101  (a typo here, not in the file)
        return replace(base, **changed)

    def _capacity_source(self, where: str, rule: Mapping[str, Any], *, default: bool) -> dict[str, Any]:
        given = [key for key in ("capacity", "trace", "random") if key in rule]
        if len(given) > 1:
            self._complain(
                where + given[1], rule[given[1]], f"give one of capacity, trace, random; {given[0]} is there"
            )
        if not given:
            return {}
        key = given[0]
        read = {"capacity": self._read_windows, "trace": self._read_trace, "random": self._read_random}[key]
        return {"spot_changes": read(where + key, rule[key], default)}

    def _read_windows(self, where: str, content: Any, default: bool) -> Callable[[str], Changes]:
        windows = []
        for index, entry in enumerate(self._list(where, content)):
            at = f"{where}[{index}]"
            window = self._mapping(at, entry, {"from", "to", "available"}, needed={"available"})
            start = self._duration(f"{at}.from", window.get("from", 0))
            end = self._duration(f"{at}.to", window["to"]) if "to" in window else float("inf")
            if end <= start:
                self._complain(
                    f"{at}.to", window["to"], f"give a time after `from` ({window.get('from', 0)})"
                )
            windows.append((start, end, self._boolean(f"{at}.available", window["available"])))
        return _windows(windows, default)

    def _read_trace(self, where: str, content: Any, _default: bool) -> Callable[[str], Changes]:
        entry = self._mapping(where, content, {"file", "repeat", "skip"}, needed={"file"})
        path = self.folder / str(entry["file"])
        try:
            trace = parse_trace(path.read_text(encoding="utf-8"), source=str(path))
        except OSError as exc:
            self._complain(f"{where}.file", entry["file"], f"cannot read {path}: {exc.strerror}", exc)
        except ValueError as exc:
            self._complain(f"{where}.file", entry["file"], str(exc), exc)
        skip = self._duration(f"{where}.skip", entry.get("skip", 0))
        if skip >= trace.seconds:
            self._complain(where, content, f"`skip` must be inside the {len(trace)} ticks")
        repeat = self._boolean(f"{where}.repeat", entry.get("repeat", False))
        values = [bool(tick) for tick in trace.ticks]
        return _trace(values, gap_seconds=trace.tick_seconds, skip_seconds=skip, repeat=repeat)

    def _read_random(self, where: str, content: Any, _default: bool) -> Callable[[str], Changes]:
        needed = {"seed", "available_for", "away_for"}
        entry = self._mapping(where, content, needed, needed=needed)
        stays = {key: self._duration(f"{where}.{key}", entry[key]) for key in ("available_for", "away_for")}
        for key, seconds in stays.items():
            if seconds <= 0:
                self._complain(f"{where}.{key}", entry[key], "give the mean stay, longer than nothing")
        return _random(
            seed=self._integer(f"{where}.seed", entry["seed"]),
            available_for_seconds=stays["available_for"],
            away_for_seconds=stays["away_for"],
        )

    def _interruptions(self, where: str, content: Any) -> tuple[Interruption, ...]:
        return tuple(self._interruption(f"{where}[{i}]", e) for i, e in enumerate(self._list(where, content)))

    def _interruption(self, where: str, content: Any) -> Interruption:
        entry = self._mapping(where, content, {"after", "after_checkpoints", "job", "away"})
        if ("after" in entry) == ("after_checkpoints" in entry):
            self._complain(
                where, content, "give either `after` (time in Training) or `after_checkpoints` (uploads)"
            )
        job = entry.get("job")
        if job is not None and job != "each":
            job = self._integer(f"{where}.job", job, at_least=1)
        checkpoints = entry.get("after_checkpoints")
        if checkpoints is not None:
            checkpoints = self._integer(f"{where}.after_checkpoints", checkpoints, at_least=1)
        return Interruption(
            after_seconds=self._duration(f"{where}.after", entry["after"]) if "after" in entry else None,
            after_checkpoints=checkpoints,
            job=job,
            away_seconds=self._duration(f"{where}.away", entry.get("away", 0)),
        )

    def _internal_errors(self, where: str, content: Any) -> tuple[Interruption, ...]:
        errors = []
        for index, entry in enumerate(self._list(where, content)):
            at = f"{where}[{index}]"
            error = self._mapping(at, entry, {"after", "job"}, needed={"after"})
            if error.get("job", "each") != "each":
                self._complain(f"{at}.job", error["job"], "give `each`, or leave it out for the first job")
            seconds = self._duration(f"{at}.after", error["after"])
            errors.append(Interruption(after_seconds=seconds, job=error.get("job")))
        return tuple(errors)

    def _on_demand(self, where: str, content: Any) -> dict[str, Any]:
        if content is None:
            return {}
        entry = self._mapping(where, content, {"capacity", "shortage", "fail_after"})
        changed: dict[str, Any] = {}
        if "capacity" in entry:
            changed["on_demand_changes"] = self._read_windows(f"{where}.capacity", entry["capacity"], True)
        if "shortage" in entry:
            changed["shortage"] = self._one_of(f"{where}.shortage", entry["shortage"], Shortage)
        if "fail_after" in entry:
            changed["fail_after_seconds"] = self._duration(f"{where}.fail_after", entry["fail_after"])
        return changed

    def _quota(self, where: str, content: Any) -> dict[str, Any]:
        if content is None:
            return {}
        entry = self._mapping(where, content, {"spot", "on_demand"})
        return {
            f"{key}_quota": self._integer(f"{where}.{key}", value, at_least=0) for key, value in entry.items()
        }

    def _price(self, where: str, content: Any) -> tuple[tuple[float, float], ...]:
        if not isinstance(content, list):
            return ((0.0, self._ratio(where, content)),)
        steps = []
        for index, entry in enumerate(content):
            step = self._mapping(f"{where}[{index}]", entry, {"from", "ratio"}, needed={"from", "ratio"})
            start = self._duration(f"{where}[{index}].from", step["from"])
            steps.append((start, self._ratio(f"{where}[{index}].ratio", step["ratio"])))
        steps.sort()
        if not steps or steps[0][0] > 0:
            self._complain(where, content, "give a first step with `from: 0s`")
        return tuple(steps)

    # --- plain values ---

    def _complain(self, key: str, value: object, way_out: str, cause: Exception | None = None) -> NoReturn:
        raise MarketFileError(f"{self.file}: {key} is {value!r}: {way_out}.") from cause

    def _mapping(
        self, where: str, content: Any, known: set[str], *, needed: set[str] | None = None
    ) -> Mapping[str, Any]:
        if not isinstance(content, dict):
            self._complain(where, content, f"give a mapping with {', '.join(sorted(known))}")
        mapping: Mapping[str, Any] = content
        for key in mapping:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]}?" if close else "this key is unknown."
                self._complain(
                    f"{where}.{key}", mapping[key], f"{hint} Known here: {', '.join(sorted(known))}"
                )
        for key in sorted((needed or set()) - set(mapping)):
            self._complain(where, dict(mapping), f"`{key}` is missing")
        return mapping

    def _list(self, where: str, content: Any) -> list[Any]:
        if not isinstance(content, list):
            self._complain(where, content, "give a list")
        return list(content)

    def _duration(self, where: str, content: Any) -> float:
        match = None if isinstance(content, bool) else _DURATION.match(str(content))
        if not match:
            self._complain(where, content, "give a duration such as 90s, 90m, 2h or 1d")
        return float(match[1]) * _UNIT_SECONDS[match[2]]

    def _integer(self, where: str, content: Any, *, at_least: int | None = None) -> int:
        if (
            not isinstance(content, int)
            or isinstance(content, bool)
            or (at_least is not None and content < at_least)
        ):
            least = "" if at_least is None else f" of at least {at_least}"
            self._complain(where, content, f"give a whole number{least}")
        return int(content)

    def _ratio(self, where: str, content: Any) -> float:
        if isinstance(content, bool) or not isinstance(content, int | float) or not 0 < content <= 1:
            self._complain(where, content, "give spot price / on-demand price, above 0 and at most 1")
        return float(content)

    def _boolean(self, where: str, content: Any) -> bool:
        if not isinstance(content, bool):
            self._complain(where, content, "give true or false")
        return bool(content)

    def _one_of(self, where: str, content: Any, kinds: type[StrEnum]) -> StrEnum:
        try:
            return kinds(content)
        except ValueError as exc:
            self._complain(where, content, f"give one of: {', '.join(kinds)}", exc)
