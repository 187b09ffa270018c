"""A task's state in the ledger's storage, for Airflow before 3.3: one writer at a time, nothing lost."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.errors import NewerFormat, StateReplaced
from spot_training.ledger import Ledger
from spot_training.ledger.states import LedgerState, forget_states
from tests.cloud import Cloud

from .stores import store_before

KEY, EARLIER = "0" * 31 + "1", "0" * 31 + "2"


@pytest.fixture(params=["folder", "s3", "s3 without conditions"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    if request.param == "folder":
        yield Ledger.at(tmp_path / "ledger")
        return
    with store_before(cloud.url) as store:
        if "without" in request.param:
            store.ignores = frozenset({"If-None-Match"})
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        bucket = f"states-{uuid.uuid4().hex}"
        cloud.client("s3").create_bucket(Bucket=bucket)
        yield Ledger.at(f"s3://{bucket}/ledger")


def _state(ledger: Ledger, *keys: str) -> LedgerState:
    return LedgerState(ledger, keys or (KEY,), about={"dag_id": "retrain", "task_id": "train"})


def _files(ledger: Ledger) -> list[str]:
    return ledger.list_names("states")


def test_what_one_process_writes_the_next_one_reads(place: Ledger) -> None:
    first = _state(place)
    assert first.get("a") is None
    first.set("a", {"job": "m-1"})
    first.set("b", 2)
    first.set("a", {"job": "m-2"})
    after = _state(place)
    assert (after.get("a"), after.get("b"), after.get("c")) == ({"job": "m-2"}, 2, None)
    assert len(_files(place)) == 1
    assert _state(place, "f" * 32).get("a") is None


def test_a_process_that_was_replaced_cannot_write(place: Ledger) -> None:
    old, new = _state(place), _state(place)
    old.set("a", "old")
    assert new.get("a") == "old"
    new.set("a", "new")
    with pytest.raises(StateReplaced, match="dag_id retrain, task_id train"):
        old.set("a", "late")
    assert _state(place).get("a") == "new"
    assert len(_files(place)) == 1


def test_a_process_that_was_replaced_does_not_read_on_either(place: Ledger) -> None:
    """What it then writes would go on top of what the newer process has written."""
    old, new = _state(place), _state(place)
    old.set("a", 1)
    assert (old.get("a"), new.get("a")) == (1, 1)
    new.set("b", 2)
    for _ in range(2):
        with pytest.raises(StateReplaced):
            old.get("b")
    assert (new.get("a"), new.get("b")) == (1, 2)


def test_it_cannot_write_a_version_that_is_gone_again(place: Ledger) -> None:
    """Its version is free: the newer process has removed it after the next one."""
    old, new = _state(place), _state(place)
    old.set("a", 1)
    assert new.get("a") == 1
    for value in (2, 3, 4):
        new.set("a", value)
    with pytest.raises(StateReplaced):
        old.set("a", "late")
    assert _state(place).get("a") == 4
    new.set("a", 5)
    assert _state(place).get("a") == 5


def test_of_several_first_writers_one_wins_at_most(place: Ledger) -> None:
    states = [_state(place) for _ in range(6)]
    for state in states:
        assert state.get("a") is None
    won: list[int] = []
    start = threading.Barrier(len(states))

    def write(number: int) -> None:
        start.wait()
        try:
            states[number].set("a", number)
        except StateReplaced:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(states))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) <= 1
    if place.has_conditional_writes():
        assert len(won) == 1
    assert _state(place).get("a") == (won[0] if won else None)


def test_an_answer_that_was_lost_is_no_other_process(place: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    state = _state(place)
    state.set("a", 1)
    create = place.create

    def losing_the_answer(path: str, content: bytes) -> bool:
        create(path, content)
        return create(path, content)  # what a client does that tries again

    monkeypatch.setattr(place, "create", losing_the_answer)
    state.set("a", 2)
    assert _state(place).get("a") == 2


def test_a_state_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("no folder")
    with pytest.raises(OSError, match="ledger"):
        _state(Ledger.at(tmp_path / "ledger")).set("a", 1)


def test_a_state_under_an_earlier_name_goes_on_under_the_new_one(place: Ledger) -> None:
    _state(place, EARLIER).set("a", 1)
    renamed = _state(place, KEY, EARLIER)
    assert renamed.get("a") == 1
    renamed.set("b", 2)
    after = _state(place, KEY, EARLIER)
    assert (after.get("a"), after.get("b")) == (1, 2)
    assert [name.partition(".")[0] for name in _files(place)] == [KEY]


def test_a_state_of_a_later_version_is_left_alone(place: Ledger) -> None:
    name = f"states/{KEY}.0000000001.json"
    content = json.dumps({"format": 99, "values": {"a": 1}}).encode()
    place.put(place.path(name), content)
    with pytest.raises(NewerFormat, match="format 99"):
        _state(place).set("a", 2)
    assert place.fetch([place.path(name)])[place.path(name)] == content


def test_the_file_says_which_task_it_is(place: Ledger) -> None:
    _state(place).set("a", 1)
    path = place.path("states", _files(place)[0])
    facts: dict[str, Any] = json.loads(place.fetch([path])[path])
    assert (facts["dag_id"], facts["task_id"], facts["values"]) == ("retrain", "train", {"a": 1})


def test_old_states_are_forgotten(place: Ledger) -> None:
    _state(place).set("a", 1)
    now = datetime.now(UTC)
    assert forget_states(place, before=now - timedelta(days=1)) == 0
    assert forget_states(place, before=now + timedelta(days=1)) == 1
    assert _state(place).get("a") is None
