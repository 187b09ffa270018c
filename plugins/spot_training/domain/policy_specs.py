"""Policies as people write them: a name, a mapping, a list of steps, JSON text, an entry of a policy file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .attempts import PurchaseOption
from .errors import InvalidInput, UnknownPolicy
from .instance_types import check_accelerators, check_types
from .json_text import did_you_mean
from .ladder import (
    DEFAULT_SPOT_ATTEMPTS,
    DEFAULT_WAIT_FACTOR,
    Ladder,
    Policy,
    SpotWhileTimeAllows,
    Step,
    on_demand_only,
    widened_waits,
)
from .parsing import as_bool, as_instance_type, as_whole_number, is_left_out, parse_seconds
from .stopping import (
    DEFAULT_MAX_RUNTIME_SECONDS,
    MAX_RUNTIME_SECONDS,
    MAX_WAIT_WITHOUT_CHECKPOINTS_SECONDS,
    check_covers_running,
)

#: How long after the deadline a spot job ends by itself if nobody has stopped it.
AFTER_DEADLINE_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The values of the request and the task, for what a policy leaves out.

    `deadline_in_seconds` counts from now; None without a deadline. `is_capped`: SageMaker limits the wait of
    this algorithm's jobs to an hour. `named` has the policies of the policy file, by name.
    """

    max_runtime_seconds: int = DEFAULT_MAX_RUNTIME_SECONDS
    max_wait_seconds: int | None = None
    is_capped: bool = False
    deadline_in_seconds: float | None = None
    named: Mapping[str, Any] = field(default_factory=dict)


_WIDENING = ("first_wait", "factor", "cap", "spot_attempts")
_TYPES = "instance_types"
_SCOUT_IMAGE = "scout_image"
_ACCELERATORS = "accelerators"
_FOR_TYPES = (_TYPES, _SCOUT_IMAGE, _ACCELERATORS)
_BACK_TO_SPOT = "back_to_spot"


def _widen(options: dict[str, Any], defaults: Defaults) -> Policy:
    return _widened(options, defaults, then_on_demand=True)


def _spot_only(options: dict[str, Any], defaults: Defaults) -> Policy:
    return _widened(options, defaults, then_on_demand=False)


def _widened(options: dict[str, Any], defaults: Defaults, *, then_on_demand: bool) -> Policy:
    first = _take_seconds(options, "first_wait")
    types, speeds = _take_spot_types(options, _TYPES)
    if first is not None:
        _check_covers_running(first, defaults, "policy.first_wait")
    return widened_waits(
        max_runtime_seconds=defaults.max_runtime_seconds,
        first_wait_seconds=defaults.max_wait_seconds if first is None else first,
        factor=_take_number(options, "factor", DEFAULT_WAIT_FACTOR),
        cap_seconds=_take_seconds(options, "cap"),
        spot_attempts=_take_count(options, "spot_attempts", DEFAULT_SPOT_ATTEMPTS),
        then_on_demand=then_on_demand,
        instance_types=types,
        speeds=speeds,
        scout_image=_take_image(options),
    )


def _on_demand(options: dict[str, Any], _defaults: Defaults) -> Policy:
    # A Param form fills these in for spot policies. They mean nothing for on-demand.
    for key in _WIDENING:
        options.pop(key, None)
    types = _take_types(options, "instance_types")
    return (
        Ladder((Step(purchase=PurchaseOption.ON_DEMAND, instance_types=types),))
        if types
        else on_demand_only()
    )


def _ladder(options: dict[str, Any], defaults: Defaults) -> Policy:
    steps = options.pop("steps", None)
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not steps:
        raise InvalidInput(
            "policy.steps",
            steps,
            'give a list: [{"spot": "ml.m5.xlarge", "max_wait": "2h"}, {"on_demand": []}].',
        )
    return Ladder(tuple(_step(step, f"policy.steps[{i}]", defaults) for i, step in enumerate(steps)))


_STEP_KEYS = ("spot", "on_demand", "max_wait", _SCOUT_IMAGE, _ACCELERATORS)
_FOR_SPOT_ONLY = "SageMaker accepts a max wait for spot jobs only: remove it."


def _step(value: Any, where: str, defaults: Defaults) -> Step:
    """`"on_demand"`, `{"on_demand": types}` or `{"spot": types, "max_wait": "2h"}`; types are optional."""
    if isinstance(value, Step):
        return value
    options = {value: None} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
    kinds = {"spot", "on_demand"} & set(options)
    if len(kinds) != 1:
        raise InvalidInput(where, value, 'give {"spot": type, "max_wait": "2h"} or {"on_demand": [types]}.')
    kind = kinds.pop()
    speeds: tuple[float, ...] = ()
    if kind == "spot":
        types, speeds = _take_spot_types(options, kind, where=where)
    else:
        types = _take_types(options, kind, where=where)
    wait = _take_seconds(options, "max_wait", where=where)
    image = _take_image(options, where=where) if kind == "spot" else ""
    if options:
        key = next(iter(options))
        takes = "a step has spot or on_demand, and for spot max_wait, scout_image and accelerators."
        way_out = f"{takes}{did_you_mean(key, _STEP_KEYS)}"
        raise InvalidInput(f"{where}.{key}", options[key], way_out)
    if kind == "on_demand":
        if wait is not None:
            raise InvalidInput(f"{where}.max_wait", wait, _FOR_SPOT_ONLY)
        return Step(purchase=PurchaseOption.ON_DEMAND, instance_types=types)
    wait = wait or defaults.max_wait_seconds
    if wait is None:
        raise InvalidInput(f"{where}.max_wait", None, 'give the time it may wait and run, like "2h".')
    _check_covers_running(wait, defaults, f"{where}.max_wait")
    return Step(
        purchase=PurchaseOption.SPOT,
        instance_types=types,
        speeds=speeds,
        max_wait_seconds=wait,
        scout_image=image,
    )


def _check_covers_running(wait: int, defaults: Defaults, field: str) -> None:
    check_covers_running(wait, max_runtime_seconds=defaults.max_runtime_seconds, field=field)


#: The policy for deadlines.
DEADLINE = "deadline"
#: Its earlier names, each with its options. The options change nothing.
DEADLINE_ALIASES: dict[str, tuple[str, ...]] = {
    "greedy": (),
    "uniform_progress": ("hysteresis",),
    "rule": ("wait_work", "wait_overhead", "return_work", "return_overhead", "look_every_seconds"),
    "planner": ("prior",),
}


def deprecation_of(alias: str, options: Iterable[str] = ()) -> str:
    """The warning for a policy that is given by an alias, and for its options, which are ignored."""
    ignored = list(options)
    warning = f"policy {alias} is deprecated: it is now a name for {DEADLINE}"
    match ignored:
        case []:
            return f"{warning}."
        case [only]:
            return f"{warning}, and the option {only} is ignored."
        case _:
            return f"{warning}, and the options {', '.join(ignored)} are ignored."


def _until_deadline(name: str) -> Callable[[dict[str, Any], Defaults], Policy]:
    def make(options: dict[str, Any], defaults: Defaults) -> Policy:
        left = defaults.deadline_in_seconds
        if left is None:
            raise InvalidInput(
                "policy",
                name,
                "this policy needs a deadline: give `deadline`, or choose widen (sensors have no deadline).",
            )
        for key in _WIDENING:
            options.pop(key, None)
        types = _take_types(options, "on_demand")
        spot_types, speeds = _take_spot_types(options, _TYPES)
        ignored = [option for option in DEADLINE_ALIASES.get(name, ()) if option in options]
        for option in ignored:
            _as_number(options.pop(option), option)
        return SpotWhileTimeAllows(
            spot_types=spot_types,
            speeds=speeds,
            scout_image=_take_image(options),
            on_demand_types=types,
            max_wait_seconds=_max_wait(left, defaults),
            notes=(deprecation_of(name, ignored),) if name in DEADLINE_ALIASES else (),
            back_to_spot=_take_flag(options, _BACK_TO_SPOT),
        )

    return make


def _max_wait(seconds_left: float, defaults: Defaults) -> int:
    """Ends a spot job that nobody stopped at the deadline."""
    longest = MAX_WAIT_WITHOUT_CHECKPOINTS_SECONDS if defaults.is_capped else MAX_RUNTIME_SECONDS
    wanted = max(defaults.max_runtime_seconds, round(seconds_left) + AFTER_DEADLINE_SECONDS)
    return max(defaults.max_runtime_seconds, min(longest, wanted))


#: The names that need a deadline.
DEADLINE_POLICIES = (DEADLINE, *DEADLINE_ALIASES)
DEFAULT_WITH_DEADLINE = DEADLINE

#: Policies by the name that a Param, a file or an operator argument gives.
LADDERS: dict[str, Callable[[dict[str, Any], Defaults], Policy]] = {
    "widen": _widen,
    "spot_only": _spot_only,
    "on_demand": _on_demand,
    "ladder": _ladder,
    **{name: _until_deadline(name) for name in DEADLINE_POLICIES},
}


#: The options of each policy.
OPTIONS: dict[str, tuple[str, ...]] = {
    "widen": (*_WIDENING, *_FOR_TYPES),
    "spot_only": (*_WIDENING, *_FOR_TYPES),
    "on_demand": (_TYPES,),
    "ladder": ("steps",),
    **{
        name: ("on_demand", *_FOR_TYPES, _BACK_TO_SPOT, *DEADLINE_ALIASES.get(name, ()))
        for name in DEADLINE_POLICIES
    },
}


def policy_from(spec: object, defaults: Defaults) -> Policy:
    """A policy from what people write. A policy object is returned unchanged.

    Accepts a name, a mapping `{"name": ..., option: ...}`, a list of steps, JSON text of one of these, or a
    name from the policy file. Options of `widen` and `spot_only`: `first_wait` and `cap` (seconds, or text
    like "2h"), `factor`, `spot_attempts`; of `deadline`: `on_demand` (types), `back_to_spot`; of all of them
    and of `on_demand`: `instance_types`; of all but that one: `scout_image` and `accelerators`. Options may
    be text, as templates and Params give them. Raises `UnknownPolicy` or `InvalidInput`.
    """
    if hasattr(spec, "decide"):
        return spec  # type: ignore[return-value]
    options = _spec_as_mapping(spec, defaults)
    if "rungs" in options and "steps" not in options:  # the option's name in 0.1.0
        options["steps"] = options.pop("rungs")
    name = options.pop("name", "ladder" if "steps" in options else None)
    if isinstance(name, str) and name in defaults.named and name not in set(LADDERS) - {DEADLINE}:
        return policy_from(_named(name, defaults), _without_names(defaults))
    maker = LADDERS.get(name) if isinstance(name, str) else None
    if maker is None:
        raise UnknownPolicy("policy.name" if name is None else "policy", name, _choose(defaults, name))
    policy = maker(options, defaults)
    if options:
        key = next(iter(options))
        takes = OPTIONS[str(name)]
        way_out = f"{name} takes {', '.join(takes)}.{did_you_mean(key, takes)}"
        raise InvalidInput(f"policy.{key}", options[key], way_out)
    return policy


def _named(name: str, defaults: Defaults) -> object:
    spec = defaults.named[name]
    return spec if isinstance(spec, str | Mapping | list) else {"name": spec}


def _without_names(defaults: Defaults) -> Defaults:
    """An entry of the policy file cannot name another entry, so there are no circles."""
    return Defaults(
        max_runtime_seconds=defaults.max_runtime_seconds,
        max_wait_seconds=defaults.max_wait_seconds,
        is_capped=defaults.is_capped,
        deadline_in_seconds=defaults.deadline_in_seconds,
    )


def _choose(defaults: Defaults, given: object = "") -> str:
    names = sorted({*LADDERS, *defaults.named} - (set(DEADLINE_ALIASES) - {*defaults.named}))
    return f"choose one of {', '.join(names)}.{did_you_mean(given, names)}"


def _spec_as_mapping(spec: object, defaults: Defaults) -> dict[str, Any]:
    if isinstance(spec, Mapping):
        return dict(spec)
    if isinstance(spec, list | tuple):
        return {"name": "ladder", "steps": list(spec)}
    if not isinstance(spec, str) or is_left_out(spec):
        raise UnknownPolicy("policy", spec, f"give a name, a mapping or a list of steps; {_choose(defaults)}")
    if spec.lstrip().startswith(("{", "[")):
        try:
            return _spec_as_mapping(json.loads(spec), defaults)
        except ValueError as exc:
            raise UnknownPolicy("policy", spec, f"it is not valid JSON ({exc}).") from exc
    return {"name": spec.strip()}


def _take_seconds(options: dict[str, Any], key: str, *, where: str = "policy") -> int | None:
    value = options.pop(key, None)
    return None if is_left_out(value) else parse_seconds(value, field=f"{where}.{key}")


def _take_count(options: dict[str, Any], key: str, default: int) -> int:
    value = options.pop(key, None)
    return default if is_left_out(value) else as_whole_number(value, field=f"policy.{key}")


def _take_flag(options: dict[str, Any], key: str) -> bool:
    value = options.pop(key, None)
    return False if is_left_out(value) else as_bool(value, field=f"policy.{key}")


def _take_number(options: dict[str, Any], key: str, default: float) -> float:
    value = options.pop(key, None)
    return default if is_left_out(value) else _as_number(value, key)


def _as_number(value: Any, key: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as exc:
        raise InvalidInput(f"policy.{key}", value, "give a number.") from exc
    if not math.isfinite(number):
        raise InvalidInput(f"policy.{key}", value, "give a finite number.")
    return number


def _take_spot_types(
    options: dict[str, Any], key: str, *, where: str = "policy"
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Types as `_take_types` takes them, or a mapping of types to their relative speeds.

    With `accelerators`, each must have as many.
    """
    speeds: tuple[float, ...] = ()
    value = options.get(key)
    if isinstance(value, Mapping):
        speeds = tuple(_as_speed(speed, f"{where}.{key}.{name}") for name, speed in value.items())
        options[key] = list(value)
    types = _take_types(options, key, where=where)
    check_types(types, field=f"{where}.{key}")
    needed = options.pop(_ACCELERATORS, None)
    if not is_left_out(needed):
        needed = as_whole_number(needed, field=f"{where}.{_ACCELERATORS}")
        check_accelerators(types, needed=needed, field=f"{where}.{key}")
    return types, speeds


def _as_speed(value: Any, field: str) -> float:
    try:
        speed = float(value)
    except (TypeError, ValueError):
        speed = math.nan
    if not 0 < speed < math.inf:
        raise InvalidInput(field, value, "give how fast the type is: 1 for the first, 0.5 for half as fast.")
    return speed


def _take_image(options: dict[str, Any], *, where: str = "policy") -> str:
    value = options.pop(_SCOUT_IMAGE, None)
    if is_left_out(value):
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{where}.{_SCOUT_IMAGE}", value, "give the address of a container image in ECR.")
    return value.strip()


def _take_types(options: dict[str, Any], key: str, *, where: str = "policy") -> tuple[str, ...]:
    """One instance type, a list, or text with commas."""
    value = options.pop(key, None)
    if is_left_out(value) or value == []:
        return ()
    types = value.split(",") if isinstance(value, str) else value
    if not isinstance(types, list | tuple) or not all(isinstance(t, str) and t.strip() for t in types):
        raise InvalidInput(f"{where}.{key}", value, 'give an instance type, or a list: ["ml.m5.xlarge"].')
    return tuple(as_instance_type(t, field=f"{where}.{key}") for t in types)
