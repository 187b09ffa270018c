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
from spot_training.ledger.state_writer import Origin, StateWriter
from spot_training.ledger.states import LedgerState, forget_states
from tests.cloud import Cloud

from .stores import store_before

RUN = datetime(2026, 11, 2, 6, tzinfo=UTC)
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


def _try(ledger: Ledger, number: int, *, ti_id: str = "", run: datetime | None = RUN) -> LedgerState:
    by = StateWriter(ti_id=ti_id or f"ti {number}", try_number=number, run_started_at=run)
    return LedgerState(ledger, (KEY,), about={"dag_id": "retrain", "task_id": "train"}, by=by)


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


def test_a_try_that_begins_keeps_the_one_before_from_writing(place: Ledger) -> None:
    """Else the one before, frozen and back, would write first, and the new one would fail."""
    old = _try(place, 1)
    old.set("a", 1)
    new = _try(place, 2)
    assert new.get("a") == 1
    with pytest.raises(StateReplaced):
        old.set("a", "late")
    assert (old.has_later_try(), new.has_later_try()) == (True, False)
    new.set("a", 2)
    assert (_try(place, 2).get("a"), len(_files(place))) == (2, 1)


def test_a_try_before_that_has_written_nothing_cannot_begin_either(place: Ledger) -> None:
    old = _try(place, 1)
    assert old.get("a") is None
    new = _try(place, 2)
    assert new.get("a") is None
    with pytest.raises(StateReplaced):
        old.set("a", "late")
    with pytest.raises(StateReplaced):
        _try(place, 1).get("a")
    new.set("a", 2)
    assert _try(place, 2).get("a") == 2


def test_a_try_reads_what_the_one_before_writes_just_then(
    place: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = _try(place, 1), _try(place, 2)
    old.set("a", 1)
    find = LedgerState._find

    def while_old_writes(state: LedgerState) -> Any:
        found = find(state)
        monkeypatch.undo()
        old.set("a", "just then")
        return found

    monkeypatch.setattr(LedgerState, "_find", while_old_writes)
    assert new.get("a") == "just then"
    with pytest.raises(StateReplaced):
        old.set("a", "late")
    new.set("b", 2)


def test_a_resumption_of_the_same_try_writes_nothing_when_it_begins(place: Ledger) -> None:
    _try(place, 1).set("a", 1)
    before = _files(place)
    assert _try(place, 1).get("a") == 1
    assert _files(place) == before


_LATER_RUN = RUN + timedelta(hours=1)


@pytest.mark.parametrize(
    ("mine", "its", "origin"),
    [
        # (id, try, clears, start of the run)
        (("a", 1, 0, RUN), ("a", 1, 0, RUN), Origin.THIS_RUN),
        (("b", 2, 0, RUN), ("a", 1, 0, RUN), Origin.THIS_RUN),
        (("b", 2, 1, RUN), ("a", 1, 0, RUN), Origin.THIS_RUN),
        (("a", 1, 0, RUN), ("b", 2, 0, RUN), Origin.LATER),
        # The run was over, and was cleared.
        (("b", 2, 1, _LATER_RUN), ("a", 1, 0, RUN), Origin.THIS_RUN),
        (("a", 1, 0, RUN), ("b", 2, 1, _LATER_RUN), Origin.LATER),
        # A deferred task resumes after its run was queued again.
        (("a", 1, 0, _LATER_RUN), ("a", 1, 0, RUN), Origin.THIS_RUN),
        # Airflow 3.0's scheduler takes a try back, which keeps its id.
        (("a", 2, 0, RUN), ("a", 1, 0, RUN), Origin.THIS_RUN),
        (("a", 1, 0, RUN), ("a", 2, 0, RUN), Origin.LATER),
        # The run was deleted and made again.
        (("b", 1, 0, _LATER_RUN), ("a", 1, 0, RUN), Origin.DELETED_RUN),
        (("b", 1, 0, _LATER_RUN), ("a", 3, 2, RUN), Origin.DELETED_RUN),
        (("c", 2, 0, _LATER_RUN), ("a", 1, 0, RUN), Origin.DELETED_RUN),
        (("c", 2, 1, _LATER_RUN), ("a", 1, 1, RUN), Origin.DELETED_RUN),
        (("a", 1, 0, RUN), ("b", 1, 0, _LATER_RUN), Origin.LATER),
        # `dag.test()` knows less.
        (("", 1, 0, None), ("", 1, 0, None), Origin.THIS_RUN),
        (("b", 1, 0, None), ("a", 1, 0, RUN), Origin.DELETED_RUN),
        (("b", 2, 0, None), ("a", 1, 0, None), Origin.THIS_RUN),
    ],
)
def test_the_ids_and_the_start_of_the_run_say_where_a_state_comes_from(
    mine: tuple[str, int, int, datetime | None], its: tuple[str, int, int, datetime | None], origin: Origin
) -> None:
    one, other = (
        StateWriter(ti_id=ti_id, try_number=number, clear_number=clears, run_started_at=run)
        for ti_id, number, clears, run in (mine, its)
    )
    assert one.origin_of(other) is origin
    assert StateWriter.from_json(one.to_json()) == one


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
