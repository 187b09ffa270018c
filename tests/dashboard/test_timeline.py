"""A record becomes a line of time: bars, marks, lines and costs, all of which add up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from spot_training.dashboard.timeline import Phase, timeline_of
from spot_training.domain.lifecycle import TERMINAL_SECONDARY_STATUSES, Ending, SecondaryStatus
from spot_training.domain.messages import PRICE_BASIS
from spot_training.domain.records import RecordState
from tests.records import make_attempt

from .rendered import training_page
from .trainings import BEGAN, S, attempt, training, under_way

NOW = BEGAN + timedelta(minutes=30)


def test_every_status_but_the_last_ones_has_a_phase() -> None:
    for status in set(SecondaryStatus) - TERMINAL_SECONDARY_STATUSES:
        record = training(attempts=(attempt(1, BEGAN, (status, 5)),), decisions=())
        assert [bar.status for bar in timeline_of(record, now=NOW).bars] == [str(status)]


def test_bars_follow_each_other_as_aws_told_it() -> None:
    bars = timeline_of(training(), now=NOW).bars
    assert [(bar.attempt, bar.phase) for bar in bars] == [
        (1, Phase.WAITING),
        (1, Phase.DOWNLOADING),
        (1, Phase.TRAINING),
        (1, Phase.INTERRUPTED),
        (1, Phase.WAITING),
        (1, Phase.STOPPING),
        (2, Phase.WAITING),
        (2, Phase.DOWNLOADING),
        (2, Phase.TRAINING),
        (2, Phase.UPLOADING),
    ]
    assert not any(bar.is_open for bar in bars)


def test_an_attempt_without_transitions_waited_until_it_started_and_trained_until_it_ended() -> None:
    first, second = training().attempts
    record = training(attempts=(replace(first, transitions=()), second), decisions=())
    waited, trained, *_ = timeline_of(record, now=NOW).bars
    assert (waited.phase, waited.ended_at) == (Phase.WAITING, first.started_at)
    assert (trained.phase, trained.ended_at) == (Phase.TRAINING, first.ended_at)


def test_a_decision_stands_at_the_attempt_it_started_whatever_its_own_clock_said() -> None:
    record = training()
    off = tuple(replace(d, decided_at=d.decided_at - timedelta(days=300)) for d in record.decisions)
    first, second, end = timeline_of(replace(record, decisions=off), now=NOW).marks
    assert (first.at, second.at, end.at) == (
        record.attempts[0].created_at,
        record.attempts[1].created_at,
        record.attempts[1].ended_at,
    )
    assert [mark.action for mark in (first, second, end)] == ["start attempt 1", "start attempt 2", "finish"]


def test_the_deadline_and_the_latest_on_demand_start_are_lines_only_where_there_is_a_deadline() -> None:
    lines = timeline_of(training(), now=NOW).lines
    assert [line.name for line in lines] == ["latest on-demand start", "deadline"]
    without = training(deadline_at=None, latest_on_demand_at=None)
    assert timeline_of(without, now=NOW).lines == ()


def test_a_latest_on_demand_start_that_moved_says_so() -> None:
    """The reason of the first decision names the time before there was any checkpoint."""
    latest, deadline = timeline_of(training(), now=NOW).lines
    assert "It moved later as they arrived" in latest.note
    assert "It moved later as they arrived" in training_page(training())
    assert deadline.note == ""
    first, *_ = timeline_of(replace(training(), attempts=()), now=NOW).lines
    assert first.note == "", "nothing has moved yet"


@pytest.mark.parametrize("discount", [None, 25.0])
def test_the_cost_ends_at_what_the_statement_says(discount: float | None) -> None:
    record = training()
    record = replace(record, prices=tuple(replace(p, discount_percent=discount) for p in record.prices))
    last = timeline_of(record, now=NOW).costs[-1]
    assert last.billed_usd == pytest.approx(record.statement.billed_usd, abs=1e-4)
    assert last.billed_hours * 3600 == pytest.approx(record.statement.billable_instance_seconds, abs=1)
    assert last.on_demand_hours * 3600 == pytest.approx(record.statement.training_instance_seconds, abs=1)
    assert not last.is_estimate
    on_demand = record.statement.training_instance_seconds or 0
    price = record.prices[0].usd_per_hour * (1 - (discount or 0) / 100)
    assert last.on_demand_usd == pytest.approx(on_demand / 3600 * price, abs=1e-3)
    assert PRICE_BASIS in unescape(training_page(record))


def test_costs_never_fall_and_on_demand_is_never_below_what_was_billed() -> None:
    costs = timeline_of(training(), now=NOW).costs
    billed = [point.billed_hours for point in costs]
    assert billed == sorted(billed)
    assert all(point.billed_hours <= point.on_demand_hours for point in costs)


def test_without_a_price_costs_are_hours() -> None:
    last = timeline_of(training(prices=()), now=NOW).costs[-1]
    assert last.billed_usd is None
    assert last.on_demand_usd is None
    assert last.billed_hours > 0


def test_what_a_live_job_is_billed_is_not_known_until_it_is_over() -> None:
    timeline = timeline_of(under_way(), now=NOW)
    assert timeline.is_live
    assert timeline.costs[-1].is_estimate
    assert timeline.costs[-1].billed_usd == pytest.approx(0.23 * 21 / 60, abs=1e-4)
    assert timeline.summary == "Attempt 1 (spot ml.m5.xlarge) is training."
    assert timeline.attempts[-1].is_open
    assert timeline.attempts[-1].billable_seconds is None


def test_a_live_bar_reaches_until_now() -> None:
    for minutes in (31, 90):
        now = BEGAN + timedelta(minutes=minutes)
        last = timeline_of(under_way(), now=now).bars[-1]
        assert last.is_open
        assert last.ended_at == now


def test_a_live_bar_grows_although_the_clocks_of_aws_are_days_ahead() -> None:
    record = under_way()
    job = record.current_job
    assert job is not None
    seen = BEGAN - timedelta(days=3)
    ahead = replace(record, current_job=replace(job, seen_at=seen))
    bar = timeline_of(ahead, now=seen + timedelta(minutes=7)).bars[-1]
    assert bar.seconds == 7 * 60


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "Attempt 1 (spot ml.m5.xlarge) was submitted."),
        (S.INTERRUPTED, "Attempt 1 (spot ml.m5.xlarge) is interrupted."),
        (S.COMPLETED, "Attempt 1 (spot ml.m5.xlarge) is over: Completed."),
    ],
)
def test_a_live_training_says_what_it_is_doing(status: SecondaryStatus | None, words: str) -> None:
    job = under_way().current_job
    assert job is not None
    record = under_way(current_job=replace(job, secondary_status=status))
    assert timeline_of(record, now=NOW).summary == words


def test_a_training_between_two_attempts_or_without_any_has_a_timeline() -> None:
    assert timeline_of(under_way(current_job=None), now=NOW).summary == "Between two attempts."
    nothing = training(state=RecordState.FAILED, attempts=(), decisions=())
    assert timeline_of(nothing, now=datetime.now(UTC)).bars == ()


def test_a_failed_attempt_has_no_percentage_in_its_row() -> None:
    record = training()
    lost, bought = timeline_of(record, now=BEGAN + timedelta(days=1)).attempts
    assert record.attempts[0].savings_percent is not None
    assert (lost.savings_percent, bought.savings_percent) == (None, None)
    completed = replace(record, attempts=(replace(record.attempts[0], ending=Ending.COMPLETED),))
    (row,) = timeline_of(completed, now=BEGAN + timedelta(days=1)).attempts
    assert row.savings_percent == 70


def test_a_scout_waits_and_then_has_instances() -> None:
    begin, minute = BEGAN, timedelta(minutes=1)
    found = make_attempt(
        number=1,
        instance_type="ml.a",
        created_at=begin,
        started_at=begin + minute,
        ended_at=begin + 3 * minute,
    )
    in_vain = replace(found, number=2, instance_type="ml.b", started_at=None)
    refused = replace(in_vain, number=3, created_at=None, ended_at=begin)
    bars = timeline_of(training(scouts=(found, in_vain, refused)), now=NOW).scout_bars
    assert [(bar.scout, bar.has_capacity, (bar.ended_at - bar.started_at) / minute) for bar in bars] == [
        (1, False, 1),
        (1, True, 2),
        (2, False, 3),
    ]
