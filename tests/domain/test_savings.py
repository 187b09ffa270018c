"""Seconds and savings, over all attempts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.lifecycle import Ending, JobSnapshot
from spot_training.domain.messages import attempt_line, statement_line
from spot_training.domain.savings import (
    MOST_TRANSITIONS,
    Attempt,
    CleanRunBasis,
    PurchaseOption,
    attempt_of,
    billed_usd,
    spot_failures,
    statement_of,
)
from tests.records import make_job

T0 = datetime(2026, 3, 2, 6, tzinfo=UTC)


def _attempt(job: JobSnapshot, *, number: int = 1, ending: Ending = Ending.COMPLETED) -> Attempt:
    return attempt_of(job, number=number, step=number - 1, reason="why", ending=ending)


NEVER_STARTED = _attempt(make_job(("Starting", 3600), ("Stopping", 120)), ending=Ending.NO_CAPACITY)
CLEAN = _attempt(make_job(("Starting", 600), ("Downloading", 100), ("Training", 1000), ("Uploading", 50)))


def test_a_job_that_never_got_capacity_costs_nothing() -> None:
    assert (NEVER_STARTED.training_seconds, NEVER_STARTED.billable_seconds) == (0, 0)
    assert NEVER_STARTED.wait_seconds == 3720


def test_the_savings_of_a_single_clean_job_are_awss_own_formula() -> None:
    statement = statement_of([CLEAN])
    assert statement.savings_percent == statement.job_savings_percent == CLEAN.savings_percent
    assert statement.clean_run_basis is CleanRunBasis.MEASURED


def test_an_attempt_that_never_started_does_not_change_the_savings() -> None:
    statement = statement_of([NEVER_STARTED, CLEAN])
    assert statement.savings_percent == CLEAN.savings_percent
    assert statement.wait_seconds == 3720 + 600


def test_an_interrupted_job_is_compared_with_its_work_and_one_launch() -> None:
    job = make_job(
        ("Starting", 60),
        ("Downloading", 100),
        ("Training", 400),
        ("Interrupted", 900),
        ("Starting", 60),
        ("Downloading", 100),
        ("Training", 700),
        ("Uploading", 50),
    )
    statement = statement_of([_attempt(job)])
    assert statement.clean_run_seconds == 400 + 700 + 100 + 50
    assert statement.clean_run_basis is CleanRunBasis.ESTIMATED
    assert statement.wait_seconds == 60 + 900 + 60
    assert statement.interruptions == 1


def test_work_of_an_abandoned_attempt_is_kept_by_its_checkpoints_and_paid_in_full() -> None:
    ran_out = _attempt(
        make_job(("Starting", 60), ("Downloading", 100), ("Training", 900), ("Stopping", 10)),
        ending=Ending.OUT_OF_WAIT,
    )
    statement = statement_of([ran_out, CLEAN])
    assert statement.clean_run_seconds == 900 + 1000 + 150
    assert statement.billable_seconds == (ran_out.billable_seconds or 0) + (CLEAN.billable_seconds or 0)


def test_lost_work_makes_spot_dearer_than_on_demand() -> None:
    """Without checkpoints an abandoned attempt is paid for nothing."""
    lost = _attempt(
        make_job(
            ("Starting", 60),
            ("Downloading", 100),
            ("Training", 9000),
            ("Stopping", 10),
            checkpoint_uri=None,
        ),
        ending=Ending.OUT_OF_WAIT,
    )
    statement = statement_of([lost, CLEAN])
    assert statement.clean_run_seconds == 1150
    assert statement.savings_percent is not None
    assert statement.savings_percent < 0
    assert "spot cost" in statement_line(statement)


def test_what_an_unfinished_training_saved_is_unknown_and_what_it_cost_is_not() -> None:
    failed = _attempt(CLEAN_FAILED, ending=Ending.ALGORITHM_ERROR)
    statement = statement_of([failed])
    assert statement.savings_percent is None
    assert statement.billable_seconds == CLEAN_FAILED.billable_seconds


CLEAN_FAILED = make_job(("Starting", 60), ("Downloading", 100), ("Training", 30), ("Uploading", 5))


def test_seconds_aws_does_not_say_stay_unknown() -> None:
    unknown = _attempt(
        make_job(("Starting", 60), ("Downloading", 10), ("Training", 10), billable_seconds=None)
    )
    assert statement_of([unknown, CLEAN]).billable_seconds is None
    assert statement_of([unknown, CLEAN]).savings_percent is None


def test_instances_multiply_what_is_billed_but_not_the_percentage() -> None:
    job = make_job(("Starting", 600), ("Downloading", 100), ("Training", 1000), instance_count=4)
    statement = statement_of([_attempt(job)])
    assert statement.billable_instance_seconds == 4 * (job.billable_seconds or 0)
    assert statement.savings_percent == statement_of([_attempt(job)]).job_savings_percent


attempts_strategy = st.lists(
    st.builds(
        Attempt,
        number=st.integers(1, 9),
        step=st.integers(0, 3),
        job_name=st.text(min_size=1, max_size=5),
        purchase=st.sampled_from(PurchaseOption),
        reason=st.text(max_size=5),
        ending=st.sampled_from(Ending),
        created_at=st.none() | st.just(T0),
        started_at=st.just(T0),
        ended_at=st.none() | st.just(T0 + timedelta(hours=1)),
        instance_count=st.integers(1, 20),
        has_checkpoints=st.booleans(),
        interruptions=st.integers(0, 5),
        wait_seconds=st.integers(0, 10**6),
        training_seconds=st.integers(1, 10**6),
        billable_seconds=st.integers(1, 10**6),
        work_seconds=st.integers(0, 10**6),
        launch_seconds=st.integers(0, 10**4),
    ),
    max_size=6,
)


@given(attempts_strategy)
def test_sums_add_up(attempts: list[Attempt]) -> None:
    statement = statement_of(attempts)
    assert statement.wait_seconds == sum(a.wait_seconds for a in attempts)
    assert statement.billable_seconds == sum(a.billable_seconds or 0 for a in attempts)
    assert statement.attempts == len(attempts)
    assert statement.savings_percent is None or statement.savings_percent <= 100


PRICES = {"ml.m5.xlarge": 0.23, "ml.c5.xlarge": 0.204}
types_strategy = st.lists(st.sampled_from([*PRICES, "ml.unknown", None]), min_size=6, max_size=6)


def _with_types(attempts: list[Attempt], types: list[str | None]) -> list[Attempt]:
    return [replace(a, instance_type=kind) for a, kind in zip(attempts, types, strict=False)]


@given(attempts_strategy, types_strategy)
def test_dollars_add_up_and_unknown_prices_stay_unknown(
    attempts: list[Attempt], types: list[str | None]
) -> None:
    typed = _with_types(attempts, types)
    statement = statement_of(typed, PRICES)
    costs = [billed_usd(a, PRICES) for a in typed]
    if all(a.instance_type in PRICES for a in typed):
        expected = sum(
            (a.billable_seconds or 0) * a.instance_count * PRICES[a.instance_type or ""] / 3600 for a in typed
        )
        assert statement.billed_usd == pytest.approx(expected, abs=1e-5)
        assert statement.billed_usd == pytest.approx(sum(cost or 0 for cost in costs), abs=1e-5)
        assert statement.billed_usd is not None
        assert statement.billed_usd >= 0
    else:
        assert statement.billed_usd is None
    assert statement_of(typed).billed_usd is None or not typed


@given(attempts_strategy, types_strategy, st.randoms(use_true_random=False))
def test_the_order_of_attempts_does_not_matter(
    attempts: list[Attempt], types: list[str | None], random: Random
) -> None:
    """As long as one of them completed: there is never another after that."""
    ended = [a if n == 0 else replace(a, ending=Ending.OUT_OF_WAIT) for n, a in enumerate(attempts)]
    typed = _with_types(ended, types)
    shuffled = list(typed)
    random.shuffle(shuffled)
    assert statement_of(shuffled, PRICES) == statement_of(typed, PRICES)


@given(attempts_strategy)
def test_every_billed_second_is_abandoned_or_of_the_attempt_that_completed(attempts: list[Attempt]) -> None:
    statement = statement_of(attempts)
    completed = next((a for a in attempts if a.ending is Ending.COMPLETED), None)
    of_completed = (completed.billable_instance_seconds or 0) if completed else 0
    assert statement.billable_instance_seconds == (statement.abandoned_instance_seconds or 0) + of_completed


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**4), st.integers(1, 20))
def test_one_clean_job_saves_what_awss_formula_says(wait: int, work: int, around: int, count: int) -> None:
    job = make_job(("Starting", wait), ("Downloading", around), ("Training", work), instance_count=count)
    attempt = _attempt(job)
    statement = statement_of([attempt], PRICES)
    training, billable = job.training_seconds or 0, job.billable_seconds or 0
    assert statement.savings_percent == round((1 - billable / training) * 100, 1)
    assert statement.saved_usd == pytest.approx((training - billable) * count * 0.23 / 3600, abs=1e-5)
    assert statement.clean_run_instance_seconds == training * count


def test_nothing_billed_costs_nothing_at_any_price() -> None:
    assert statement_of([NEVER_STARTED]).billed_usd == 0


def test_an_attempt_keeps_its_newest_transitions_without_their_messages() -> None:
    visits = [("Starting", 1), ("Training", 1), ("Interrupted", 1)] * MOST_TRANSITIONS
    job = make_job(*visits)
    attempt = _attempt(replace(job, transitions=tuple(replace(t, message="why") for t in job.transitions)))
    assert len(attempt.transitions) == MOST_TRANSITIONS
    assert attempt.transitions[-1] == replace(job.transitions[-1], message="")
    assert attempt.interruptions == MOST_TRANSITIONS
    assert Attempt.from_json(attempt.to_json()) == attempt
    assert "transitions" not in attempt.to_json(with_transitions=False)


@pytest.mark.slow
@given(attempts_strategy)
def test_an_attempt_survives_json(attempts: list[Attempt]) -> None:
    assert [Attempt.from_json(a.to_json()) for a in attempts] == attempts


def test_the_line_in_the_task_log_reads_well() -> None:
    assert attempt_line(CLEAN) == (
        "Attempt 1 (spot ml.m5.xlarge) is over: completed. "
        "Waited 10 min, trained 19 min, billed 5 min 45 s (70 % below on-demand)."
    )
    assert attempt_line(NEVER_STARTED) == (
        "Attempt 1 (spot ml.m5.xlarge) is over: never got capacity. "
        "Waited 1 h 2 min, never started, nothing billed."
    )
    assert statement_line(statement_of([NEVER_STARTED, CLEAN])) == (
        "Training completed: 2 attempts, waited 1 h 12 min, never interrupted, billed 5 min 45 s; "
        "saved 70 % against on-demand without interruptions."
    )


@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.COMPLETED])
def test_an_attempt_that_failed_shows_no_percentage_saved(ending: Ending) -> None:
    failed = replace(CLEAN, ending=ending)
    assert failed.savings_percent is not None  # AWS's own figure stays in XCom and on record
    assert failed.shown_savings_percent is None
    assert "%" not in attempt_line(failed)


def test_an_attempt_on_demand_shows_no_percentage_saved() -> None:
    assert replace(CLEAN, purchase=PurchaseOption.ON_DEMAND).shown_savings_percent is None
    assert CLEAN.shown_savings_percent == CLEAN.savings_percent


# Net of what spot wasted -----------------------------------------------------------------------------------

KILLED = replace(CLEAN, ending=Ending.OUT_OF_WAIT)
FAILING_SCRIPT = replace(CLEAN, ending=Ending.ALGORITHM_ERROR)


def test_what_spot_killed_is_a_loss_and_a_failing_script_is_not() -> None:
    killed, failing = statement_of([KILLED], PRICES), statement_of([FAILING_SCRIPT], PRICES)
    assert killed.spot_failed_usd == killed.billed_usd
    assert killed.spot_failed_instance_seconds == killed.billable_instance_seconds
    assert killed.net_saved_usd == -(killed.billed_usd or 0.0) < 0
    assert (failing.spot_failed_usd, failing.net_saved_usd) == (0.0, 0.0)
    both = statement_of([KILLED, replace(FAILING_SCRIPT, number=2)], PRICES)
    assert both.net_saved_usd == killed.net_saved_usd


def test_a_training_that_completed_has_no_loss_that_is_not_in_its_bill() -> None:
    statement = statement_of([KILLED, replace(CLEAN, number=2)], PRICES)
    assert (statement.spot_failed_usd, statement.net_saved_usd) == (0.0, statement.saved_usd)
    assert statement.net_savings_percent == statement.savings_percent


@pytest.mark.parametrize(
    ("facts", "is_spots_fault"),
    [
        ({"ending": Ending.STOPPED_FOR_DEADLINE}, True),
        ({"ending": Ending.MAX_RUNTIME, "interruptions": 5, "has_checkpoints": False}, True),
        ({"ending": Ending.MAX_RUNTIME}, False),
        ({"ending": Ending.STOPPED_AT_TIME_LIMIT, "interruptions": 1}, True),
        ({"ending": Ending.STOPPED_AT_TIME_LIMIT}, False),
        ({"ending": Ending.STOPPED_BY_USER, "interruptions": 1}, False),
        ({"ending": Ending.CAPACITY_ERROR, "purchase": PurchaseOption.ON_DEMAND}, False),
    ],
)
def test_the_cause_says_whether_spot_pays(facts: dict[str, Any], is_spots_fault: bool) -> None:
    assert bool(spot_failures([replace(CLEAN, transitions=(), **facts)])) is is_spots_fault


@given(attempts_strategy)
def test_net_is_never_better_than_the_savings(attempts: list[Attempt]) -> None:
    statement = statement_of(attempts, PRICES)
    if statement.net_saved_usd is not None:
        assert statement.net_saved_usd <= (statement.saved_usd or 0.0)
        assert -statement.net_saved_usd <= (statement.billed_usd or 0.0)


def test_scouts_are_in_the_bill_and_no_part_of_the_training() -> None:
    scout = replace(CLEAN, ending=Ending.SCOUT_DONE, training_seconds=200, billable_seconds=60)
    alone, both = statement_of([CLEAN], PRICES), statement_of([CLEAN], PRICES, scouts=[scout])
    assert both.billable_instance_seconds == (alone.billable_instance_seconds or 0) + 60
    assert (both.scout_instance_seconds, both.abandoned_instance_seconds) == (60, 60)
    assert both.scout_usd == pytest.approx((both.billed_usd or 0) - (alone.billed_usd or 0))
    for same in ("attempts", "wait_seconds", "training_seconds", "clean_run_seconds", "job_savings_percent"):
        assert getattr(both, same) == getattr(alone, same), same
    assert (both.savings_percent or 0) < (alone.savings_percent or 0)
    failed = statement_of([NEVER_STARTED], PRICES, scouts=[scout])
    assert failed.spot_failed_instance_seconds == failed.billable_instance_seconds == 60
