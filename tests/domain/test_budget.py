"""A month's budget: on-demand that does not fit becomes a wait for spot, and says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.budget import (
    Budget,
    BudgetCheck,
    MonthSpending,
    OnDemandCost,
    budget_from,
    month_of,
)
from spot_training.domain.deadline import Outlook
from spot_training.domain.decide import is_on_demand, keep_budget
from spot_training.domain.errors import InvalidInput
from spot_training.domain.ladder import Action, Ladder, Situation, on_demand_only, widened_waits
from spot_training.domain.lifecycle import CAPACITY_CAUSES, Ending
from spot_training.domain.money import dollars
from spot_training.domain.savings import Attempt, PurchaseOption

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = 3600
LADDER = widened_waits(max_runtime_seconds=HOUR)
COST = OnDemandCost(instances="1 x ml.p3.2xlarge", seconds=8 * HOUR, basis="given", usd_per_hour=3.875)


def _check(*, usd: float = 200, billed: float = 195, running: float = 5, **overrides: Any) -> BudgetCheck:
    spending = MonthSpending(began_at=NOVEMBER, billed_usd=billed, running_usd=running)
    made = BudgetCheck(budget=Budget(usd=usd), spending=spending, cost=COST)
    return replace(made, **overrides)


def _attempt(ending: Ending = Ending.NO_CAPACITY, **overrides: Any) -> Attempt:
    defaults: dict[str, Any] = {
        "number": 1,
        "step": 1,
        "job_name": "model-1",
        "purchase": PurchaseOption.SPOT,
        "reason": "",
        "ending": ending,
        "instance_type": "ml.p3.2xlarge",
        "wait_seconds": 2 * HOUR,
    }
    return Attempt(**{**defaults, **overrides})


def _outlook(on_demand_in: float | None) -> Outlook:
    return Outlook(
        now=NOVEMBER,
        deadline=NOVEMBER + timedelta(hours=9),
        slack_seconds=on_demand_in or 0,
        on_demand_in_seconds=on_demand_in,
        reason="it is time",
    )


def _kept(
    check: BudgetCheck | None, *attempts: Attempt, ladder: Ladder = LADDER, outlook: Outlook | None = None
) -> Any:
    situation = Situation(attempts=attempts, outlook=outlook)
    return keep_budget(ladder.decide(situation), ladder.steps, situation, check)


def test_on_demand_above_the_budget_waits_for_spot_and_says_why() -> None:
    decision = _kept(_check(usd=200, billed=190, running=5), _attempt())
    assert decision.action is Action.START
    assert decision.step == LADDER.steps[1]
    assert decision.reason == (
        "no spot capacity for ml.p3.2xlarge in 2 h; on-demand would take November to $226.00, its budget is "
        "$200.00 ($190.00 billed, $5.00 for what runs now, $31.00 for this training): waiting for spot"
    )


def test_on_demand_within_the_budget_is_bought() -> None:
    assert is_on_demand(_kept(_check(usd=231, billed=195, running=5), _attempt()))
    assert not is_on_demand(_kept(_check(usd=230.99, billed=195, running=5), _attempt()))


def test_a_budget_that_is_spent_says_so() -> None:
    reason = _kept(_check(usd=200, billed=204, running=0), _attempt()).reason
    assert "November's budget of $200.00 is spent ($204.00 billed): waiting for spot" in reason


def test_spot_is_never_held_back() -> None:
    check = _check(usd=0, billed=10_000)
    assert _kept(check) == LADDER.decide(Situation())


def test_without_a_budget_nothing_changes() -> None:
    assert is_on_demand(_kept(None, _attempt()))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"cost": replace(COST, usd_per_hour=None)}, "the price of 1 x ml.p3.2xlarge is not known"),
        ({"spending": None}, "the ledger could not be read"),
    ],
)
def test_what_is_not_known_is_not_spent(overrides: dict[str, Any], said: str) -> None:
    decision = _kept(_check(usd=10_000, **overrides), _attempt())
    assert decision.step == LADDER.steps[1]
    assert said in decision.reason


def test_jobs_of_unknown_price_are_told_of() -> None:
    spending = MonthSpending(began_at=NOVEMBER, billed_usd=190, unpriced=2)
    assert "2 jobs of unknown price not counted" in _kept(_check(spending=spending), _attempt()).reason


def test_the_budget_wins_over_the_deadline_unless_the_user_says_otherwise() -> None:
    decision = _kept(_check(), _attempt(), outlook=_outlook(0))
    assert decision.step == LADDER.steps[1]
    assert decision.reason.endswith("waiting for spot, even if the deadline is missed")
    wins = _check(budget=Budget(usd=200, deadline_wins=True))
    decision = _kept(wins, _attempt(), outlook=_outlook(0))
    assert is_on_demand(decision)
    assert decision.reason.endswith("the deadline wins")


def test_a_deadline_that_wins_waits_for_spot_as_long_as_it_can() -> None:
    wins = _check(budget=Budget(usd=200, deadline_wins=True))
    assert not is_on_demand(_kept(wins, _attempt(), outlook=_outlook(HOUR)))
    stopped = _attempt(Ending.STOPPED_FOR_DEADLINE)
    assert is_on_demand(_kept(wins, stopped, outlook=_outlook(60)))
    early = _kept(wins, stopped, outlook=_outlook(HOUR))
    assert not is_on_demand(early), "stopped because on-demand may be left again: it can still wait"


@pytest.mark.parametrize("ending", [Ending.QUOTA, Ending.CAPACITY_ERROR])
def test_spot_that_is_refused_at_once_is_not_asked_for_in_circles(ending: Ending) -> None:
    decision = _kept(_check(), _attempt(ending))
    assert decision.action is Action.GIVE_UP
    assert "spot is not available at the moment either" in decision.reason


def test_a_policy_without_spot_gives_up() -> None:
    decision = _kept(_check(), ladder=on_demand_only())
    assert decision.action is Action.GIVE_UP
    assert decision.reason.endswith("and the policy has no spot step to wait with")


@given(
    usd=st.floats(0, 1000),
    billed=st.floats(0, 1000),
    running=st.floats(0, 1000),
    price=st.none() | st.floats(0.01, 100),
    ending=st.none() | st.sampled_from(Ending),
    due=st.none() | st.floats(0, HOUR),
)
def test_on_demand_is_only_bought_where_the_month_stays_within_its_budget(
    usd: float, billed: float, running: float, price: float | None, ending: Ending | None, due: float | None
) -> None:
    check = _check(usd=usd, billed=billed, running=running, cost=replace(COST, usd_per_hour=price))
    attempts = () if ending is None else (_attempt(ending),)
    decision = _kept(check, *attempts, outlook=None if due is None else _outlook(due))
    if is_on_demand(decision):
        assert check.cost.usd is not None
        assert billed + running + check.cost.usd <= usd + 1e-6
    if ending is not None and ending not in CAPACITY_CAUSES:
        assert decision.action is not Action.START


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (200, Budget(usd=200)),
        ("$1,200.50", Budget(usd=1200.5)),
        ({"usd": "200", "deadline_wins": "true"}, Budget(usd=200, deadline_wins=True)),
        (0, Budget(usd=0)),
        ("unlimited", None),
        ("", None),
        (None, None),
        ({"usd": ""}, None),
    ],
)
def test_a_budget_as_people_write_it(value: object, expected: Budget | None) -> None:
    assert budget_from(value) == expected


@pytest.mark.parametrize(
    "value", ["lots", -1, float("nan"), float("inf"), True, [200], {"usd": 5, "eur": 4}, {"usd": -1}, b"5"]
)
def test_a_budget_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="budget"):
        budget_from(value)


def test_a_month_is_a_calendar_month_in_utc() -> None:
    late = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)
    assert month_of(late) == datetime(2026, 10, 1, tzinfo=UTC)
    assert month_of(late.astimezone(tz=None)) == datetime(2026, 10, 1, tzinfo=UTC)


def test_dollars_are_shown_to_the_cent() -> None:
    shown = [dollars(usd) for usd in (0, 0.0031, 0.92, 9.4, 231.4, 12345.6, -3)]
    assert shown == ["$0.00", "<$0.01", "$0.92", "$9.40", "$231.40", "$12,345.60", "-$3.00"]
    assert str(COST) == "about 8 h on 1 x ml.p3.2xlarge at $3.875 an hour, $31.00"
