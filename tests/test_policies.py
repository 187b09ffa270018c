"""What others may call: policies by name, their earlier names, and a policy of one's own in `simulate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spot_training.advise.moves import (
    Decider,
    Intervals,
    Mode,
    MovePolicy,
    OnDemand,
    UntilDeadline,
    View,
    Widen,
    Workload,
)
from spot_training.domain.errors import InvalidInput, UnknownPolicy
from spot_training.policies import POLICIES, policy_named, simulate

WORKLOAD = {"work_seconds": 3600, "deadline_seconds": 7200}
ALIASES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "uniform_progress": {"hysteresis": False},
    "rule": {
        "wait_work": 0.2,
        "wait_overhead": 1.6,
        "return_work": 0.057,
        "return_overhead": 0.18,
        "look_every_seconds": 3600.0,
    },
    "planner": {"prior": 5},
}


def test_policies_by_name_are_those_of_before_and_deadline() -> None:
    assert set(POLICIES) == {"on_demand", "widen", "deadline", *ALIASES}


def test_a_policy_is_made_by_name_with_its_options() -> None:
    assert policy_named("widen", spot_attempts=3) == POLICIES["widen"](spot_attempts=3)
    assert policy_named("widen", spot_attempts=3) == Widen(spot_attempts=3)
    assert policy_named("deadline") == UntilDeadline()
    assert policy_named("on_demand") == OnDemand()


@pytest.mark.parametrize("name", ALIASES)
def test_an_earlier_name_is_the_policy_deadline_and_warns_once_whoever_asks(name: str) -> None:
    said = rf"^policy {name} is deprecated: it is now a name for deadline"
    questions: tuple[Callable[[], MovePolicy], ...] = (
        lambda: POLICIES[name](**ALIASES[name]),
        lambda: policy_named(name, **ALIASES[name]),
        POLICIES[name],
    )
    for ask in questions:
        with pytest.warns(DeprecationWarning, match=said) as warned:
            assert ask() == UntilDeadline()
        assert [warning.filename for warning in warned] == [__file__]
    with pytest.warns(DeprecationWarning, match=said) as warned:
        walked = simulate(name, WORKLOAD, [0, 1, 1, 0] * 6)
    assert [warning.filename for warning in warned] == [__file__]
    assert walked == simulate("deadline", WORKLOAD, [0, 1, 1, 0] * 6)


@pytest.mark.parametrize("name", ALIASES)
def test_the_options_of_an_earlier_name_are_named_as_ignored(name: str) -> None:
    with pytest.warns(DeprecationWarning, match="is deprecated") as warned:
        policy_named(name, **ALIASES[name])
    (said,) = [str(warning.message) for warning in warned]
    assert all(option in said for option in ALIASES[name])
    assert ("ignored" in said) is bool(ALIASES[name])


def test_a_policy_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownPolicy, match=r"choose one of deadline, on_demand, widen\."):
        policy_named("lucky")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rule", r"rule takes wait_work, .*look_every_seconds\."),
        ("greedy", r"greedy takes no options\."),
        ("deadline", r"deadline takes no options\."),
        ("widen", r"widen takes first_wait_seconds, factor, spot_attempts\."),
    ],
)
def test_a_misspelt_option_is_refused_with_those_there_are(name: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^policy\.luck is 1: {said}"):
        policy_named(name, luck=1)
    with pytest.raises(TypeError, match="luck"):
        POLICIES[name](luck=1)


class Patient:
    """A policy of one's own: it waits for spot whatever the time, and notes its market's history."""

    name = "patient"

    def __init__(self) -> None:
        self.seen: list[tuple[Workload, Intervals]] = []

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider:
        self.seen.append((workload, history))
        return self

    def decide(self, view: View) -> Mode:
        if view.mode is Mode.ON_DEMAND:
            return Mode.ON_DEMAND
        return Mode.SPOT if view.has_spot else Mode.WAIT


def test_a_policy_of_ones_own_is_walked_under_the_guard_with_its_history() -> None:
    mine, history = Patient(), [(True, 600.0), (False, 300.0)]
    walked = simulate(mine, WORKLOAD, [0] * 24, tick_seconds=300, history=history)
    assert mine.seen == [(Workload(work_seconds=3600, deadline_seconds=7200), history)]
    assert (walked.missed, walked.on_demand_seconds) == (False, 3600)
    assert simulate(Patient(), WORKLOAD, [0] * 24, tick_seconds=300, guard=None).missed


def test_a_policy_of_ones_own_sees_capacity_while_on_demand_runs_only_if_asked() -> None:
    class Watching(Patient):
        def __init__(self) -> None:
            super().__init__()
            self.views: list[View] = []

        def decide(self, view: View) -> Mode:
            self.views.append(view)
            return Mode.ON_DEMAND

    blind, seeing = Watching(), Watching()
    simulate(blind, WORKLOAD, [1] * 24)
    simulate(seeing, WORKLOAD, [1] * 24, sees_capacity=True)
    assert {view.has_spot for view in blind.views[1:]} == {None}
    assert {view.has_spot for view in seeing.views[1:]} == {True}
