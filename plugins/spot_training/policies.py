"""The policies by name, and `simulate`, which compares policies on a trace of spot capacity.

    simulate("deadline", {"work_seconds": 172800, "deadline_seconds": 216000}, [1, 1, 0, 1], tick_seconds=300)

`POLICIES` creates a policy with its options as keywords: `POLICIES["widen"](spot_attempts=3)`. This module
needs only the standard library.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from inspect import Parameter, Signature, currentframe, signature
from typing import Any

from .advise.capacity import Market
from .advise.hand_overs import Hazards, walk_events, way_back_for
from .advise.moves import BackToSpot, Guard, Intervals, MovePolicy, OnDemand, UntilDeadline, Widen, Workload
from .advise.simulator import DEFAULT_GUARD, Walk, walk
from .advise.traces import Trace, make_trace
from .advise.widened import walk_widened
from .domain.errors import InvalidInput, UnknownPolicy
from .domain.policy_specs import DEADLINE_ALIASES, deprecation_of

__all__ = ["POLICIES", "policy_named", "simulate", "workload_from"]


class _Alias:
    """Creates the policy `deadline` by an earlier name, with a warning. The options change nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        options = [Parameter(option, Parameter.KEYWORD_ONLY) for option in DEADLINE_ALIASES[name]]
        self.__signature__ = Signature(options)

    def __call__(self, **options: Any) -> MovePolicy:
        self.__signature__.bind_partial(**options)  # a misspelt option is a TypeError, as in any call
        warnings.warn(
            deprecation_of(self.name, options), DeprecationWarning, stacklevel=_frames_to_the_caller()
        )
        return UntilDeadline()


def _frames_to_the_caller() -> int:
    """The stack level of the code that called this module, for a warning."""
    level, frame = 0, currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        level, frame = level + 1, frame.f_back
    return level


#: Every policy by name. Each takes its options as keywords.
POLICIES: dict[str, Callable[..., MovePolicy]] = {
    **{policy.name: policy for policy in (OnDemand, UntilDeadline, Widen)},
    **{name: _Alias(name) for name in DEADLINE_ALIASES},
}


def policy_named(name: str, **options: Any) -> MovePolicy:
    """A policy from its name and options. Raises `UnknownPolicy` or `InvalidInput`."""
    maker = POLICIES.get(name)
    if maker is None:
        names = sorted(POLICIES.keys() - DEADLINE_ALIASES.keys())
        raise UnknownPolicy("policy", name, f"choose one of {', '.join(names)}.")
    known = tuple(signature(maker).parameters)
    for option, value in options.items():
        if option not in known:
            way_out = f"{name} takes {', '.join(known) or 'no options'}."
            raise InvalidInput(f"policy.{option}", value, way_out)
    return maker(**options)


def workload_from(values: Workload | Mapping[str, Any]) -> Workload:
    """A workload from plain values: seconds, dollars per hour, and how it may return to spot."""
    if isinstance(values, Workload):
        return values
    given = _fields_of(Workload, values, "workload")
    for name in ("work_seconds", "deadline_seconds"):
        if name not in values:
            raise InvalidInput(f"workload.{name}", None, "give seconds.")
    try:
        given["back_to_spot"] = BackToSpot(given.get("back_to_spot", BackToSpot.BESIDE))
    except ValueError as exc:
        ways = ", ".join(BackToSpot)
        raise InvalidInput("workload.back_to_spot", given["back_to_spot"], f"give one of {ways}.") from exc
    return Workload(**given)


def _fields_of(kind: type, values: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    """The values as fields of a dataclass. Raises `InvalidInput` for a name that is none."""
    known = [field.name for field in fields(kind)]
    for name in values or {}:
        if name not in known:
            raise InvalidInput(f"{what}.{name}", (values or {})[name], f"give some of {', '.join(known)}.")
    return dict(values or {})


def simulate(
    policy: str | MovePolicy,
    workload: Workload | Mapping[str, Any],
    trace: Trace | Sequence[Any],
    *,
    tick_seconds: float = 300.0,
    history: Intervals = (),
    sees_capacity: bool = False,
    guard: Guard | None = DEFAULT_GUARD,
    hand_over: Mapping[str, Any] | None = None,
    hazards: Hazards | Mapping[str, Any] | None = None,
) -> Walk:
    """Simulate a policy on a trace: what it costs, when it is complete, whether it misses the deadline.

    `policy`: a name in `POLICIES`, or any object with `name` and `begin(workload, history)`. `workload`: a
    `Workload` or a mapping of its fields (seconds; dollars per hour). `trace`: 0 and 1 for each tick of
    `tick_seconds`, or a `Trace`. `history`: availability intervals (has_spot, seconds) seen in this market
    before, oldest first. `sees_capacity`: whether capacity can be seen while on-demand runs, which is
    impossible on SageMaker. `guard` protects the deadline outside the policy; with None, only the policy
    does.

    Several traces in `trace` are several instance types, the preferred one first (`Trace`, `Market`, or 0 and
    1). With them, or if `back_to_spot` is `hand-over`, the policies `deadline` and `widen` are simulated with
    scouts, from event to event (`advise.hand_overs`, `advise.widened`). `hand_over`: fields of
    `domain.way_back.HandOver` that differ from its defaults. `hazards`: a `Hazards` or a mapping of its
    fields.
    """
    chosen = policy_named(policy) if isinstance(policy, str) else policy
    work = workload_from(workload)
    markets = _markets(trace, tick_seconds)
    if markets is None and work.back_to_spot is not BackToSpot.HAND_OVER:
        if hand_over or hazards:
            way_out = "give back_to_spot hand-over or several traces: nothing else has a hand-over."
            raise InvalidInput("hand_over" if hand_over else "hazards", hand_over or hazards, way_out)
        return walk(
            chosen,
            work,
            trace,
            tick_seconds=tick_seconds,
            history=history,
            sees_capacity=sees_capacity,
            guard=guard,
        )
    _check_scouts_know(chosen, work, guard, sees_capacity=sees_capacity)
    dangers = hazards if isinstance(hazards, Hazards) else Hazards(**_fields_of(Hazards, hazards, "hazards"))
    way_back = way_back_for(work, guard or DEFAULT_GUARD, dangers, hand_over)
    markets = markets or [Market(trace=_as_trace(trace, tick_seconds))]
    if isinstance(chosen, Widen):
        return walk_widened(chosen, work, markets, way_back, dangers)
    return walk_events(work, markets, way_back, dangers)


def _markets(trace: Trace | Sequence[Any], tick_seconds: float) -> list[Market] | None:
    """The markets of several traces; None for a single trace."""
    if isinstance(trace, Trace) or not all(isinstance(each, _SEVERAL) for each in trace) or not len(trace):
        return None
    return [
        each if isinstance(each, Market) else Market(trace=_as_trace(each, tick_seconds)) for each in trace
    ]


_SEVERAL = (Market, Trace, list, tuple, bytes)


def _as_trace(values: Trace | Sequence[Any], tick_seconds: float) -> Trace:
    return values if isinstance(values, Trace) else make_trace(values, tick_seconds)


def _check_scouts_know(
    policy: MovePolicy, workload: Workload, guard: Guard | None, *, sees_capacity: bool
) -> None:
    """The simulation with scouts has its own rule and guard. Raises `InvalidInput`."""
    if not isinstance(policy, UntilDeadline | Widen):
        raise InvalidInput("policy", policy.name, "only deadline and widen are simulated with scouts.")
    if isinstance(policy, Widen) and workload.back_to_spot is BackToSpot.HAND_OVER:
        raise InvalidInput("policy", policy.name, "it does not go back to spot: only deadline can.")
    if workload.back_to_spot not in {BackToSpot.NEVER, BackToSpot.HAND_OVER}:
        way_out = "with several traces, give never or hand-over."
        raise InvalidInput("workload.back_to_spot", workload.back_to_spot.value, way_out)
    if guard is None or sees_capacity:
        field, value = ("guard", guard) if guard is None else ("sees_capacity", sees_capacity)
        way_out = "leave it out: a simulation with scouts has its own guard, and its policy sees nothing."
        raise InvalidInput(field, value, way_out)
