"""A sample of the campaign: `benchmarks/chaos.py` plays the rest."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import asdict

import pytest

from . import hand_overs
from .actions import Action
from .campaign import play
from .drawing import (
    BATCH_SIZE,
    LONGEST_FREEZE,
    LOSSES,
    SHORTEST_FREEZE,
    Schedule,
    When,
    draw,
    sample,
    stops,
    together,
)
from .kinds import (
    AT_LEAST,
    CUTS_AT_LEAST,
    HAND_OVERS,
    NOT_COUNTED,
    OF_A_RUN,
    SCHEDULES,
    Kind,
    Phase,
    Trouble,
    add_up,
    count,
)
from .points import POINTS
from .support import ALL_DAGS, Lab, Regime, check

SEEDS = (1, 2, 3)


def _campaign(seed: int) -> list[Schedule]:
    return [draw(seed, batch) for batch in range(SCHEDULES // BATCH_SIZE)]


def _sample() -> Schedule:
    return together(sample(2026), hand_overs.sample(2026))


def test_a_seed_tells_one_story_and_another_seed_another() -> None:
    def tell(seed: int, batch: int) -> str:
        return json.dumps(draw(seed, batch, size=8).to_json())

    assert tell(1, 0) == tell(1, 0)
    assert len({tell(seed, batch) for seed in range(3) for batch in range(3)}) == 9


@pytest.mark.parametrize("seed", SEEDS)
def test_a_campaign_draws_every_kind_often_enough(seed: int) -> None:
    drawn = Counter[Kind]()
    for schedule in _campaign(seed):
        drawn.update(schedule.drawn())
    assert drawn.keys() == set(Kind) - {Kind.GOES_BACK}, "which is for campaigns of hand-overs"
    assert {kind: n for kind, n in drawn.items() if n < AT_LEAST and kind not in NOT_COUNTED} == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_half_of_the_freezes_and_more_outlast_the_health_threshold(seed: int) -> None:
    freezes = [event.details for schedule in _campaign(seed) for event in schedule.freezes]
    outlasting = [each for each in freezes if each["seconds"] > each["threshold_seconds"]]
    assert len(outlasting) * 2 >= len(freezes)
    assert {each["threshold_seconds"] for each in outlasting} == {10, 30}, "lowered, and Airflow's own"
    assert all(SHORTEST_FREEZE <= each["seconds"] <= LONGEST_FREEZE for each in freezes)
    assert Counter(len(each["components"]) for each in freezes) == {1: 90, 2: 30}
    frozen = {name for each in freezes for name in each["components"]}
    assert frozen >= {"triggerer", "triggerer:2", "scheduler", "scheduler:2", "scheduler alone", "tasks"}
    assert all(len(set(each["components"])) == len(each["components"]) for each in freezes)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_answer_lasts_less_than_the_minute_after_which_it_is_believed(seed: int) -> None:
    wrong = [
        event.details
        for schedule in _campaign(seed)
        for event in schedule.events
        if event.details.get("burst_seconds")
    ]
    simulated = [each["burst_seconds"] * 600 for each in wrong]
    assert max(simulated) < 60
    assert statistics.median(simulated) > 10
    for schedule in _campaign(seed):
        errors = [event.details.get("error") for event in schedule.events if "burst_seconds" in event.details]
        assert len(errors) == len(set(errors)), "two bursts of one kind could follow each other"


def test_a_campaign_draws_every_kind_of_action_and_loss() -> None:
    events = [event for schedule in _campaign(1) for event in schedule.events]
    actions = Counter(event.details["action"] for event in events if event.what == "act")
    assert actions.keys() == set(Action)
    assert min(actions.values()) > 5
    lost = Counter(event.details["component"] for event in events if event.is_loss)
    assert lost.keys() == set(LOSSES)
    assert min(lost.values()) > 2
    assert 5 <= sum(event.is_outage for event in events) <= 8, "several, but each takes minutes"


def test_a_campaign_draws_every_kind_of_task() -> None:
    slots = [slot for schedule in _campaign(1) for slot in schedule.slots]
    cases = [slot.case for slot in slots]
    assert len({json.dumps(asdict(case)) for case in cases}) > 200
    dags = Counter(case.dag_id for case in cases)
    assert dags.keys() == set(ALL_DAGS)
    assert min(dags.values()) > 5
    looks = Counter("deferred" if case.deferrable else case.looks for case in cases if case.watches)
    assert looks.keys() == {"deferred", "poke", "reschedule"}
    assert min(looks.values()) > 3
    assert any(case.kill_at and not case.has_retries for case in cases)
    assert {slot.when for slot in slots if slot.kind is Kind.STOP} == set(When)


def test_no_worker_dies_where_airflow_takes_five_minutes_to_notice() -> None:
    for seed in SEEDS:
        slow = [schedule for schedule in _campaign(seed) if schedule.regime is Regime.DEFAULTS]
        assert len(slow) == 9
        assert not any(slot.case.kill_at for schedule in slow for slot in schedule.slots)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_campaign_of_hand_overs_draws_every_cut_often_enough(seed: int) -> None:
    schedules = [hand_overs.draw(seed, batch) for batch in range(HAND_OVERS // BATCH_SIZE)]
    slots = [slot for schedule in schedules for slot in schedule.slots]
    assert min(Counter(slot.case.goes_back for slot in slots).values()) > HAND_OVERS // 3
    dying = Counter(point for slot in slots for point in slot.case.kill_at)
    assert dying.keys() == set(POINTS)
    assert min(dying.values()) > CUTS_AT_LEAST
    cuts = [slot.cut for slot in slots if slot.cut is not None]
    phases = Counter(cut.where for cut in cuts if cut.where in set(Phase))
    assert phases.keys() == set(Phase)
    assert min(phases.values()) > CUTS_AT_LEAST
    troubles = Counter(cut.trouble for cut in cuts)
    assert troubles.keys() == set(Trouble)
    assert min(troubles.values()) > 2 * CUTS_AT_LEAST


def test_the_sample_has_every_kind() -> None:
    drawn = _sample().drawn()
    assert [kind for kind in OF_A_RUN if not drawn[kind]] == []
    left_out = {Kind.GOES_BACK, Kind.LOSS, Kind.MARKET, Kind.TRIGGER_FAILS, Kind.WORKER_DIES}
    assert set(Kind) - drawn.keys() <= left_out


def test_pieces_of_a_campaign_add_up() -> None:
    one = count(Counter({Kind.STOP: 2}), [(frozenset({Kind.STOP}), True), (frozenset({Kind.STOP}), False)])
    assert one == {"a person stops the job": {"drawn": 2, "schedules": 2, "broken": 1}}
    total = add_up([one, one])
    assert total["a person stops the job"] == {"drawn": 4, "schedules": 4, "broken": 2}
    assert total["a component killed"] == {"drawn": 0, "schedules": 0, "broken": 0}
    assert list(total) == [str(kind) for kind in Kind]


@pytest.mark.airflow
@pytest.mark.timeout(600)
def test_a_sample_of_each_kind_keeps_the_promise(lab: Lab) -> None:
    batch = play(lab, _sample(), "sample")
    check(batch.runs)


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.long
def test_a_person_may_stop_the_job_in_every_phase_and_nothing_follows(lab: Lab) -> None:
    batch = play(lab, stops(2026), "stops")
    check(batch.runs)
    assert all(run.deeds and run.deeds[-1].is_sure for run in batch.runs), "each was stopped"


@pytest.mark.airflow
@pytest.mark.timeout(900)
@pytest.mark.long
@pytest.mark.parametrize("number", [0, 7], ids=["quick", "defaults"])
def test_a_batch_of_the_campaign_keeps_the_promise(lab: Lab, number: int) -> None:
    batch = play(lab, draw(2026, number, size=4), f"batch-{number}")
    lab.enter(Regime.QUICK)
    check(batch.runs)
