"""The walk of a policy over a trace, in the model everybody measures on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot_training.advise.moves import (
    BY_TICK,
    BackToSpot,
    Decider,
    Intervals,
    Mode,
    OnDemand,
    UntilDeadline,
    View,
    Widen,
    Workload,
)
from spot_training.advise.simulator import Walk, walk
from spot_training.advise.traces import make_trace, parse_trace
from spot_training.domain.errors import InvalidInput, InvalidTrace
from spot_training.policies import simulate

TICK = 600.0


def _workload(**overrides: object) -> Workload:
    values = {
        "work_seconds": 6 * TICK,
        "deadline_seconds": 20 * TICK,
        "overhead_seconds": 300.0,
        "spot_price": 1.0,
        "on_demand_price": 3.0,
    }
    return Workload(**{**values, **overrides})  # type: ignore[arg-type]


def _without_a_way_back(**overrides: object) -> Workload:
    """What a real training is: once on-demand runs, it runs to its end."""
    return _workload(back_to_spot=BackToSpot.NEVER, **overrides)


class Script:
    """Wants the given modes, tick by tick, then on-demand."""

    name = "script"

    def __init__(self, *wanted: Mode) -> None:
        self.wanted = wanted
        self.views: list[View] = []

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider:  # noqa: ARG002
        return self

    def decide(self, view: View) -> Mode:
        self.views.append(view)
        tick = len(self.views) - 1
        return self.wanted[tick] if tick < len(self.wanted) else Mode.ON_DEMAND


def _walk(policy: object, ticks: list[int], workload: Workload | None = None, **options: object) -> Walk:
    return walk(policy, workload or _workload(), ticks, tick_seconds=TICK, **options)  # type: ignore[arg-type]


def test_on_demand_pays_for_work_and_one_launch_in_whole_ticks() -> None:
    result = _walk(OnDemand(), [1] * 20)
    assert result.cost_on_demand_hours == pytest.approx(7 * TICK / 3600)
    assert result.cost_dollars == pytest.approx(7 * TICK / 3600 * 3)
    assert result.finish_seconds == 6 * TICK + 300
    assert (result.launches, result.missed) == (1, False)


def test_waiting_is_free_and_each_launch_owes_its_overhead() -> None:
    result = _walk(UntilDeadline(), [0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1], _without_a_way_back())
    assert result.finish_seconds == 10 * TICK
    assert (result.launches, result.interruptions) == (2, 1)
    assert (result.wait_seconds, result.spot_seconds) == (3 * TICK, 7 * TICK)
    assert result.cost_dollars == pytest.approx(7 * TICK / 3600)


def test_overheads_do_not_stack() -> None:
    slow = _without_a_way_back(overhead_seconds=2.5 * TICK, deadline_seconds=40 * TICK)
    # The first launch is lost before it is paid: the second owes one overhead, not what was left as well.
    result = _walk(UntilDeadline(), [1, 0] + [1] * 30, slow)
    assert result.finish_seconds == 2 * TICK + 2.5 * TICK + 6 * TICK


def test_without_capacity_on_demand_starts_at_the_last_moment() -> None:
    result = _walk(UntilDeadline(), [0] * 20, _without_a_way_back())
    assert not result.missed
    assert result.finish_seconds > 19 * TICK


def test_capacity_is_not_seen_while_on_demand_runs() -> None:
    script = Script(Mode.ON_DEMAND, Mode.ON_DEMAND)
    _walk(script, [1] * 20)
    assert [view.has_spot for view in script.views[:3]] == [True, None, None]
    assert [view.interval_seconds for view in script.views[:3]] == [0, 0, TICK]
    seeing = Script(Mode.ON_DEMAND, Mode.ON_DEMAND)
    _walk(seeing, [1] * 20, sees_capacity=True)
    assert [view.has_spot for view in seeing.views[:3]] == [True, True, True]


@pytest.mark.parametrize(
    ("back", "modes"),
    [
        (BackToSpot.BESIDE, [Mode.ON_DEMAND, Mode.ON_DEMAND, Mode.SPOT]),
        (BackToSpot.STOP_FIRST, [Mode.ON_DEMAND, Mode.WAIT, Mode.SPOT]),
        (BackToSpot.NEVER, [Mode.ON_DEMAND, Mode.ON_DEMAND, Mode.ON_DEMAND]),
    ],
)
def test_an_order_for_spot_while_on_demand_runs_is_blind(back: BackToSpot, modes: list[Mode]) -> None:
    script = Script(Mode.ON_DEMAND, Mode.SPOT, Mode.SPOT)
    _walk(script, [0, 0, 1, 1, 1, 1, 1], _workload(back_to_spot=back))
    assert [view.mode for view in script.views[1:4]] == modes


def test_a_deadline_that_cannot_be_kept_is_a_miss_that_is_counted() -> None:
    result = _walk(UntilDeadline(), [0] * 4, _without_a_way_back(deadline_seconds=5 * TICK))
    assert result.missed
    assert result.finish_seconds == 6 * TICK + 300


def test_without_a_guard_the_policy_alone_must_keep_the_deadline() -> None:
    result = _walk(UntilDeadline(), [0] * 20, _without_a_way_back(), guard=None)
    assert result.missed
    assert result.finish_seconds == 20 * TICK + 6 * TICK + 300


@settings(max_examples=200)
@given(
    ticks=st.lists(st.integers(0, 1), min_size=1, max_size=60),
    wanted=st.lists(st.sampled_from(Mode), max_size=60),
    back=st.sampled_from(BY_TICK),
    slack=st.floats(0, 40 * TICK),
    overhead=st.floats(0, 4 * TICK),
    sees=st.booleans(),
)
def test_no_policy_whatever_it_wants_misses_a_deadline_that_could_be_kept(
    ticks: list[int], wanted: list[Mode], back: BackToSpot, slack: float, overhead: float, sees: bool
) -> None:
    work = _workload(
        deadline_seconds=6 * TICK + overhead + slack, overhead_seconds=overhead, back_to_spot=back
    )
    result = _walk(Script(*wanted), ticks, work, sees_capacity=sees)
    assert not result.missed
    for policy in (OnDemand(), UntilDeadline(), Widen()):
        assert not _walk(policy, ticks, work, sees_capacity=sees).missed


def test_plain_values_are_enough_to_simulate() -> None:
    result = simulate(
        "deadline", {"work_seconds": 3600, "deadline_seconds": 7200}, [1] * 24, tick_seconds=300
    )
    assert result.cost_on_demand_hours == pytest.approx(0.9731 / 3.06)
    workload = Workload(work_seconds=3600, deadline_seconds=7200)
    assert result == simulate(UntilDeadline(), workload, bytes([1] * 24))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"work_seconds": 1}, "deadline_seconds"),
        ({"work_seconds": 1, "deadline_seconds": 2, "hurry": 1}, "hurry"),
        ({"work_seconds": 1, "deadline_seconds": 2, "back_to_spot": "maybe"}, "back_to_spot"),
    ],
)
def test_a_strange_workload_names_the_field(values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        simulate("deadline", values, [1])


def test_a_trace_is_read_from_its_json() -> None:
    trace = parse_trace(json.dumps({"metadata": {"gap_seconds": 195}, "data": [1, 0, 1, 1]}), source="x.json")
    assert (trace.seconds, trace.availability, len(trace)) == (780, 0.75, 4)
    assert [window.ticks for window in trace.windows(390, 3)] == [b"\1\0", b"\0\1", b"\1\1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "not valid JSON"),
        ("[]", "gap_seconds is missing"),
        ('{"metadata": {"gap_seconds": 0}, "data": [1]}', "above zero"),
        ('{"metadata": {"gap_seconds": 60}, "data": []}', "no tick"),
        ('{"metadata": {"gap_seconds": 60}, "data": 5}', "not a list"),
        ('{"metadata": {"gap_seconds": 60}, "data": [0, 2]}', "has 2, but only 0 and 1"),
        ('{"metadata": {"gap_seconds": 60}, "data": [0, "x"]}', "not 0 or 1"),
    ],
)
def test_a_broken_trace_says_what_is_wrong_and_where(text: str, said: str) -> None:
    with pytest.raises(InvalidTrace, match=said) as caught:
        parse_trace(text, source="capacity.json")
    assert "capacity.json" in str(caught.value)


def test_a_trace_of_other_numbers_is_refused() -> None:
    with pytest.raises(InvalidTrace):
        make_trace([1, 300], 60)
