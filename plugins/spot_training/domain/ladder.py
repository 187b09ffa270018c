"""Policies: given the attempts so far, start another one (on which step), finish, or give up.

Rules are ordered, and every decision has a reason a person can read. A policy knows no AWS call and no clock,
and enforces neither deadline nor budget: `decide` does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from .attempts import Attempt, PurchaseOption
from .errors import InvalidInput
from .instance_types import check_types
from .interruptions import is_lost_to_interruptions, is_spot_cause
from .lifecycle import Ending
from .messages import times
from .parsing import in_words
from .stopping import DEFAULT_MAX_RUNTIME_SECONDS, MAX_RUNTIME_SECONDS, StoppingLimits

if TYPE_CHECKING:
    from .deadline import Outlook


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a fallback ladder: what the next attempt requests from SageMaker.

    `max_wait_seconds` is `MaxWaitTimeInSeconds` (waiting and running together), None for on-demand.
    `instance_types` replaces the type in the request. Of several, SageMaker chooses one for an on-demand
    job. For a spot job it takes only one: the job waits for the first, and scouts look for the others
    (`scouting`), with `scout_image` if the training's own image cannot be used for that. `speeds` are their
    relative speeds in the same order; empty if they are not known.
    """

    purchase: PurchaseOption
    max_wait_seconds: int | None = None
    instance_types: tuple[str, ...] = ()
    speeds: tuple[float, ...] = ()
    scout_image: str = ""

    def __post_init__(self) -> None:
        if self.purchase is PurchaseOption.SPOT:
            if self.max_wait_seconds is None:
                raise InvalidInput("step.max_wait_seconds", None, "a spot step needs a max wait.")
            check_types(self.instance_types, field="step.instance_types")
        elif self.max_wait_seconds is not None:
            raise InvalidInput(
                "step.max_wait_seconds",
                self.max_wait_seconds,
                "SageMaker accepts a max wait for spot jobs only.",
            )

    @property
    def needs_scouts(self) -> bool:
        """Whether a spot job of this step may move to another type."""
        return self.purchase is PurchaseOption.SPOT and len(self.instance_types) > 1

    @property
    def by_type(self) -> tuple[Step, ...]:
        """The step for each type that its job may have."""
        return tuple(map(self.with_type, self.instance_types)) if self.needs_scouts else (self,)

    def with_type(self, instance_type: str = "") -> Step:
        """The step of a job that may move to other types, for one of them: the first, if none is given."""
        if not self.needs_scouts:
            return self
        return replace(self, instance_types=(instance_type or self.instance_types[0],), speeds=())

    def __str__(self) -> str:
        types = " or ".join(self.instance_types)
        if self.purchase is PurchaseOption.ON_DEMAND:
            return f"on-demand {types}".strip()
        return f"spot {types}".strip() + f", max wait {in_words(self.max_wait_seconds or 0)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a policy knows: the attempts so far, in order, and the outlook if there is a deadline."""

    attempts: tuple[Attempt, ...] = ()
    outlook: Outlook | None = None


class Action(StrEnum):
    START = "start"
    FINISH = "finish"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do next and why. `step` and `step_index` are set for `START` only.

    `budget_usd` is the month's budget if the training is given up because of it.
    """

    action: Action
    reason: str
    step: Step | None = None
    step_index: int = -1
    budget_usd: float | None = None


class Policy(Protocol):
    """Anything that decides. `steps` lists all its steps: all requests are checked before one is sent."""

    @property
    def steps(self) -> tuple[Step, ...]: ...

    def decide(self, situation: Situation) -> Decision: ...


@dataclass(frozen=True, slots=True, init=False)
class Ladder:
    """Steps that are tried in order. Only an ending caused by spot leads to the next step.

    `rungs` is the argument's name in 0.1.0.
    """

    steps: tuple[Step, ...]

    def __init__(self, steps: Sequence[Step] = (), *, rungs: Sequence[Step] = ()) -> None:
        if not (steps or rungs):
            raise InvalidInput("policy.steps", [], "a ladder needs at least one step.")
        object.__setattr__(self, "steps", tuple(steps or rungs))

    def decide(self, situation: Situation) -> Decision:
        if not situation.attempts:
            about = f" ({situation.outlook})" if situation.outlook else ""
            which = f"first of {len(self.steps)} steps" if len(self.steps) > 1 else "the only step"
            return start(self.steps, 0, f"{which}: {self.steps[0]}{about}")
        last = situation.attempts[-1]
        if (end := _end_of(last)) is not None:
            return end
        if _stays_on_step(situation.attempts, self.steps):
            return start(self.steps, min(last.step, len(self.steps) - 1), because(situation))
        following = self._step_after(last)
        if following is None:
            return Decision(action=Action.GIVE_UP, reason=f"{what_happened(last)}; no step is left")
        return start(self.steps, following, f"{because(situation)}: next is {self.steps[following]}")

    def _step_after(self, last: Attempt) -> int | None:
        """The next step. After a refused quota, the next with another quota (type and purchase option).

        After a job that interruptions kept from finishing, on-demand if there is any.
        """
        if is_lost_to_interruptions(last) and (on_demand := self._on_demand_after(last)) is not None:
            return on_demand
        spent = self.steps[last.step] if last.step < len(self.steps) else None
        for index in range(last.step + 1, len(self.steps)):
            step = self.steps[index]
            same_quota = spent and (step.purchase, step.instance_types) == (
                spent.purchase,
                spent.instance_types,
            )
            if not (last.ending is Ending.QUOTA and same_quota):
                return index
        return None

    def _on_demand_after(self, last: Attempt) -> int | None:
        later = range(last.step + 1, len(self.steps))
        return next((i for i in later if self.steps[i].purchase is PurchaseOption.ON_DEMAND), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotWhileTimeAllows:
    """One spot job for as long as the deadline allows, then on-demand: the policy `deadline`.

    The guard ends the wait. The max wait only ends a spot job that nobody has stopped. `notes` are logged
    once, before the first attempt. With `back_to_spot`, on-demand is left again for spot (`back_to_spot`).
    """

    max_wait_seconds: int
    spot_types: tuple[str, ...] = ()
    speeds: tuple[float, ...] = ()
    scout_image: str = ""
    on_demand_types: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    back_to_spot: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        return (
            Step(
                purchase=PurchaseOption.SPOT,
                max_wait_seconds=self.max_wait_seconds,
                instance_types=self.spot_types,
                speeds=self.speeds,
                scout_image=self.scout_image,
            ),
            Step(purchase=PurchaseOption.ON_DEMAND, instance_types=self.on_demand_types),
        )

    def decide(self, situation: Situation) -> Decision:
        spot, _ = self.steps
        if not situation.attempts:
            about = f" ({situation.outlook})" if situation.outlook else ""
            return start(self.steps, 0, f"{spot.purchase} first{about}")
        last = situation.attempts[-1]
        if (end := _end_of(last)) is not None:
            return end
        if last.ending is Ending.LEFT_FOR_SPOT:
            return start(self.steps, 0, f"{because(situation)}: spot again")
        if _stays_on_step(situation.attempts, self.steps):
            return start(self.steps, last.step, because(situation))
        if last.purchase is PurchaseOption.ON_DEMAND:
            return Decision(action=Action.GIVE_UP, reason=f"{what_happened(last)}; no step is left")
        is_no_use = last.ending in {Ending.QUOTA, Ending.STOPPED_FOR_DEADLINE}
        if is_no_use or is_lost_to_interruptions(last):
            return start(self.steps, 1, f"{what_happened(last)}: on-demand now")
        return start(self.steps, 0, f"{because(situation)}: spot again")


#: How many on-demand jobs in a row are replaced because uploads stalled.
MOST_STALLS = 3


def _stays_on_step(attempts: Sequence[Attempt], steps: Sequence[Step]) -> bool:
    """Whether the same step comes again.

    The last job moved to another type, or was refused and another type of its step was not. Or it was an
    on-demand job: its uploads stalled, and another one continues from its last checkpoint, or it was left
    under an earlier policy.
    """
    last = attempts[-1]
    if last.ending is Ending.LEFT_FOR_SPOT:
        return True
    if last.step >= len(steps):
        return False
    if last.ending is Ending.UPLOADS_STALLED and last.purchase is PurchaseOption.ON_DEMAND:
        newest = [attempt.ending for attempt in attempts[-MOST_STALLS:]]
        return len(newest) < MOST_STALLS or any(each is not Ending.UPLOADS_STALLED for each in newest)
    is_refused = steps[last.step].needs_scouts and last.was_refused
    return last.ending is Ending.MOVED or (is_refused and first_type(steps[last.step], attempts) is not None)


def first_type(step: Step, attempts: Sequence[Attempt], asked_last: Collection[str] = ()) -> str | None:
    """The type that a new job of a step with several waits for; None if all were refused just now.

    A type without any quota is not asked for again.
    """
    spot = [attempt for attempt in attempts if attempt.purchase is PurchaseOption.SPOT]
    refused = {attempt.instance_type for attempt in spot if has_no_quota(attempt)}
    refused |= {attempt.instance_type for attempt in takewhile(attrgetter("was_refused"), reversed(spot))}
    return next((t for t in in_order(step.instance_types, asked_last) if t not in refused), None)


def in_order(types: Iterable[str], asked_last: Collection[str]) -> list[str]:
    """The types in the order of preference, those that are asked last (`type_history`) at the end."""
    return sorted(types, key=lambda name: name in asked_last)


#: "The account-level service limit 'ml.g5.2xlarge for spot training job usage' is 0 Instances, with ..."
_NO_QUOTA = re.compile(r"service limit .* is 0 Instances")


def has_no_quota(attempt: Attempt) -> bool:
    """Whether the account may have no instance of its type at all."""
    return attempt.ending is Ending.QUOTA and _NO_QUOTA.search(attempt.message) is not None


def start(steps: Sequence[Step], index: int, reason: str) -> Decision:
    """The decision to start the step with that index."""
    return Decision(action=Action.START, reason=reason, step=steps[index], step_index=index)


def _end_of(last: Attempt) -> Decision | None:
    """The end of the training if this was its last attempt: it completed, or another attempt cannot help."""
    if last.ending is Ending.COMPLETED:
        return Decision(action=Action.FINISH, reason=what_happened(last))
    if not is_spot_cause(last):
        return Decision(action=Action.GIVE_UP, reason=f"{what_happened(last)}; {why_no_other(last)}")
    return None


def why_no_other(last: Attempt) -> str:
    """Why no attempt follows one that did not end because of capacity, as the second half of a reason."""
    match last.ending:
        case Ending.STOPPED_BY_USER:
            return "a person's stop is respected"
        case Ending.STOPPED_AT_TIME_LIMIT:
            return "no time is left"
        case Ending.STOPPED_WITH_TASK:
            return "its task has ended"
        case Ending.SCOUT_DONE:
            return "it was a scout"
        case Ending.INTERNAL_ERROR:
            return "SageMaker failed, which no policy can change: Airflow's retries start the training again"
        case Ending.MAX_RUNTIME if last.interruptions:
            kept = "from its last checkpoint" if last.has_checkpoints else "from zero"
            return (
                f"spot capacity was taken away {times(last.interruptions)} and the job started again {kept}: "
                "without interruptions it may have finished"
            )
        case Ending.MAX_RUNTIME:
            return "it needs more run time, not more capacity"
        case _:
            return "more capacity would not help"


def because(situation: Situation) -> str:
    """How the last attempt ended and how much time is left, as the first half of a reason."""
    happened = what_happened(situation.attempts[-1])
    return f"{happened}; {situation.outlook}" if situation.outlook else happened


def what_happened(last: Attempt) -> str:
    """How an attempt ended, as the first half of a reason."""
    match last.ending:
        case Ending.NO_CAPACITY:
            return f"no {last.purchase} capacity for {last.instance_type} in {in_words(last.wait_seconds)}"
        case Ending.OUT_OF_WAIT:
            return (
                f"max wait of {in_words(last.max_wait_seconds or 0)} passed, interruptions: "
                f"{last.interruptions}, with {in_words(last.training_seconds or 0)} of training done"
            )
        case Ending.STOPPED_FOR_DEADLINE:
            done = f"{in_words(last.work_seconds or 0)} of training done"
            return f"{last.purchase} {last.instance_type} was stopped for the deadline, {done}"
        case Ending.MOVED:
            waited = in_words(last.wait_seconds)
            return (
                f"no {last.purchase} capacity for {last.instance_type} in {waited}, and another type has some"
            )
        case Ending.LEFT_FOR_SPOT:
            done = f"{in_words(last.work_seconds or 0)} of training done"
            return f"{last.purchase} {last.instance_type} was left for spot, {done}"
        case Ending.UPLOADS_STALLED:
            return f"no checkpoint of {last.purchase} {last.instance_type} reached S3 any longer"
        case Ending.QUOTA:
            return f"the account's quota refused {last.instance_type} ({last.purchase})"
        case Ending.CAPACITY_ERROR:
            return f"SageMaker could not provide {last.purchase} {last.instance_type}"
        case Ending.MAX_RUNTIME if is_lost_to_interruptions(last):
            lost = (
                "lost more work than its checkpoints kept"
                if last.has_checkpoints
                else "started again from zero, because it has no checkpoints,"
            )
            return (
                f"attempt {last.number}: spot capacity was taken away {times(last.interruptions)}, and the "
                f"job {lost} until its max runtime of {in_words(last.max_runtime_seconds or 0)} had passed"
            )
        case _:
            return f"attempt {last.number}: {last.ending}"


#: How much longer than the run time the first wait is, if nobody gives `first_wait`.
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
    instance_types: tuple[str, ...] = (),
    speeds: tuple[float, ...] = (),
    scout_image: str = "",
) -> Ladder:
    """Spot attempts with a max wait that widens, then on-demand (or nothing).

    `first_wait_seconds` is the first attempt's `MaxWaitTimeInSeconds`: it covers waiting and running, so it
    cannot be below `max_runtime_seconds`. The default is the run time plus an hour. Each further attempt
    waits `factor` times as long, at most `cap_seconds` (the default is SageMaker's maximum, 28 days).
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
    steps = [
        Step(
            purchase=PurchaseOption.SPOT,
            max_wait_seconds=wait,
            instance_types=instance_types,
            speeds=speeds,
            scout_image=scout_image,
        )
        for wait in waits
    ]
    if then_on_demand:
        steps.append(Step(purchase=PurchaseOption.ON_DEMAND))
    return Ladder(tuple(steps))


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
    """One on-demand attempt and no spot attempt."""
    return Ladder((Step(purchase=PurchaseOption.ON_DEMAND),))


#: The name of 0.1.0.
Rung = Step
