"""Merging small files into Parquet: nothing is lost or counts twice, whoever writes, reads or dies."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.records import RecordState, TrainingRecord
from spot_training.ledger import Ledger
from spot_training.ledger.compaction import KEPT_FOR, Compaction, compact
from spot_training.ledger.manifest import Manifest
from tests.records import T0, make_record

NOW = timedelta(0)


def _write(ledger: Ledger, count: int, **overrides: Any) -> list[TrainingRecord]:
    records = [
        make_record(**{"run_id": f"run {n}", "began_at": T0 + timedelta(days=20 * n), **overrides})
        for n in range(count)
    ]
    for record in records:
        ledger.write(record)
    return records


def _read(ledger: Ledger) -> list[TrainingRecord]:
    with ledger.read() as reader:
        return sorted(reader.records(), key=lambda record: record.run_id)


def test_merged_records_read_as_before_one_file_a_month(ledger: Ledger) -> None:
    records = _write(ledger, 5)
    assert compact(ledger, settled_after=NOW) == Compaction(merged=5, removed=5)
    assert ledger.fresh_names() == []
    assert sorted(file.month for file in Manifest.newest(ledger).files) == [
        "2026-03",
        "2026-04",
        "2026-05",
    ]
    assert _read(ledger) == records
    with ledger.read() as reader:
        assert reader.totals().attempts == 5


def test_what_is_under_way_or_was_just_over_is_left_alone(ledger: Ledger) -> None:
    _write(ledger, 2, state=RecordState.RUNNING)
    _write(ledger, 1, written_at=datetime.now(UTC), dag_id="just over")
    assert ledger.compact() == Compaction()
    assert len(ledger.fresh_names()) == 3


def test_a_record_that_is_written_again_replaces_the_merged_one(ledger: Ledger) -> None:
    _write(ledger, 3)
    compact(ledger, settled_after=NOW)
    ledger.write(make_record(run_id="run 1", version=2, reason="again", began_at=T0))
    assert [record.reason for record in _read(ledger)] == ["", "again", ""]
    compact(ledger, settled_after=NOW)
    assert [record.reason for record in _read(ledger)] == ["", "again", ""]
    assert sum(file.rows for file in Manifest.newest(ledger).files) == 3


def test_an_older_version_that_comes_late_changes_nothing(ledger: Ledger) -> None:
    _write(ledger, 1, version=5, reason="newest")
    compact(ledger, settled_after=NOW)
    _write(ledger, 1, version=4, reason="late")
    assert [record.reason for record in _read(ledger)] == ["newest"]
    compact(ledger, settled_after=NOW)
    assert [record.reason for record in _read(ledger)] == ["newest"]
    assert ledger.fresh_names() == []


def test_a_compaction_killed_at_any_change_loses_and_doubles_nothing(tmp_path: Path) -> None:
    script = Path(__file__).with_name("compacting.py")
    dies_at, survived = 0, False
    while not survived:
        dies_at += 1
        folder = tmp_path / str(dies_at)
        ledger = Ledger.at(folder)
        _write(ledger, 3)
        compact(ledger, settled_after=NOW)
        again = make_record(run_id="run 0", version=2, reason="again", began_at=T0)
        ledger.write(make_record(run_id="run 0", version=1))
        ledger.write(again)
        _write(ledger, 2, dag_id="new")
        expected = _read(ledger)
        done = subprocess.run(
            [sys.executable, str(script), str(folder), str(dies_at)], capture_output=True, text=True
        )
        survived = done.returncode == 0
        assert survived or done.returncode == -9, done.stderr
        assert _read(ledger) == expected
        compact(ledger, settled_after=NOW)
        assert _read(ledger) == expected
        assert ledger.fresh_names() == []
        assert sum(file.rows for file in Manifest.newest(ledger).files) == 5
    assert dies_at > 6


def _write_versions(folder: str, writer: int, trainings: int, versions: int) -> None:
    ledger = Ledger.at(folder)
    for version in range(1, versions + 1):
        for number in range(trainings):
            is_last = version == versions
            ledger.write(
                make_record(
                    dag_id=f"writer {writer}",
                    run_id=str(number),
                    version=version,
                    state=RecordState.COMPLETED if is_last else RecordState.RUNNING,
                )
            )


def _compact_until(folder: str, stop: Any) -> None:
    ledger = Ledger.at(folder)
    while not stop.is_set():
        compact(ledger, settled_after=NOW)


def test_concurrent_writers_readers_and_compactions_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    folder, writers, trainings, versions = str(tmp_path / "ledger"), 3, 12, 4
    busy = [context.Process(target=_compact_until, args=(folder, stop)) for _ in range(2)]
    writing = [
        context.Process(target=_write_versions, args=(folder, n, trainings, versions)) for n in range(writers)
    ]
    for process in (*busy, *writing):
        process.start()
    ledger, seen = Ledger.at(folder), 0
    try:
        while any(process.is_alive() for process in writing):
            with ledger.read() as reader:
                (row,) = reader.query("SELECT count(*) AS rows, count(DISTINCT key) AS keys FROM trainings")
            assert row["rows"] == row["keys"]
            assert row["rows"] >= seen, "a record that was there is gone"
            seen = row["rows"]
    finally:
        stop.set()
        for process in (*writing, *busy):
            process.join(timeout=60)
    assert [process.exitcode for process in (*writing, *busy)] == [0] * 5
    compact(ledger, settled_after=NOW)
    records = _read(ledger)
    assert len(records) == writers * trainings
    assert {(record.version, record.state) for record in records} == {(versions, RecordState.COMPLETED)}
    assert sum(file.rows for file in Manifest.newest(ledger).files) == writers * trainings


def test_of_two_compactions_that_start_together_one_publishes(ledger: Ledger) -> None:
    records = _write(ledger, 4)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: compact(ledger, settled_after=NOW), range(4)))
    assert _read(ledger) == records
    assert sum(file.rows for file in Manifest.newest(ledger).files) == 4


def test_files_no_manifest_names_are_removed_when_no_reader_can_need_them(
    ledger: Ledger, tmp_path: Path
) -> None:
    _write(ledger, 1)
    compact(ledger, settled_after=NOW)
    _write(ledger, 1, version=2)
    compact(ledger, settled_after=NOW)
    merged = list((tmp_path / "ledger" / "months").rglob("*.parquet"))
    assert len(merged) == 2
    for path in tmp_path.rglob("*.*"):
        os.utime(path, (0, 0))
    compact(ledger, now=datetime.now(UTC) + KEPT_FOR)
    assert len(list((tmp_path / "ledger" / "months").rglob("*.parquet"))) == 1
    assert len(_read(ledger)) == 1


def test_a_manifest_that_is_half_written_does_not_count(ledger: Ledger, tmp_path: Path) -> None:
    _write(ledger, 2)
    compact(ledger, settled_after=NOW)
    (tmp_path / "ledger" / "manifests" / f"{2:012}.json").write_text('{"files": [')
    assert len(_read(ledger)) == 2


@pytest.mark.parametrize("suffix", ["it's", "a b", "ü"])
def test_a_folder_of_any_name_holds_a_ledger(tmp_path: Path, suffix: str) -> None:
    ledger = Ledger.at(tmp_path / suffix)
    _write(ledger, 2)
    compact(ledger, settled_after=NOW)
    assert len(_read(ledger)) == 2
