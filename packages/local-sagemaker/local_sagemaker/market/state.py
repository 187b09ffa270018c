"""The current market: capacity, prices, stalled uploads, and which scripted interruptions happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from .capacity import Changes, Timeline
from .spec import Interruption, MarketSpec, Origin, TypeRule


@dataclass(slots=True)
class _TypeState:
    """What happened to one instance type so far."""

    rule: TypeRule
    origin_at: datetime | None
    spot: Timeline
    on_demand: Timeline
    forced: bool | None = None
    away_until: datetime | None = None
    jobs: dict[str, int] = field(default_factory=dict)
    started: int = 0
    #: Job name -> the entries that already hit this job. The empty name has those that happen once for all
    #: jobs.
    fired: dict[str, set[int]] = field(default_factory=dict)
    failed: dict[str, set[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OrderedStall:
    """A stall of uploads that the control API began: of one type or all, for a time or until it is ended."""

    instance_type: str | None
    job_names: str
    until: datetime | None


class Market:
    """Capacity over simulated time. Not thread-safe: the engine calls it under its lock."""

    def __init__(self, spec: MarketSpec, *, started_at: datetime) -> None:
        self.spec = spec
        self._started_at = started_at
        self._states: dict[str, _TypeState] = {}
        self._stalls: list[_OrderedStall] = []

    def reset(self, at: datetime) -> None:
        """Start again, as if the server started at `at`."""
        self._started_at = at
        self._states.clear()
        self._stalls.clear()

    def rule(self, instance_type: str) -> TypeRule:
        return self._state(instance_type).rule

    def note_spot_request(self, instance_type: str, at: datetime) -> None:
        """A spot job asks for the type. With `origin: first-job`, times count from the first such job."""
        state = self._state(instance_type)
        if state.origin_at is None:
            state.origin_at = at

    def note_spot_start(self, instance_type: str, job_name: str) -> None:
        """A spot job got instances: it is the n-th job of its type that did."""
        state = self._state(instance_type)
        if job_name not in state.jobs:
            state.started += 1
            state.jobs[job_name] = state.started

    def note_end(self, job_name: str) -> None:
        """The job is over: forget what concerns only this job."""
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
        """When the spot capacity of the type may change next, if that is known."""
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
        """From now on the spot capacity of the type is this, whatever the market file says."""
        self._state(instance_type).forced = available

    def withdraw_until(self, instance_type: str, until: datetime) -> None:
        self._state(instance_type).away_until = until

    def stall_uploads(self, *, instance_type: str | None, job_names: str, until: datetime | None) -> None:
        """From now on no checkpoint of these jobs reaches S3."""
        self._stalls.append(_OrderedStall(instance_type=instance_type, job_names=job_names, until=until))

    def resume_uploads(self) -> None:
        """End what `stall_uploads` began. Stalls of the market file go on."""
        self._stalls.clear()

    def are_uploads_stalled(self, job_name: str, instance_types: Iterable[str], at: datetime) -> bool:
        """Whether checkpoints of a job with instances of these types do not reach S3."""
        types = set(instance_types)
        return any(
            fnmatchcase(job_name, stall.job_names)
            and (stall.instance_type is None or stall.instance_type in types)
            and (stall.until is None or at < stall.until)
            for stall in self._stalls
        ) or any(self._is_stalled_by_file(job_name, each, at) for each in types)

    def _is_stalled_by_file(self, job_name: str, instance_type: str, at: datetime) -> bool:
        state = self._state(instance_type)
        if state.origin_at is None:
            return False
        seconds = _since(state.origin_at, at)
        return any(
            stall.start_seconds <= seconds < stall.end_seconds and fnmatchcase(job_name, stall.job_names)
            for stall in state.rule.stalled_uploads
        )

    def interruptions_for(self, instance_type: str, job_name: str) -> list[tuple[int, Interruption]]:
        """The scripted interruptions that can still hit this job, in the order of the file."""
        state = self._state(instance_type)
        return [
            (index, interruption)
            for index, interruption in enumerate(state.rule.interruptions)
            if _concerns(interruption, state.jobs.get(job_name))
            and index not in state.fired.get(_scope(interruption, job_name), ())
        ]

    def fire(self, instance_type: str, index: int, job_name: str) -> Interruption:
        """Note that an interruption happened, and return it."""
        state = self._state(instance_type)
        interruption = state.rule.interruptions[index]
        state.fired.setdefault(_scope(interruption, job_name), set()).add(index)
        return interruption

    def internal_errors_for(self, instance_type: str, job_name: str) -> list[tuple[int, float]]:
        """The internal errors that can still hit this job: number, and seconds in status Training."""
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
