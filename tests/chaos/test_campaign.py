"""A sample of the campaign: `benchmarks/chaos.py` plays the rest."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from .campaign import draw, run_batch
from .support import Lab, check


def test_a_seed_tells_one_story_and_another_seed_another() -> None:
    def tell(seed: int, batch: int) -> str:
        return json.dumps(draw(seed, batch, size=8).to_json())

    assert tell(1, 0) == tell(1, 0)
    assert len({tell(seed, batch) for seed in range(3) for batch in range(3)}) == 9


def test_a_campaign_draws_every_kind_of_trouble() -> None:
    schedules = [draw(1, batch, size=8) for batch in range(25)]
    kinds = {event.what for schedule in schedules for event in schedule.events}
    assert kinds == {"act", "fault", "lose", "flap", "interrupt"}
    actions = {
        event.details["action"] for schedule in schedules for event in schedule.events if event.what == "act"
    }
    assert len(actions) == 5
    assert len({json.dumps(asdict(case)) for schedule in schedules for case in schedule.cases}) > 100


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.long
def test_a_batch_of_the_campaign_keeps_the_promise(lab: Lab) -> None:
    schedule = draw(2026, 0, size=4)
    runs = run_batch(lab, schedule, "sample")
    check(runs)
