"""The guard: whatever spot does, on-demand can still finish in time."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot_training.domain import parsing as durations
from spot_training.domain.deadline import (
    Deadline,
    DeadlineGuard,
    Reserve,
    Runtime,
    deadline_from,
    kept_by_attempts,
    kept_by_visits,
    runtime_from,
)
from spot_training.domain.errors import InvalidInput
from spot_training.domain.lifecycle import Ending, JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from spot_training.domain.savings import Attempt, PurchaseOption

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = 3600
STARTING, DOWNLOADING, TRAINING, INTERRUPTED = (
    SecondaryStatus.STARTING,
    SecondaryStatus.DOWNLOADING,
    SecondaryStatus.TRAINING,
    SecondaryStatus.INTERRUPTED,
)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def deadline_in(seconds: float, *, mean: float = 2 * HOUR, high: float = 3 * HOUR, **fields: Any) -> Deadline:
    runtime = Runtime(mean_seconds=mean, high_seconds=high, checkpoint_every_seconds=600)
    return Deadline(at=at(seconds), submitted_at=T0, runtime=runtime, **fields)


def job(*visits: tuple[SecondaryStatus, float], **fields: Any) -> JobSnapshot:
    """A spot job by its visits, each with the second at which it began."""
    ends = [began for _, began in visits[1:]] + [None]
    transitions = tuple(
        Transition(status=status, started_at=at(began), ended_at=None if end is None else at(end))
        for (status, began), end in zip(visits, ends, strict=True)
    )
    started = next((t.started_at for t in transitions if t.status is DOWNLOADING), None)
    return JobSnapshot(
        name="job",
        arn="arn:job",
        status=TrainingStatus.IN_PROGRESS,
        secondary_status=visits[-1][0],
        created_at=T0,
        last_modified_at=transitions[-1].started_at,
        training_started_at=started,
        is_spot=True,
        checkpoint_uri="s3://b/c",
        transitions=transitions,
        **fields,
    )


def test_waiting_ends_when_the_reserve_would_be_touched() -> None:
    deadline = deadline_in(10 * HOUR)
    outlook = DeadlineGuard(deadline=deadline).outlook(at(HOUR), job((STARTING, 0)))
    assert outlook.on_demand_at is not None
    latest = deadline.latest_on_demand_start(0)
    assert outlook.latest_on_demand_start == latest
    assert (latest - outlook.on_demand_at).total_seconds() == 60
    assert "of slack left, on-demand must start by" in str(outlook)


def test_each_launch_of_an_attempt_that_is_over_has_lost_what_came_after_its_last_checkpoint() -> None:
    def attempt(**facts: Any) -> Attempt:
        values = {"number": 1, "step": 0, "job_name": "job", "purchase": PurchaseOption.SPOT, "reason": ""}
        return Attempt(**{**values, "ending": Ending.OUT_OF_WAIT, "has_checkpoints": True, **facts})

    assert kept_by_attempts([attempt(work_seconds=1000)], 600) == 400
    assert kept_by_attempts([attempt(work_seconds=2000, interruptions=2)], 600) == 200
    assert kept_by_attempts([attempt(work_seconds=500)], 600) == 0
    assert kept_by_attempts([attempt(work_seconds=1000, has_checkpoints=False)], 600) == 0
    assert kept_by_attempts([attempt(work_seconds=1000)] * 2, 600) == 800


@pytest.mark.parametrize(
    "text", ["1h " * 5000, "2026-11-23T06:00:00Z" + " " * 5000], ids=["duration", "time"]
)
def test_a_deadline_of_pages_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^deadline is .*characters") as refused:
        deadline_from(text, run_started_at=T0)
    assert len(str(refused.value)) < 400


def test_a_run_time_may_be_a_fraction_of_a_second_and_not_nothing() -> None:
    assert Runtime(mean_seconds=0.5, high_seconds=0.5).mean_seconds == 0.5
    with pytest.raises(InvalidInput):
        Runtime(mean_seconds=0, high_seconds=1)
    with pytest.raises(InvalidInput):
        Runtime(mean_seconds=2, high_seconds=1)


def test_a_run_that_takes_as_long_as_anybody_said_is_left_alone() -> None:
    """On-demand would only add a launch. Its own launch has no checkpoint yet, and the deadline is near."""
    now = 2 * HOUR
    spot = job((STARTING, now - 300), (DOWNLOADING, now - 200), (TRAINING, now - 100))

    def on_demand_in(kept: float) -> float | None:
        guard = DeadlineGuard(deadline=deadline_in(now + 300), kept_seconds=kept)
        return guard.outlook(at(now), spot).on_demand_in_seconds

    assert on_demand_in(3 * HOUR) is None
    assert on_demand_in(3 * HOUR - 1) == 0


def test_no_slack_is_left_at_the_last_moment_itself() -> None:
    deadline = deadline_in(10 * HOUR)
    latest = deadline.latest_on_demand_start(0)
    assert str(DeadlineGuard(deadline=deadline).outlook(latest)).startswith("no slack is left")
    before = DeadlineGuard(deadline=deadline).outlook(latest - timedelta(minutes=1))
    assert str(before).startswith("1 min of slack left")


@pytest.mark.parametrize("kept", [0, 600, 1.5 * HOUR, 2.5 * HOUR, 4 * HOUR])
@pytest.mark.parametrize("waits", [True, False], ids=["a job that waits", "no job"])
def test_on_demand_is_due_a_tick_before_the_last_moment(kept: float, waits: bool) -> None:
    """Also where the work kept is more than the mean of the work, or more than anybody expected of it."""
    deadline = deadline_in(10 * HOUR)
    guard = DeadlineGuard(deadline=deadline, kept_seconds=kept)
    outlook = guard.outlook(at(HOUR), job((STARTING, 0)) if waits else None)
    left = max(0.0, 3 * HOUR - kept)
    reserve = deadline.reserve
    last = 10 * HOUR - left - reserve.launch_high_seconds - reserve.besides_launch_seconds
    assert outlook.slack_seconds == last - HOUR
    assert outlook.on_demand_in_seconds == last - HOUR - 60
    assert outlook.reason.startswith("the last moment for the deadline: ")


def test_the_same_moment_is_named_whenever_it_is_asked_for() -> None:
    guard = DeadlineGuard(deadline=deadline_in(10 * HOUR))
    moments = {guard.outlook(at(now), job((STARTING, 0))).on_demand_at for now in (0, 1, 1234, 4 * HOUR)}
    assert len(moments) == 1


@pytest.mark.parametrize("late", [0, 1, HOUR])
def test_after_the_last_moment_on_demand_is_due_now(late: float) -> None:
    deadline = deadline_in(10 * HOUR)
    now = deadline.latest_on_demand_start(0) + timedelta(seconds=late)
    outlook = DeadlineGuard(deadline=deadline).outlook(now, job((STARTING, 0)))
    assert (outlook.on_demand_in_seconds, outlook.is_time_for_on_demand) == (0, True)


def test_training_with_checkpoints_goes_on_as_long_as_there_is_slack() -> None:
    guard = DeadlineGuard(deadline=deadline_in(10 * HOUR))
    running = job((STARTING, 0), (DOWNLOADING, 300), (TRAINING, 600))
    assert guard.outlook(at(2 * HOUR), running).on_demand_in_seconds is None


def test_training_just_begun_with_little_slack_may_not_outlast_it_before_its_first_checkpoint() -> None:
    deadline = deadline_in(10 * HOUR)
    began = (deadline.latest_on_demand_start(0) - T0).total_seconds() - 300
    running = job((STARTING, 0), (DOWNLOADING, began - 60), (TRAINING, began))
    outlook = DeadlineGuard(deadline=deadline).outlook(at(began), running)
    assert outlook.on_demand_in_seconds == pytest.approx(300, abs=1)


@pytest.mark.parametrize(("trained", "slack", "due_in"), [(400, 201, None), (400, 200, 200), (0, -5, 0)])
def test_training_is_left_only_if_its_first_checkpoint_comes_too_late(
    trained: float, slack: float, due_in: float | None
) -> None:
    """Checkpoints are expected every 600 s."""
    deadline = deadline_in(10 * HOUR)
    now = (deadline.latest_on_demand_start(0) - T0).total_seconds() - slack
    running = job((STARTING, 0), (DOWNLOADING, now - trained - 60), (TRAINING, now - trained))
    outlook = DeadlineGuard(deadline=deadline).outlook(at(now), running)
    assert outlook.on_demand_in_seconds == (None if due_in is None else pytest.approx(due_in))


def test_a_run_that_overran_by_nothing_is_left_alone_already() -> None:
    guard = DeadlineGuard(deadline=deadline_in(4 * HOUR), kept_seconds=3 * HOUR)
    running = job((STARTING, 0), (DOWNLOADING, 300), (TRAINING, 4 * HOUR))
    assert guard.outlook(at(4 * HOUR), running).on_demand_in_seconds is None


@pytest.mark.parametrize(
    ("status", "secondary"),
    [
        (TrainingStatus.STOPPING, SecondaryStatus.STOPPING),
        (TrainingStatus.IN_PROGRESS, SecondaryStatus.UPLOADING),
    ],
)
def test_a_job_that_is_ending_makes_no_room(status: TrainingStatus, secondary: SecondaryStatus) -> None:
    deadline = deadline_in(10 * HOUR)
    ending = replace(job((STARTING, 0), (TRAINING, 600), (secondary, HOUR)), status=status)
    outlook = DeadlineGuard(deadline=deadline).outlook(deadline.at, ending)
    assert (outlook.on_demand_in_seconds, outlook.reason) == (None, "the job is about to end")


def test_the_last_moment_says_what_is_left_and_what_is_kept_free() -> None:
    guard = DeadlineGuard(deadline=deadline_in(10 * HOUR), kept_seconds=HOUR)
    assert guard.outlook(T0).reason == (
        "the last moment for the deadline: 2 h of work left, 32 min reserved to start on-demand"
    )


def test_training_without_checkpoints_has_to_be_left_in_time() -> None:
    guard = DeadlineGuard(deadline=deadline_in(10 * HOUR), has_checkpoints=False)
    running = job((STARTING, 0), (DOWNLOADING, 300), (TRAINING, 600))
    outlook = guard.outlook(at(2 * HOUR), running)
    assert outlook.latest_on_demand_start == guard.deadline.latest_on_demand_start(0)
    assert outlook.on_demand_in_seconds is not None


def test_a_run_that_takes_longer_than_anybody_said_is_left_alone() -> None:
    guard = DeadlineGuard(deadline=deadline_in(6 * HOUR))
    running = job((STARTING, 0), (DOWNLOADING, 300), (TRAINING, 600))
    assert guard.outlook(at(5.9 * HOUR), running).on_demand_in_seconds is None  # 3 h were the most expected


def test_work_kept_by_earlier_attempts_moves_the_latest_start() -> None:
    deadline = deadline_in(10 * HOUR)
    earlier, later = deadline.latest_on_demand_start(0), deadline.latest_on_demand_start(HOUR)
    assert later - earlier == timedelta(hours=1)


@pytest.mark.parametrize(
    ("begins_before_the_last_moment", "waited", "due_in"),
    [(320, 10, 290), (320, 200, 100), (320, 310, 0), (100, 10, 90), (5000, 10, 4930)],
)
def test_an_ordinary_start_is_not_taken_for_want_of_capacity(
    begins_before_the_last_moment: float, waited: float, due_in: float
) -> None:
    """A start takes 300 s: until then the job is given the last tick, too, but never more than there is."""
    deadline = deadline_in(10 * HOUR)
    began = (deadline.latest_on_demand_start(0) - T0).total_seconds() - begins_before_the_last_moment
    outlook = DeadlineGuard(deadline=deadline).outlook(at(began + waited), job((STARTING, began)))
    assert outlook.on_demand_in_seconds == pytest.approx(due_in)


def test_a_job_that_had_started_before_gets_no_benefit_of_the_doubt() -> None:
    deadline = deadline_in(10 * HOUR)
    last = (deadline.latest_on_demand_start(0) - T0).total_seconds()
    interrupted = job((STARTING, 0), (DOWNLOADING, last - 600), (INTERRUPTED, last - 50))
    assert DeadlineGuard(deadline=deadline).outlook(at(last - 40), interrupted).on_demand_in_seconds == 0


def test_a_deadline_that_is_late_from_the_start_means_on_demand_now() -> None:
    guard = DeadlineGuard(deadline=deadline_in(60, is_late=True))
    assert guard.outlook(T0).is_time_for_on_demand


def test_a_deadline_survives_json() -> None:
    deadline = deadline_in(10 * HOUR, reserve=Reserve(extra_seconds=5))
    assert Deadline.from_json(deadline.to_json()) == deadline


# --- whatever the market does ---------------------------------------------------------------------------

STEP = 30


@settings(max_examples=150)
@given(
    intervals=st.lists(st.integers(1, 8 * HOUR), min_size=1, max_size=40),
    starts_with_spot=st.booleans(),
    work=st.integers(600, 6 * HOUR),
    room=st.integers(0, 12 * HOUR),
    checkpoint_every=st.integers(30, 600),
    has_checkpoints=st.booleans(),
)
def test_on_demand_always_finishes_in_time_even_if_everything_goes_wrong(
    intervals: list[int],
    starts_with_spot: bool,
    work: int,
    room: int,
    checkpoint_every: int,
    has_checkpoints: bool,
) -> None:
    """Capacity comes and goes; stopping, noticing, a refusal and the launch take all they may."""
    reserve = Reserve()
    need = work + reserve.launch_high_seconds + reserve.besides_launch_seconds
    deadline = deadline_in(need + room + STEP, mean=work * 0.8, high=work, reserve=reserve)
    guard = DeadlineGuard(deadline=deadline, has_checkpoints=has_checkpoints)
    finish = _walk(guard, intervals, starts_with_spot, work, checkpoint_every)
    assert finish <= deadline.at


def _walk(
    guard: DeadlineGuard, intervals: list[int], starts_with_spot: bool, work: int, checkpoint_every: int
) -> datetime:
    """When the training is over: on spot if it gets there, else on demand from what is really saved."""
    visits: list[tuple[SecondaryStatus, float]] = [(STARTING, 0)]
    saved, done, now = 0.0, 0.0, 0.0
    has_spot, left = starts_with_spot, float(intervals[0])
    following = iter(intervals[1:])
    while True:
        outlook = guard.outlook(at(now), job(*visits))
        if outlook.on_demand_in_seconds is not None and outlook.on_demand_in_seconds <= STEP:
            reserve = guard.deadline.reserve
            start = (
                now
                + outlook.on_demand_in_seconds
                + reserve.besides_launch_seconds
                + reserve.launch_high_seconds
            )
            return at(start + work - (saved if guard.has_checkpoints else 0))
        status = visits[-1][0]
        if has_spot and status in {STARTING, INTERRUPTED}:
            visits.append((DOWNLOADING, now))
        elif has_spot and status is DOWNLOADING and now - visits[-1][1] >= 120:
            visits.append((TRAINING, now))
            done = saved if guard.has_checkpoints else 0.0
        elif status is TRAINING:
            done += STEP
            saved = max(saved, done - done % checkpoint_every)
            if done >= work:
                return at(now)
        if not has_spot and visits[-1][0] in {DOWNLOADING, TRAINING}:
            visits.append((INTERRUPTED, now))
        now += STEP
        left -= STEP
        if left <= 0:
            has_spot, left = not has_spot, float(next(following, 100 * HOUR))


# --- what users write -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-03-02T06:00:00Z", datetime(2026, 3, 2, 6, tzinfo=UTC)),
        ("2026-03-02 07:00:00+01:00", datetime(2026, 3, 2, 6, tzinfo=UTC)),
        ("12h", at(12 * HOUR)),
        (timedelta(hours=12), at(12 * HOUR)),
        (7200, at(2 * HOUR)),
        (datetime(2026, 3, 2, 6, tzinfo=UTC), datetime(2026, 3, 2, 6, tzinfo=UTC)),
        ("2026-03-02T07:00:00[Europe/Berlin]", datetime(2026, 3, 2, 6, tzinfo=UTC)),
        ("2026-03-02T07:00:00 Europe/Berlin", datetime(2026, 3, 2, 6, tzinfo=UTC)),
        ("2026-07-06 08:00 Europe/Berlin", datetime(2026, 7, 6, 6, tzinfo=UTC)),
        (" 2026-03-02T06:00 UTC ", datetime(2026, 3, 2, 6, tzinfo=UTC)),
        ("2026-03-02T02:00[America/Argentina/Buenos_Aires]", datetime(2026, 3, 2, 5, tzinfo=UTC)),
    ],
)
def test_a_deadline_is_a_time_with_a_zone_or_a_duration(said: object, meant: datetime) -> None:
    assert deadline_from(said, run_started_at=T0) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-10-25T02:30:00 Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-03-29T02:30:00 Europe/Berlin", datetime(2026, 3, 29, 0, 30, tzinfo=UTC)),
        ("2026-11-01T01:30:00[America/New_York]", datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
        ("2026-03-08T02:30:00[America/New_York]", datetime(2026, 3, 8, 6, 30, tzinfo=UTC)),
    ],
    ids=["twice in Berlin", "never in Berlin", "twice in New York", "never in New York"],
)
def test_a_time_that_a_clock_shows_twice_or_skips_is_the_earlier_moment(said: str, meant: datetime) -> None:
    assert deadline_from(said, run_started_at=T0) == meant


@pytest.mark.parametrize("unit", [" ", "-", "[", "a ", "2026-03-02T06:00:00 "])
def test_a_deadline_of_any_length_is_refused_at_once(unit: str) -> None:
    text = "2026-03-02" + unit * (200_000 // len(unit)) + "!"
    with pytest.raises(InvalidInput, match=r"^deadline is .*the limit is 200; give a time") as refused:
        deadline_from(text, run_started_at=T0)
    assert len(str(refused.value)) < 300


def test_what_the_limit_lets_through_is_split_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "LONGEST_TEXT", 10**9)
    for unit in (" ", "[", "a ", "\t"):
        with pytest.raises(InvalidInput, match=r"^deadline is"):
            deadline_from("2026-03-02" + unit * 200_000 + "!", run_started_at=T0)


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        ("2026-03-02T06:00:00 Europe/Berlyn", "'Europe/Berlyn' is not a known time zone"),
        ("2026-03-02T06:00:00[Europe]", "'Europe' is not a known time zone"),
        ("2026-03-02T06:00:00[../../etc/passwd]", "is not a known time zone"),
        ("2026-13-02T06:00:00 Europe/Berlin", "'2026-13-02T06:00:00' is not a time"),
        ("2026-03-02T06:00:00+02:00[Europe/Berlin]", "not both"),
        ("2026-03-02T06:00:00Z UTC", "not both"),
        ("0001-01-01T00:00:00 Europe/Berlin", "within ten years"),
        ("9999-12-31T23:59:59[Europe/Berlin]", "within ten years"),
    ],
)
def test_a_zone_that_does_not_fit_is_refused(said: str, way_out: str) -> None:
    with pytest.raises(InvalidInput, match=f"deadline is .*{re.escape(way_out)}"):
        deadline_from(said, run_started_at=T0)


@pytest.mark.parametrize(
    "said",
    [
        "2026-03-02T06:00:00",
        "2026-03-02T06:00:00[]",
        "monday",
        "-3h",
        0,
        -1,
        [],
        {},
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_a_deadline_that_is_none_is_refused(said: object) -> None:
    with pytest.raises(InvalidInput, match="deadline is"):
        deadline_from(said, run_started_at=T0)


@pytest.mark.parametrize(
    ("said", "mean", "high"),
    [
        ("4h", 4, 4),
        (7200, 2, 2),
        ({"mean": "3h", "high": "4h"}, 3, 4),
        ({"high": "4h"}, 4, 4),
        ({"mean": "4h"}, 4, 4.6),
    ],
)
def test_an_expected_runtime_is_one_value_or_two(said: object, mean: float, high: float) -> None:
    runtime = runtime_from(said)
    assert runtime is not None
    assert (runtime.mean_seconds, runtime.high_seconds) == pytest.approx((mean * HOUR, high * HOUR))


@pytest.mark.parametrize(
    "said", ["soon", 0, {"mean": "5h", "high": "4h"}, {"median": "4h"}, {"checkpoint_every": "5m"}, [4]]
)
def test_an_expected_runtime_that_is_none_is_refused(said: object) -> None:
    with pytest.raises(InvalidInput, match="expected_runtime"):
        runtime_from(said)


def test_nothing_said_of_the_runtime_means_it_is_learned() -> None:
    assert runtime_from(None) is runtime_from("") is None


def test_only_what_a_checkpoint_may_hold_is_counted_as_kept() -> None:
    visits = job((STARTING, 0), (TRAINING, 100), (INTERRUPTED, 2100), (TRAINING, 3000)).transitions
    assert kept_by_visits(visits, at(3300), 600) == 1400
    assert kept_by_visits(visits, at(4000), 600) == 1400 + 400


def test_a_refused_launch_is_kept_free_besides_everything_else() -> None:
    """15 minutes of asking again, 5 to stop the spot job, 2 to notice, and what a person adds."""
    assert Reserve().besides_launch_seconds == 900 + 300 + 120
    assert Reserve(extra_seconds=60).besides_launch_seconds == 900 + 300 + 120 + 60
    assert Reserve(refusal_seconds=0).besides_launch_seconds == 300 + 120
