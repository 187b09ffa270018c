"""Seconds as people write and read them."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain import parsing as durations
from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import LONGEST_SECONDS, as_typed, in_words, parse_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90),
        ("90", 90),
        ("90m", 5400),
        ("2h", 7200),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        ("1D 12H", 129600),
        (timedelta(hours=2), 7200),
        (7200.0, 7200),
    ],
)
def test_seconds_are_read_in_the_ways_people_write_them(value: object, seconds: int) -> None:
    assert parse_seconds(value, field="wait") == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        None,
        "None",
        "soon",
        "2 fortnights",
        "-5",
        -5,
        True,
        float("inf"),
        "nan",
        [],
        "h",
        10**400,
        "9" * 400,
    ],
)
def test_anything_else_is_refused_by_field(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^wait is"):
        parse_seconds(value, field="wait")


@pytest.mark.parametrize(
    "unit",
    ["9", "1.", "1h", " ", "1 ", "h", "9" * 50 + " "],
    ids=["digits", "points", "parts", "spaces", "numbers", "units", "long numbers"],
)
def test_text_of_any_length_is_refused_at_once_and_not_repeated_in_full(unit: str) -> None:
    text = unit * (200_000 // len(unit)) + "!"
    with pytest.raises(InvalidInput, match=r"^wait is .*the limit is 200; give whole seconds") as refused:
        parse_seconds(text, field="wait")
    assert len(str(refused.value)) < 300


def test_what_the_limit_lets_through_is_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the text, twice the work: with a limit far above what would otherwise take hours."""
    monkeypatch.setattr(durations, "LONGEST_TEXT", 10**9)
    for unit in ("9", "1 ", " ", "1.1"):
        with pytest.raises(InvalidInput, match=r"^wait is"):
            parse_seconds(unit * 200_000 + "!", field="wait")
    assert parse_seconds("1s " * 200_000, field="wait") == 200_000


@given(st.text(max_size=20))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert parse_seconds(text, field="wait") >= 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (345, "5 min 45 s"), (5400, "1 h 30 min"), (7200, "2 h"), (90000, "1 d 1 h")],
)
def test_durations_read_well(seconds: int, words: str) -> None:
    assert in_words(seconds) == words


@given(st.integers(0, LONGEST_SECONDS))
def test_a_duration_is_shown_as_it_can_be_typed(seconds: int) -> None:
    assert parse_seconds(as_typed(seconds), field="field") == seconds


def test_a_duration_as_typed_has_no_unit_that_is_zero() -> None:
    assert [as_typed(seconds) for seconds in (0, 600, 5400, 86400)] == ["0s", "10m", "1h 30m", "1d"]
