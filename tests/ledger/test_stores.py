"""Stores that are not quite S3, and connections whose key changes, over real HTTP with real boto3."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from spot_training.ledger import Ledger, files, opening
from spot_training.ledger.compaction import compact
from spot_training.ledger.manifest import Manifest
from spot_training.ledger.s3 import RENEW_WHEN_DENIED_SECONDS, S3Files
from tests.cloud import Cloud
from tests.records import make_record

from .stores import Store, store_before

NOW = timedelta(0)
SETTING = "AIRFLOW__SPOT_TRAINING__LEDGER_IS_MERGED_IN_ONE_PLACE"


@pytest.fixture
def elsewhere(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(files, "_conditional", {})
    with store_before(cloud.url) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.url)
        yield there


def _fill(ledger: Ledger, count: int = 7) -> None:
    for number in range(count):
        ledger.write(make_record(run_id=str(number)))


def _count(ledger: Ledger) -> int:
    with ledger.read() as reader:
        return reader.totals().trainings


# Conditional writes -----------------------------------------------------------------------------------


def test_a_store_with_conditional_writes_is_asked_once_and_left_as_it_was(elsewhere: Store) -> None:
    assert Ledger.at("s3://bucket/books").has_conditional_writes()
    asked = len(elsewhere.asked)
    assert Ledger.at("s3://bucket/books").has_conditional_writes()
    assert len(elsewhere.asked) == asked, "what a process has found out it knows"
    assert Ledger.at("s3://bucket/other").has_conditional_writes()
    assert len(elsewhere.asked) > asked
    assert Ledger.at("s3://bucket/books").list_names("probes") == []


@pytest.mark.parametrize("way", ["ignores", "refuses"])
def test_two_compactions_at_once_lose_nothing_where_conditions_do_not_work(
    elsewhere: Store, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setattr(elsewhere, way, frozenset({"If-None-Match"}))
    ledger = Ledger.at("s3://bucket/books")
    _fill(ledger)
    monkeypatch.setattr("spot_training.ledger.compaction.SETTLED_AFTER", NOW)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _n: Ledger.at("s3://bucket/books").compact(), range(2)))
    assert _count(ledger) == 7
    assert [outcome.merged for outcome in done] == [0, 0]
    for outcome in done:
        assert "does not support conditional writes" in str(outcome)
        assert "set [spot_training] ledger_is_merged_in_one_place" in str(outcome)
    assert ledger.list_names("probes") == ledger.list_names("manifests") == ledger.list_names("months") == []


@pytest.mark.parametrize("way", ["ignores", "refuses"])
def test_one_place_alone_may_compact_such_a_store_if_it_is_said_to_be_the_only_one(
    elsewhere: Store, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setattr(elsewhere, way, frozenset({"If-None-Match"}))
    ledger = Ledger.at("s3://bucket/books")
    _fill(ledger)
    monkeypatch.setenv(SETTING, "True")
    assert ledger.compact().merged == 7
    assert ledger.compact().refused is None
    ledger.write(make_record(run_id="0", version=2))
    compact(ledger, settled_after=NOW, is_only_one=True)
    assert Manifest.newest(ledger).number == 2
    assert _count(ledger) == 7


def test_probes_at_once_do_not_disturb_each_other(elsewhere: Store) -> None:
    ledgers = [Ledger.at("s3://bucket/books") for _ in range(4)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        assert all(pool.map(lambda n: ledgers[n % 4]._probe(), range(16)))
    assert ledgers[0].list_names("probes") == []


def test_a_store_that_cannot_be_asked_is_an_error_and_no_answer(elsewhere: Store) -> None:
    elsewhere.keys, elsewhere.answer = frozenset(), "AccessDenied"
    with pytest.raises(ClientError, match="AccessDenied"):
        Ledger.at("s3://bucket/books").has_conditional_writes()
    elsewhere.keys = None
    assert Ledger.at("s3://bucket/books").has_conditional_writes()


@pytest.mark.parametrize("value", ["perhaps", "2"])
def test_a_setting_that_is_neither_true_nor_false_is_refused(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(SETTING, value)
    with pytest.raises(ValueError, match=r"ledger_is_merged_in_one_place is .*give true or false"):
        ledger.compact()


def test_other_file_systems_are_asked_too() -> None:
    """fsspec's own may take `mode` and ignore it."""
    import fsspec

    class Careless:
        protocol = "careless"

        def __init__(self) -> None:
            self._memory = fsspec.filesystem("memory")

        def pipe_file(self, path: str, value: bytes, **_mode: Any) -> None:
            self._memory.pipe_file(path, value)

        def rm_file(self, path: str) -> None:
            self._memory.rm_file(path)

    class Unknowing(Careless):
        def pipe_file(self, path: str, value: bytes) -> None:  # type: ignore[override]
            self._memory.pipe_file(path, value)

    assert Ledger(fsspec.filesystem("memory"), "/books").has_conditional_writes()
    for kind in (Careless, Unknowing):
        assert not Ledger(kind(), f"/{kind.__name__}").has_conditional_writes()


# A key that changes -----------------------------------------------------------------------------------


def _connect(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    connection = {"conn_type": "aws", "login": key, "password": "s", "extra": {"region_name": "us-east-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_BOOKS", json.dumps(connection))


@pytest.mark.parametrize(
    "answer", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "InvalidToken"]
)
def test_a_key_that_was_rotated_is_noticed_without_a_restart(
    elsewhere: Store, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """One ledger object over the change, as `Ledger.configured` keeps it in every process."""
    elsewhere.keys, elsewhere.answer = frozenset({"first"}), answer
    _connect(monkeypatch, "first")
    ledger = Ledger.at("s3://books@bucket/books")
    _fill(ledger, 2)
    _connect(monkeypatch, "second")
    elsewhere.keys = frozenset({"second"})
    ledger.write(make_record(run_id="after"))
    assert _count(ledger) == 3
    path = ledger.path("fresh", ledger.list_names("fresh")[0])
    assert ledger.fs.modified(path)
    ledger.remove([path])
    assert _count(ledger) == 2


def test_each_kind_of_call_renews_the_client(
    elsewhere: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A page only reads, a sweeper asks how old files are: whoever is first notices."""
    elsewhere.keys, elsewhere.answer = frozenset({"1"}), "ExpiredToken"
    _connect(monkeypatch, "1")
    days = iter(range(0, 10**6, 86400))
    # HEAD is answered with a status only, which may mean a missing permission: once a minute at most.
    files = S3Files(lambda: opening._s3_client("books"), monotonic=lambda: float(next(days)))
    files.pipe_file("bucket/books/x", b"x")
    calls: list[Any] = [
        lambda: files.ls("bucket/books"),
        lambda: files.cat_file("bucket/books/x"),
        lambda: files.get_file("bucket/books/x", str(tmp_path / "copy")),
        lambda: files.pipe_file("bucket/books/x", b"y"),
        lambda: files.modified("bucket/books/x"),
        lambda: files.rm_file("bucket/books/x"),
    ]
    for number, call in enumerate(calls, start=2):
        _connect(monkeypatch, str(number))
        elsewhere.keys = frozenset({str(number)})
        call()
    assert (tmp_path / "copy").read_bytes() == b"x"


def test_many_threads_renew_once(elsewhere: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere.keys = frozenset({"first"})
    _connect(monkeypatch, "first")
    ledger = Ledger.at("s3://books@bucket/books")
    _fill(ledger, 12)
    made = 0
    make = ledger.fs._make_client

    def counting() -> Any:
        nonlocal made
        made += 1
        return make()

    ledger.fs._make_client = counting
    _connect(monkeypatch, "second")
    elsewhere.keys = frozenset({"second"})
    names = [ledger.path("fresh", name) for name in ["none", *map(str, range(20))]]
    barrier = threading.Barrier(8)

    def fetch(_number: int) -> Any:
        barrier.wait(30)
        return ledger.fetch(names)

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(fetch, range(8)))
    assert made == 1


def test_a_permission_that_is_missing_is_said_and_not_asked_for_again_and_again(elsewhere: Store) -> None:
    elsewhere.keys, elsewhere.answer = frozenset(), "AccessDenied"
    now, made = 0.0, 0

    def make() -> Any:
        nonlocal made
        made += 1
        return opening._s3_client(None)

    files = S3Files(make, monotonic=lambda: now)
    for _ in range(3):
        with pytest.raises(ClientError, match="AccessDenied"):
            files.cat_file("bucket/books/x")
    assert made == 2
    now += RENEW_WHEN_DENIED_SECONDS
    with pytest.raises(ClientError, match="AccessDenied"):
        files.cat_file("bucket/books/x")
    assert made == 3


def test_keys_from_the_environment_are_read_again(elsewhere: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3's default session would keep the first ones."""
    elsewhere.keys = frozenset({"test"})
    ledger = Ledger.at("s3://bucket/books")
    _fill(ledger, 1)
    elsewhere.keys = frozenset({"rotated"})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "rotated")
    assert _count(ledger) == 1
