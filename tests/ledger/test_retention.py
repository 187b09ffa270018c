"""Old months are removed whole, and nothing that is under way or that budgets need."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spot_training.domain.errors import InvalidInput
from spot_training.domain.records import RecordState
from spot_training.ledger import Ledger
from spot_training.ledger.command import main
from spot_training.ledger.compaction import compact
from spot_training.ledger.manifest import MONTHS, Manifest
from spot_training.ledger.retention import MONTHS_AT_LEAST, prune
from tests.records import make_record

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def _write(ledger: Ledger, began_at: datetime, **overrides: Any) -> None:
    facts = {"began_at": began_at, "ended_at": began_at, "written_at": began_at, "run_id": f"{began_at}"}
    ledger.write(make_record(**{**facts, **overrides}))


def _fill(ledger: Ledger) -> None:
    """A record in each of the last 24 months, merged."""
    for month in range(24):
        year, number = divmod(NOW.year * 12 + NOW.month - 1 - month, 12)
        _write(ledger, datetime(year, number + 1, 10, tzinfo=UTC))
    assert compact(ledger, settled_after=timedelta(0), now=NOW).merged == 24


def _months(ledger: Ledger) -> list[str]:
    with ledger.read() as reader:
        return sorted(f"{record.began_at:%Y-%m}" for record in reader.records())


@pytest.mark.slow
def test_the_months_to_keep_stay_and_earlier_ones_go(ledger: Ledger) -> None:
    _fill(ledger)
    done = prune(ledger, keep_months=12, now=NOW)
    assert (done.before, done.records, done.is_done) == ("2025-12", 12, True)
    assert str(done) == "12 record(s) in 12 file(s) of 2024-12 to 2025-11 removed"
    assert _months(ledger) == ["2025-12", *(f"2026-{month:02}" for month in range(1, 12))]
    assert len(ledger.list_names(MONTHS)) == 24, "earlier manifests still name the files"
    compact(ledger, now=NOW + timedelta(days=365))
    left = {name for name in ledger.list_names(MONTHS) if ledger.list_names(f"{MONTHS}/{name}")}
    assert left == {"2025-12", *(f"2026-{month:02}" for month in range(1, 12))}
    assert prune(ledger, keep_months=12, now=NOW).files == ()


@pytest.mark.slow
def test_a_dry_run_changes_nothing(ledger: Ledger) -> None:
    _fill(ledger)
    before = Manifest.newest(ledger)
    assert prune(ledger, keep_months=12, now=NOW, is_dry_run=True).records == 12
    assert Manifest.newest(ledger) == before
    assert len(_months(ledger)) == 24


def test_what_is_under_way_or_was_written_lately_stays(ledger: Ledger) -> None:
    long_ago = datetime(2024, 1, 5, tzinfo=UTC)
    _write(ledger, long_ago, dag_id="runs", state=RecordState.RUNNING, ended_at=None)
    _write(ledger, datetime(2024, 2, 5, tzinfo=UTC), dag_id="cleared", written_at=NOW - timedelta(days=2))
    _write(ledger, datetime(2024, 3, 5, tzinfo=UTC), dag_id="ended late", ended_at=NOW - timedelta(days=3))
    _write(ledger, datetime(2024, 4, 5, tzinfo=UTC), dag_id="old")
    compact(ledger, settled_after=timedelta(0), now=NOW)
    assert prune(ledger, keep_months=MONTHS_AT_LEAST, now=NOW).records == 1
    assert _months(ledger) == ["2024-01", "2024-02", "2024-03"]


def test_a_file_that_cannot_be_read_stays(ledger: Ledger) -> None:
    _fill(ledger)
    (torn,) = (file for file in Manifest.newest(ledger).files if file.month == "2025-01")
    ledger.put(ledger.path(torn.path), b"torn")
    assert prune(ledger, keep_months=12, now=NOW).records == 11
    assert torn in Manifest.newest(ledger).files


@pytest.mark.slow
def test_two_at_once_and_a_merge_lose_nothing_that_is_kept(ledger: Ledger) -> None:
    _fill(ledger)
    for number in range(5):
        _write(ledger, NOW - timedelta(days=20 + number))
    barrier, done = threading.Barrier(3), []

    def work(what: Any) -> None:
        barrier.wait()
        done.append(what())

    tasks = [
        lambda: prune(ledger, keep_months=12, now=NOW),
        lambda: prune(ledger, keep_months=12, now=NOW),
        lambda: compact(ledger, settled_after=timedelta(0), now=NOW),
    ]
    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    compact(ledger, settled_after=timedelta(0), now=NOW)
    prune(ledger, keep_months=12, now=NOW)
    assert len(done) == 3
    assert len(_months(ledger)) == 12 + 5


@pytest.mark.parametrize("months", [MONTHS_AT_LEAST - 1, 0, -3, "soon", 7.5])
def test_fewer_months_than_budgets_and_run_times_need_are_refused(ledger: Ledger, months: Any) -> None:
    with pytest.raises(InvalidInput, match="keep_months"):
        prune(ledger, keep_months=months)


def test_the_command_says_first_and_deletes_when_it_is_asked(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(ledger, datetime(2020, 1, 5, tzinfo=UTC))
    compact(ledger, settled_after=timedelta(0))
    at = ["prune", "--ledger", ledger.root]
    assert main(at) == 1
    assert "ledger_keep_months" in capsys.readouterr().err
    assert main([*at, "--keep-months", "12"]) == 0
    assert "1 record(s) in 1 file(s) of 2020-01 would be removed" in capsys.readouterr().out
    assert _months(ledger) == ["2020-01"]
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER_KEEP_MONTHS", "12")
    assert main([*at, "--delete"]) == 0
    assert "removed" in capsys.readouterr().out
    assert _months(ledger) == []


def test_with_the_setting_merging_removes_old_months(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(ledger, datetime(2020, 1, 5, tzinfo=UTC))
    ledger.compact()
    assert _months(ledger) == ["2020-01"]
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER_KEEP_MONTHS", "12")
    ledger.compact()
    assert _months(ledger) == []


def test_a_setting_that_is_not_valid_does_not_keep_the_ledger_from_being_merged(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER_KEEP_MONTHS", "2")
    _write(ledger, datetime(2020, 1, 5, tzinfo=UTC))
    assert ledger.compact().merged == 1
    assert "ledger_keep_months is '2'" in caplog.text
