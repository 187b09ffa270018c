"""The sums over trainings are the same wherever they are shown, and records are built in one way."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

import pytest

from spot_training.dashboard.overview import lay_tables, overview_of
from spot_training.domain.lifecycle import Ending, SecondaryStatus, Transition
from spot_training.domain.records import CurrentJob, RecordState, TrainingRecord, record_from
from spot_training.domain.savings import PurchaseOption
from spot_training.domain.totals import FIGURES, Totals, totals_of
from spot_training.ledger import Ledger, Selection
from spot_training.report.facts import report_of
from spot_training.sagemaker.identity import RunIdentity
from spot_training.task.budget import month_spending
from tests.records import T0, make_attempt, make_record

ALL = Selection(dag_ids=("retrain",))
SUMS = ("trainings", "billed_usd", "clean_run_usd")


def _trainings() -> list[TrainingRecord]:
    """Completed, failed, replaced by a clear, never compared; all began and ended in one month."""
    gave_up = make_attempt(job_name="b-1", ending=Ending.OUT_OF_WAIT, billable_seconds=900)
    on_demand = make_attempt(
        number=2, job_name="b-2", purchase=PurchaseOption.ON_DEMAND, billable_seconds=7200, instance_count=2
    )
    failed = make_attempt(job_name="c-1", ending=Ending.ALGORITHM_ERROR, billable_seconds=600)
    killed = make_attempt(job_name="e-1", ending=Ending.OUT_OF_WAIT, billable_seconds=1800)
    not_comparable = make_attempt(job_name="d-1", work_seconds=None)
    return [
        make_record(run_id="a", attempts=(make_attempt(job_name="a-1"),)),
        make_record(run_id="b", attempts=(gave_up, on_demand), team=None),
        make_record(
            run_id="c",
            attempts=(failed,),
            state=RecordState.FAILED,
            replaced_instance_seconds=3600,
            replaced_usd=0.25,
        ),
        make_record(run_id="d", attempts=(not_comparable,), began_at=T0 + timedelta(days=2)),
        make_record(run_id="e", attempts=(killed,), state=RecordState.FAILED),
        # The next attempt of a training that runs may complete it.
        make_record(run_id="f", attempts=(replace(killed, job_name="f-1"),), state=RecordState.RUNNING),
        make_record(run_id="h", attempts=(make_attempt(job_name="h-1"),), is_test=True),
        make_record(run_id="g", attempts=(), state=RecordState.RUNNING, replaced_spot_failed_usd=0.5),
    ]


@pytest.mark.parametrize("is_merged", [False, True])
def test_page_report_and_budget_show_the_same_figures(ledger: Ledger, is_merged: bool) -> None:
    records = _trainings()
    for record in records:
        ledger.write(record)
    if is_merged:
        assert ledger.compact().merged == sum(record.state is not RecordState.RUNNING for record in records)
    with ledger.read() as reader:
        lay_tables(reader)
        page = overview_of(reader, ALL)
        report = report_of(reader, ALL, title="", made_at=T0)
        me = RunIdentity(dag_id="retrain", run_id="now", task_id="train")
        month = month_spending(reader, me, (), now=T0 + timedelta(days=3), price_of=lambda _kind: None)
    totals = totals_of(records)
    assert page.totals == report.totals == totals
    assert (totals.unknown, totals.failed, totals.unpriced) == (1, 2, 0)
    assert totals.spot_failed_usd == pytest.approx(0.115), "not what a failing script cost"
    assert totals.net_saved_usd == pytest.approx(totals.saved_usd - 0.115 - 0.5)
    not_compared = records[3].statement.billed_usd
    assert not_compared
    assert (totals.trainings, totals.test_runs) == (7, 1)
    assert totals.test_usd == pytest.approx(0.138)
    # A budget also counts what cannot be compared with a clean run, and test runs.
    billed = totals.billed_usd + totals.failed_usd + totals.replaced_usd + not_compared + totals.test_usd
    assert month.usd == pytest.approx(billed)
    assert page.periods == report.periods
    for name in SUMS:
        whole = pytest.approx(getattr(totals, name))
        assert sum(getattr(period, name) for period in page.periods) == whole
        assert sum(getattr(team, name) for team in report.groups["team"].values()) == whole


def test_a_job_that_a_sensor_watched_is_in_each_sum_once(ledger: Ledger) -> None:
    lost = Transition(status=SecondaryStatus.INTERRUPTED, started_at=T0 + timedelta(hours=2))
    plain = make_attempt()
    started = replace(plain, interruptions=1, transitions=(*plain.transitions, lost))
    ledger.write(make_record(task_id="start", attempts=(started,)))
    ledger.write(make_record(task_id="watch", attempts=(started,), watches=started.job_name))
    with ledger.read() as reader:
        lay_tables(reader)
        page = overview_of(reader, ALL)
        report = report_of(reader, ALL, title="", made_at=T0)
    for name in SUMS:
        once = pytest.approx(getattr(totals_of([make_record(attempts=(started,))]), name))
        assert getattr(page.totals, name) == once
        assert sum(getattr(period, name) for period in page.periods) == once
        assert sum(getattr(period, name) for period in report.periods) == once
    assert [row.attempts for row in page.instance_types] == [1]
    assert [wait.attempts for wait in report.waits] == [1]
    assert [row.interruptions for row in page.instance_types] == [1]
    assert sum(hour.attempts for hour in page.hours) == 1
    assert sum(hour.interruptions for hour in page.hours) == 1


def test_every_figure_of_the_totals_is_defined() -> None:
    others = {"savings_percent", "left_out"}  # from other figures, and from the reader
    others |= {"test_runs", "test_usd", "currencies"}  # of what is in no figure
    others |= {"net_saved_usd", "net_saved_seconds", "net_savings_percent"}
    assert set(FIGURES) == {each.name for each in fields(Totals)} - others


# Records of a state -----------------------------------------------------------------------------------

BLANK = TrainingRecord(
    dag_id="retrain", run_id="1", task_id="train", instance_type="ml.c5.xlarge", began_at=T0
)
LATER = T0 + timedelta(days=1)


def test_a_record_has_what_follows_from_its_attempts() -> None:
    first = make_attempt(ending=Ending.OUT_OF_WAIT, instance_type=None, ended_at=LATER)
    last = make_attempt(number=2, created_at=T0 - timedelta(hours=1), instance_count=2)
    record = record_from(BLANK, attempts=(first, last), current_job=None, is_over=True, now=T0)
    assert record.state is RecordState.COMPLETED
    assert (record.began_at, record.ended_at) == (T0 - timedelta(hours=1), LATER)
    assert (record.instance_type, record.instance_count) == ("ml.m5.xlarge", 2)
    assert record.attempts == (first, last)


def test_a_record_without_attempts_keeps_the_facts_it_began_with() -> None:
    job = CurrentJob(job_name="a-1")
    record = record_from(BLANK, attempts=(), current_job=job, is_over=False, now=LATER)
    assert record == replace(BLANK, current_job=job)
    over = record_from(BLANK, attempts=(), current_job=None, is_over=True, now=LATER)
    assert (over.state, over.ended_at, over.instance_type) == (RecordState.FAILED, LATER, "ml.c5.xlarge")


def test_a_record_keeps_the_requested_instance_if_the_last_attempt_names_none() -> None:
    refused = make_attempt(instance_type=None, ending=Ending.QUOTA, created_at=None, ended_at=None)
    record = record_from(BLANK, attempts=(refused,), current_job=None, is_over=True, now=LATER)
    assert record.state is RecordState.FAILED
    assert (record.instance_type, record.began_at, record.ended_at) == ("ml.c5.xlarge", T0, LATER)
