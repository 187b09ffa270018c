"""Which notices a training has had, from its state alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from spot_training.domain.deadline import Deadline, Reserve, Runtime
from spot_training.domain.lifecycle import Ending, JobSnapshot
from spot_training.domain.savings import Attempt, PurchaseOption
from spot_training.training.notices import Event, due
from spot_training.training.state import Intent, TrainingState
from tests.records import T0, make_job

SPOT, ON_DEMAND = PurchaseOption.SPOT, PurchaseOption.ON_DEMAND
HOURS = timedelta(hours=1)


def _attempt(
    number: int, purchase: PurchaseOption, ending: Ending = Ending.OUT_OF_WAIT, **facts: Any
) -> Attempt:
    fixed = {"step": 0, "job_name": f"job-{number}", "reason": f"reason {number}", "message": "m"}
    return Attempt(number=number, purchase=purchase, ending=ending, **{**fixed, **facts})


def _current(number: int, purchase: PurchaseOption, *, is_created: bool = True) -> Intent:
    return Intent(
        job_name=f"job-{number}",
        number=number,
        step=1,
        reason="later",
        purchase=purchase,
        is_created=is_created,
    )


def _deadline(hours: float, **facts: Any) -> Deadline:
    """In so many hours; two hours of work, and one of reserve."""
    reserve = Reserve(
        launch_seconds=600,
        launch_high_seconds=1200,
        stop_seconds=600,
        notice_seconds=600,
        refusal_seconds=1200,
    )
    runtime = Runtime(mean_seconds=7200, high_seconds=7200, basis="given", checkpoint_every_seconds=600)
    return Deadline(at=T0 + hours * HOURS, submitted_at=T0, runtime=runtime, reserve=reserve, **facts)


def _keys(
    state: TrainingState, event: Event, job: JobSnapshot | None = None, now: datetime = T0
) -> list[str]:
    return [notice.key.removeprefix(f"{event} ") for notice in due(state, job, now) if notice.event is event]


def test_each_attempt_that_is_over_has_a_notice() -> None:
    state = TrainingState(attempts=(_attempt(1, SPOT), _attempt(2, ON_DEMAND, Ending.COMPLETED)))
    assert _keys(state, Event.ATTEMPT_OVER) == ["1", "2"]
    first = next(due(state, None, T0))
    assert first.text.startswith("Attempt 1 (spot) is over: ")
    assert first.facts["attempt"]["job_name"] == first.training_job_name == "job-1"


def test_on_demand_after_spot_is_a_fallback_once_its_job_is_there() -> None:
    spot = _attempt(1, SPOT)
    refused = _attempt(2, ON_DEMAND, Ending.QUOTA, job_name="")
    assert _keys(TrainingState(attempts=(spot,)), Event.FALLBACK) == []
    assert _keys(TrainingState(attempts=(spot, refused)), Event.FALLBACK) == []
    waits = TrainingState(attempts=(spot, refused), current=_current(3, ON_DEMAND, is_created=False))
    assert _keys(waits, Event.FALLBACK) == []
    runs = TrainingState(attempts=(spot, refused), current=_current(3, ON_DEMAND))
    assert _keys(runs, Event.FALLBACK) == ["3"]


def test_each_way_from_spot_to_on_demand_is_a_fallback_and_on_demand_again_is_none() -> None:
    attempts = tuple(
        _attempt(number, purchase)
        for number, purchase in enumerate([ON_DEMAND, SPOT, ON_DEMAND, ON_DEMAND, SPOT], start=1)
    )
    state = TrainingState(attempts=attempts, current=_current(6, ON_DEMAND))
    assert _keys(state, Event.FALLBACK) == ["3", "6"]


def test_a_deadline_with_slack_is_not_at_risk() -> None:
    state = TrainingState(deadline=_deadline(24), attempts=(_attempt(1, SPOT),))
    spot = make_job(is_spot=True)
    assert _keys(state, Event.DEADLINE_AT_RISK) == []
    assert _keys(state, Event.DEADLINE_AT_RISK, spot) == []
    assert _keys(TrainingState(), Event.DEADLINE_AT_RISK, spot) == []


def test_a_deadline_is_at_risk_once_on_demand_has_to_start() -> None:
    """Two hours of work and one of reserve before a deadline in 24 hours: after 21."""
    state = TrainingState(deadline=_deadline(24), attempts=(_attempt(1, SPOT),))
    before, after = T0 + 20.9 * HOURS, T0 + 21 * HOURS
    assert _keys(state, Event.DEADLINE_AT_RISK, now=before) == []
    assert _keys(state, Event.DEADLINE_AT_RISK, now=after) == ["no_slack"]
    in_time = replace(make_job(is_spot=False), created_at=before)
    late = replace(in_time, created_at=after)
    assert _keys(state, Event.DEADLINE_AT_RISK, in_time, T0 + 23 * HOURS) == [], "it started in time"
    assert _keys(state, Event.DEADLINE_AT_RISK, late, T0 + 23 * HOURS) == ["no_slack"]
    unknown = replace(state, current=_current(2, ON_DEMAND))
    assert _keys(unknown, Event.DEADLINE_AT_RISK, now=after) == [], "its job could not be described"


def test_each_reason_why_a_deadline_is_at_risk_is_said_once() -> None:
    stopped = _attempt(1, SPOT, Ending.STOPPED_FOR_DEADLINE)
    refused = _attempt(2, ON_DEMAND, Ending.CAPACITY_ERROR, job_name="")
    attempts = (stopped, refused, replace(refused, number=3))
    state = TrainingState(deadline=_deadline(24), attempts=attempts)
    now = T0 + 22 * HOURS
    assert _keys(state, Event.DEADLINE_AT_RISK, now=now) == ["spot_stopped", "on_demand_refused"]
    late = TrainingState(deadline=_deadline(1, is_late=True))
    (notice,) = due(late, None, T0)
    assert notice.key == "deadline_at_risk late"
    assert notice.facts == {
        "cause": "late",
        "deadline_at": (T0 + HOURS).isoformat(),
        "latest_on_demand_at": (T0 - 2 * HOURS).isoformat(),
    }


def test_a_training_that_is_over_has_no_deadline_to_miss_any_more() -> None:
    at_risk = TrainingState(deadline=_deadline(1, is_late=True))
    done = replace(at_risk, attempts=(_attempt(1, SPOT, Ending.COMPLETED),))
    for state in (done, replace(at_risk, is_over=True)):
        assert _keys(state, Event.DEADLINE_AT_RISK) == []


def test_a_state_has_what_was_sent_only_if_something_was() -> None:
    assert "notified" not in TrainingState().to_json()
    sent = TrainingState(notified=("attempt_over 1", "fallback 2"))
    assert TrainingState.from_json(sent.to_json()) == sent
    assert sent.version == TrainingState().version
