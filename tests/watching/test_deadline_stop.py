"""A deadline's guard on its way into a trigger and back: when its job has to be looked at."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spot_training.domain.deadline import Deadline, DeadlineGuard, Runtime
from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus, Transition
from spot_training.sagemaker.clock import ServiceClock
from spot_training.triggers import TrainingJobTrigger
from spot_training.watching.deadline_stop import DeadlineStop, guard_from_json, guard_to_json

from .support import make_snapshot

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class _Clock(ServiceClock):
    """AWS's time at ten times the speed."""

    def now(self) -> datetime:
        return NOW

    def real_seconds(self, seconds: float) -> float:
        return seconds / 10


def _guard(**facts: Any) -> DeadlineGuard:
    deadline = Deadline(
        at=NOW + timedelta(hours=10),
        submitted_at=NOW - timedelta(hours=1),
        runtime=Runtime(mean_seconds=3600, high_seconds=3600),
    )
    return DeadlineGuard(deadline=deadline, **facts)


def _job(secondary: SecondaryStatus) -> JobSnapshot:
    visit = Transition(status=secondary, started_at=NOW - timedelta(minutes=30), ended_at=None, message="")
    return make_snapshot("one", secondary_status=secondary, created_at=visit.started_at, transitions=(visit,))


def _through_json(guard: DeadlineGuard, *how: Any) -> DeadlineStop:
    return DeadlineStop.from_json(json.loads(json.dumps(guard_to_json(guard, *how))), _Clock)


def test_a_triggerer_that_starts_anew_knows_when_on_demand_is_due() -> None:
    guard, job = _guard(), _job(SecondaryStatus.STARTING)
    foreseen = guard.outlook(NOW, job).on_demand_in_seconds
    assert foreseen is not None
    restored = _through_json(guard, job, NOW)
    assert restored.guard.deadline == guard.deadline
    assert restored.first_look_in_seconds == pytest.approx(foreseen / 10)


def test_the_trigger_lets_its_guard_hear_of_each_change_of_the_job() -> None:
    """A job that trains is due later than one that waits."""
    trigger = TrainingJobTrigger(training_job_name="one")
    trigger._deadline_stop = deadline_stop = _through_json(_guard(), _job(SecondaryStatus.STARTING), NOW)
    training = _job(SecondaryStatus.TRAINING)
    assert asyncio.run(trigger._handle(training)) is None
    assert deadline_stop.outlook == deadline_stop.guard.outlook(NOW, training)


def test_a_job_that_trained_is_due_when_on_demand_must_start_at_the_latest() -> None:
    guard = _guard(kept_seconds=600)
    restored = _through_json(guard, _job(SecondaryStatus.TRAINING), NOW)
    latest = (guard.deadline.latest_on_demand_start(600) - NOW).total_seconds()
    assert restored.first_look_in_seconds == pytest.approx(latest / 10)


def test_what_an_older_version_serialised_is_due_at_the_latest_start_too() -> None:
    guard = _guard()
    data = guard_to_json(guard)
    del data["foreseen_at"]
    latest = (guard.deadline.latest_on_demand_start(0) - NOW).total_seconds()
    assert DeadlineStop.from_json(data, _Clock).first_look_in_seconds == pytest.approx(latest / 10)


@pytest.mark.parametrize("policy", ["greedy", "rule", "uniform_progress", "planner", "lucky"])
def test_what_an_earlier_version_wrote_of_a_policy_and_its_market_is_not_read(policy: str) -> None:
    guard = _guard(kept_seconds=600)
    fresh = guard_to_json(guard)
    assert not {"policy", "options", "history"} & set(fresh)
    written = {**fresh, "policy": policy, "options": {"wait_work": 9.0}, "history": [[True, 60.0]]}
    assert guard_from_json(json.loads(json.dumps(written))) == guard
