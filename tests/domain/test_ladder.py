"""Which step comes next, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.advise.moves import Decider, Intervals, MovePolicy, Workload
from spot_training.domain.errors import InvalidInput, MaxWaitBelowMaxRuntime, UnknownPolicy
from spot_training.domain.ladder import (
    Action,
    Decision,
    Ladder,
    Situation,
    SpotWhileTimeAllows,
    Step,
    on_demand_only,
    widened_waits,
)
from spot_training.domain.lifecycle import CAPACITY_CAUSES, Ending
from spot_training.domain.policy_specs import (
    DEADLINE_POLICIES,
    DEFAULT_WITH_DEADLINE,
    LADDERS,
    Defaults,
    policy_from,
)
from spot_training.domain.savings import Attempt, PurchaseOption
from spot_training.domain.scouting import types_that_pay

HOUR = 3600


def _attempt(ending: Ending, *, step: int = 0, **overrides: Any) -> Attempt:
    defaults: dict[str, Any] = {
        "number": step + 1,
        "job_name": f"job-{step + 1}",
        "purchase": PurchaseOption.SPOT,
        "reason": "",
        "instance_type": "ml.m5.xlarge",
        "wait_seconds": 2 * HOUR,
    }
    return Attempt(**{**defaults, **overrides, "ending": ending, "step": step})


def _climb(policy: Ladder, ending: Ending) -> list[Step]:
    """The steps of a training with attempts that all end alike."""
    steps: list[Step] = []
    attempts: tuple[Attempt, ...] = ()
    while (decision := policy.decide(Situation(attempts=attempts))).action is Action.START:
        assert decision.step is not None
        steps.append(decision.step)
        attempt = _attempt(ending, step=decision.step_index, purchase=decision.step.purchase)
        attempts = (*attempts, attempt)
    return steps


def test_the_default_waits_twice_with_a_wider_wait_and_then_buys_on_demand() -> None:
    policy = widened_waits(max_runtime_seconds=HOUR)
    steps = _climb(policy, Ending.NO_CAPACITY)
    assert [r.max_wait_seconds for r in steps] == [2 * HOUR, 4 * HOUR, None]
    assert [r.purchase for r in steps] == [PurchaseOption.SPOT, PurchaseOption.SPOT, PurchaseOption.ON_DEMAND]


def test_waits_widen_up_to_the_cap() -> None:
    policy = widened_waits(
        max_runtime_seconds=HOUR, first_wait_seconds=HOUR, factor=3, cap_seconds=5 * HOUR, spot_attempts=4
    )
    assert [r.max_wait_seconds for r in policy.steps] == [HOUR, 3 * HOUR, 5 * HOUR, 5 * HOUR, None]


def test_without_on_demand_the_training_gives_up_after_the_last_wait() -> None:
    policy = widened_waits(max_runtime_seconds=HOUR, spot_attempts=2, then_on_demand=False)
    attempts = (_attempt(Ending.NO_CAPACITY), _attempt(Ending.NO_CAPACITY, step=1))
    decision = policy.decide(Situation(attempts=attempts))
    assert decision.action is Action.GIVE_UP
    assert decision.reason == "no spot capacity for ml.m5.xlarge in 2 h; no step is left"


@given(st.sampled_from(Ending))
def test_only_capacity_causes_climb(ending: Ending) -> None:
    decision = widened_waits(max_runtime_seconds=HOUR).decide(Situation(attempts=(_attempt(ending),)))
    assert (decision.action is Action.START) is (ending in CAPACITY_CAUSES)
    assert decision.reason


def test_a_refused_quota_is_not_asked_for_again_with_a_wider_wait() -> None:
    decision = widened_waits(max_runtime_seconds=HOUR, spot_attempts=3).decide(
        Situation(attempts=(_attempt(Ending.QUOTA),))
    )
    assert decision.step == Step(purchase=PurchaseOption.ON_DEMAND)


@given(
    first=st.integers(HOUR, 10 * HOUR),
    factor=st.floats(1, 100),
    spot_attempts=st.integers(1, 20),
    on_demand=st.booleans(),
)
def test_every_climb_ends_and_no_wait_is_below_the_run_time(
    first: int, factor: float, spot_attempts: int, on_demand: bool
) -> None:
    policy = widened_waits(
        max_runtime_seconds=HOUR,
        first_wait_seconds=first,
        factor=factor,
        spot_attempts=spot_attempts,
        then_on_demand=on_demand,
    )
    steps = _climb(policy, Ending.NO_CAPACITY)
    waits = [r.max_wait_seconds for r in steps if r.max_wait_seconds is not None]
    assert len(steps) == spot_attempts + on_demand
    assert waits == sorted(waits)
    assert all(wait >= HOUR for wait in waits)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "widen", "first_wait": "7200", "factor": "3", "cap": "12h", "spot_attempts": "3"},
        json.dumps({"name": "widen", "first_wait": "2h", "factor": 3, "cap": 43200, "spot_attempts": 3.0}),
    ],
)
def test_options_may_be_text(spec: object) -> None:
    policy = policy_from(spec, Defaults(max_runtime_seconds=HOUR))
    assert [r.max_wait_seconds for r in policy.steps] == [2 * HOUR, 6 * HOUR, 12 * HOUR, None]


@pytest.mark.parametrize("name", sorted(set(LADDERS) - {"ladder"}))
def test_every_named_policy_needs_no_options(name: str) -> None:
    assert policy_from(name, Defaults(max_runtime_seconds=HOUR, deadline_in_seconds=5 * HOUR)).steps


@pytest.mark.parametrize("name", DEADLINE_POLICIES)
def test_a_policy_for_deadlines_needs_one(name: str) -> None:
    with pytest.raises(InvalidInput, match="give `deadline`, or choose widen"):
        policy_from(name, Defaults(max_runtime_seconds=HOUR))


@pytest.mark.parametrize(
    "spec",
    [
        [
            {"spot": "ml.m5.xlarge", "max_wait": "2h"},
            {"spot": "ml.m5.2xlarge", "max_wait": 7200},
            "on_demand",
        ],
        {
            "rungs": [
                {"spot": "ml.m5.xlarge", "max_wait": "2h"},
                {"spot": ["ml.m5.2xlarge"], "max_wait": "7200"},
                {"on_demand": ""},
            ]
        },
        (
            '[{"spot": "ml.m5.xlarge", "max_wait": "2h"}, {"spot": "ml.m5.2xlarge", "max_wait": "2h"},'
            ' "on_demand"]'
        ),
    ],
)
def test_a_ladder_may_be_a_list_of_steps(spec: object) -> None:
    policy = policy_from(spec, Defaults(max_runtime_seconds=HOUR))
    assert [(str(r.purchase), r.instance_types, r.max_wait_seconds) for r in policy.steps] == [
        ("spot", ("ml.m5.xlarge",), 2 * HOUR),
        ("spot", ("ml.m5.2xlarge",), 2 * HOUR),
        ("on-demand", (), None),
    ]


def test_on_demand_takes_several_types() -> None:
    policy = policy_from([{"on_demand": "ml.m5.xlarge, ml.m5.2xlarge"}], Defaults())
    assert policy.steps[0].instance_types == ("ml.m5.xlarge", "ml.m5.2xlarge")


@pytest.mark.parametrize(
    ("step", "field"),
    [
        ({"spot": "ml.m5.xlarge"}, r"policy\.steps\[0\]\.max_wait"),
        ({"spot": ["ml.g5.xlarge", "ml.c5.xlarge"], "max_wait": "2h"}, r"steps\[0\]\.spot .*one image"),
        ({"spot": ["ml.a", "ml.a"], "max_wait": "2h"}, r"steps\[0\]\.spot .*once"),
        ({"spot": "ml.a", "max_wait": "2h", "scout_image": 3}, r"steps\[0\]\.scout_image is 3"),
        ({"on_demand": "ml.a", "scout_image": "mine"}, r"steps\[0\]\.scout_image"),
        ({"spot": "ml.a", "on_demand": "ml.b"}, r"policy\.steps\[0\]"),
        ({"on_demand": [], "max_wait": "2h"}, r"steps\[0\]\.max_wait is 7200: .*max wait for spot jobs only"),
        ({"spot": "ml.a", "max_wait": "10m"}, r"policy\.steps\[0\]\.max_wait is 600: .*\(3600\)"),
        (
            {"on_demand": ["ml.a", "m5.xlarge"]},
            r"policy\.steps\[0\]\.on_demand is 'm5\.xlarge': .*ml\.m5\.xlarge",
        ),
        ({"on_demand": [3]}, r"policy\.steps\[0\]\.on_demand"),
        ({"spot": "ml.a", "max_wait": "2h", "colour": "red"}, r"policy\.steps\[0\]\.colour"),
        ("spot_on", r"policy\.steps\[0\]"),
        (7, r"policy\.steps\[0\]"),
    ],
)
def test_a_bad_step_is_named(step: object, field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        policy_from([step], Defaults(max_runtime_seconds=HOUR))


def test_the_policy_file_names_policies_of_its_own() -> None:
    defaults = Defaults(max_runtime_seconds=HOUR, named={"patient": {"name": "widen", "first_wait": "8h"}})
    assert policy_from("patient", defaults).steps[0].max_wait_seconds == 8 * HOUR
    with pytest.raises(UnknownPolicy, match="patient"):
        policy_from("impatient", defaults)
    with pytest.raises(UnknownPolicy):
        policy_from("round", Defaults(named={"round": "round"}))


def test_a_policy_of_one_step_says_that_it_is_the_only_one() -> None:
    assert on_demand_only().decide(Situation(attempts=())).reason == "the only step: on-demand"


def test_the_requests_own_wait_is_the_first_wait() -> None:
    policy = policy_from("spot_only", Defaults(max_runtime_seconds=HOUR, max_wait_seconds=5 * HOUR))
    assert [r.max_wait_seconds for r in policy.steps] == [5 * HOUR, 10 * HOUR]


@pytest.mark.parametrize("spec", ["yolo", "", None, "None", 3, {}, {"name": 7}, "{not json", "[]{"])
def test_an_unknown_policy_is_refused_with_the_ones_there_are(spec: object) -> None:
    with pytest.raises(UnknownPolicy, match=r"policy(\.name)? is "):
        policy_from(spec, Defaults())


def test_a_max_wait_below_max_runtime_names_both() -> None:
    spec = {"name": "widen", "first_wait": 1800}
    with pytest.raises(MaxWaitBelowMaxRuntime, match=r"policy\.first_wait is 1800.*\(3600\)"):
        policy_from(spec, Defaults(max_runtime_seconds=HOUR))
    with pytest.raises(MaxWaitBelowMaxRuntime, match=r"MaxWaitTimeInSeconds is 1800.*\(3600\)"):
        policy_from("widen", Defaults(max_runtime_seconds=HOUR, max_wait_seconds=1800))


def test_a_misspelt_option_is_named_with_those_there_are() -> None:
    expected = (
        r"policy\.firstwait is '2h': widen takes first_wait, factor, cap, spot_attempts, instance_types"
    )
    with pytest.raises(InvalidInput, match=expected):
        policy_from({"name": "widen", "firstwait": "2h"}, Defaults())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("factor", "0.5"),
        ("factor", "nan"),
        ("spot_attempts", 0),
        ("spot_attempts", 10_000),
        ("spot_attempts", "two"),
        ("cap", 60),
        ("first_wait", "soon"),
        ("first_wait", -5),
        ("frist_wait", 7200),
    ],
)
def test_a_bad_option_is_named(option: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=option if option != "first_wait" else "first_wait|MaxWait"):
        policy_from({"name": "widen", option: value}, Defaults(max_runtime_seconds=HOUR))


def test_a_spot_step_takes_a_wait_and_types_between_which_a_training_can_move() -> None:
    with pytest.raises(InvalidInput, match="max wait"):
        Step(purchase=PurchaseOption.SPOT)
    arm = ("ml.c5.xlarge", "ml.c7g.xlarge")
    with pytest.raises(InvalidInput, match=r"ml\.c5\.xlarge has x86-64, .*ml\.c7g\.xlarge has arm64"):
        Step(purchase=PurchaseOption.SPOT, max_wait_seconds=60, instance_types=arm)
    step = Step(
        purchase=PurchaseOption.SPOT, max_wait_seconds=60, instance_types=("ml.g5.xlarge", "ml.p3.2xlarge")
    )
    assert [one.instance_types for one in step.by_type] == [("ml.g5.xlarge",), ("ml.p3.2xlarge",)]
    assert str(step) == "spot ml.g5.xlarge or ml.p3.2xlarge, max wait 1 min"


def test_a_policy_stays_on_the_step_whose_training_moved() -> None:
    types = ["ml.g5.xlarge", "ml.g6.xlarge"]
    for spec in ("widen", "spot_only", "deadline"):
        defaults = Defaults(deadline_in_seconds=10 * HOUR, max_runtime_seconds=HOUR)
        policy = policy_from({"name": spec, "instance_types": types, "scout_image": "mine:1"}, defaults)
        assert (policy.steps[0].instance_types, policy.steps[0].scout_image) == (tuple(types), "mine:1")
        decision = policy.decide(Situation(attempts=(_attempt(Ending.MOVED),)))
        assert (decision.action, decision.step_index) == (Action.START, 0)
        assert "another type has some" in decision.reason


TAKEN_AWAY = (
    "spot capacity was taken away once and the job started again from its last checkpoint: without "
    "interruptions it may have finished"
)


@pytest.mark.parametrize(
    ("ending", "facts", "reason"),
    [
        (Ending.ALGORITHM_ERROR, {}, "attempt 1: algorithm error; more capacity would not help"),
        (Ending.STOPPED_BY_USER, {}, "attempt 1: stopped by a user; a person's stop is respected"),
        (Ending.MAX_RUNTIME, {}, "attempt 1: reached max runtime; it needs more run time, not more capacity"),
        (
            Ending.MAX_RUNTIME,
            {"interruptions": 1, "has_checkpoints": True},
            "attempt 1: reached max runtime; " + TAKEN_AWAY,
        ),
    ],
)
def test_a_training_that_is_given_up_says_what_its_ending_means(
    ending: Ending, facts: dict[str, Any], reason: str
) -> None:
    policy = widened_waits(max_runtime_seconds=HOUR)
    decision = policy.decide(Situation(attempts=(_attempt(ending, **facts),)))
    assert (decision.action, decision.reason) == (Action.GIVE_UP, reason)


@given(st.sampled_from(Ending), st.integers(0, 3))
def test_nobody_says_that_capacity_would_not_help_a_job_that_was_interrupted(
    ending: Ending, interruptions: int
) -> None:
    attempt = _attempt(ending, interruptions=interruptions)
    reason = widened_waits(max_runtime_seconds=HOUR).decide(Situation(attempts=(attempt,))).reason
    if "capacity would not help" in reason:
        assert ending in {Ending.ALGORITHM_ERROR, Ending.CLIENT_ERROR}


@pytest.mark.parametrize(
    ("spec", "alias", "ignored"),
    [
        ("rule", "rule", ""),
        ("planner", "planner", ""),
        ("greedy", "greedy", ""),
        ("uniform_progress", "uniform_progress", ""),
        ({"name": "rule", "on_demand": "ml.m5.2xlarge"}, "rule", ""),
        ({"name": "rule", "wait_work": 0.5}, "rule", ", and the option wait_work is ignored"),
        (
            {"name": "rule", "return_work": "0.1", "wait_work": 0.5, "factor": 2},
            "rule",
            ", and the options wait_work, return_work are ignored",
        ),
        ({"name": "planner", "prior": "1"}, "planner", ", and the option prior is ignored"),
        (
            {"name": "uniform_progress", "hysteresis": False},
            "uniform_progress",
            ", and the option hysteresis is ignored",
        ),
    ],
)
def test_an_alias_of_the_policy_for_deadlines_says_in_one_line_that_it_is_one(
    spec: object, alias: str, ignored: str
) -> None:
    policy = policy_from(spec, Defaults(deadline_in_seconds=10 * HOUR))
    assert isinstance(policy, SpotWhileTimeAllows)
    assert policy.notes == (f"policy {alias} is deprecated: it is now a name for deadline{ignored}.",)


@pytest.mark.parametrize(
    "spec", ["deadline", {"name": "deadline", "on_demand": ["ml.m5.2xlarge"], "first_wait": "2h"}]
)
def test_the_policy_for_deadlines_says_nothing_by_its_own_name(spec: object) -> None:
    policy = policy_from(spec, Defaults(deadline_in_seconds=10 * HOUR))
    assert isinstance(policy, SpotWhileTimeAllows)
    assert policy.notes == ()


@pytest.mark.parametrize("name", DEADLINE_POLICIES)
def test_all_names_of_the_policy_for_deadlines_are_one_policy(name: str) -> None:
    defaults = Defaults(deadline_in_seconds=10 * HOUR)
    options = {"name": name, "on_demand": ["ml.m5.2xlarge"]}
    policies = [policy_from({**options, "name": each}, defaults) for each in (name, DEFAULT_WITH_DEADLINE)]
    assert policies[0].steps == policies[1].steps
    assert policies[0].steps[1].instance_types == ("ml.m5.2xlarge",)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "deadline", "wait_work": 0.5}, r"policy\.wait_work is 0\.5: deadline takes on_demand, "),
        ({"name": "greedy", "hysteresis": 1}, r"policy\.hysteresis is 1: greedy takes on_demand, "),
        (
            {"name": "rule", "luck": 1},
            r"policy\.luck is 1: rule takes on_demand, .*wait_work, .*look_every_se",
        ),
        ({"name": "planner", "piror": 1}, r"policy\.piror is 1: planner takes on_demand, .*prior\."),
        ({"name": "rule", "wait_work": "much"}, r"policy\.wait_work is 'much': give a number"),
    ],
)
def test_a_misspelt_option_of_the_policy_for_deadlines_is_refused(spec: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{said}"):
        policy_from(spec, Defaults(deadline_in_seconds=10 * HOUR))


def test_a_policy_files_own_deadline_keeps_its_meaning() -> None:
    """The file may be older than the policy of that name."""
    named = {"deadline": {"name": "widen", "first_wait": "8h"}}
    defaults = Defaults(max_runtime_seconds=HOUR, deadline_in_seconds=24 * HOUR, named=named)
    assert policy_from("deadline", defaults).steps[0].max_wait_seconds == 8 * HOUR
    assert isinstance(policy_from("rule", defaults), SpotWhileTimeAllows)


def test_an_object_that_decides_on_attempts_is_a_policy_as_it_is() -> None:
    class Mine:
        steps = (Step(purchase=PurchaseOption.ON_DEMAND),)

        def decide(self, situation: Situation) -> Decision:
            raise NotImplementedError

    mine = Mine()
    assert policy_from(mine, Defaults()) is mine


def test_a_policy_that_decides_tick_by_tick_is_for_simulate_and_refused_here() -> None:
    class Patient:
        name = "patient"

        def begin(self, workload: Workload, history: Intervals = ()) -> Decider:
            raise NotImplementedError

    assert isinstance(Patient(), MovePolicy)
    with pytest.raises(UnknownPolicy, match="give a name, a mapping or a list of steps"):
        policy_from(Patient(), Defaults(deadline_in_seconds=10 * HOUR))


def test_a_type_on_which_spot_costs_more_than_on_demand_for_the_same_work_is_left_out() -> None:
    spec = [{"spot": {"ml.g5.xlarge": 1, "ml.g6.xlarge": "0.8", "ml.g4dn.xlarge": 0.2}, "max_wait": "2h"}]
    (step,) = policy_from(spec, Defaults(max_runtime_seconds=HOUR)).steps
    assert step.speeds == (1, 0.8, 0.2)
    prices = {"ml.g5.xlarge": 1.0, "ml.g6.xlarge": 1.1, "ml.g4dn.xlarge": 0.7}
    others = step.instance_types[1:]
    assert types_that_pay(others, step, prices.get) == ("ml.g6.xlarge",)
    assert types_that_pay(others, step, lambda _kind: None) == others, "unknown is not zero"
    assert types_that_pay(others, step.with_type(), prices.get) == others, "without speeds"
    with pytest.raises(InvalidInput, match=r"steps\[0\]\.spot\.ml\.g5\.xlarge is 0: .*0\.5"):
        policy_from([{"spot": {"ml.g5.xlarge": 0}, "max_wait": "2h"}], Defaults(max_runtime_seconds=HOUR))
