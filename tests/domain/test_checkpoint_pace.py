"""Stalled uploads are found in time, and uneven intervals between checkpoints cause no false alarm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

import pytest

from spot_training.domain.checkpoint_pace import (
    STALLED_AFTER_AT_LEAST_SECONDS,
    CheckpointPace,
    pace_of,
)

MINUTE = 60.0
LOOK = 60.0
TRAININGS, CHECKPOINTS = 250, 80
Intervals = Callable[[Random], Iterator[float]]


def _lognormal(chance: Random) -> Iterator[float]:
    median, spread = chance.uniform(1, 60) * MINUTE, chance.uniform(0.05, 0.7)
    while True:
        yield median * math.exp(chance.gauss(0, spread))


def _alternating(chance: Random) -> Iterator[float]:
    """A long one after each short one, or after several: such as epochs with and without a validation."""
    short, jitter, block = chance.uniform(0.5, 30) * MINUTE, chance.uniform(0, 0.2), chance.randint(1, 4)
    times = chance.uniform(2, 30 if block == 1 else 8)
    while True:
        for length in (*[short] * block, short * times):
            yield length * (1 + jitter * chance.random())


def _growing(chance: Random) -> Iterator[float]:
    length, growth = chance.uniform(0.5, 10) * MINUTE, chance.uniform(1.0, 1.15)
    while True:
        yield length * chance.uniform(0.9, 1.1)
        length *= growth


def _warm_up_first(chance: Random) -> Iterator[float]:
    """The first interval is many times longer than the others, such as for compiling or a cold cache."""
    length = chance.uniform(1, 20) * MINUTE
    yield length * chance.uniform(3, 40)
    while True:
        yield length * chance.uniform(0.8, 1.25)


KINDS: list[Intervals] = [_lognormal, _alternating, _growing, _warm_up_first]


def _seeded(seed: object) -> Random:
    return Random(str(seed))  # noqa: S311 - repeatable, not secret


@pytest.mark.parametrize("kind", KINDS)
def test_uneven_intervals_cause_no_false_alarm(kind: Intervals) -> None:
    """250 trainings of each of four kinds: 1,000 trainings, looked at all the time."""
    alarms = 0
    for seed in range(TRAININGS):
        lengths = list(islice(kind(_seeded((kind.__name__, seed))), CHECKPOINTS))
        alarms += any(
            CheckpointPace(intervals=tuple(lengths[1:number]), first_seconds=lengths[0])
            .look(silent_seconds=length, has_saved=number > 0)
            .is_stalled
            for number, length in enumerate(lengths)
        )
    assert alarms == 0


@pytest.mark.parametrize("interval", [1 * MINUTE, 10 * MINUTE, 90 * MINUTE])
def test_stalled_uploads_are_found_within_three_and_a_half_intervals_and_one_look(interval: float) -> None:
    """With even intervals, the expected one is the interval itself."""
    pace = CheckpointPace(intervals=(interval,) * 8)
    limit = max(STALLED_AFTER_AT_LEAST_SECONDS, 3.5 * interval)
    assert pace.expected_seconds == interval
    assert not pace.look(silent_seconds=limit).is_stalled
    found_at = next(n * LOOK for n in range(1, 1000) if pace.look(silent_seconds=n * LOOK).is_stalled)
    assert limit < found_at <= limit + LOOK


@pytest.mark.parametrize("kind", KINDS)
def test_stalled_uploads_are_found_whatever_the_intervals_are(kind: Intervals) -> None:
    for seed in range(TRAININGS):
        chance = _seeded(("stall", kind.__name__, seed))
        lengths = tuple(islice(kind(chance), chance.randint(2, CHECKPOINTS)))
        pace = CheckpointPace(intervals=lengths[1:], first_seconds=lengths[0])
        assert pace.expected_seconds is not None
        limit = max(STALLED_AFTER_AT_LEAST_SECONDS, 3.5 * pace.expected_seconds)
        assert not pace.look(silent_seconds=limit).is_stalled
        assert pace.look(silent_seconds=limit + LOOK).is_stalled
        # What is expected is not arbitrarily long: at most thrice the longest that was seen, once some were.
        if len(pace.intervals) > 5:
            assert max(pace.intervals[-30:]) <= pace.expected_seconds <= 3 * max(pace.intervals)


def test_alternating_intervals_are_expected_at_the_longer_one() -> None:
    assert CheckpointPace(intervals=(60.0, 1800.0) * 6).expected_seconds == 1800


def test_few_intervals_give_more_time() -> None:
    expected = [CheckpointPace(intervals=(600.0,) * count).expected_seconds for count in range(1, 8)]
    assert expected == [3600, 2400, 1800, 1200, 900, 600, 600]


def test_without_a_known_interval_there_is_no_alarm() -> None:
    look = CheckpointPace().look(silent_seconds=1e6)
    assert (look.is_stalled, look.stalled_after_seconds) == (False, None)
    assert look.reason == "how often the script saves is not known yet"


def test_a_given_interval_counts_until_intervals_are_seen() -> None:
    pace = CheckpointPace(given_seconds=600.0)
    assert pace.stalled_after_seconds == 2100
    seen = CheckpointPace(given_seconds=600.0, intervals=(60.0,) * 10)
    assert seen.stalled_after_seconds == STALLED_AFTER_AT_LEAST_SECONDS


def test_the_first_checkpoint_of_a_launch_may_take_as_long_as_it_did_before() -> None:
    pace = pace_of([[1800.0, 1860.0, 1920.0], [1700.0, 1760.0, 1820.0, 1880.0, 1940.0]])
    assert (pace.first_seconds, pace.intervals) == (1800, (60.0,) * 6)
    assert not pace.look(silent_seconds=2400, has_saved=False).is_stalled
    assert pace.look(silent_seconds=2401, has_saved=False).is_stalled
    assert pace.look(silent_seconds=601).is_stalled


def test_a_training_without_checkpoints_has_no_pace() -> None:
    assert pace_of([[], []], given_seconds=60.0) == CheckpointPace(given_seconds=60.0)


def test_an_old_interval_is_forgotten() -> None:
    assert CheckpointPace(intervals=(9e4, *(60.0,) * 30)).expected_seconds == 60


def test_the_log_says_what_was_expected() -> None:
    said = CheckpointPace(intervals=(600.0,) * 8).look(silent_seconds=2200).reason
    assert said.startswith("uploads have stalled: 36 min of training without a new checkpoint")
    assert "every 10 min (learned from 8 intervals), stalled after 35 min" in said
