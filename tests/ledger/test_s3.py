"""The ledger on S3: the local cloud's, over real HTTP with real boto3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.records import RecordState
from spot_training.ledger import Ledger
from spot_training.ledger.compaction import KEPT_FOR, compact
from spot_training.ledger.manifest import Manifest
from tests.cloud import Cloud
from tests.records import make_record

NOW = timedelta(0)


@pytest.fixture
def bucket(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger reached by its URL, as a task reaches it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Ledger.at("s3://bucket/some/books")


def _read(ledger: Ledger) -> list[Any]:
    with ledger.read() as reader:
        return sorted(reader.records(), key=lambda record: record.run_id)


def test_a_ledger_on_s3_is_written_read_and_merged(bucket: Ledger, cloud: Cloud) -> None:
    assert _read(bucket) == []
    records = [make_record(run_id=str(n)) for n in range(3)]
    for record in records:
        bucket.write(record)
    running = make_record(run_id="under way", state=RecordState.RUNNING)
    bucket.write(running)
    assert _read(bucket) == [*records, running]
    assert compact(bucket, settled_after=NOW).merged == 3
    assert _read(bucket) == [*records, running]
    bucket.write(make_record(run_id="1", version=2, reason="again"))
    compact(bucket, settled_after=NOW)
    assert [record.reason for record in _read(bucket)] == ["", "again", "", ""]
    keys = cloud.client("s3").list_objects_v2(Bucket="bucket")["Contents"]
    assert all(entry["Key"].startswith("some/books/") for entry in keys)


def test_what_no_manifest_names_is_removed_from_s3(bucket: Ledger) -> None:
    for version in (1, 2):
        bucket.write(make_record(version=version))
        compact(bucket, settled_after=NOW)
    compact(bucket, now=datetime.now(UTC) + KEPT_FOR + timedelta(hours=1))
    (month,) = bucket.list_names("months")
    assert len(bucket.list_names(f"months/{month}")) == 1
    assert len(_read(bucket)) == 1


def test_of_many_who_create_a_name_on_s3_one_does(bucket: Ledger) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        won = list(pool.map(lambda n: bucket.create(bucket.path("x"), str(n).encode()), range(8)))
    assert sum(won) == 1


def test_a_manifest_whose_first_answer_was_lost_is_published_all_the_same(bucket: Ledger) -> None:
    manifest = Manifest(number=1)
    assert manifest.publish(bucket, made_at=datetime.now(UTC))
    assert manifest.publish(bucket, made_at=datetime.now(UTC)), "it is our own"


def test_a_bucket_that_is_not_there_is_said(bucket: Ledger) -> None:
    from botocore.exceptions import ClientError

    missing = Ledger.at("s3://nowhere/books")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        missing.write(make_record())


def test_a_ledger_by_an_airflow_connection(bucket: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BOOKS", '{"conn_type": "aws", "extra": {"region_name": "us-east-1"}}')
    bucket.write(make_record())
    assert len(_read(Ledger.at("s3://books@bucket/some/books"))) == 1


def test_a_file_that_is_written_again_has_another_stamp(bucket: Ledger, tmp_path: Path) -> None:
    import fsspec

    memory = Ledger(fsspec.filesystem("memory"), "/stamps")
    for ledger in (bucket, Ledger.at(tmp_path / "folder"), memory):
        assert ledger.stamps("notes") == {}
        for name in ("a.json", "b.json"):
            ledger.put(ledger.path("notes", name), b"first")
        before = ledger.stamps("notes")
        assert set(before) == {"a.json", "b.json"}
        ledger.put(ledger.path("notes", "a.json"), b"again")
        after = ledger.stamps("notes")
        assert after["a.json"] != before["a.json"]
        assert after["b.json"] == before["b.json"]
