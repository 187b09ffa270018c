"""The simulator walks each training as it was submitted, and a report compares both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spot_training.advise.capacity import Interval, Market, intervals_of
from spot_training.advise.hand_overs import walk_events
from spot_training.advise.moves import BackToSpot, Workload
from spot_training.domain.back_to_spot import rule_for
from spot_training.domain.deadline import Deadline, Runtime

from .drawn import CHECKPOINT_EVERY_SECONDS, MODES, PRICE_RATIO, RESERVE, Training, begins_at
from .live import Course, Happened

if TYPE_CHECKING:
    from spot_training.advise.simulator import Walk
    from spot_training.advise.traces import Trace

OFF_BY, AT_MOST_OF_ONE = 0.05, 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One training in one mode, simulated and live."""

    training: Training
    happened: Happened
    simulated: Course

    @property
    def mode(self) -> str:
        return self.happened.mode

    @property
    def live(self) -> Course:
        return self.happened.live

    @property
    def work(self) -> float:
        return self.training.work_seconds / 3600


def walk_as_live(training: Training, happened: Happened) -> Walk:
    """The mode over the capacity that the training had, with the operator's own rule and guard."""
    work, origin = training.work_seconds, happened.origin
    deadline = Deadline(
        at=happened.deadline_at,
        submitted_at=happened.submitted_at,
        runtime=Runtime(
            mean_seconds=work, high_seconds=work, checkpoint_every_seconds=CHECKPOINT_EVERY_SECONDS
        ),
        reserve=RESERVE,
    )
    is_allowed = happened.mode == "back"
    workload = Workload(
        work_seconds=work,
        deadline_seconds=(deadline.at - deadline.submitted_at).total_seconds(),
        overhead_seconds=RESERVE.launch_seconds,
        spot_price=PRICE_RATIO,
        on_demand_price=1.0,
        back_to_spot=BackToSpot.HAND_OVER if is_allowed else BackToSpot.NEVER,
    )
    begins = begins_at(training.traces[0], training.from_seconds)
    moment = begins + (happened.submitted_at - origin).total_seconds()
    traces = training.traces[: 1 if happened.mode == "one" else 2]
    return walk_events(
        workload,
        [Market(trace=trace) for trace in traces],
        replace(rule_for(deadline, price_ratio=PRICE_RATIO), is_allowed=is_allowed),
        intervals=[since(trace, moment) for trace in traces],
    )


def since(trace: Trace, moment: float) -> tuple[Interval, ...]:
    """When there is capacity, in seconds from this moment of the trace. Its last value holds, as live."""
    found = [(start - moment, end - moment) for start, end in intervals_of(trace) if end > moment]
    if found and trace.ticks[-1]:
        found[-1] = (found[-1][0], float("inf"))
    return tuple((max(0.0, start), end) for start, end in found)


def simulated_course(walked: Walk) -> Course:
    return Course(
        cost=walked.cost_on_demand_hours,
        spot=walked.spot_seconds / 3600,
        on_demand=walked.on_demand_seconds / 3600,
        scouts=walked.scouts,
        scout_cost=walked.scout_seconds * PRICE_RATIO / 3600,
        launches=walked.launches,
        finish=walked.finish_seconds / 3600,
    )


def compare(trainings: Sequence[Training], happened: Sequence[Happened]) -> list[Outcome]:
    """In the order of modes and trainings. Nothing of the simulation is kept, so that it can be repeated."""
    return [
        Outcome(
            training=trainings[one.number],
            happened=one,
            simulated=simulated_course(walk_as_live(trainings[one.number], one)),
        )
        for one in sorted(happened, key=lambda one: (MODES.index(one.mode), one.number))
    ]


#: Members of `Course` in the table, with their digits.
PAIRS = (
    ("cost", 2), ("spot", 1), ("on_demand", 1), ("launches", 0), ("scouts", 0), ("finish", 1),
)  # fmt: skip
COLUMNS = ("mode", "training", "series", "work", "due", *(name.replace("_", " ") for name, _ in PAIRS), "met")


def report(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"| {' | '.join('---' for _ in COLUMNS)} |"
    for one in outcomes:
        training, happened = one.training, one.happened
        series = " ".join(Path(trace.name).stem for trace in training.traces)
        due = (happened.deadline_at - happened.submitted_at).total_seconds() / 3600
        cells = [one.mode, f"{training.number:02}", f"{series} + {training.from_seconds / 3600:.0f} h"]
        cells += [f"{one.work:.1f}", f"{due:.1f}"]
        cells += [
            f"{getattr(one.simulated, name):.{digits}f}, {getattr(one.live, name):.{digits}f}"
            for name, digits in PAIRS
        ]
        yield f"| {' | '.join([*cells, 'no' if happened.is_missed else 'yes'])} |"
    yield ""
    yield "Hours; costs in hours of on-demand; pairs are simulated, live."
    yield ""
    yield "| mode | trainings | missed | cost simulated | live | live / simulated | live / work on demand |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for mode in MODES:
        if found := [one for one in outcomes if one.mode == mode]:
            simulated, live, work = sums(found)
            missed = sum(one.happened.is_missed for one in found)
            yield (
                f"| {mode} | {len(found)} | {missed} | {simulated:.1f} | {live:.1f} | "
                f"{live / simulated:.3f} | {live / work:.3f} |"
            )
    yield ""
    for mode in MODES[1:]:
        if (pair := of_one(outcomes, mode)) is not None:
            yield f"{mode} / one, the same {pair[2]} trainings: simulated {pair[0]:.3f}, live {pair[1]:.3f}"


def sums(outcomes: Sequence[Outcome]) -> tuple[float, float, float]:
    """The costs simulated and live, and the work."""
    return (
        sum(one.simulated.cost for one in outcomes),
        sum(one.live.cost for one in outcomes),
        sum(one.work for one in outcomes),
    )


def of_one(outcomes: Sequence[Outcome], mode: str) -> tuple[float, float, int] | None:
    """The cost of a mode, compared with one type, of the trainings that have both: simulated, live."""
    by_number = {
        name: {one.training.number: one for one in outcomes if one.mode == name} for name in ("one", mode)
    }
    both = sorted(by_number["one"].keys() & by_number[mode].keys())
    if not both:
        return None
    mine, base = (sums([by_number[name][number] for number in both]) for name in (mode, "one"))
    return mine[0] / base[0], mine[1] / base[1], len(both)


def find_faults(outcomes: Sequence[Outcome], asked: int) -> Iterator[str]:
    if len(outcomes) < asked:
        yield f"{asked - len(outcomes)} of {asked} trainings did not complete"
    if missed := [one.training.run_id(one.mode) for one in outcomes if one.happened.is_missed]:
        yield f"missed deadlines: {', '.join(missed)}"
    for mode in MODES:
        simulated, live, _ = sums([one for one in outcomes if one.mode == mode])
        if simulated and abs(live / simulated - 1) > OFF_BY:
            yield f"{mode}: live / simulated is {live / simulated:.3f}"
    pair = of_one(outcomes, "two")
    if pair and pair[1] > AT_MOST_OF_ONE:
        yield f"any of two costs {pair[1]:.3f} of one type, above {AT_MOST_OF_ONE}"


def to_json(outcome: Outcome) -> dict[str, Any]:
    training = outcome.training
    return {
        "series": [Path(trace.name).stem for trace in training.traces],
        "from_seconds": training.from_seconds,
        "work_seconds": training.work_seconds,
        "is_missed": outcome.happened.is_missed,
        "simulated": asdict(outcome.simulated),
        **outcome.happened.to_json(),
    }
