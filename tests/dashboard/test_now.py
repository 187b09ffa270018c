"""What runs now and this month, over a real ledger in a folder, and as the page shows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from spot_training.dashboard.now import BETWEEN, NOW_ROWS, SUBMITTED
from spot_training.dashboard.overview import Filters, Window
from spot_training.dashboard.source import Source
from spot_training.domain.budget import Budget
from spot_training.domain.lifecycle import Ending, JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from spot_training.domain.records import CurrentJob, RecordState, TrainingRecord
from spot_training.domain.savings import PurchaseOption
from spot_training.ledger import Ledger, Selection
from spot_training.ledger.sweeps import OrphanLeft, SweepReport, keep_sweep, last_sweep

from .rendered import NOW, now_in, overview_page
from .trainings import BEGAN, S, attempt, training, under_way

EVERYTHING = Filters(window=Window.ALL)
DAGS = Selection(dag_ids=("a", "b"), installations=("airflow",))


def _live(run_id: str, **overrides: Any) -> TrainingRecord:
    job = replace(_job(), job_name=f"model-0123456789ab-{run_id}")
    return under_way(**{"dag_id": "a", "run_id": run_id, "current_job": job, **overrides})


def _job() -> CurrentJob:
    job = under_way().current_job
    assert job is not None
    return job


def _seen(record: TrainingRecord, status: SecondaryStatus) -> JobSnapshot:
    """What AWS says of the record's job."""
    assert record.current_job is not None
    began = BEGAN + timedelta(minutes=40)
    return JobSnapshot(
        name=record.current_job.job_name,
        arn="",
        status=TrainingStatus.IN_PROGRESS,
        secondary_status=status,
        is_spot=True,
        created_at=BEGAN,
        last_modified_at=began,
        transitions=(Transition(status=status, started_at=began),),
    )


def _source(folder: Path, *records: TrainingRecord, **limits: float) -> tuple[Source, Ledger]:
    ledger = Ledger(fsspec.filesystem("file"), str(folder))
    for record in records:
        ledger.write(record)
    return Source(lambda: ledger, **limits), ledger


def _orphan(dag_id: str, *, stop_failed: bool) -> OrphanLeft:
    return OrphanLeft(
        job_name=f"{dag_id}-job",
        reason=f"task train of {dag_id} / run: failed",
        stop_failed=stop_failed,
        dag_id=dag_id,
        run_id="run",
        task_id="train",
    )


def test_every_training_that_waits_or_runs_is_shown_with_the_figures_of_its_own_page(tmp_path: Path) -> None:
    submitted = CurrentJob(job_name="b-1", number=2, reason="", purchase=PurchaseOption.ON_DEMAND)
    records = [
        _live("trains"),
        _live("submitted", current_job=submitted, deadline_at=None, latest_on_demand_at=None),
        _live("between", current_job=None, attempts=training().attempts[:1], deadline_at=None),
        training(dag_id="a", run_id="over"),
    ]
    source, _ = _source(tmp_path, *records)
    found = now_in(source, DAGS, now=BEGAN + timedelta(hours=1, minutes=12))
    rows = {row.run_id: row for row in found.rows}
    assert set(rows) == {"trains", "submitted", "between"}
    assert (found.trainings, found.waiting) == (3, 2)
    assert found.phases == {"training": 1, SUBMITTED: 1, BETWEEN: 1}
    trains = rows["trains"]
    assert (trains.phase_since, trains.attempt) == (BEGAN + timedelta(minutes=12), 1)
    # Instances are held for 63 minutes, three of them for the download.
    assert trains.billed_usd == pytest.approx(0.23 * 63 / 60)
    assert trains.is_estimate
    assert trains.latest_on_demand_at == BEGAN + timedelta(hours=2, minutes=4)
    assert rows["submitted"].billed_usd == 0.0
    assert rows["between"].billed_usd == pytest.approx(records[2].statement.billed_usd)


def test_what_must_start_on_demand_first_comes_first(tmp_path: Path) -> None:
    records = [
        _live("no deadline", deadline_at=None, latest_on_demand_at=None),
        _live("later", latest_on_demand_at=NOW + timedelta(hours=2)),
        _live("soon", latest_on_demand_at=NOW + timedelta(minutes=2)),
    ]
    source, _ = _source(tmp_path, *records)
    assert [row.run_id for row in now_in(source, DAGS).rows] == ["soon", "later", "no deadline"]


def test_a_user_sees_nothing_of_what_runs_in_dags_they_may_not_read(tmp_path: Path) -> None:
    mine = _live("mine", team="growth")
    theirs = _live("theirs", dag_id="secret", model="secret-model", team="secret-team")
    refused = training(dag_id="secret", run_id="refused", attempts=(attempt(1, BEGAN, (S.STARTING, 3)),))
    source, ledger = _source(tmp_path, mine, theirs, refused)
    orphans = (_orphan("a", stop_failed=False), _orphan("secret", stop_failed=True))
    keep_sweep(ledger, "airflow", SweepReport(at=NOW, orphans=orphans))
    found = now_in(source, DAGS, budget=Budget(usd=10))
    assert [row.run_id for row in found.rows] == ["mine"]
    assert "secret" not in str(found)
    assert (len(found.orphans), found.failed_stops) == (1, 0)
    nobody = now_in(source, Selection(dag_ids=(), installations=("airflow",)))
    assert (nobody.trainings, nobody.orphans, nobody.month.trainings) == (0, (), 0)
    elsewhere = now_in(source, replace(DAGS, installations=("another",)))
    assert elsewhere.trainings == 0


def test_a_note_is_shown_although_no_record_has_changed(tmp_path: Path) -> None:
    record = _live("trains")
    source, ledger = _source(tmp_path, record, check_seconds=0.0, lag_seconds=0.0)
    assert now_in(source, DAGS).phases == {"training": 1}
    job = _seen(record, S.INTERRUPTED)
    ledger.note(record.key, job, now=NOW)
    assert now_in(source, DAGS).phases == {"interrupted": 1}
    ledger.note(record.key, replace(job, secondary_status=S.STARTING), now=NOW)
    assert now_in(source, DAGS).phases == {"waiting": 1}


def test_only_notes_that_changed_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [_live(f"run {n}") for n in range(3)]
    source, ledger = _source(tmp_path, *records, check_seconds=0.0, lag_seconds=0.0)
    job = _seen(records[0], S.TRAINING)
    for record in records:
        ledger.note(record.key, job, now=NOW)
    source.running()
    ledger.note(records[0].key, job, now=NOW + timedelta(minutes=1))
    fetched: list[str] = []
    whole = ledger.fetch

    def fetch(paths: Any) -> dict[str, bytes]:
        wanted = list(paths)
        fetched.extend(path for path in wanted if "/notes/" in path)
        return whole(wanted)

    monkeypatch.setattr(ledger, "fetch", fetch)
    source.running()
    assert fetched == [ledger.path("notes", f"{records[0].key}.json")]


def test_a_job_that_two_tasks_look_at_costs_once(tmp_path: Path) -> None:
    shared = replace(_job(), job_name="shared")
    trains = _live("trains", current_job=shared)
    watches = _live("watches", current_job=shared, dag_id="b", watches="shared")
    source, _ = _source(tmp_path, trains, watches)
    found = now_in(source, DAGS)
    assert found.trainings == 2
    assert found.billed_usd == found.rows[0].billed_usd


def test_a_month_counts_what_ended_in_it_and_what_a_quota_refused(tmp_path: Path) -> None:
    last_month = BEGAN - timedelta(days=20)
    spans = attempt(1, last_month, (S.STARTING, 1), (S.TRAINING, 60), billed=1.0, job_name="old")
    refused = attempt(1, BEGAN, (S.STARTING, 3), ending=Ending.QUOTA, job_name="refused")
    records = [
        training(dag_id="a", run_id="this month"),
        training(dag_id="b", run_id="cleared", attempts=(), replaced_usd=5.0, team="growth"),
        training(dag_id="a", run_id="last month", began_at=last_month, attempts=(spans,)),
        training(dag_id="b", run_id="refused", attempts=(refused,), state=RecordState.FAILED, team=None),
        _live("runs"),
    ]
    source, _ = _source(tmp_path, *records)
    found = now_in(source, DAGS, budget=Budget(usd=10.0))
    month, billed = found.month, records[0].statement.billed_usd
    assert billed is not None
    assert {dag.dag_id: dag.billed_usd for dag in month.dags} == {"a": pytest.approx(billed), "b": 5.0}
    assert [refusal.run_id for refusal in month.refusals] == ["refused"]
    assert month.quota_refusals == 1
    assert {team.team for team in month.teams} == {"forecasting", "growth"}
    assert month.net_saved_usd == pytest.approx(records[0].statement.net_saved_usd)
    used = {row.dag_id: row.used_percent for row in found.spending}
    assert used == {"a": pytest.approx(10 * billed), "b": 50.0}
    own = replace(found, budgets={"a": None, "b": 50.0})
    assert {row.dag_id: row.used_percent for row in own.spending} == {"a": None, "b": 10.0}


def test_the_page_opens_with_what_runs_and_then_the_month(tmp_path: Path) -> None:
    records = [_live(f"run {n:02d}", deadline_at=NOW + timedelta(hours=n)) for n in range(NOW_ROWS + 3)]
    sweep = SweepReport(at=NOW, orphans=(_orphan("a", stop_failed=True),))
    page = overview_page(tmp_path, *records, filters=EVERYTHING, budget=Budget(usd=7), sweep=sweep)
    places = [page.index(f'id="{name}"') for name in ("now", "month", "history")]
    assert places == sorted(places)
    assert f"{NOW_ROWS + 3} trainings" in page
    assert "Page 1 of 2, the most urgent first" in page
    assert "failed stop" in page
    assert "$7.00" in page
    assert '"news": "now?within=overview' in page.replace("\\u0026", "&")
    second = overview_page(tmp_path, *records, filters=EVERYTHING, page=2)
    assert "run 27" in second.split('id="month"')[0]
    assert "run 01" not in second.split('id="month"')[0]


def test_a_page_without_running_trainings_says_why_it_is_empty(tmp_path: Path) -> None:
    page = overview_page(tmp_path, training(), filters=EVERYTHING)
    text = " ".join(page.split())
    assert "No training waits or runs in the Dags that you may read." in text
    assert "no sweep yet" in text


def test_a_report_of_a_sweep_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    _, ledger = _source(tmp_path)
    assert last_sweep(ledger, ("airflow",)) is None
    report = SweepReport(at=NOW, orphans=(_orphan("a", stop_failed=False),))
    keep_sweep(ledger, "airflow", report)
    keep_sweep(ledger, "before", replace(report, at=NOW - timedelta(days=1)))
    assert last_sweep(ledger, ("airflow", "before")) == report
    (path,) = (p for p in (tmp_path / "sweeps").iterdir() if NOW.isoformat() in p.read_text())
    path.write_text('{"format": 1, "at"')
    found = last_sweep(ledger, ("airflow", "before"))
    assert found is not None
    assert found.at == NOW - timedelta(days=1)
