"""The live comparison of policies: what it asks for, what it simulates, and what it finds wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.live_policies.compared import Outcome, find_faults, of_one, since, walk_as_live
from benchmarks.live_policies.drawn import RESERVE, Training, draw, params_of, read_from, write_market
from benchmarks.live_policies.live import Course, Happened
from local_sagemaker.market import Market, load_market
from spot_training.advise.traces import Trace, make_trace

ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3600


def _traces(tmp_path: Path) -> list[Trace]:
    for name, first in (("a", 1), ("b", 0), ("c", 1)):
        path = tmp_path / "2026-01" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        data = [(first + tick // 40) % 2 for tick in range(1000)]
        path.write_text(json.dumps({"metadata": {"gap_seconds": 600}, "data": data}))
    return read_from(tmp_path)


def _training(first: list[int], second: list[int], *, work_hours: float, due_hours: float) -> Training:
    return Training(
        number=0,
        types=("ml.m5.large", "ml.m5.xlarge"),
        traces=(make_trace(first, HOUR), make_trace(second, HOUR)),
        from_seconds=0,
        work_seconds=round(work_hours * HOUR),
        deadline_seconds=round(due_hours * HOUR + RESERVE.total_seconds),
    )


COURSE = Course(cost=5, spot=1, on_demand=1, scouts=0, scout_cost=0, launches=1, finish=2)


def _happened(mode: str, training: Training, submitted_at: datetime, live: Course) -> Happened:
    return Happened(
        mode=mode,
        number=training.number,
        origin=ORIGIN,
        submitted_at=submitted_at,
        deadline_at=submitted_at + timedelta(seconds=training.deadline_seconds),
        ended_at=submitted_at + timedelta(hours=live.finish),
        live=live,
    )


def test_the_same_seed_draws_the_same_trainings_and_fewer_are_the_first_of_more(tmp_path: Path) -> None:
    traces = _traces(tmp_path)
    few, many = draw(5, traces, 7), draw(50, traces, 7)
    assert few == many[:5]
    assert draw(5, traces, 8) != few
    assert len({name for training in many for name in training.types}) == 100
    for training in many:
        assert 4 * HOUR <= training.work_seconds <= 48 * HOUR
        assert training.traces[0] != training.traces[1]
        assert training.from_seconds + training.deadline_seconds <= training.traces[0].seconds


def test_the_market_replays_what_the_simulator_sees(tmp_path: Path) -> None:
    (training,) = draw(1, _traces(tmp_path), 1)
    market = Market(load_market(str(write_market(tmp_path / "market.yaml", [training]))), started_at=ORIGIN)
    begin = training.from_seconds // 600 * 600
    late = 1234.0
    for instance_type, trace in zip(training.types, training.traces, strict=True):
        capacity = since(trace, begin + late)
        for seconds in range(0, training.deadline_seconds, 977):
            at = ORIGIN + timedelta(seconds=late + seconds)
            seen = any(start <= seconds < end for start, end in capacity)
            assert market.is_spot_available(instance_type, at) is seen


@pytest.mark.parametrize(("mode", "spot_hours", "scouts"), [("one", 0, 0), ("two", 12, 1), ("back", 12, 1)])
def test_a_mode_is_simulated_with_its_types(mode: str, spot_hours: float, scouts: int) -> None:
    training = _training([0] * 100, [1] * 100, work_hours=12, due_hours=18)
    submitted_at = ORIGIN + timedelta(hours=1)
    walked = walk_as_live(training, _happened(mode, training, submitted_at, COURSE))
    assert walked.spot_seconds / HOUR == pytest.approx(spot_hours, abs=0.1)
    assert walked.scouts == scouts
    assert not walked.missed


def test_a_mode_is_asked_for_by_its_policy(tmp_path: Path) -> None:
    training = draw(1, _traces(tmp_path), 1)[0]
    policies = [json.loads(params_of(training, mode)["policy"]) for mode in ("one", "two", "back")]
    types = list(training.types)
    assert policies == [
        {"name": "deadline"},
        {"name": "deadline", "instance_types": types},
        {"name": "deadline", "instance_types": types, "back_to_spot": True},
    ]


def _outcome(mode: str, *, simulated: float, live: float, is_missed: bool = False) -> Outcome:
    training = replace(_training([1] * 100, [1] * 100, work_hours=10, due_hours=15), number=3)
    happened = _happened(mode, training, ORIGIN, replace(COURSE, cost=live))
    if is_missed:
        happened = replace(happened, ended_at=happened.deadline_at + timedelta(seconds=1))
    return Outcome(training=training, happened=happened, simulated=replace(COURSE, cost=simulated))


@pytest.mark.parametrize(
    ("outcomes", "asked", "said"),
    [
        ([_outcome("one", simulated=5, live=5.2), _outcome("two", simulated=4, live=4.1)], 2, []),
        ([_outcome("one", simulated=5, live=5.2)], 2, ["1 of 2 trainings did not complete"]),
        ([_outcome("one", simulated=5, live=5, is_missed=True)], 1, ["missed deadlines: one-03"]),
        ([_outcome("back", simulated=5, live=4.7)], 1, ["back: live / simulated is 0.940"]),
        (
            [_outcome("one", simulated=5, live=5), _outcome("two", simulated=4.3, live=4.3)],
            2,
            ["any of two costs 0.860 of one type, above 0.85"],
        ),
    ],
)
def test_what_is_not_as_asked_for_is_said(outcomes: list[Outcome], asked: int, said: list[str]) -> None:
    assert list(find_faults(outcomes, asked)) == said


def test_modes_are_compared_over_the_trainings_that_have_both() -> None:
    other = _outcome("one", simulated=100, live=100)
    other = replace(other, training=replace(other.training, number=4))
    found = of_one(
        [_outcome("one", simulated=5, live=10), other, _outcome("two", simulated=4, live=5)], "two"
    )
    assert found == (0.8, 0.5, 1)


def test_what_happened_is_kept_as_json() -> None:
    happened = _outcome("two", simulated=4, live=5).happened
    assert Happened.from_json(json.loads(json.dumps(happened.to_json()))) == happened
