"""Which policy to use, how long to wait, what it will cost and when it will be complete.

Compares on-demand at once, the ladder `widen` and the policy `deadline`. All simulations keep the same time
free before the deadline as the operator, so that advice and operator agree. A simulation loses no work that
is in a checkpoint.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.advise.moves import (
    TOLERANCE,
    BackToSpot,
    Guard,
    MovePolicy,
    OnDemand,
    UntilDeadline,
    Widen,
    Workload,
)
from spot_training.domain.deadline import Deadline, DeadlineGuard, Reserve, Runtime
from spot_training.domain.errors import InvalidInput
from spot_training.domain.ladder import DEFAULT_ROOM_TO_WAIT_SECONDS
from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from spot_training.domain.stopping import DEFAULT_MAX_RUNTIME_SECONDS, MAX_RUNTIME_SECONDS, StoppingLimits

from .markets import RUNS
from .simulator import Walk, walk

if TYPE_CHECKING:
    from spot_training.advise.traces import Trace

#: If policies cost the same, the first of them is advised: on-demand completes first.
PREFERRED = (OnDemand.name, UntilDeadline.name, Widen.name)
#: Costs that differ by less than this share count as the same.
CLOSE = 0.001
#: Any moment: only differences matter.
_SUBMITTED_AT = datetime(2000, 1, 1, tzinfo=UTC)
#: A spot job at its submission.
_QUEUED = JobSnapshot(
    name="advice",
    arn="",
    status=TrainingStatus.IN_PROGRESS,
    secondary_status=SecondaryStatus.STARTING,
    created_at=_SUBMITTED_AT,
    last_modified_at=_SUBMITTED_AT,
    is_spot=True,
    transitions=(Transition(status=SecondaryStatus.STARTING, started_at=_SUBMITTED_AT),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A training to advise on, as the operator sees it: times in seconds, dollars per instance hour.

    `deadline_seconds` counts from submission. `reserve` is the time that the operator keeps free before it.
    `max_runtime_seconds` is the request's `MaxRuntimeInSeconds`. Raises `InvalidInput` if the deadline cannot
    be met, or if SageMaker would stop the job before the training is complete.
    """

    runtime: Runtime
    deadline_seconds: float
    spot_price: float
    on_demand_price: float
    reserve: Reserve = field(default_factory=Reserve)
    max_runtime_seconds: int = DEFAULT_MAX_RUNTIME_SECONDS
    back_to_spot: BackToSpot = BackToSpot.NEVER

    def __post_init__(self) -> None:
        StoppingLimits(max_runtime_seconds=self.max_runtime_seconds)
        if self.max_runtime_seconds < self.runtime.high_seconds:
            raise InvalidInput(
                "max_runtime",
                f"{self.max_runtime_seconds} s",
                f"SageMaker stops the job then, and the training may take {self.runtime.high_seconds:.0f} s: "
                "give more, and use the same MaxRuntimeInSeconds in the request.",
            )
        if self.deadline_seconds < self.earliest_seconds:
            raise InvalidInput(
                "deadline",
                f"{self.deadline_seconds:.0f} s",
                f"give at least {self.earliest_seconds:.0f} s: a launch and the work take that long.",
            )

    @property
    def earliest_seconds(self) -> float:
        """When on-demand from the start is complete."""
        return self.reserve.launch_seconds + self.runtime.mean_seconds

    @property
    def kept_free_seconds(self) -> float:
        """What the guard keeps free in addition to the mean of the work, with a slow on-demand launch."""
        return self.reserve.launch_high_seconds + self._without_launch

    @property
    def _without_launch(self) -> float:
        beyond_mean = self.runtime.high_seconds - self.runtime.mean_seconds
        return self.reserve.besides_launch_seconds + beyond_mean

    @property
    def workload(self) -> Workload:
        """The workload to simulate. Its deadline is earlier by the reserve, except for the launch."""
        return Workload(
            work_seconds=self.runtime.mean_seconds,
            deadline_seconds=max(1.0, self.deadline_seconds - self._without_launch),
            overhead_seconds=self.reserve.launch_seconds,
            spot_price=self.spot_price,
            on_demand_price=self.on_demand_price,
            back_to_spot=self.back_to_spot,
        )

    @property
    def guard(self) -> Guard:
        return Guard(overhead_seconds=self.reserve.launch_high_seconds)

    @property
    def deadline(self) -> Deadline:
        return Deadline(
            at=_SUBMITTED_AT + timedelta(seconds=self.deadline_seconds),
            submitted_at=_SUBMITTED_AT,
            runtime=self.runtime,
            reserve=self.reserve,
        )

    @property
    def first_wait_seconds(self) -> int:
        """`MaxWaitTimeInSeconds` of the first spot job of `widen` without `first_wait`."""
        return min(MAX_RUNTIME_SECONDS, self.max_runtime_seconds + DEFAULT_ROOM_TO_WAIT_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One policy over all runs with one deadline. Dollars are for one instance, times in seconds."""

    policy: str
    deadline_seconds: float
    runs: int
    mean_dollars: float
    high_dollars: float
    typical_finish_seconds: float
    high_finish_seconds: float
    mean_launches: float
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The policy to use, and what all policies cost, for this deadline and for others.

    `wait_for_spot_seconds`: how long the first spot job may wait for capacity before the operator starts
    on-demand. `max_wait_seconds`: a valid `MaxWaitTimeInSeconds` for a request of your own (it covers waiting
    and running), or None without a spot job. `kept_free_seconds`: see `Question`.
    """

    policy: str
    wait_for_spot_seconds: float
    max_wait_seconds: int | None
    kept_free_seconds: float
    on_demand_dollars: float
    outcomes: tuple[Outcome, ...]
    curve: tuple[Outcome, ...]

    @property
    def chosen(self) -> Outcome:
        return next(outcome for outcome in self.outcomes if outcome.policy == self.policy)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for an XCom."""
        values = asdict(self)
        return {**values, "outcomes": list(values["outcomes"]), "curve": list(values["curve"])}


def advise(question: Question, traces: Sequence[Trace]) -> Advice:
    """Simulate every policy over parts of `traces`, for this deadline and for others around it."""
    by_deadline = {
        seconds: _walk_all(replace(question, deadline_seconds=seconds), traces)
        for seconds in _deadlines_around(question)
    }
    outcomes = by_deadline[question.deadline_seconds]
    best = _choose(outcomes)
    wait = 0.0 if best.policy == OnDemand.name else _longest_wait(question)
    return Advice(
        policy=best.policy,
        wait_for_spot_seconds=wait,
        max_wait_seconds=_max_wait(question, best.policy, wait),
        kept_free_seconds=question.kept_free_seconds,
        on_demand_dollars=next(o.mean_dollars for o in outcomes if o.policy == OnDemand.name),
        outcomes=tuple(outcomes),
        curve=tuple(outcome for each in by_deadline.values() for outcome in each),
    )


def _deadlines_around(question: Question) -> list[float]:
    earliest = question.earliest_seconds
    latest = max(2 * earliest + question.kept_free_seconds, 1.25 * question.deadline_seconds)
    step = (latest - 1.02 * earliest) / 7
    return sorted({*(1.02 * earliest + n * step for n in range(8)), question.deadline_seconds})


def _policies(question: Question) -> tuple[MovePolicy, ...]:
    return OnDemand(), UntilDeadline(), Widen(first_wait_seconds=question.first_wait_seconds)


def _walk_all(question: Question, traces: Sequence[Trace]) -> list[Outcome]:
    stretches = [
        stretch
        for trace in traces
        for stretch in _stretches(trace, question.deadline_seconds, max(1, RUNS // len(traces)))
    ]
    return [
        outcome_of(policy.name, question, [_walk(policy, question, stretch) for stretch in stretches])
        for policy in _policies(question)
    ]


def _stretches(trace: Trace, seconds: float, count: int) -> list[Trace]:
    """Parts of a trace with evenly spread starts."""
    return [part_of(trace, start, seconds) for start in starts_in(trace, count)]


def starts_in(trace: Trace, count: int) -> list[int]:
    """Evenly spread ticks at which a simulation starts."""
    count = min(len(trace), count)
    return [len(trace) * n // count for n in range(count)]


def part_of(trace: Trace, start: int, seconds: float) -> Trace:
    """The part from this tick on. A trace that ends too soon continues from its beginning."""
    length = math.ceil(seconds / trace.tick_seconds)
    endless = trace.ticks * (2 + length // len(trace))
    return replace(trace, ticks=endless[start : start + length])


def _walk(policy: MovePolicy, question: Question, stretch: Trace) -> Walk:
    return walk(policy, question.workload, stretch, guard=question.guard)


def outcome_of(policy: str, question: Question, walks: Sequence[Walk]) -> Outcome:
    """What these simulations of a policy cost."""
    dollars = [each.cost_dollars for each in walks]
    finishes = [each.finish_seconds for each in walks]
    return Outcome(
        policy=policy,
        deadline_seconds=question.deadline_seconds,
        runs=len(walks),
        mean_dollars=statistics.fmean(dollars),
        high_dollars=_quantile(dollars, 0.95),
        typical_finish_seconds=statistics.median(finishes),
        high_finish_seconds=_quantile(finishes, 0.95),
        mean_launches=statistics.fmean(each.launches for each in walks),
        missed=sum(finish > question.deadline_seconds + TOLERANCE for finish in finishes),
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """The quantile of `values`, interpolated between the two nearest of them."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _choose(outcomes: Sequence[Outcome]) -> Outcome:
    kept = [outcome for outcome in outcomes if not outcome.missed] or list(outcomes)
    cheapest = min(outcome.mean_dollars for outcome in kept)
    close = [outcome for outcome in kept if outcome.mean_dollars <= cheapest * (1 + CLOSE)]
    return min(close, key=lambda outcome: PREFERRED.index(outcome.policy))


def _longest_wait(question: Question) -> float:
    """How long the first spot job may wait for capacity, in seconds; 0 without a spot job."""
    guard = DeadlineGuard(deadline=question.deadline)
    if guard.outlook(_SUBMITTED_AT).is_time_for_on_demand:
        return 0.0
    return guard.outlook(_SUBMITTED_AT, _QUEUED).on_demand_in_seconds or 0.0


def _max_wait(question: Question, policy: str, wait_for_spot: float) -> int | None:
    """A valid `MaxWaitTimeInSeconds` for this wait, a launch and the work."""
    if not wait_for_spot:
        return None
    if policy == Widen.name:
        return question.first_wait_seconds
    needed = wait_for_spot + question.reserve.launch_high_seconds + question.runtime.high_seconds
    return min(MAX_RUNTIME_SECONDS, max(question.max_runtime_seconds, round(needed)))
