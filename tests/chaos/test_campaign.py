"""A sample of the campaign: `benchmarks/chaos.py` plays the rest."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

import pytest

from .actions import Action
from .campaign import LOSSES, draw, run_batch
from .support import DAGS, Lab, check


def test_a_seed_tells_one_story_and_another_seed_another() -> None:
    def tell(seed: int, batch: int) -> str:
        return json.dumps(draw(seed, batch, size=8).to_json())

    assert tell(1, 0) == tell(1, 0)
    assert len({tell(seed, batch) for seed in range(3) for batch in range(3)}) == 9


def test_a_campaign_draws_every_kind_of_trouble() -> None:
    schedules = [draw(1, batch, size=10) for batch in range(20)]
    events = [event for schedule in schedules for event in schedule.events]
    assert {event.what for event in events} == {"act", "fault", "lose", "flap", "interrupt"}
    actions = Counter(event.details["action"] for event in events if event.what == "act")
    assert actions.keys() == set(Action)
    assert min(actions.values()) > 5
    lost = Counter(event.details["component"] for event in events if event.is_loss)
    assert lost.keys() == set(LOSSES)
    assert min(lost.values()) > 2
    assert 3 <= sum(event.is_outage for event in events) <= 5, "several, but each takes minutes"


def test_a_campaign_draws_every_kind_of_task() -> None:
    cases = [case for batch in range(20) for case in draw(1, batch, size=10).cases]
    assert len({json.dumps(asdict(case)) for case in cases}) > 100
    dags = Counter(case.dag_id for case in cases)
    assert dags.keys() == set(DAGS)
    assert min(dags.values()) > 5
    looks = Counter("deferred" if case.deferrable else case.looks for case in cases if case.watches)
    assert looks.keys() == {"deferred", "poke", "reschedule"}
    assert min(looks.values()) > 5
    assert any(case.kill_at and not case.has_retries for case in cases)
    assert sum(case.deferrable and case.trigger_fails_after is not None for case in cases) > 10


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.long
def test_a_batch_of_the_campaign_keeps_the_promise(lab: Lab) -> None:
    schedule = draw(2026, 0, size=4)
    runs = run_batch(lab, schedule, "sample")
    check(runs)
