"""What another instance type and a way back to spot would save for a training, simulated with scouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from spot_training.advise.capacity import Market
from spot_training.advise.hand_overs import walk_events, way_back_for
from spot_training.advise.moves import BackToSpot, Widen
from spot_training.advise.widened import walk_widened

from .advice import Outcome, Question, outcome_of, part_of, starts_in
from .markets import RUNS

if TYPE_CHECKING:
    from spot_training.advise.moves import Workload
    from spot_training.advise.traces import Trace
    from spot_training.domain.way_back import WayBack

WITH_A_WAY_BACK = "with a way back"


@dataclass(frozen=True, slots=True, kw_only=True)
class WithScouts:
    """The policy `deadline` with a way back, on any of several types, and with both; `widen` on any of them.

    `one_type_dollars`: the mean cost with one type and without a way back in the same simulation, which bills
    seconds. The other simulations bill whole ticks, so compare with this figure.
    """

    one_type_dollars: float
    outcomes: tuple[Outcome, ...]

    def saved(self, outcome: Outcome) -> float:
        """The share of the cost of one type without a way back."""
        return 1 - outcome.mean_dollars / self.one_type_dollars if self.one_type_dollars else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values, for an XCom."""
        outcomes = [{**asdict(outcome), "saved": self.saved(outcome)} for outcome in self.outcomes]
        return {"one_type_dollars": self.one_type_dollars, "outcomes": outcomes}


def advise_with_scouts(
    question: Question, traces: Sequence[Trace], others: Sequence[Sequence[Trace]] = ()
) -> WithScouts:
    """`others`: the traces of each further instance type, in the order of preference."""
    windows = list(_windows(traces, others, question.deadline_seconds))
    alone = [window[:1] for window in windows]
    rows = [(WITH_A_WAY_BACK, alone, BackToSpot.HAND_OVER)]
    if others:
        any_of = f"any of {1 + len(others)}"
        rows += [
            (any_of, windows, BackToSpot.NEVER),
            (f"{any_of}, {WITH_A_WAY_BACK}", windows, BackToSpot.HAND_OVER),
        ]
    one_type = _outcome("one type", question, alone, BackToSpot.NEVER)
    return WithScouts(
        one_type_dollars=one_type.mean_dollars,
        outcomes=(
            *(_outcome(label, question, chosen, back) for label, chosen, back in rows),
            *([_widened(f"{Widen.name}, any of {1 + len(others)}", question, windows)] if others else ()),
        ),
    )


def _widened(label: str, question: Question, windows: Sequence[Sequence[Trace]]) -> Outcome:
    workload, rule = _rule(question, BackToSpot.NEVER)
    policy, longest = Widen(first_wait_seconds=question.first_wait_seconds), question.max_runtime_seconds
    walks = [
        walk_widened(policy, workload, _markets(window), rule, max_runtime_seconds=longest)
        for window in windows
    ]
    return outcome_of(label, question, walks)


def _outcome(label: str, question: Question, windows: Sequence[Sequence[Trace]], back: BackToSpot) -> Outcome:
    workload, rule = _rule(question, back)
    return outcome_of(label, question, [walk_events(workload, _markets(window), rule) for window in windows])


def _markets(window: Sequence[Trace]) -> list[Market]:
    return [Market(trace=each) for each in window]


def _rule(question: Question, back: BackToSpot) -> tuple[Workload, WayBack]:
    workload = replace(question.workload, back_to_spot=back)
    how = {
        "checkpoint_every_seconds": question.runtime.checkpoint_every_seconds,
        "notice_seconds": question.reserve.launch_seconds,
    }
    return workload, way_back_for(workload, question.guard, hand_over=how)


def _windows(
    traces: Sequence[Trace], others: Sequence[Sequence[Trace]], seconds: float
) -> Iterator[list[Trace]]:
    """Parts of the traces of all types, of which each begins at one moment.

    A single recorded trace of each type is taken at the same moments, because they overlap in time.
    Otherwise, the types are independent of each other.
    """
    is_recorded = len(traces) == 1 and all(len(other) == 1 for other in others)
    if is_recorded:
        least = min(trace.seconds for trace in (*traces, *(other[0] for other in others)))
        traces, *others = ([_cut(trace, least)] for trace in (*traces, *(other[0] for other in others)))
    count = max(1, RUNS // len(traces))
    starts = [(trace, start) for trace in traces for start in starts_in(trace, count)]
    for number, (trace, start) in enumerate(starts):
        window = [part_of(trace, start, seconds)]
        for other in others:
            another = other[number % len(other)]
            moment = start * trace.tick_seconds
            if not is_recorded:
                moment = another.seconds * number / len(starts) if len(other) == 1 else 0.0
            window.append(part_of(another, int(moment // another.tick_seconds), seconds))
        yield window


def _cut(trace: Trace, seconds: float) -> Trace:
    """The trace without what is after `seconds`, and at least a tick of it."""
    return replace(trace, ticks=trace.ticks[: max(1, int(seconds // trace.tick_seconds))])
