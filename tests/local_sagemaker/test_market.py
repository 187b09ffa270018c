"""The market file: what it says, and what a wrong file gets as an error."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_sagemaker.market import Market, MarketFileError, MarketSpec, Timeline, load_market, scenario_names
from local_sagemaker.service_model import instance_types

from .support import START, market_from

TYPE = "ml.m5.xlarge"


def _at(minutes: float) -> timedelta:
    return timedelta(minutes=minutes)


def _market(spec: MarketSpec) -> Market:
    return Market(spec, started_at=START)


def test_without_a_file_there_is_always_capacity() -> None:
    market = _market(load_market(None, price_ratio=0.4))
    assert market.is_spot_available(TYPE, START)
    assert market.next_spot_change(TYPE, START) is None
    assert market.price_ratio(TYPE, START) == 0.4


def test_windows_say_when_there_is_capacity(tmp_path: Path) -> None:
    spec = market_from(
        tmp_path,
        """
        capacity:
          - {from: 30m, to: 2h, available: false}
          - {from: 60m, to: 90m, available: true}
        """,
    )
    market = _market(spec)
    changes, at = [], START
    while (next_at := market.next_spot_change(TYPE, at)) is not None:
        at = next_at
        changes.append(((at - START).total_seconds() / 60, market.is_spot_available(TYPE, at)))
    assert changes == [(30, False), (60, True), (90, False), (120, True)]


def test_a_story_can_begin_with_the_first_job_that_asks() -> None:
    market = _market(load_market("first-week"))
    assert market.next_spot_change(TYPE, START) is None
    created_at = START + _at(500)
    market.note_spot_request(TYPE, created_at)
    market.note_spot_request(TYPE, created_at + _at(30))
    assert not market.is_spot_available(TYPE, created_at)
    assert market.next_spot_change(TYPE, created_at) == created_at + _at(90)
    assert market.is_spot_available(TYPE, created_at + _at(90))
    assert market.is_spot_available("ml.m5.large", created_at)


def test_a_type_keeps_the_general_rules_it_does_not_change(tmp_path: Path) -> None:
    spec = market_from(
        tmp_path, "{available: false, price_ratio: 0.5, instance_types: {ml.c5.xlarge: {available: true}}}"
    )
    market = _market(spec)
    assert not market.is_spot_available(TYPE, START)
    assert market.is_spot_available("ml.c5.xlarge", START)
    assert market.price_ratio("ml.c5.xlarge", START) == 0.5


def test_what_a_person_says_counts_more_than_the_story() -> None:
    market = _market(load_market("no-capacity"))
    market.set_capacity(TYPE, available=True)
    assert market.is_spot_available(TYPE, START)
    market.reset(START)
    assert not market.is_spot_available(TYPE, START)


def test_a_trace_is_followed_tick_by_tick(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(
        json.dumps({"metadata": {"gap_seconds": 300}, "data": [1, 1, 0, 0, 1]})
    )
    market = _market(market_from(tmp_path, "trace: {file: trace.json}"))
    assert [market.is_spot_available(TYPE, START + _at(m)) for m in (0, 9, 10, 19, 20, 999)] == [
        True, True, False, False, True, True,
    ]  # fmt: skip
    assert market.next_spot_change(TYPE, START) == START + _at(10)


def test_a_trace_can_be_repeated_and_entered_later(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(
        json.dumps({"metadata": {"gap_seconds": 300}, "data": [1, 1, 0, 0, 1]})
    )
    market = _market(market_from(tmp_path, "trace: {file: trace.json, repeat: true, skip: 10m}"))
    seen = [market.is_spot_available(TYPE, START + _at(5 * tick)) for tick in range(10)]
    assert seen == [False, False, True, True, True] * 2


def test_the_price_can_change_over_time(tmp_path: Path) -> None:
    market = _market(market_from(tmp_path, "price_ratio: [{from: 0h, ratio: 0.2}, {from: 2h, ratio: 0.7}]"))
    assert [market.price_ratio(TYPE, START + _at(m)) for m in (0, 119, 120)] == [0.2, 0.2, 0.7]


def test_one_seed_tells_one_story_per_type(tmp_path: Path) -> None:
    text = "random: {seed: 7, available_for: 2h, away_for: 30m}"

    def changes(instance_type: str) -> list[float]:
        market, at, found = _market(market_from(tmp_path, text)), START, []
        for _ in range(20):
            at = market.next_spot_change(instance_type, at) or at
            found.append((at - START).total_seconds())
        return found

    assert changes(TYPE) == changes(TYPE)
    assert changes(TYPE) != changes("ml.m5.large")
    assert len(set(changes(TYPE))) == 20


def test_a_file_says_which_uploads_stall_and_when(tmp_path: Path) -> None:
    spec = market_from(
        tmp_path,
        """
        instance_types:
          ml.m5.xlarge:
            stalled_uploads: [{from: 1h, to: 2h, job_names: "churn-*"}, {from: 3h}]
        """,
    )
    market = _market(spec)

    def stalled_at(minutes: float, name: str = "churn-1", instance_type: str = TYPE) -> bool:
        return market.are_uploads_stalled(name, [instance_type], START + _at(minutes))

    assert [stalled_at(minutes) for minutes in (0, 59, 60, 119, 120, 179, 180, 9999)] == [
        False, False, True, True, False, False, True, True,
    ]  # fmt: skip
    assert not stalled_at(90, name="fraud-1")
    assert stalled_at(200, name="fraud-1")
    assert not stalled_at(90, instance_type="ml.c5.xlarge")


def test_a_stall_can_count_from_the_first_job(tmp_path: Path) -> None:
    market = _market(market_from(tmp_path, "{origin: first-job, stalled_uploads: [{from: 0m, to: 5m}]}"))
    assert not market.are_uploads_stalled("job", [TYPE], START)
    market.note_spot_request(TYPE, START + _at(10))
    assert market.are_uploads_stalled("job", [TYPE], START + _at(12))


@pytest.mark.parametrize("name", scenario_names())
def test_every_shipped_scenario_says_what_it_teaches(name: str) -> None:
    assert len(load_market(name).description) > 40


@pytest.mark.parametrize("name", scenario_names())
def test_a_shipped_scenario_names_instance_types_that_exist(name: str) -> None:
    """They are not checked at a start, which would take longer."""
    assert load_market(name).by_type.keys() <= instance_types()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("capcity: []", "did you mean capacity?"),
        ("capacity: 5", "capacity is 5: give a list"),
        ("capacity: [{from: 0m, to: 10x, available: true}]", "capacity[0].to is '10x': give a duration"),
        ("capacity: [{from: 2h, to: 1h, available: true}]", "give a time after `from`"),
        ("capacity: [{from: 2h}]", "`available` is missing"),
        ("capacity: [{available: maybe}]", "capacity[0].available is 'maybe': give true or false"),
        ("price_ratio: 3", "price_ratio is 3: give spot price / on-demand price"),
        ("price_ratio: [{from: 1h, ratio: 0.2}]", "give a first step with `from: 0s`"),
        ("origin: dawn", "origin is 'dawn': give one of: server-start, first-job"),
        ("interruptions: [{away: 5m}]", "give either `after`"),
        ("interruptions: [{after: 5m, job: last}]", "interruptions[0].job is 'last': give a whole number"),
        ("interruptions: [{after_checkpoints: 0}]", "give a whole number of at least 1"),
        ("stalled_uploads: {from: 1h}", "give a list"),
        (
            "stalled_uploads: [{after: 1h}]",
            "stalled_uploads[0].after is '1h': this key is unknown. Known here: ",
        ),
        ("stalled_uploads: [{from: 1h, to: 1h}]", "stalled_uploads[0].to is '1h': give a time after `from`"),
        ("stalled_uploads: [{from: soon}]", "stalled_uploads[0].from is 'soon': give a duration"),
        (
            "stalled_uploads: [{job_names: churn_*}]",
            "stalled_uploads[0].job_names is 'churn_*': give letters, digits and hyphens of job names",
        ),
        ("trace: {file: none.json}", "trace.file is 'none.json': cannot read"),
        ("random: {seed: 1, available_for: 0s, away_for: 1m}", "the mean length, above zero"),
        (
            "{capacity: [], random: {seed: 1, available_for: 1h, away_for: 1m}}",
            "give only one of capacity, trace and random",
        ),
        ("instance_types: {ml.m5.large: {quota: {spot: -1}}}", "instance_types.ml.m5.large.quota.spot is -1"),
        ("on_demand: {shortage: cry}", "on_demand.shortage is 'cry': give one of: wait, fail"),
        ("instance_types: {ml.m5.xlarg: {available: false}}", "instance_types.ml.m5.xlarg is"),
        (
            "instance_types: {m5.large: {available: false}}",
            "has no such training instance type; ml.m5.large is one",
        ),
        ("[1, 2]", "give a mapping with"),
        ("a: b: c", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_way_out(
    tmp_path: Path, text: str, error: str
) -> None:
    with pytest.raises(MarketFileError) as caught:
        market_from(tmp_path, text)
    assert error in str(caught.value)
    assert "market.yaml" in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "market.yaml"
    path.write_bytes(b"\xa5\x00")
    with pytest.raises(MarketFileError, match="is not YAML"):
        load_market(str(path))


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    with pytest.raises(MarketFileError, match="first-week"):
        load_market("second-week")


_CHANGES = st.lists(st.tuples(st.floats(0.01, 1e5), st.booleans()), max_size=20)


@given(stays=_CHANGES)
def test_a_timeline_changes_only_where_it_says(stays: list[tuple[float, bool]]) -> None:
    at, changes = 0.0, [(0.0, True)]
    for stay, available in stays:
        at += stay
        changes.append((at, available))
    timeline, seconds, steps = Timeline(iter(changes)), 0.0, 0
    while (next_change := timeline.next_change_after(seconds)) is not None:
        assert next_change > seconds
        assert timeline.is_available_at(next_change) != timeline.is_available_at(seconds)
        seconds, steps = next_change, steps + 1
    assert steps <= len(stays)
