"""One file that is torn, garbage or gone: it is named, stays where it is, and nothing else is lost."""

from __future__ import annotations

import html
import json
import os
import shutil
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spot_training.dashboard.overview import lay_tables, overview_of
from spot_training.dashboard.source import Source
from spot_training.domain.errors import LedgerBusy
from spot_training.domain.records import CurrentJob, RecordState, TrainingRecord
from spot_training.ledger import Ledger, Selection, fresh
from spot_training.ledger.compaction import compact
from spot_training.ledger.manifest import Manifest
from spot_training.ledger.reader import newest_record
from spot_training.ledger.set_aside import CannotRead
from spot_training.report import report_of, to_html, to_log, to_mail
from spot_training.sweep.orphans import NO_SUCH_TASK
from spot_training.sweep.settling import Settling
from tests.cloud import Cloud
from tests.records import T0, make_attempt, make_record

pytestmark = pytest.mark.slow

NOW = timedelta(0)
GARBAGE = [
    b"",
    b"\0" * 4096,
    b"{",
    b"[]",
    b"null",
    b"7",
    b"{}",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"format": 1}',
    b'{"format": "x"}',
    b"<html>503 Slow Down</html>",
]


@pytest.fixture(autouse=True)
def patient_with_half_written_files_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "WHOLE_WITHIN_SECONDS", 0.05)


def _whole(ledger: Ledger, count: int = 5) -> list[TrainingRecord]:
    """A ledger with merged records, fresh ones, and one under way with a note."""
    for number in range(count):
        ledger.write(make_record(run_id=f"merged {number}", began_at=T0 + timedelta(days=40 * number)))
    compact(ledger, settled_after=NOW)
    for number in range(count):
        ledger.write(make_record(run_id=f"fresh {number}"))
    job = CurrentJob(job_name="live", reason="first of 3 steps")
    running = make_record(run_id="under way", state=RecordState.RUNNING, attempts=(), current_job=job)
    ledger.write(running)
    ledger.put(ledger.path("notes", f"{running.key}.json"), json.dumps(job.to_json()).encode())
    return _read(ledger)


def _read(ledger: Ledger) -> list[TrainingRecord]:
    with ledger.read() as reader:
        return sorted(reader.records(), key=lambda record: record.run_id)


def _files(ledger: Ledger, folder: str) -> list[Path]:
    return sorted(path for path in Path(ledger.root, folder).rglob("*") if path.is_file())


def _age(*paths: Path) -> None:
    """Files that were written long ago: nobody is writing them just now."""
    for path in paths:
        os.utime(path, (1, 1))


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:12]))
def test_a_record_that_is_garbage_is_named_and_costs_no_other(
    ledger: Ledger, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    before = _whole(ledger)
    torn = next(path for path in _files(ledger, "fresh") if make_record(run_id="fresh 2").key in path.name)
    torn.write_bytes(garbage)
    left = [record for record in before if record.run_id != "fresh 2"]
    for _ in range(2):
        with ledger.read() as reader:
            assert sorted(reader.records(), key=lambda record: record.run_id) == left
            assert reader.totals().trainings == len(left)
            (trouble,) = reader.set_aside
        assert trouble.path == f"fresh/{torn.name}"
        assert str(trouble).startswith(f"fresh/{torn.name} cannot be read and is left out: ")
        compact(ledger, settled_after=NOW)
    assert torn.read_bytes() == garbage, "it stays where it is"
    assert len(ledger.fresh_names()) == 2, "the others were merged, but for the one under way"
    named = [record for record in caplog.records if torn.name in record.getMessage()]
    assert len(named) == 1, "once"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("folder", ["fresh", "months", "manifests", "notes"])
def test_a_file_that_was_cut_short_is_named_and_costs_no_other_record(
    ledger: Ledger, folder: str, share: float
) -> None:
    before = _whole(ledger)
    torn = _files(ledger, folder)[0]
    torn.write_bytes(torn.read_bytes()[: int(torn.stat().st_size * share)])
    _age(torn)
    with ledger.read() as reader:
        found = reader.records()
        assert [trouble.path for trouble in reader.set_aside] == [str(torn.relative_to(ledger.root))]
    lost = {"fresh": 1, "months": 1, "manifests": 0, "notes": 0}[folder]
    assert len(found) == len(before) - lost
    assert all(record in before for record in found)


def test_an_earlier_version_of_a_torn_record_counts_and_is_kept(ledger: Ledger) -> None:
    ledger.write(make_record(version=1, reason="earlier"))
    name = ledger.write(make_record(version=2, reason="later"))
    path = Path(ledger.path("fresh", str(name)))
    path.write_bytes(path.read_bytes()[:100])
    compact(ledger, settled_after=NOW)
    with ledger.read() as reader:
        assert [record.reason for record in reader.records()] == ["earlier"]
        assert [trouble.path for trouble in reader.set_aside] == [f"fresh/{name}"]
    assert len(ledger.fresh_names()) == 2


def test_a_single_record_is_read_as_the_whole_ledger_is(ledger: Ledger) -> None:
    """As a task does whose state was lost: it goes on with what can be read."""
    key = make_record().key
    assert newest_record(ledger, key) is None
    ledger.write(make_record(version=1, reason="earlier"))
    name = ledger.write(make_record(version=2, reason="later", unknown={"colour": "green"}))
    later = newest_record(ledger, key)
    assert later == make_record(version=2, reason="later", unknown={"colour": "green"})
    path = Path(ledger.path("fresh", str(name)))
    path.write_bytes(path.read_bytes()[:100])
    earlier = newest_record(ledger, key)
    assert earlier is not None
    assert earlier.reason == "earlier"
    path.write_text(json.dumps({**make_record(version=2).to_json(), "format": 99}))
    with pytest.raises(CannotRead, match="newer version"):
        newest_record(ledger, key)


def test_a_value_of_another_type_costs_no_other_record(ledger: Ledger) -> None:
    before = _whole(ledger)
    odds: list[dict[str, Any]] = [{"instance_count": 10**30}, {"tags": [1]}, {"began_at": "yesterday"}]
    for number, odd in enumerate(odds):
        data = {**make_record(run_id=f"odd {number}").to_json(), **odd}
        path = ledger.path("fresh", f"{data['key']}.{data['version']:020d}.json")
        ledger.put(path, json.dumps(data).encode())
    with ledger.read() as reader:
        assert sorted(reader.records(), key=lambda record: record.run_id) == before
        assert len(reader.set_aside) == 3


def test_a_record_in_a_file_of_another_name_is_set_aside(ledger: Ledger) -> None:
    name = ledger.write(make_record())
    shutil.copy(ledger.path("fresh", str(name)), ledger.path("fresh", f"{'0' * 32}.{1:020d}.json"))
    with ledger.read() as reader:
        assert len(reader.records()) == 1
        (trouble,) = reader.set_aside
    assert "another record" in trouble.why


def test_a_record_that_is_written_in_several_lines_by_a_person_is_read(ledger: Ledger) -> None:
    record = make_record()
    path = ledger.path("fresh", f"{record.key}.{record.version:020d}.json")
    ledger.put(path, json.dumps(record.to_json(), indent=1).encode())
    assert _read(ledger) == [record]


# Stores that do not write as a whole ------------------------------------------------------------------


def test_a_file_that_is_half_written_is_waited_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "WHOLE_WITHIN_SECONDS", 20.0)
    ledger.write(make_record(version=1, reason="before"))
    name = ledger.write(make_record(version=2, reason="whole"))
    path = Path(ledger.path("fresh", str(name)))
    content = path.read_bytes()
    path.write_bytes(content[:200])
    looked = threading.Event()
    fetch = ledger.fetch

    def fetching(paths: Any) -> Any:
        looked.set()
        return fetch(paths)

    monkeypatch.setattr(ledger, "fetch", fetching)

    def write_the_rest() -> None:
        assert looked.wait(20)
        path.write_bytes(content)

    writer = threading.Thread(target=write_the_rest)
    writer.start()
    try:
        with ledger.read() as reader:
            assert [record.reason for record in reader.records()] == ["whole"]
            assert reader.set_aside == ()
    finally:
        writer.join()


def test_old_torn_files_are_not_waited_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "WHOLE_WITHIN_SECONDS", 1000.0)
    ledger.write(make_record())
    (path,) = _files(ledger, "fresh")
    path.write_bytes(b"{")
    _age(path)
    with ledger.read() as reader:
        assert len(reader.set_aside) == 1


# Merged files -----------------------------------------------------------------------------------------


def test_a_parquet_file_with_a_flipped_bit_is_named_and_not_read(ledger: Ledger) -> None:
    """DuckDB may read it all the same, and something else than was written."""
    before = _whole(ledger)
    path = _files(ledger, "months")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with ledger.read() as reader:
        (trouble,) = reader.set_aside
        assert (trouble.has_many, trouble.path) == (True, str(path.relative_to(ledger.root)))
        assert "SHA-256" in trouble.why
        assert reader.totals().trainings == len(before) - 1


@pytest.mark.parametrize("is_restored", [True, False])
def test_merging_goes_on_beside_a_parquet_file_that_cannot_be_read_and_takes_it_in_again(
    ledger: Ledger, is_restored: bool
) -> None:
    before = _whole(ledger)
    path = _files(ledger, "months")[0]
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    assert compact(ledger, settled_after=NOW).refused is None
    assert path.read_bytes() == content[:1000], "it is not removed"
    with ledger.read() as reader:
        assert len(reader.records()) == len(before) - 1
        assert len(reader.set_aside) == 1
    ledger.write(make_record(run_id="zz", began_at=T0))
    compact(ledger, settled_after=NOW)
    with ledger.read() as reader:
        assert len(reader.records()) == len(before)
        assert len(reader.set_aside) == 1, "it is named for as long as it cannot be read"
    if is_restored:
        path.write_bytes(content)
    assert len(_read(ledger)) == len(before) + is_restored
    compact(ledger, settled_after=NOW)
    with ledger.read() as reader:
        assert len(reader.records()) == len(before) + is_restored
        assert len(reader.set_aside) == (not is_restored)
    manifest = Manifest.newest(ledger)
    assert len(manifest.unreadable) == (not is_restored)
    assert sum(file.rows for file in manifest.files) == len(before) - 1 + is_restored


def test_a_parquet_file_that_is_gone_is_named(ledger: Ledger) -> None:
    before = _whole(ledger)
    path = _files(ledger, "months")[0]
    path.unlink()
    for _ in range(2):
        with ledger.read() as reader:
            assert reader.totals().trainings == len(before) - 1
            (trouble,) = reader.set_aside
        assert trouble.why == "it is gone"
        compact(ledger, settled_after=NOW)


@pytest.mark.parametrize("garbage", [*GARBAGE, b'{"files": [{"path": "months/2026-03/x", "rows": 1}]}'])
def test_a_list_that_is_garbage_costs_no_record_and_is_made_anew(ledger: Ledger, garbage: bytes) -> None:
    before = _whole(ledger)
    ledger.write(again := make_record(run_id="merged 0", version=2, reason="again"))
    compact(ledger, settled_after=NOW)
    path = _files(ledger, "manifests")[-1]
    path.write_bytes(garbage)
    _age(path)
    expected = sorted([again, *before[:5], *before[6:]], key=lambda record: record.run_id)
    with ledger.read() as reader:
        assert sorted(reader.records(), key=lambda record: record.run_id) == expected
        assert reader.set_aside
    compact(ledger, settled_after=NOW)
    assert _read(ledger) == expected
    ledger.write(make_record(run_id="zz"))
    compact(ledger, settled_after=NOW)
    assert len(_read(ledger)) == len(expected) + 1
    assert sum(file.rows for file in Manifest.newest(ledger).files) == len(expected)


def test_a_list_that_may_be_half_written_just_now_is_not_replaced(ledger: Ledger) -> None:
    _whole(ledger)
    path = _files(ledger, "manifests")[-1]
    path.write_bytes(b"{")
    done = compact(ledger, settled_after=NOW)
    assert done.merged == 0
    assert "cannot be read" in str(done)
    assert path.read_bytes() == b"{"


def test_lists_that_are_lost_cost_no_record(ledger: Ledger) -> None:
    before = _whole(ledger)
    shutil.rmtree(Path(ledger.root, "manifests"))
    assert _read(ledger) == before
    compact(ledger, settled_after=NOW)
    assert _read(ledger) == before


def test_parquet_files_are_not_removed_while_one_cannot_be_read(ledger: Ledger) -> None:
    """The file before it, which no list names any more, has nearly all of its records."""
    _whole(ledger, 2)
    ledger.write(make_record(run_id="merged 0", version=2, began_at=T0))
    compact(ledger, settled_after=NOW)
    newest = next(file for file in Manifest.newest(ledger).files if file.month == "2026-03")
    Path(ledger.path(newest.path)).write_bytes(b"PAR1")
    _age(*(path for path in Path(ledger.root).rglob("*") if path.is_file()))
    compact(ledger, now=datetime.now(UTC))
    compact(ledger, now=datetime.now(UTC) + timedelta(days=30))
    assert [record.run_id for record in _read(ledger)] == ["merged 0", "merged 1", "under way"]


# Whoever asks -----------------------------------------------------------------------------------------


def test_the_page_and_the_sweeper_go_on_beside_torn_files(ledger: Ledger, cloud: Cloud) -> None:
    before = _whole(ledger)
    torn, note = _files(ledger, "fresh")[0], _files(ledger, "notes")[0]
    running = next(record for record in before if record.run_id == "under way")
    if running.key in torn.name:
        torn = _files(ledger, "fresh")[1]
    torn.write_bytes(b"{")
    note.write_bytes(b"{")
    source = Source(lambda: ledger)
    with source.view() as reader:
        overview = overview_of(reader, Selection())
    assert overview.totals.trainings == len(before) - 1
    assert [file.partition(" ")[0] for file in overview.totals.left_out] == [
        f"fresh/{torn.name}",
        f"notes/{note.name}",
    ]
    assert source.training(running.key) == running
    assert source.training(torn.name.partition(".")[0]) is None
    said: list[str] = []
    settled = Settling(
        ledger=ledger,
        jobs=cloud.jobs(),
        installation=running.installation,
        task_state_of=lambda _identity: NO_SUCH_TASK,
        say=said.append,
    ).settle()
    assert [record.key for record in settled] == [running.key]


def test_the_report_says_that_figures_may_be_incomplete_and_names_the_file(ledger: Ledger) -> None:
    _whole(ledger)
    torn = _files(ledger, "months")[0]
    torn.write_bytes(b"PAR1")
    with ledger.read() as reader:
        report = report_of(reader, Selection(), title="A report", made_at=datetime.now(UTC))
    named = f"The figures may be incomplete: the ledger's {torn.relative_to(ledger.root)} cannot be read"
    mail = to_mail(report.totals, title="A report", window="all time", where="there")
    for text in (html.unescape(to_html(report)), html.unescape(mail), to_log(report.totals)):
        assert named in text


def test_a_view_with_a_torn_file_is_renewed_when_the_file_was_restored(ledger: Ledger) -> None:
    before = _whole(ledger)
    torn = _files(ledger, "fresh")[0]
    content = torn.read_bytes()
    torn.write_bytes(b"{")
    source = Source(lambda: ledger, check_seconds=0.0, lag_seconds=0.0)
    with source.view() as reader:
        assert reader.totals().trainings == len(before) - 1
    torn.write_bytes(content)
    with source.view() as reader:
        assert reader.totals().trainings == len(before)


# Records that change while they are read ----------------------------------------------------------------


class _Rewritten:
    """Replaces a record before each of so many fetches, as a busy task does: the successor first."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
        self.version, self._left = 1, times
        self._fetch, self._ledger = ledger.fetch, ledger
        self._name = ledger.write(make_record(version=1))
        monkeypatch.setattr(ledger, "fetch", self.fetch)

    def fetch(self, paths: Any) -> Any:
        wanted = list(paths)
        if self._left and any(str(self._name) in path for path in wanted):
            self._left -= 1
            self.version += 1
            before, self._name = self._name, self._ledger.write(make_record(version=self.version))
            self._ledger.forget(before)
        return self._fetch(wanted)


@pytest.mark.parametrize("times", [1, 5, 20])
def test_a_record_that_is_rewritten_during_each_look_is_not_missed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    ledger.write(make_record(run_id="another"))
    busy = _Rewritten(ledger, monkeypatch, times=times)
    with ledger.read() as reader:
        assert {record.version for record in reader.records()} == {1, times + 1}
    assert busy.version == times + 1


def test_a_record_that_never_stands_still_is_an_error_and_not_left_out(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "LOOK_SECONDS", 0.2)
    _Rewritten(ledger, monkeypatch, times=10**9)
    with pytest.raises(LedgerBusy, match=f"Record {make_record().key} .* was replaced at each look"):
        ledger.read()


def test_twenty_readers_beside_a_busy_writer_miss_nothing(ledger: Ledger) -> None:
    ledger.write(make_record(run_id="another"))
    name = ledger.write(make_record(version=1))
    done = threading.Event()

    def keep_writing() -> None:
        before, version = name, 1
        while not done.is_set():
            version += 1
            before, old = ledger.write(make_record(version=version)), before
            ledger.forget(old)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for _ in range(20):
            with ledger.read() as reader:
                assert reader.totals().trainings == 2
    finally:
        done.set()
        writer.join()


# Fuzz -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(folder / "airflow"))
        ledger = Ledger.at(folder / "ledger")
        _whole(ledger)
        _age(*(path for path in Path(ledger.root).rglob("*") if path.is_file()))
    return Path(ledger.root)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_to_one_file_every_read_works_and_no_other_record_is_lost(
    template: Path, data: st.DataObject
) -> None:
    files = sorted(path for path in template.rglob("*") if path.is_file())
    victim = data.draw(st.sampled_from(files), label="file").relative_to(template)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(template, Path(folder) / "ledger")
        ledger = Ledger.at(Path(folder) / "ledger")
        before = {record.key: record for record in _read(ledger)}
        path = Path(ledger.root) / victim
        _damage(path, data)
        _age(path)
        for _ in range(2):
            with ledger.read() as reader:
                found = {record.key: record for record in reader.records()}
                assert reader.totals().trainings >= len(found)
                lay_tables(reader)
                overview_of(reader, Selection())
            lost = before.keys() - found.keys()
            assert len(lost) <= (victim.parts[0] in {"fresh", "months"})
            others = found.keys() & before.keys() - {victim.name.partition(".")[0]}
            assert all(found[key] == before[key] for key in others)
            compact(ledger, settled_after=NOW)


def _damage(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="is cut short"):
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1), label="bytes left")])
        return
    for _ in range(data.draw(st.integers(1, 3), label="flips")):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)


def test_attempts_of_a_torn_record_are_not_in_any_sum(ledger: Ledger) -> None:
    ledger.write(make_record(attempts=(make_attempt(), make_attempt(number=2))))
    (path,) = _files(ledger, "fresh")
    path.write_bytes(path.read_bytes()[:-40])
    with ledger.read() as reader:
        assert reader.query("SELECT count(*) AS n FROM attempts") == [{"n": 0}]
