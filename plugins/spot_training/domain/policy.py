"""What to do next with a training: a pure function of its situation.

A policy answers one question: given the attempts so far, start another one (on which rung), finish, or give
up? Rules are ordered and every decision carries a reason a person can read. Policies know no AWS call and
no clock; the driver turns a decision into an action.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from .casting import as_whole_number, is_left_out
from .durations import in_words, parse_seconds
from .errors import InvalidInput, UnknownPolicy
from .lifecycle import CAPACITY_CAUSES, Ending
from .savings import Attempt, PurchaseOption
from .stopping import DEFAULT_MAX_RUNTIME_SECONDS, MAX_RUNTIME_SECONDS, StoppingLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of a fallback ladder: what the next attempt asks SageMaker for.

    `max_wait_seconds` is `MaxWaitTimeInSeconds` (waiting and running together), None on demand.
    `instance_types` replaces the request's own type; several are allowed on demand only.
    """

    purchase: PurchaseOption
    max_wait_seconds: int | None = None
    instance_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.purchase is PurchaseOption.SPOT:
            if self.max_wait_seconds is None:
                raise InvalidInput("rung.max_wait_seconds", None, "a spot rung needs a max wait.")
            if len(self.instance_types) > 1:
                raise InvalidInput(
                    "rung.instance_types",
                    self.instance_types,
                    "SageMaker takes one type for a spot job: make a rung for each.",
                )
        elif self.max_wait_seconds is not None:
            raise InvalidInput(
                "rung.max_wait_seconds",
                self.max_wait_seconds,
                "SageMaker takes a max wait for spot jobs only.",
            )

    def __str__(self) -> str:
        types = " or ".join(self.instance_types)
        if self.purchase is PurchaseOption.ON_DEMAND:
            return f"on-demand {types}".strip()
        return f"spot {types}".strip() + f", max wait {in_words(self.max_wait_seconds or 0)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a policy may know: the attempts of this ladder so far, in order."""

    attempts: tuple[Attempt, ...] = ()


class Action(StrEnum):
    START = "start"
    FINISH = "finish"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do next and why. `rung` and `rung_index` are set for `START` only."""

    action: Action
    reason: str
    rung: Rung | None = None
    rung_index: int = -1


class Policy(Protocol):
    """Anything that decides. `rungs` lists what it may ask for: every request is checked before the first."""

    @property
    def rungs(self) -> tuple[Rung, ...]: ...

    def decide(self, situation: Situation) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs tried in order; only capacity causes climb."""

    rungs: tuple[Rung, ...]

    def __post_init__(self) -> None:
        if not self.rungs:
            raise InvalidInput("policy.rungs", [], "a ladder needs at least one rung.")

    def decide(self, situation: Situation) -> Decision:
        if not situation.attempts:
            return self._start(0, f"first of {len(self.rungs)} rungs: {self.rungs[0]}")
        last = situation.attempts[-1]
        what_happened = _what_happened(last)
        if last.ending is Ending.COMPLETED:
            return Decision(action=Action.FINISH, reason=what_happened)
        if last.ending not in CAPACITY_CAUSES:
            return Decision(action=Action.GIVE_UP, reason=f"{what_happened}; more capacity would not help")
        following = self._rung_after(last)
        if following is None:
            return Decision(action=Action.GIVE_UP, reason=f"{what_happened}; no rung is left")
        return self._start(following, f"{what_happened}: next is {self.rungs[following]}")

    def _start(self, index: int, reason: str) -> Decision:
        return Decision(action=Action.START, reason=reason, rung=self.rungs[index], rung_index=index)

    def _rung_after(self, last: Attempt) -> int | None:
        """The next rung; after a refused quota, the next that draws on another quota (type and purchase)."""
        spent = self.rungs[last.rung] if last.rung < len(self.rungs) else None
        for index in range(last.rung + 1, len(self.rungs)):
            rung = self.rungs[index]
            same_quota = spent and (rung.purchase, rung.instance_types) == (
                spent.purchase,
                spent.instance_types,
            )
            if not (last.ending is Ending.QUOTA and same_quota):
                return index
        return None


def _draw_on_same_quota(rung: Rung, spent: Rung | None) -> bool:
    return spent is not None and (rung.purchase, rung.instance_types) == (
        spent.purchase,
        spent.instance_types,
    )


def _what_happened(last: Attempt) -> str:
    match last.ending:
        case Ending.NO_CAPACITY:
            return f"no {last.purchase} capacity for {last.instance_type} in {in_words(last.wait_seconds)}"
        case Ending.OUT_OF_WAIT:
            return (
                f"max wait of {in_words(last.max_wait_seconds or 0)} passed, interruptions: "
                f"{last.interruptions}, with {in_words(last.training_seconds or 0)} of training done"
            )
        case Ending.QUOTA:
            return f"the account's quota refused a {last.purchase} {last.instance_type}"
        case Ending.CAPACITY_ERROR:
            return f"SageMaker could not provide {last.purchase} {last.instance_type}"
        case _:
            return f"attempt {last.number}: {last.ending}"


#: Room to wait on top of the run time, when nobody says how long the first wait may be.
DEFAULT_ROOM_TO_WAIT_SECONDS = 3600
DEFAULT_WAIT_FACTOR = 2.0
DEFAULT_SPOT_ATTEMPTS = 2
MAX_SPOT_ATTEMPTS = 20


def widened_waits(
    *,
    max_runtime_seconds: int = DEFAULT_MAX_RUNTIME_SECONDS,
    first_wait_seconds: int | None = None,
    factor: float = DEFAULT_WAIT_FACTOR,
    cap_seconds: int | None = None,
    spot_attempts: int = DEFAULT_SPOT_ATTEMPTS,
    then_on_demand: bool = True,
) -> Ladder:
    """Spot attempts whose max wait widens, then on-demand (or nothing).

    `first_wait_seconds` is the first attempt's `MaxWaitTimeInSeconds`: it covers waiting and running, so it
    cannot be below `max_runtime_seconds`; by default the run time plus an hour. Each further attempt waits
    `factor` times as long, at most `cap_seconds` (by default 28 days, SageMaker's longest).
    """
    first = (
        max_runtime_seconds + DEFAULT_ROOM_TO_WAIT_SECONDS
        if first_wait_seconds is None
        else first_wait_seconds
    )
    cap = MAX_RUNTIME_SECONDS if cap_seconds is None else cap_seconds
    StoppingLimits(max_runtime_seconds=max_runtime_seconds, max_wait_seconds=first)
    _check_widening(first, factor, cap, spot_attempts)
    waits = [min(cap, round(first * factor**n)) for n in range(spot_attempts)]
    rungs = [Rung(purchase=PurchaseOption.SPOT, max_wait_seconds=wait) for wait in waits]
    if then_on_demand:
        rungs.append(Rung(purchase=PurchaseOption.ON_DEMAND))
    return Ladder(tuple(rungs))


def _check_widening(first: int, factor: float, cap: int, spot_attempts: int) -> None:
    if not 1 <= factor <= 100:
        raise InvalidInput("policy.factor", factor, "give 1 (the same wait again) to 100.")
    if not 1 <= spot_attempts <= MAX_SPOT_ATTEMPTS:
        raise InvalidInput("policy.spot_attempts", spot_attempts, f"give 1 to {MAX_SPOT_ATTEMPTS}.")
    if not first <= cap <= MAX_RUNTIME_SECONDS:
        raise InvalidInput(
            "policy.cap",
            cap,
            f"give the first wait ({first} s) or more, at most {MAX_RUNTIME_SECONDS} s (28 days).",
        )


def on_demand_only() -> Ladder:
    """One on-demand attempt, no spot."""
    return Ladder((Rung(purchase=PurchaseOption.ON_DEMAND),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the training request itself says, for the values a policy leaves out."""

    max_runtime_seconds: int = DEFAULT_MAX_RUNTIME_SECONDS
    max_wait_seconds: int | None = None


def _widen(options: dict[str, Any], defaults: Defaults, *, then_on_demand: bool) -> Ladder:
    first = _take_seconds(options, "first_wait")
    return widened_waits(
        max_runtime_seconds=defaults.max_runtime_seconds,
        first_wait_seconds=defaults.max_wait_seconds if first is None else first,
        factor=_take_factor(options, "factor", DEFAULT_WAIT_FACTOR),
        cap_seconds=_take_seconds(options, "cap"),
        spot_attempts=_take_count(options, "spot_attempts", DEFAULT_SPOT_ATTEMPTS),
        then_on_demand=then_on_demand,
    )


#: Policies by the name a Param, a YAML file or an operator argument gives.
POLICIES: dict[str, Callable[[dict[str, Any], Defaults], Policy]] = {
    "widen": lambda options, defaults: _widen(options, defaults, then_on_demand=True),
    "spot_only": lambda options, defaults: _widen(options, defaults, then_on_demand=False),
    "on_demand": lambda _options, _defaults: on_demand_only(),
}


def policy_from(spec: object, defaults: Defaults) -> Policy:
    """A policy from its name, a mapping `{"name": ..., option: ...}`, JSON text of one, or a policy as it is.

    Options of `widen` and `spot_only`: `first_wait` and `cap` (seconds, or text like "2h"), `factor`,
    `spot_attempts`. They may be strings, as templates and UI params give them. Raises `UnknownPolicy` or
    `InvalidInput`.
    """
    if hasattr(spec, "decide"):
        return spec  # type: ignore[return-value]
    options = _spec_as_mapping(spec)
    name = options.pop("name", None)
    maker = POLICIES.get(name) if isinstance(name, str) else None
    if maker is None:
        raise UnknownPolicy("policy", name, f"choose one of {', '.join(sorted(POLICIES))}.")
    policy = maker(options, defaults)
    if options and name != "on_demand":
        raise InvalidInput(
            f"policy.{next(iter(options))}",
            next(iter(options.values())),
            f"the policy {name!r} has no such option: it takes first_wait, factor, cap and spot_attempts.",
        )
    return policy


def _spec_as_mapping(spec: object) -> dict[str, Any]:
    if isinstance(spec, Mapping):
        return dict(spec)
    if not isinstance(spec, str) or is_left_out(spec):
        raise UnknownPolicy(
            "policy",
            spec,
            f"give one of {', '.join(sorted(POLICIES))}, or a mapping with a name and options.",
        )
    if spec.lstrip().startswith("{"):
        try:
            return dict(json.loads(spec))
        except ValueError as exc:
            raise UnknownPolicy("policy", spec, f"it is no valid JSON ({exc}).") from exc
    return {"name": spec.strip()}


def _take_seconds(options: dict[str, Any], key: str) -> int | None:
    value = options.pop(key, None)
    return None if is_left_out(value) else parse_seconds(value, field=f"policy.{key}")


def _take_count(options: dict[str, Any], key: str, default: int) -> int:
    value = options.pop(key, None)
    return default if is_left_out(value) else as_whole_number(value, field=f"policy.{key}")


def _take_factor(options: dict[str, Any], key: str, default: float) -> float:
    value = options.pop(key, None)
    if is_left_out(value):
        return default
    try:
        return float(value)
    except (TypeError, ValueError) as exc:
        raise InvalidInput(f"policy.{key}", value, "give a number.") from exc
