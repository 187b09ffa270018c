"""Records in a ledger: what replaces what, and names nobody should trust."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot_training.domain.lifecycle import Ending
from spot_training.domain.record_keys import record_key
from spot_training.domain.records import RecordState, TrainingRecord, model_of, totals_of
from spot_training.domain.savings import PurchaseOption
from spot_training.ledger import Ledger, Selection, note_live
from spot_training.ledger.reader import GROUPS
from tests.records import PRICE, T0, make_attempt, make_record

HOSTILE = [
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "..",
    ".",
    "a/b\\c",
    "=HYPERLINK(0)",
    "naïve—run \N{SNOWMAN}",
    "line\nbreak\x00and\x1fcontrol",
    "'; DROP TABLE trainings; --",
    "x" * 250,
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
]


def test_a_record_reads_back_as_it_was_written(ledger: Ledger) -> None:
    record = make_record()
    ledger.write(record)
    with ledger.read() as reader:
        assert reader.records() == [record]
        assert reader.record(record.key) == record
        assert reader.record("0" * 32) is None


def test_the_highest_version_counts_whatever_comes_last(ledger: Ledger) -> None:
    late, early = make_record(version=9, reason="late"), make_record(version=3, reason="early")
    ledger.write(late)
    ledger.write(early)
    with ledger.read() as reader:
        assert [record.reason for record in reader.records()] == ["late"]


@pytest.mark.parametrize("name", ["dag_id", "run_id", "task_id", "map_index", "installation"])
def test_a_record_replaces_its_own_and_nothing_else(ledger: Ledger, name: str) -> None:
    other = 7 if name == "map_index" else "another"
    ledger.write(make_record())
    ledger.write(make_record(**{name: other}))
    ledger.write(make_record(version=2))
    with ledger.read() as reader:
        assert len(reader.records()) == 2


@given(st.tuples(*[st.text(max_size=5)] * 4), st.tuples(*[st.text(max_size=5)] * 4))
def test_no_two_tasks_share_a_key(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    first, second = (
        record_key(installation=installation, dag_id=dag_id, run_id=run_id, task_id=task_id)
        for installation, dag_id, run_id, task_id in (one, other)
    )
    assert (first == second) == (one == other)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_the_folder_or_changes_on_the_way(ledger: Ledger, tmp_path: Path, name: str) -> None:
    record = make_record(
        dag_id=name,
        run_id=name,
        task_id=name,
        installation=name,
        model=name,
        team=name,
        tags={name: name},
        attempts=(make_attempt(job_name=name, reason=name, message=name),),
    )
    ledger.write(record)
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.parent == tmp_path / "ledger" / "fresh" for path in files)
    assert len(files) == 1
    with ledger.read() as reader:
        assert reader.records(Selection(dag_ids=(name,), models=(name,), teams=(name,))) == [record]
        assert list(reader.totals_by("dag_id")) == [name]


@pytest.mark.parametrize("key", ["../x", "", "0" * 31, "0" * 33, "A" * 32, "0" * 31 + "\n"])
def test_a_note_takes_no_name_but_a_key(ledger: Ledger, key: str) -> None:
    from tests.records import make_job

    with pytest.raises(ValueError, match="key is"):
        ledger.note(key, make_job(("Starting", 60)))
    note_live(key, make_job(("Starting", 60)))
    assert ledger.list_names("notes") == []


def test_an_unfinished_file_is_no_record(ledger: Ledger, tmp_path: Path) -> None:
    ledger.write(make_record())
    (tmp_path / "ledger" / "fresh" / ".123.tmp").write_text('{"half')
    with ledger.read() as reader:
        assert reader.totals().trainings == 1


def test_an_empty_ledger_has_no_trainings(ledger: Ledger) -> None:
    with ledger.read() as reader:
        assert reader.records() == []
        assert reader.totals() == totals_of([])
        assert reader.query("SELECT * FROM attempts") == []


def test_a_selection_of_nothing_shows_nothing(ledger: Ledger) -> None:
    ledger.write(make_record())
    with ledger.read() as reader:
        assert reader.records(Selection(dag_ids=())) == []
        assert reader.totals(Selection(dag_ids=())).trainings == 0


def test_a_selection_has_its_window_half_open(ledger: Ledger) -> None:
    ledger.write(make_record())
    with ledger.read() as reader:
        assert len(reader.records(Selection(since=T0))) == 1
        assert reader.records(Selection(until=T0)) == []


@pytest.mark.parametrize("group", GROUPS)
def test_groups_add_up_to_the_whole(ledger: Ledger, group: str) -> None:
    for number, values in enumerate([{}, {"team": None, "model": "b"}, {"dag_id": "other", "region": None}]):
        ledger.write(make_record(**{"run_id": str(number), **values}))
    with ledger.read() as reader:
        by_group = reader.totals_by(group)
        assert sum(totals.trainings for totals in by_group.values()) == reader.totals().trainings == 3


@pytest.mark.parametrize("name", ["key; DROP TABLE fresh", "", "attempts"])
def test_only_known_names_order_and_group(ledger: Ledger, name: str) -> None:
    with ledger.read() as reader:
        with pytest.raises(ValueError, match="order"):
            reader.records(order=name)
        with pytest.raises(ValueError, match="group"):
            reader.totals_by(name)


attempts = st.lists(
    st.builds(
        make_attempt,
        number=st.integers(1, 9),
        ending=st.sampled_from(list(make_attempt().ending.__class__)),
        instance_type=st.sampled_from(["ml.m5.xlarge", "ml.c5.xlarge", None]),
        instance_count=st.integers(1, 4),
        billable_seconds=st.none() | st.integers(0, 10**5),
        training_seconds=st.none() | st.integers(1, 10**5),
        interruptions=st.integers(0, 3),
        purchase=st.sampled_from(PurchaseOption),
    ),
    max_size=3,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(attempts, max_size=6), st.data())
def test_the_readers_sums_are_those_of_the_records(many: list[Any], data: st.DataObject) -> None:
    import tempfile

    states, tests = st.sampled_from(RecordState), st.sampled_from([None, False, True])
    records = [
        make_record(
            run_id=str(n),
            attempts=tuple(some),
            state=data.draw(states),
            prices=(PRICE,),
            is_test=data.draw(tests),
        )
        for n, some in enumerate(many)
    ]
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.at(folder)
        for record in records:
            ledger.write(record)
        with ledger.read() as reader:
            totals, expected = reader.totals(), totals_of(records)
    assert totals.net_saved_usd == pytest.approx(totals.saved_usd - totals.spot_failed_usd, abs=1e-4)
    dollars = [each.name for each in fields(totals) if each.name.endswith("_usd")]
    for name in dollars:
        assert getattr(totals, name) == pytest.approx(getattr(expected, name), abs=1e-4)
    blank: dict[str, Any] = dict.fromkeys(dollars, 0.0)
    assert replace(totals, **blank) == replace(expected, **blank)


def test_a_job_on_two_records_is_counted_once(ledger: Ledger) -> None:
    """An operator started it and did not wait; a sensor watched it and carried it on; another looked on."""
    started = make_attempt(ending=Ending.OUT_OF_WAIT)
    carried_on = make_attempt(number=2, job_name="model-0123456789ab-1-ba9876543210-2")
    watched = {"watches": started.job_name}
    ledger.write(make_record(task_id="start", attempts=(started,), state=RecordState.FAILED))
    ledger.write(make_record(task_id="wait", attempts=(started, carried_on), **watched))
    ledger.write(make_record(task_id="look on", attempts=(started,), state=RecordState.FAILED, **watched))
    ledger.write(make_record(run_id="another", attempts=(make_attempt(job_name="another"),)))
    with ledger.read() as reader:
        totals = reader.totals()
        assert len(reader.records()) == 4
    assert (totals.trainings, totals.attempts, totals.failed) == (2, 3, 0)


def test_the_model_is_the_job_name_without_what_we_add() -> None:
    assert model_of("flight-delays-0123456789ab-2") == "flight-delays"
    assert model_of("flight-delays-0123456789ab-2-ba9876543210-1") == "flight-delays"
    assert model_of("by-hand-2026-03-01") == "by-hand-2026-03-01"


def test_a_member_that_is_not_known_is_kept() -> None:
    data = {**make_record().to_json(), "colour": "green"}
    assert TrainingRecord.from_json(data) == make_record(unknown={"colour": "green"})
    assert TrainingRecord.from_json(data).to_json() == data
