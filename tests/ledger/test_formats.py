"""Ledgers of other versions: 0.1.0's is read, merged and settled; what a later one adds is kept or left."""

# ruff: noqa: S608 - the SQL is made of this file's own paths

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from spot_training.dashboard.overview import lay_tables, overview_of
from spot_training.dashboard.source import Source
from spot_training.domain.errors import NewerFormat
from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import (
    FORMAT_WITHOUT_SCOUTS,
    RECORD_FORMAT,
    RecordState,
    Totals,
    TrainingRecord,
    totals_of,
)
from spot_training.domain.savings import Attempt
from spot_training.ledger import Ledger, Selection
from spot_training.ledger.compaction import compact
from spot_training.ledger.manifest import Manifest
from spot_training.sweep.orphans import NO_SUCH_TASK
from spot_training.sweep.settling import Settling
from spot_training.training import recorder as bookkeeping
from tests.cloud import Cloud
from tests.records import T0, make_attempt, make_record
from tests.training.support import Training

NOW = timedelta(0)
OLD = Path(__file__).parent / "fixtures" / "0.1.0"
EXPECTED: dict[str, Any] = json.loads((OLD / "expected.json").read_text())
NEWER = RECORD_FORMAT + 1
#: Columns that 0.1.0 did not write.
LATER = ("endpoint_url", "local_cloud", "checkpoint_uri", "model_uri")


@pytest.fixture
def old(tmp_path: Path) -> Ledger:
    """A ledger as 0.1.0 wrote it."""
    shutil.copytree(OLD / "ledger", tmp_path / "old")
    return Ledger.at(tmp_path / "old")


#: Columns that 0.1.0 did not write, and that follow from others.
SINCE_0_2_0 = {
    "spot_failed_instance_seconds",
    "spot_failed_usd",
    "net_saved_usd",
    "net_savings_percent",
    "replaced_spot_failed_instance_seconds",
    "replaced_spot_failed_usd",
    "is_test",
    "scout_instance_seconds",
    "scout_usd",
    "scouts",
    "scouts_out",
}


def _without_format(record: TrainingRecord) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(record.to_json()))
    assert data.pop("format") == 2, "readers of that format understand a record without scouts"
    assert [data.pop(name) for name in LATER] == [None] * len(LATER)
    if data["current_job"]:
        assert data["current_job"].pop("max_runtime_seconds") is None, "0.1.0 did not note it"
    for attempt in data["attempts"]:
        assert attempt.pop("job_arn") is None, "nor this"
    for price in data["prices"]:
        assert price.pop("discount_percent") is None
    assert data["is_test"] is None
    return {name: value for name, value in data.items() if name not in SINCE_0_2_0}


def _expected_records() -> list[dict[str, Any]]:
    records = [dict(record) for record in EXPECTED["records"]]
    assert all(record.pop("format") == 1 for record in records)
    return records


def _sums(totals: Totals) -> dict[str, Any]:
    sums = totals.to_json()
    assert sums.pop("left_out") == []
    return {name: sums[name] for name in EXPECTED["totals"]}


def _reads_as_expected(ledger: Ledger) -> None:
    with ledger.read() as reader:
        assert reader.set_aside == ()
        assert _sums(reader.totals()) == EXPECTED["totals"]
        assert reader.totals() == totals_of(reader.records())
        assert {str(k): _sums(v) for k, v in reader.totals_by("dag_id").items()} == EXPECTED["by_dag"]
        assert [_without_format(r) for r in reader.records(order="dag_id")] == _expected_records()
        assert len(reader.records(Selection(models=("flight-delays",)))) == EXPECTED["selected"]


def test_a_ledger_of_0_1_0_reads_as_that_version_read_it(old: Ledger) -> None:
    _reads_as_expected(old)


def test_a_ledger_of_0_1_0_is_merged_and_reads_as_before(old: Ledger) -> None:
    done = compact(old, settled_after=NOW)
    assert done.refused is None
    assert done.merged == 2
    _reads_as_expected(old)
    manifest = Manifest.newest(old)
    assert manifest.number == 2
    assert all(file.digest for file in manifest.files), "files of 0.1.0 get their checksum"
    assert sum(file.rows for file in manifest.files) == 8


def test_running_records_of_0_1_0_are_settled(old: Ledger, cloud: Cloud) -> None:
    done = _settle(old, cloud, installation="airflow")
    assert sorted(record.dag_id for record in done) == ["running", "watched"]
    with old.read() as reader:
        assert {record.state for record in reader.records()} == {RecordState.COMPLETED, RecordState.FAILED}
        assert len(reader.records()) == len(EXPECTED["records"])


def test_the_page_shows_a_ledger_of_0_1_0(old: Ledger) -> None:
    with old.read() as reader:
        lay_tables(reader)
        overview = overview_of(reader, Selection())
    assert _sums(overview.totals) == EXPECTED["totals"]
    assert len(overview.live) == 2
    running = next(record for record in EXPECTED["records"] if record["dag_id"] == "running")
    shown = Source(lambda: old).training(running["key"])
    assert shown is not None
    assert _without_format(shown) == {name: value for name, value in running.items() if name != "format"}


@pytest.mark.parametrize("dag_id", ["completed", "failed", "cleared", "watching"])
def test_what_the_bookkeeper_of_0_1_0_remembered_goes_into_the_next_story(
    cloud: Cloud, ledger: Ledger, dag_id: str
) -> None:
    memory = json.loads((OLD / "memory.json").read_text())[dag_id]
    training = Training(cloud, ledger)
    training.store.set(bookkeeping.MEMORY_KEY, memory)
    training.finish()
    record = training.record()
    assert record is not None
    assert record.version > memory["version"]
    assert training.warned == []
    remembered = training.store.get(bookkeeping.MEMORY_KEY)
    assert remembered["prices"][0]["usd_per_hour"] == memory["prices"][0]["usd_per_hour"]


def test_what_spot_wasted_is_found_in_records_of_earlier_versions(ledger: Ledger) -> None:
    gave_up = make_attempt(ending=Ending.OUT_OF_WAIT, billable_seconds=3600)
    failed = make_record(run_id="1", attempts=(gave_up,), state=RecordState.FAILED)
    for record in (failed, make_record(run_id="2")):
        data = json.loads(json.dumps(record.to_json()))
        _put(ledger, {name: value for name, value in data.items() if name not in SINCE_0_2_0})
    for is_merged in (False, True):
        assert not is_merged or compact(ledger, settled_after=NOW).merged == 2
        with ledger.read() as reader:
            totals, expected = reader.totals(), totals_of([failed, make_record(run_id="2")])
            (row,) = reader.query("SELECT sum(net_saved_usd) AS usd FROM trainings WHERE counts")
        assert totals.spot_failed_usd == pytest.approx(0.23)
        assert totals == expected
        assert row["usd"] == pytest.approx(expected.net_saved_usd)


# Members that this version does not know ------------------------------------------------------------


def _with_more(record: TrainingRecord) -> dict[str, Any]:
    """A record as a later version may write it: one member more in each of its parts, the format the same."""
    data: dict[str, Any] = json.loads(json.dumps(record.to_json()))
    data["colour"] = {"name": "green", "shades": [1, None, 2.5]}
    data["flag"] = False
    for name in ("attempts", "transitions", "decisions", "prices"):
        data[name][-1] = {**data[name][-1], f"{name}_more": [name, 0]}
    return data


def _put(ledger: Ledger, data: dict[str, Any]) -> None:
    name = f"{data['key']}.{data['version']:020d}.json"
    ledger.put(ledger.path("fresh", name), json.dumps(data).encode())


def _read(ledger: Ledger) -> list[dict[str, Any]]:
    with ledger.read() as reader:
        records = reader.records(order="dag_id", descending=False)
        assert reader.set_aside == ()
    found = [json.loads(json.dumps(record.to_json())) for record in records]
    return sorted(found, key=lambda data: (data["dag_id"], data["run_id"]))


def test_members_that_are_not_known_survive_reading_merging_and_merging_again(ledger: Ledger) -> None:
    more, plain = _with_more(make_record()), make_record(dag_id="plain")
    _put(ledger, more)
    ledger.write(plain)
    as_written = [json.loads(json.dumps(plain.to_json())), more]
    assert _read(ledger) == as_written
    for number in range(3):
        compact(ledger, settled_after=NOW)
        assert ledger.fresh_names() == []
        assert _read(ledger) == as_written
        ledger.write(another := make_record(dag_id=f"retrain {number}"))
        as_written.append(json.loads(json.dumps(another.to_json())))


def test_members_that_are_not_known_survive_being_settled(ledger: Ledger, cloud: Cloud) -> None:
    more = _with_more(make_record(state=RecordState.RUNNING, installation="mine"))
    _put(ledger, more)
    (settled,) = _settle(ledger, cloud)
    assert settled.state is RecordState.COMPLETED
    (read,) = _read(ledger)
    for name in ("colour", "flag", "attempts", "transitions", "decisions", "prices"):
        assert read[name] == more[name]


def test_a_parquet_file_with_a_column_more_keeps_it(ledger: Ledger) -> None:
    for number in range(2):
        ledger.write(make_record(run_id=str(number)))
    compact(ledger, settled_after=NOW)
    manifest = Manifest.newest(ledger)
    (file,) = manifest.files
    path = ledger.path(file.path)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        f"COPY (SELECT *, 'green ' || run_id AS colour, {{'a': 1}} AS shade FROM '{path}') TO '{path}.new' "
        "(FORMAT parquet)"
    )
    Path(f"{path}.new").replace(path)
    replace(manifest, number=2, files=(replace(file, digest=None),)).publish(ledger, made_at=T0)
    ledger.write(make_record(run_id="2"))
    before = _read(ledger)
    assert [record.get("colour") for record in before] == ["green 0", "green 1", None]
    assert before[0]["shade"] == {"a": 1}
    compact(ledger, settled_after=NOW)
    assert ledger.fresh_names() == []
    assert _read(ledger) == before


@pytest.mark.parametrize(
    "missing",
    [
        "state",
        "tags",
        "attempts",
        "decisions",
        "prices",
        "current_job",
        "instance_count",
        "format",
    ],
)
def test_a_member_that_is_missing_takes_its_default(ledger: Ledger, missing: str) -> None:
    data = make_record().to_json()
    del data[missing]
    _put(ledger, data)
    assert [record["dag_id"] for record in _read(ledger)] == ["retrain"]


# What a later version wrote in a format of its own ----------------------------------------------------


def _newer(**overrides: Any) -> dict[str, Any]:
    return {**make_record(**overrides).to_json(), "format": NEWER, "attempts": "meant otherwise"}


def test_a_record_of_a_newer_format_is_left_alone_and_named(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.write(make_record(version=1))
    ledger.write(make_record(dag_id="another"))
    compact(ledger, settled_after=NOW)
    ledger.write(make_record(version=2))
    _put(ledger, _newer(version=3))
    key = make_record().key
    for _ in range(2):
        with ledger.read() as reader:
            assert [record.dag_id for record in reader.records()] == ["another"]
            (trouble,) = reader.set_aside
            assert reader.keys_of_newer == {key}
        assert trouble.path == f"fresh/{key}.{3:020d}.json"
        words = f"newer version of spot_training (format {NEWER}; this one reads up to {RECORD_FORMAT})"
        assert words in str(trouble)
        compact(ledger, settled_after=NOW)
    assert f"{3:020d}.json" in caplog.text
    assert {name.version for name in ledger.fresh_names()} == {2, 3}, "nothing of this record was touched"


def test_the_sweeper_does_not_write_over_a_record_of_a_newer_format(ledger: Ledger, cloud: Cloud) -> None:
    training = Training(cloud, ledger)
    training.finish()
    (name,) = ledger.fresh_names()
    ledger.remove([ledger.path("fresh", str(name))])
    record = replace(make_record(), **{f: getattr(training.identity, f) for f in ("run_id", "installation")})
    _put(ledger, {**record.to_json(), "format": NEWER})
    said: list[str] = []
    assert _settle(ledger, cloud, installation=training.identity.installation, say=said.append) == []
    assert len(ledger.fresh_names()) == 1
    assert any("newer version" in line for line in said)


def test_merged_records_of_a_newer_format_are_left_alone_and_named(ledger: Ledger) -> None:
    for number in range(3):
        ledger.write(make_record(run_id=str(number)))
    compact(ledger, settled_after=NOW)
    manifest = Manifest.newest(ledger)
    (file,) = manifest.files
    path = ledger.path(file.path)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    newer = f"CASE WHEN run_id = '1' THEN {NEWER} ELSE format END AS format"
    connection.execute(f"COPY (SELECT * REPLACE ({newer}) FROM '{path}') TO '{path}.new' (FORMAT parquet)")
    Path(f"{path}.new").replace(path)
    replace(manifest, number=2, files=(replace(file, digest=None),)).publish(ledger, made_at=T0)
    ledger.write(make_record(run_id="1", version=9))
    ledger.write(make_record(run_id="3"))
    compact(ledger, settled_after=NOW)
    assert [name.version for name in ledger.fresh_names()] == [9], "it is not merged over the newer one"
    ledger.remove(ledger.path("fresh", str(name)) for name in ledger.fresh_names())
    with ledger.read() as reader:
        assert sorted(record.run_id for record in reader.records()) == ["0", "2", "3"]
        (trouble,) = reader.set_aside
        assert (trouble.is_newer, trouble.key) == (True, make_record(run_id="1").key)
    (file,) = Manifest.newest(ledger).files
    left = connection.execute(f"SELECT run_id FROM '{ledger.path(file.path)}' WHERE format = {NEWER}")
    assert left.fetchall() == [("1",)]


def test_a_list_of_a_newer_format_stops_merging_and_is_named(ledger: Ledger) -> None:
    ledger.write(make_record(run_id="merged"))
    compact(ledger, settled_after=NOW)
    manifest = Manifest.newest(ledger).to_json(made_at=T0)
    del manifest["digest"]
    newer = {**manifest, "format": NEWER, "files": "elsewhere"}
    newer["digest"] = hashlib.sha256(json.dumps(newer, sort_keys=True).encode()).hexdigest()
    ledger.put(ledger.path("manifests", f"{2:012}.json"), json.dumps(newer).encode())
    ledger.write(make_record(run_id="fresh"))
    with ledger.read() as reader:
        assert [record.run_id for record in reader.records()] == ["fresh"]
        (trouble,) = reader.set_aside
        assert (trouble.path, trouble.is_newer, trouble.has_many) == (f"manifests/{2:012}.json", True, True)
    done = compact(ledger, settled_after=NOW)
    assert "newer version of spot_training" in str(done)
    assert len(ledger.fresh_names()) == 1
    assert len(ledger.list_names("manifests")) == 2


def test_members_of_a_list_that_are_not_known_are_kept(ledger: Ledger) -> None:
    ledger.write(make_record())
    compact(ledger, settled_after=NOW)
    manifest = replace(Manifest.newest(ledger), number=2, unknown={"colour": "green"})
    assert manifest.publish(ledger, made_at=T0)
    ledger.write(make_record(run_id="again"))
    compact(ledger, settled_after=NOW)
    assert Manifest.newest(ledger).number == 3
    assert Manifest.newest(ledger).unknown == {"colour": "green"}


def test_a_note_of_a_newer_format_is_left_alone_and_named(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    step = training.begin(is_given_capacity=False)
    _, books = training.process()
    path = ledger.path("notes", f"{books.key}.json")
    note = json.loads(ledger.fetch([path])[path])
    assert note["format"] == FORMAT_WITHOUT_SCOUTS
    ledger.put(path, json.dumps({**note, "format": NEWER, "secondary_status": "Dreaming"}).encode())
    with ledger.read() as reader:
        record = reader.record(books.key)
        (trouble,) = reader.set_aside
    assert trouble.path == f"notes/{books.key}.json"
    assert trouble.is_newer
    assert record is not None
    assert record.current_job is not None
    assert record.current_job.job_name == step.job.name


def test_a_note_with_a_member_more_is_read(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    training.begin(is_given_capacity=False)
    _, books = training.process()
    path = ledger.path("notes", f"{books.key}.json")
    note = json.loads(ledger.fetch([path])[path])
    ledger.put(path, json.dumps({**note, "zone": "us-east-1a"}).encode())
    record = training.record()
    assert record is not None
    assert record.current_job is not None
    assert record.current_job.unknown == {"zone": "us-east-1a"}


def test_a_memory_of_a_newer_format_is_not_written_over(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    newer = {"format": NEWER, "version": 5, "about": "meant otherwise"}
    training.store.set(bookkeeping.MEMORY_KEY, newer)
    training.finish()
    assert training.store.get(bookkeeping.MEMORY_KEY) == newer
    assert ledger.fresh_names() == []
    assert "newer version of spot_training" in training.warned[0]


def test_what_a_memory_holds_beside_what_is_known_is_kept(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    training.finish()
    memory = training.store.get(bookkeeping.MEMORY_KEY)
    more = {**memory, "colour": "green", "about": {**memory["about"], "zone": "a"}}
    training.store.set(bookkeeping.MEMORY_KEY, more)
    training.try_number, training.max_tries = 2, 1
    training.finish()
    remembered = training.store.get(bookkeeping.MEMORY_KEY)
    assert remembered["colour"] == "green"
    assert remembered["replaced"] == memory["billed"]


def test_a_format_that_is_none_is_no_record() -> None:
    for found in (0, -1, True, "1", 1.5):
        with pytest.raises(ValueError, match="its format is"):
            TrainingRecord.from_json({**make_record().to_json(), "format": found})
    with pytest.raises(NewerFormat, match="Install that version again"):
        TrainingRecord.from_json({**make_record().to_json(), "format": NEWER})


def _settle(
    ledger: Ledger, cloud: Cloud, *, installation: str = "mine", say: Any = lambda _text: None
) -> list[TrainingRecord]:
    return Settling(
        ledger=ledger,
        jobs=cloud.jobs(),
        installation=installation,
        task_state_of=lambda _identity: NO_SUCH_TASK,
        say=say,
        now=lambda: datetime.now(UTC),
    ).settle()


def test_a_record_of_attempts_without_what_later_versions_need_is_read() -> None:
    data = make_attempt().to_json()
    for name in ("rung", "reason", "job_name"):
        del data[name]
    assert Attempt.from_json(data) == make_attempt(step=0, reason="", job_name="")
