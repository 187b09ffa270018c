"""What is saved, from listings: complete checkpoints only, and in doubt the earlier one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain import checkpoint_looks
from spot_training.domain.attempts import Attempt, PurchaseOption
from spot_training.domain.checkpoint_looks import Look, LookReader, SeenObject
from spot_training.domain.checkpoint_pattern import CheckpointPattern
from spot_training.domain.checkpoints_seen import (
    UPLOAD_SECONDS,
    CheckpointsToWatch,
    SeenCheckpoints,
    SeenLaunch,
    download_seconds_before,
)
from spot_training.domain.lifecycle import (
    Ending,
    JobSnapshot,
    SecondaryStatus,
    TrainingStatus,
    Transition,
)
from tests.records import T0

LOOK = 60.0


def _at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _visit(began: float = 0.0, ended: float | None = None) -> Transition:
    return Transition(
        status=SecondaryStatus.TRAINING,
        started_at=T0 + _at(began),
        ended_at=None if ended is None else T0 + _at(ended),
    )


def _object(key: str, at: float, *, size: int = 100, etag: str = "") -> SeenObject:
    return SeenObject(key, size, etag or f"{key}@{at}", T0 + _at(at))


class Prefix:
    """A prefix that is looked at while objects come and go."""

    def __init__(self, *, pattern: str | None = None, visit: Transition | None = None) -> None:
        self.objects: dict[str, SeenObject] = {}
        self.pattern = CheckpointPattern.of(pattern)
        self.visit = visit or _visit()
        self.seen = SeenCheckpoints()
        self.before: Look | None = None

    def put(self, key: str, at: float, *, size: int = 100) -> None:
        self.objects[key] = _object(key, at, size=size)

    def look(self, at: float, *, is_written: bool = True, is_full: bool = True) -> SeenCheckpoints:
        reader = LookReader(self.pattern, self.seen.saved, self.visit.started_at)
        reader.add(item for item in self.objects.values() if item.modified_at <= T0 + _at(at))
        look = reader.look(T0 + _at(at), is_full=is_full)
        self.seen, self.before = self.seen.after(look, self.before, self.visit, is_written=is_written)
        return self.seen

    @property
    def saved(self) -> float:
        found = self.seen.saved_of(self.visit)
        assert found is not None
        return found


def test_a_checkpoint_counts_once_two_looks_find_it_unchanged() -> None:
    prefix = Prefix()
    prefix.put("epoch-1.pt", 600)
    assert prefix.look(620).newest is None
    seen = prefix.look(680)
    assert seen.newest is not None
    assert prefix.saved == 600 - UPLOAD_SECONDS
    assert seen.newest_saved_at == T0 + _at(600 - UPLOAD_SECONDS)
    assert seen.is_saved_since(T0 + _at(599))
    assert not seen.is_saved_since(T0 + _at(600))


def test_one_that_changed_between_two_looks_does_not_count_and_the_earlier_one_does() -> None:
    prefix = Prefix()
    prefix.put("last/model.pt", 600)
    prefix.look(620)
    prefix.look(680)
    prefix.put("last/model.pt", 1200)
    prefix.look(1220)
    prefix.put("last/optimizer.pt", 1250)
    prefix.look(1280)
    assert prefix.saved == 600 - UPLOAD_SECONDS
    prefix.look(1340)
    assert prefix.saved == 1200 - UPLOAD_SECONDS, "in doubt, what the first object holds"


def test_a_folder_that_is_written_again_and_again_counts_each_time() -> None:
    prefix = Prefix()
    for epoch in range(1, 6):
        prefix.put("last/model.pt", 600 * epoch)
        prefix.look(600 * epoch + 20)
        prefix.look(600 * epoch + 80)
        assert prefix.saved == 600 * epoch - UPLOAD_SECONDS
    assert prefix.seen.launches[0].arrivals == (600, 1200, 1800, 2400, 3000)
    assert prefix.seen.pace().expected_seconds == pytest.approx(600 * 2.0), "four intervals, of one length"


@pytest.mark.parametrize("names", [["checkpoint.pt"], ["last/model.pt", "last/optimizer.pt"]])
def test_of_files_that_are_written_again_before_each_look_the_earlier_ones_count(names: list[str]) -> None:
    prefix = Prefix()
    for moment in range(40, 4000, 40):
        for name in names:
            prefix.put(name, moment)
        if moment % 120 == 0:
            prefix.look(moment + 5)
            assert prefix.saved >= moment - 120 - UPLOAD_SECONDS or moment < 240
            assert prefix.saved < moment


def test_looks_alone_are_no_checkpoints() -> None:
    prefix = Prefix()
    prefix.put("last/model.pt", 600)
    for moment in range(620, 6000, 60):
        prefix.look(moment)
    assert len(prefix.seen.saved) == 1
    assert prefix.seen.launches[0].arrivals == (600,)


@pytest.mark.parametrize("missing", ["model-00002-of-00003.bin", "model-00001-of-00003.bin"])
def test_a_sharded_checkpoint_counts_with_every_shard(missing: str) -> None:
    prefix = Prefix()
    names = [f"model-0000{n}-of-00003.bin" for n in (1, 2, 3)]
    for name in names:
        if name != missing:
            prefix.put(f"step-1/{name}", 600)
    prefix.look(620)
    assert prefix.look(5000).newest is None
    prefix.put(f"step-1/{missing}", 5010)
    prefix.look(5060)
    assert prefix.look(5120).newest is not None


def test_with_an_index_in_the_pattern_the_index_completes_it() -> None:
    prefix = Prefix(pattern=r"^(?P<checkpoint>step-\d+)/(rank-(?P<rank>\d+)|(?P<index>done))")
    prefix.put("step-1/rank-0", 600)
    prefix.put("step-1/rank-1", 610)
    prefix.look(620)
    assert prefix.look(5000).newest is None
    prefix.put("step-1/done", 5010)
    prefix.look(5060)
    assert prefix.look(5120).newest is not None


def test_without_the_number_of_ranks_later_checkpoints_need_as_many_as_the_first() -> None:
    prefix = Prefix(pattern=r"^(?P<checkpoint>step-\d+)/rank-(?P<rank>\d+)")
    for rank in range(4):
        prefix.put(f"step-1/rank-{rank}", 600 + rank)
    prefix.look(640)
    prefix.look(700)
    for rank in range(3):
        prefix.put(f"step-2/rank-{rank}", 1200 + rank)
    for moment in (1240, 1300, 1360):
        prefix.look(moment)
    assert prefix.saved == 600 - UPLOAD_SECONDS
    prefix.put("step-2/rank-3", 1370)
    prefix.look(1420)
    prefix.look(1480)
    assert prefix.saved == 1200 - UPLOAD_SECONDS


def test_a_small_first_file_is_not_taken_for_the_whole() -> None:
    """The configuration is there in a moment, the model minutes later."""
    prefix = Prefix()
    prefix.put("checkpoint-1/config.json", 590, size=10)
    prefix.put("checkpoint-1/model.bin", 600, size=10_000)
    prefix.look(620)
    prefix.look(680)
    prefix.put("checkpoint-2/config.json", 1190, size=10)
    for moment in (1200, 1260, 1320):
        prefix.look(moment)
    assert prefix.saved == 590 - UPLOAD_SECONDS
    prefix.put("checkpoint-2/model.bin", 1330, size=10_000)
    prefix.look(1380)
    prefix.look(1440)
    assert prefix.saved == 1190 - UPLOAD_SECONDS


def test_checkpoints_that_stay_small_count_after_an_interval() -> None:
    prefix = Prefix()
    prefix.put("full.pt", 600, size=10_000)
    prefix.look(620)
    prefix.look(680)
    prefix.put("adapter.pt", 1200, size=10)
    prefix.look(1220)
    prefix.look(1300)
    assert prefix.saved == 600 - UPLOAD_SECONDS
    prefix.look(1900)
    assert prefix.saved == 1200 - UPLOAD_SECONDS


def test_once_nothing_writes_one_look_is_enough() -> None:
    prefix = Prefix(visit=_visit(0, 1000))
    prefix.put("epoch-1.pt", 600)
    prefix.put("epoch-2.pt", 1010)
    prefix.look(1100, is_written=False)
    assert prefix.saved == 1010 - UPLOAD_SECONDS


def test_no_more_is_saved_than_was_done() -> None:
    prefix = Prefix(visit=_visit(0, 900))
    prefix.put("epoch-1.pt", 1100)
    prefix.look(1200, is_written=False)
    assert prefix.saved == 900


def test_what_an_earlier_launch_left_is_not_this_launchs_work() -> None:
    prefix = Prefix(visit=_visit(5000))
    prefix.put("epoch-1.pt", 600)
    prefix.look(5060)
    prefix.look(5120)
    assert prefix.saved == 0


def test_a_deleted_checkpoint_does_not_count_from_the_second_full_look_on() -> None:
    prefix = Prefix()
    for epoch in (1, 2):
        prefix.put(f"epoch-{epoch}.pt", 600 * epoch)
        prefix.look(600 * epoch + 20)
        prefix.look(600 * epoch + 80)
    del prefix.objects["epoch-2.pt"]
    prefix.look(1400)
    assert prefix.saved == 1200 - UPLOAD_SECONDS, "a script may be replacing it"
    prefix.look(1430, is_full=False)
    assert prefix.saved == 1200 - UPLOAD_SECONDS
    prefix.look(1460)
    assert prefix.saved == 600 - UPLOAD_SECONDS
    prefix.objects.clear()
    prefix.look(1520)
    prefix.look(1580)
    assert (prefix.saved, prefix.seen.newest) == (0, None)


def test_a_partial_look_confirms_only_what_it_lists() -> None:
    prefix = Prefix()
    prefix.put("a/model.pt", 600)
    prefix.look(620)
    kept = prefix.objects.pop("a/model.pt")
    assert prefix.look(680, is_full=False).newest is None
    prefix.objects["a/model.pt"] = kept
    assert prefix.look(740, is_full=False).newest is not None


def test_many_files_are_read_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_looks, "MOST_GROUPS", 10)
    reader = LookReader(CheckpointPattern(), (), T0)
    for number in range(1, 1000):
        reader.add([_object(f"epoch-{number}.pt", number)])
    look = reader.look(T0 + _at(2000))
    assert sorted(look.candidates) == [f"epoch-{number}.pt" for number in range(990, 1000)]


# --- random upload orders ------------------------------------------------------------------------------

SHARDS = 3
saves = st.lists(st.integers(min_value=100, max_value=1500), min_size=1, max_size=6)
delays = st.lists(
    st.lists(st.integers(min_value=0, max_value=900), min_size=SHARDS, max_size=SHARDS),
    min_size=6,
    max_size=6,
)
looks = st.lists(st.integers(min_value=5, max_value=700), min_size=2, max_size=20)


def _put_until(
    prefix: Prefix, now: float, arrivals: dict[tuple[int, int], int], folder: str = "step-{}"
) -> list[int]:
    """Put the shards that have arrived. Returns the saves that are complete."""
    for (number, shard), at in sorted(arrivals.items(), key=lambda pair: pair[1]):
        if at <= now:
            prefix.put(f"{folder.format(number)}/{shard + 1}-of-{SHARDS}.pt", at)
    numbers = {number for number, _ in arrivals}
    return [n for n in sorted(numbers) if all(arrivals[n, shard] <= now for shard in range(SHARDS))]


@given(saves=saves, delays=delays, looks=looks)
def test_whatever_the_order_of_uploads_no_incomplete_checkpoint_counts(
    saves: list[int], delays: list[list[int]], looks: list[int]
) -> None:
    """Each save has shards that arrive in any order, also after those of the next one."""
    moments = list(accumulate(saves))
    arrivals = {(n, s): at + delays[n][s] for n, at in enumerate(moments) for s in range(SHARDS)}
    prefix = Prefix()
    for now in (*accumulate(looks), 50_000, 50_100):
        complete = _put_until(prefix, now, arrivals)
        prefix.look(now)
        first_objects = [min(arrivals[n, shard] for shard in range(SHARDS)) for n in complete]
        assert prefix.saved <= max(first_objects, default=0)
    last = len(moments) - 1
    assert prefix.saved >= min(arrivals[last, shard] for shard in range(SHARDS)) - UPLOAD_SECONDS


@given(saves=saves, delays=delays, looks=looks)
def test_a_folder_that_is_written_again_counts_no_later_than_its_newest_complete_save(
    saves: list[int], delays: list[list[int]], looks: list[int]
) -> None:
    """The next save waits for the upload of the one before. In between, the folder is a mixture."""
    waits = [0, *map(max, delays)]
    moments = list(accumulate(max(save, wait + 1) for save, wait in zip(saves, waits, strict=False)))
    arrivals = {(n, s): at + delays[n][s] for n, at in enumerate(moments) for s in range(SHARDS)}
    prefix = Prefix()
    for now in (*accumulate(looks), 50_000, 50_100):
        complete = _put_until(prefix, now, arrivals, folder="last")
        prefix.look(now)
        arrived = [max(arrivals[n, shard] for shard in range(SHARDS)) for n in complete]
        assert prefix.saved <= max(arrived, default=0)
    assert prefix.saved >= (moments[-2] if len(moments) > 1 else moments[0]) - UPLOAD_SECONDS


@given(order=st.permutations(range(12)), split=st.integers(min_value=1, max_value=12))
def test_the_order_of_a_listing_and_its_pages_do_not_matter(order: list[int], split: int) -> None:
    objects = [_object(f"step-{n % 3}/{n}.pt", 100 + n) for n in range(12)]

    def look(pages: Iterable[list[SeenObject]]) -> Look:
        reader = LookReader(CheckpointPattern(), (), T0)
        for page in pages:
            reader.add(page)
        return reader.look(T0 + _at(500))

    shuffled = [objects[n] for n in order]
    assert look([objects]) == look([shuffled[:split], shuffled[split:]])


# --- what follows --------------------------------------------------------------------------------------


def _job(*visits: Transition, status: TrainingStatus = TrainingStatus.IN_PROGRESS) -> JobSnapshot:
    return JobSnapshot(
        name="job",
        arn="arn",
        status=status,
        secondary_status=SecondaryStatus.TRAINING,
        created_at=T0,
        last_modified_at=T0,
        transitions=visits,
    )


def test_launches_that_nobody_looked_at_count_as_before() -> None:
    first, second = _visit(0, 3600), _visit(5000, 8600)
    seen = SeenCheckpoints(launches=(SeenLaunch(began_at=first.started_at, saved_seconds=1200.0),))
    kept = seen.saved_training_seconds((first, second), T0 + _at(9000), lost_per_launch=600)
    assert kept == 1200 + 3000
    attempt = Attempt(
        number=1,
        step=0,
        job_name="job",
        purchase=PurchaseOption.SPOT,
        reason="",
        ending=Ending.NO_CAPACITY,
        has_checkpoints=True,
        work_seconds=7200,
        interruptions=1,
        ended_at=T0 + _at(9000),
        transitions=(first, second),
    )
    assert seen.kept_by_attempts([attempt], 600) == 1200 + 3000
    assert seen.kept_by_attempts([replace(attempt, has_checkpoints=False)], 600) == 0
    assert SeenCheckpoints().kept_by_attempts([attempt], 600) == 6000


def _with_intervals(prefix: Prefix, every: float, count: int) -> float:
    for number in range(1, count + 1):
        prefix.put(f"epoch-{number}.pt", every * number)
        prefix.look(every * number + 10)
        prefix.look(every * number + 70)
    return every * count


def test_stalled_uploads_are_found_and_a_new_checkpoint_ends_the_stall() -> None:
    prefix = Prefix()
    last = _with_intervals(prefix, 600, 10)
    job = _job(prefix.visit)
    found_at = None
    for moment in range(int(last) + 130, int(last) + 6000, int(LOOK)):
        prefix.look(moment)
        assert prefix.before is not None
        prefix.seen = prefix.seen.judged(job, prefix.before)
        if prefix.seen.must_report:
            found_at = moment
            break
    assert found_at is not None
    assert 3.5 * 600 < found_at - last <= 3.5 * 600 + LOOK
    assert "uploads have stalled: 35 min" in prefix.seen.stalled_because
    prefix.seen = prefix.seen.reported(T0)
    assert prefix.seen.is_stalled
    assert not prefix.seen.must_report
    prefix.put("epoch-11.pt", found_at + 30)
    prefix.look(found_at + 60)
    prefix.look(found_at + 120)
    assert not prefix.seen.is_stalled
    assert prefix.seen.reported_at is None


def test_another_launch_is_judged_anew() -> None:
    prefix = Prefix()
    last = _with_intervals(prefix, 600, 10)
    prefix.look(last + 9000)
    assert prefix.before is not None
    prefix.seen = prefix.seen.judged(_job(prefix.visit), prefix.before).reported(T0)
    assert prefix.seen.is_stalled
    prefix.visit = _visit(last + 10_000)
    assert not prefix.look(last + 10_060).is_stalled
    prefix.look(last + 20_000)
    job = _job(_visit(0, last + 9100), prefix.visit)
    assert prefix.seen.judged(job, prefix.before).must_report


def test_what_arrives_right_now_is_no_stall() -> None:
    prefix = Prefix()
    last = _with_intervals(prefix, 600, 10)
    prefix.put("epoch-11/part-1", last + 3000)
    prefix.look(last + 3010)
    assert prefix.before is not None
    assert not prefix.seen.judged(_job(prefix.visit), prefix.before).is_stalled
    prefix.look(last + 3070)
    assert not prefix.seen.judged(_job(prefix.visit), prefix.before).is_stalled


def test_nothing_stalls_while_the_job_does_not_train_or_the_look_was_partial() -> None:
    prefix = Prefix()
    last = _with_intervals(prefix, 600, 10)
    prefix.look(last + 5000)
    assert prefix.before is not None
    stopping = _job(prefix.visit, status=TrainingStatus.STOPPING)
    assert not prefix.seen.judged(stopping, prefix.before).is_stalled
    partial = replace(prefix.before, is_full=False)
    assert not prefix.seen.judged(_job(prefix.visit), partial).is_stalled
    assert prefix.seen.judged(_job(prefix.visit), prefix.before).is_stalled


def test_everything_is_the_same_after_its_json() -> None:
    prefix = Prefix()
    last = _with_intervals(prefix, 600, 12)
    prefix.look(last + 9000)
    assert prefix.before is not None
    seen = prefix.seen.judged(_job(prefix.visit), prefix.before)
    assert SeenCheckpoints.from_json(seen.to_json()) == seen
    what = CheckpointsToWatch(uri="s3://b/p", pattern="*.pt", given_seconds=60, seen=seen, wake_after=T0)
    assert CheckpointsToWatch.from_json(what.to_json()) == what
    assert CheckpointsToWatch.from_json({"uri": "s3://b/p", "later": 1}).seen == SeenCheckpoints()


@pytest.mark.parametrize("garbage", [{"launches": 7}, {"saved": [{"name": "x"}]}, [], "x", None, {}])
def test_what_cannot_be_read_is_seen_again(garbage: object) -> None:
    assert SeenCheckpoints.from_json(garbage) is None


GIGABYTE = 1_000_000_000


def _launch(began: float, restored: int, download: float | None) -> SeenLaunch:
    return SeenLaunch(began_at=T0 + _at(began), restored_bytes=restored, download_seconds=download)


@pytest.mark.parametrize(
    ("launches", "seconds"),
    [
        ((), 200),
        ((_launch(0, 0, 60),), 200),
        ((_launch(0, 0, 60), _launch(1, 10 * GIGABYTE, 260)), 400),
        ((_launch(0, 0, 60), _launch(1, 10 * GIGABYTE, 260), _launch(2, 10 * GIGABYTE, 460)), 800),
        ((_launch(0, 0, 60), _launch(1, 10 * GIGABYTE, 61)), 200),
        ((_launch(0, 0, 60), _launch(1, 10 * GIGABYTE, 36_000)), 2000),
        ((_launch(0, 0, 60), _launch(1, 1000, 600)), 200),
        ((_launch(0, 10 * GIGABYTE, 260),), 200),
        ((_launch(0, 0, None), _launch(1, 10 * GIGABYTE, None)), 200),
    ],
)
def test_the_time_to_restore_is_learned_by_size(launches: tuple[SeenLaunch, ...], seconds: float) -> None:
    """20 GB: at the slowest pace of a launch that copied much, within limits."""
    seen = SeenCheckpoints(launches=launches, size_bytes=20 * GIGABYTE)
    assert seen.restore_seconds == pytest.approx(seconds)


def test_a_look_learns_the_size_and_how_long_the_launch_downloaded() -> None:
    prefix = Prefix()
    prefix.put("epoch-1.pt", 600, size=3 * GIGABYTE)
    prefix.put("events.out.tfevents.1", 610, size=GIGABYTE)
    prefix.look(620)
    assert prefix.seen.size_bytes == 4 * GIGABYTE
    prefix.visit = _visit(2000)
    prefix.look(2100)
    assert [launch.restored_bytes for launch in prefix.seen.launches] == [0, 4 * GIGABYTE]
    downloading = Transition(
        status=SecondaryStatus.DOWNLOADING, started_at=T0 + _at(1900), ended_at=T0 + _at(2000)
    )
    assert download_seconds_before(_job(downloading, prefix.visit), prefix.visit) == 100
    assert download_seconds_before(_job(prefix.visit), prefix.visit) is None
