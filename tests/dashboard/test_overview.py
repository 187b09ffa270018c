"""Sums, periods, hours and rows over a real ledger in a folder, compared with the records themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from include.local_stack import wait_until
from spot_training.dashboard.overview import (
    PAGE_ROWS,
    Filters,
    Order,
    Window,
    choices,
    overview_of,
    trainings,
)
from spot_training.dashboard.source import Source
from spot_training.domain.records import TrainingRecord, totals_of
from spot_training.ledger import Ledger, Selection
from spot_training.ledger.periods import Grain

from .hostile import NAMES, hostile_training
from .trainings import BEGAN, MODELS, S, attempt, history, training, under_way

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAGS = Selection(dag_ids=tuple(dag_id for dag_id, _, _ in MODELS.values()))
RECORDS = [*history(160, until=NOW, days=60), under_way(began_at=NOW - timedelta(days=200))]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path_factory.mktemp("ledger")))
    for record in RECORDS:
        ledger.write(record)
    return Source(lambda: ledger)


def _selected(filters: Filters) -> Iterator[TrainingRecord]:
    """What the filters mean, without SQL."""
    selection = filters.selection(DAGS, now=NOW)
    for record in RECORDS:
        assert record.began_at is not None
        if (
            (selection.since is None or record.began_at >= selection.since)
            and (selection.until is None or record.began_at < selection.until)
            and record.dag_id in (selection.dag_ids or ())
            and filters.model in {None, record.model}
            and filters.instance_type in {None, record.instance_type}
            and filters.team in {None, record.team}
        ):
            yield record


@pytest.mark.parametrize(
    "filters",
    [
        Filters(window=Window.ALL),
        Filters(),
        Filters(window=Window.WEEK, model="churn"),
        Filters(window=Window.ALL, dag_id="rank_search", team="search"),
        Filters(since=date(2026, 4, 20), until=date(2026, 5, 2)),
        Filters(window=Window.ALL, until=date(2026, 5, 2), instance_type="ml.g5.xlarge"),
        Filters(window=Window.ALL, until=date.max),
        Filters(window=Window.ALL, dag_id="nobody_has_it"),
    ],
)
def test_an_overview_adds_up_to_the_trainings_chosen(source: Source, filters: Filters) -> None:
    chosen = list(_selected(filters))
    with source.view() as reader:
        overview = overview_of(reader, filters.selection(DAGS, now=NOW))
    totals = totals_of(chosen)
    assert overview.totals == totals
    assert sum(period.trainings for period in overview.periods) == totals.trainings
    assert sum(period.billed_usd for period in overview.periods) == pytest.approx(totals.billed_usd)
    assert sum(p.clean_run_hours for p in overview.periods) * 3600 == pytest.approx(totals.clean_run_seconds)
    spot = [a for record in chosen for a in record.attempts if a.purchase == "spot"]
    assert sum(row.attempts for row in overview.instance_types) == len(spot)
    assert sum(hour.attempts for hour in overview.hours) == len(spot)
    shown = Counter((a.instance_type, a.created_at.hour) for a in spot if a.created_at)
    assert {(h.instance_type, h.hour): h.attempts for h in overview.hours if h.attempts} == shown


def test_an_interruption_counts_in_the_hour_it_happened(source: Source) -> None:
    filters = Filters(window=Window.ALL)
    with source.view() as reader:
        hours = overview_of(reader, filters.selection(DAGS, now=NOW)).hours
    happened = Counter(
        (a.instance_type, visit.started_at.hour)
        for record in RECORDS
        for a in record.attempts
        for visit in a.transitions
        if visit.status is S.INTERRUPTED and a.purchase == "spot"
    )
    assert {(h.instance_type, h.hour): h.interruptions for h in hours if h.interruptions} == happened


def test_a_user_sees_nothing_of_dags_they_may_not_read(source: Source) -> None:
    mine = Selection(dag_ids=("predict_churn",))
    with source.view() as reader:
        overview = overview_of(reader, Filters(window=Window.ALL).selection(mine, now=NOW))
        other = overview_of(reader, Filters(window=Window.ALL, dag_id="rank_search").selection(mine, now=NOW))
        nothing = overview_of(reader, Filters(window=Window.ALL).selection(Selection(dag_ids=()), now=NOW))
        offered = choices(reader, mine)
    assert {row.dag_id for row in overview.trainings} == {"predict_churn"}
    assert other.totals.trainings == nothing.totals.trainings == 0
    assert not other.live
    assert offered.models == ("churn",)
    assert offered.teams == ("growth",)


def test_trainings_of_another_airflow_with_the_same_ledger_are_not_shown(tmp_path: Path) -> None:
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path))
    for name in ("airflow", "another"):
        ledger.write(training(installation=name))
    mine = replace(DAGS, installations=("airflow",))
    with Source(lambda: ledger).view() as reader:
        overview = overview_of(reader, Filters(window=Window.ALL).selection(mine, now=NOW))
        every = overview_of(reader, Filters(window=Window.ALL).selection(DAGS, now=NOW))
    assert overview.totals.trainings == 1
    assert every.totals.trainings == 2


@pytest.mark.parametrize("order", Order)
def test_pages_of_trainings_follow_each_other_in_every_order(source: Source, order: Order) -> None:
    selection = Filters(window=Window.ALL).selection(DAGS, now=NOW)
    with source.view() as reader:
        pages = [trainings(reader, selection, order=order, page=page) for page in range(1, 9)]
    rows = [row for page in pages for row in page]
    assert len(rows) == len(RECORDS)
    assert len({(row.dag_id, row.run_id) for row in rows}) == len(RECORDS)
    assert [len(page) for page in pages][:2] == [PAGE_ROWS, PAGE_ROWS]
    if order is Order.COST:
        costs = [row.billed_usd or 0 for row in rows]
        assert costs == sorted(costs, reverse=True)


def test_live_trainings_show_whenever_they_began(source: Source) -> None:
    with source.view() as reader:
        overview = overview_of(reader, Filters(window=Window.WEEK).selection(DAGS, now=NOW))
    (live,) = overview.live
    assert live.state == "running"
    assert live.attempts == 1
    assert overview.totals.running == 0


@pytest.mark.parametrize(("days", "step"), [(10, Grain.DAY), (200, Grain.WEEK), (900, Grain.MONTH)])
def test_the_longer_the_window_the_longer_a_period(tmp_path: Path, days: int, step: Grain) -> None:
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path))
    for number, began in enumerate((BEGAN, BEGAN + timedelta(days=days))):
        ledger.write(training(run_id=str(number), began_at=began))
    with Source(lambda: ledger).view() as reader:
        overview = overview_of(reader, Filters(window=Window.ALL).selection(DAGS, now=NOW))
    assert overview.step is step
    assert sum(period.trainings for period in overview.periods) == 2


def test_an_empty_ledger_is_an_empty_overview(tmp_path: Path) -> None:
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path / "not there"))
    with Source(lambda: ledger).view() as reader:
        overview = overview_of(reader, Filters().selection(DAGS, now=NOW))
        offered = choices(reader, DAGS)
    assert overview.totals.trainings == 0
    assert not overview.has_dollars
    assert (overview.periods, overview.hours, overview.trainings, offered.models) == ((), (), (), ())


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_name_can_be_filtered_by(tmp_path: Path, name: str) -> None:
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path))
    ledger.write(hostile_training(name))
    ledger.write(training())
    filters = Filters(window=Window.ALL, model=name, team=name, instance_type=name)
    with Source(lambda: ledger).view() as reader:
        overview = overview_of(reader, filters.selection(DAGS, now=NOW))
        offered = choices(reader, DAGS)
    assert [row.model for row in overview.trainings] == [name]
    assert name in offered.models


def test_the_view_is_kept_until_the_ledger_changes(tmp_path: Path) -> None:
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path))
    ledger.write(training())
    source = Source(lambda: ledger, check_seconds=0, lag_seconds=0)
    with source.view() as first:
        pass
    with source.view() as again:
        assert again is first
    ledger.write(training(version=2, model="renamed"))
    with source.view() as renewed:
        assert renewed is not first
        (record,) = renewed.records()
    assert record.model == "renamed"


def test_nobody_waits_for_a_new_view_while_the_old_one_is_not_much_older(tmp_path: Path) -> None:
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path))
    ledger.write(training())
    source = Source(lambda: ledger, check_seconds=0, lag_seconds=3600)
    with source.view() as reader:
        assert reader.totals().trainings == 1
    ledger.write(training(run_id="another"))

    def trainings_seen() -> int:
        with source.view() as reader:
            return reader.totals().trainings

    assert trainings_seen() == 1
    wait_until(lambda: trainings_seen() == 2, "the new view", timeout_seconds=30)


def test_a_training_is_read_as_it_is_now_whatever_the_view_holds(tmp_path: Path) -> None:
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path))
    source = Source(lambda: ledger, check_seconds=3600)
    record = under_way()
    assert source.training(record.key) is None
    ledger.write(record)
    found = source.training(record.key)
    assert found is not None
    assert found.current_job == record.current_job
    over = training(version=2)
    assert over.key == record.key
    ledger.write(over)
    assert source.training(record.key) == over


def test_waits_are_means_and_never_hide_attempts_that_got_nothing(tmp_path: Path) -> None:
    ledger = Ledger(fsspec.filesystem("file"), str(tmp_path))
    got = attempt(1, BEGAN, (S.STARTING, 10), (S.TRAINING, 30))
    never = attempt(1, BEGAN, (S.STARTING, 50), started_at=None)
    for number, one in enumerate((got, never)):
        ledger.write(training(run_id=str(number), attempts=(one,)))
    with Source(lambda: ledger).view() as reader:
        (row,) = overview_of(reader, Filters(window=Window.ALL).selection(DAGS, now=NOW)).instance_types
    assert (row.attempts, row.without_capacity, row.wait_seconds) == (2, 1, 30 * 60)
