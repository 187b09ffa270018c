"""A training and what is seen of its checkpoints: who looks, what a stall does, and what the guard counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from spot_training.dashboard.timeline import timeline_of
from spot_training.domain.checkpoint_looks import Checkpoint
from spot_training.domain.checkpoints_seen import SeenCheckpoints, SeenLaunch, last_visit
from spot_training.domain.deadline import Deadline, DeadlineGuard, Reserve, Runtime
from spot_training.domain.errors import OutOfSteps, ServiceFailed
from spot_training.domain.lifecycle import Ending, JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from spot_training.domain.stop_reasons import StopReason
from spot_training.ledger import Ledger
from spot_training.training.driver import Completed, Waiting
from spot_training.training.host import CheckpointOptions
from spot_training.training.state import TrainingState, load_state
from tests.cloud import HOUR, Cloud, make_config
from tests.records import T0

from .support import Training, follow_step

LONG = make_config(
    StoppingCondition={"MaxRuntimeInSeconds": 20 * 86400, "MaxWaitTimeInSeconds": 27 * 86400},
    Environment={"LOCAL_TRAINING_SECONDS": str(15 * 86400)},
)
WATCHED = CheckpointOptions(is_wanted=True, pattern="*.json", given_seconds=600)
BECAUSE = "uploads have stalled: 40 min of training without a new checkpoint"


class Watched(Training):
    """A training whose checkpoints are seen."""

    options = WATCHED
    is_stop_wanted = False

    def __init__(self, cloud: Cloud, ledger: Ledger, **overrides: Any) -> None:
        super().__init__(cloud, ledger, **{"config": LONG, **overrides})
        self.stalls: list[Any] = []
        self.said: list[str] = []
        self.looks: list[JobSnapshot] = []
        self.make_look: Callable[..., SeenCheckpoints] = lambda _job, what: what.seen

    def process(self) -> Any:
        driver, books = super().process()
        host: Any = driver.training.host
        host.checkpoints, host.is_stop_wanted = self.options, self.is_stop_wanted
        host.stalls, host.said = self.stalls, self.said

        def look(job: JobSnapshot, what: Any) -> SeenCheckpoints:
            self.looks.append(job)
            return self.make_look(job, what)

        host.make_look = look
        return driver, books

    def wait_for(self) -> Waiting:
        step = self.step()
        assert isinstance(step, Waiting)
        return step

    def until_it_trains(self) -> Waiting:
        while True:
            step = self.wait_for()
            if step.job.secondary_status is SecondaryStatus.TRAINING:
                return step

    def until_the_next_attempt(self) -> Waiting:
        count, step = len(self.state.attempts), self.wait_for()
        while len(self.state.attempts) == count:
            follow_step(self.jobs, step)
            step = self.wait_for()
        return step

    def saw(self, seen: SeenCheckpoints) -> None:
        """As a process does that resumes with the trigger's event."""
        driver, _ = self.process()
        driver.saw_checkpoints(seen)

    @property
    def state(self) -> TrainingState:
        state = load_state(self.store)
        assert state is not None
        return state


def _seen(job: JobSnapshot, *, saved: float = 3600, is_stalled: bool = False) -> SeenCheckpoints:
    visit = last_visit(job)
    assert visit is not None
    at = visit.started_at + timedelta(seconds=saved + 30)
    return SeenCheckpoints(
        launches=(SeenLaunch(began_at=visit.started_at, saved_seconds=saved, arrivals=(saved + 30,)),),
        saved=(Checkpoint(name="progress.json", began_at=at, arrived_at=at),),
        looked_at=at + timedelta(hours=1),
        stalled_at=at + timedelta(hours=1) if is_stalled else None,
        stalled_because=BECAUSE if is_stalled else "",
    )


@pytest.fixture
def training(cloud: Cloud, ledger: Ledger) -> Watched:
    return Watched(cloud, ledger)


def test_nobody_looks_without_being_asked_to(cloud: Cloud, ledger: Ledger) -> None:
    training = Watched(cloud, ledger, config=make_config())
    training.options = CheckpointOptions()
    while isinstance(step := training.step(), Waiting):
        assert step.checkpoints is None
        follow_step(training.jobs, step)
    assert isinstance(step, Completed)
    assert training.looks == []
    assert "checkpoints" not in training.state.to_json()


@pytest.mark.parametrize(
    ("wanted", "has_deadline", "looks"),
    [
        (None, True, True),
        (None, False, False),
        (True, False, True),
        (False, True, False),
    ],
)
def test_a_deadline_or_the_author_asks_for_looks(
    cloud: Cloud, ledger: Ledger, *, wanted: bool | None, has_deadline: bool, looks: bool
) -> None:
    training = Watched(cloud, ledger)
    training.options = replace(WATCHED, is_wanted=wanted)
    step = training.wait_for()
    if has_deadline:
        driver, _ = training.process()
        driver.training.save(replace(driver.state, deadline=_deadline()))
        step = training.wait_for()
    assert (step.checkpoints is not None) == looks
    if step.checkpoints is not None:
        assert (step.checkpoints.pattern, step.checkpoints.given_seconds) == ("*.json", 600)
        assert step.checkpoints.uri == step.job.checkpoint_uri


def test_without_checkpoints_there_is_nothing_to_look_at(cloud: Cloud, ledger: Ledger) -> None:
    config = {name: value for name, value in LONG.items() if name != "CheckpointConfig"}
    step = Watched(cloud, ledger, config=config).step()
    assert isinstance(step, Waiting)
    assert step.checkpoints is None


def test_what_was_seen_is_kept_for_the_next_process(training: Watched) -> None:
    step = training.until_it_trains()
    seen = _seen(step.job)
    training.saw(seen)
    assert training.state.checkpoints == seen
    assert training.state.version == 2, "a version that knows no checkpoints reads it, and keeps them"
    training.saw(replace(seen, looked_at=seen.looked_at and seen.looked_at - timedelta(hours=1), launches=()))
    assert training.state.checkpoints == seen, "an older view changes nothing"
    step = training.wait_for()
    assert step.checkpoints is not None
    assert step.checkpoints.seen == seen
    assert training.stalls == []


def test_stalled_uploads_are_reported_once_in_log_and_record(training: Watched, ledger: Ledger) -> None:
    step = training.until_it_trains()
    training.saw(_seen(step.job, is_stalled=True))
    for _ in range(2):
        step = training.wait_for()
        assert step.checkpoints is not None
        assert not step.checkpoints.must_wake(step.checkpoints.seen)
    assert len(training.stalls) == 1
    assert training.stalls[0]["training_job_name"] == step.job.name
    assert training.stalls[0]["reason"] == BECAUSE
    assert [BECAUSE in line for line in training.said].count(True) == 1
    with ledger.read() as reader:
        (record,) = reader.records()
    assert [d.action for d in record.decisions] == ["start", "uploads stalled"]
    assert record.current_job is not None
    assert record.current_job.stalled_at is not None
    assert record.current_job.saved_at is not None


def test_the_page_says_what_is_saved_and_that_uploads_have_stalled(training: Watched, ledger: Ledger) -> None:
    step = training.until_it_trains()
    for is_stalled, says in ((False, "Saved is the work until 20"), (True, "Its uploads have stalled: no")):
        seen = _seen(step.job, is_stalled=is_stalled)
        moved = seen.looked_at and seen.looked_at + timedelta(seconds=is_stalled)
        training.saw(replace(seen, looked_at=moved))
        training.wait_for()
        with ledger.read() as reader:
            (record,) = reader.records()
        timeline = timeline_of(record, now=training.jobs.now())
        assert says in timeline.summary
    assert "uploads stalled" in [mark.action for mark in timeline.marks]


def test_a_new_stall_is_reported_again(training: Watched) -> None:
    step = training.until_it_trains()
    training.saw(seen := _seen(step.job, is_stalled=True))
    training.step()
    assert seen.stalled_at is not None
    later = seen.stalled_at + timedelta(hours=5)
    training.saw(replace(seen, looked_at=later, stalled_at=later))
    training.step()
    assert len(training.stalls) == 2


def test_stop_ends_the_job_as_a_spot_cause_and_the_policy_goes_on(training: Watched, ledger: Ledger) -> None:
    step = training.until_it_trains()
    training.is_stop_wanted = True
    training.saw(_seen(step.job, is_stalled=True))
    step = training.until_the_next_attempt()
    (attempt,) = training.state.attempts
    assert attempt.ending is Ending.UPLOADS_STALLED
    assert step.job.name != attempt.job_name
    assert "reached S3 any longer" in (training.state.current.reason if training.state.current else "")
    assert training.state.version == 4
    with ledger.read() as reader:
        (record,) = reader.records()
    assert record.format == 4
    assert "its checkpoints no longer reached S3" in [d.reason for d in record.decisions]
    assert TrainingState.from_json(training.state.to_json()) == training.state


def test_on_demand_that_stalls_again_and_again_is_given_up(cloud: Cloud, ledger: Ledger) -> None:
    training = Watched(cloud, ledger, policy="on_demand")
    training.is_stop_wanted = True

    def stall() -> None:
        training.saw(_seen(training.until_it_trains().job, is_stalled=True))
        training.until_the_next_attempt()

    stall()
    stall()
    with pytest.raises(OutOfSteps, match="no checkpoint reached S3"):
        stall()
    assert [a.ending for a in training.state.attempts] == [Ending.UPLOADS_STALLED] * 3


def test_a_job_of_somebody_else_is_reported_and_not_stopped(cloud: Cloud, ledger: Ledger) -> None:
    cloud.client("sagemaker").create_training_job(
        **LONG, TrainingJobName="theirs", EnableManagedSpotTraining=True
    )
    training = Watched(cloud, ledger)
    training.adopt, training.is_stop_wanted = "theirs", True
    step = training.until_it_trains()
    training.saw(_seen(step.job, is_stalled=True))
    step = training.wait_for()
    assert len(training.stalls) == 1
    assert step.job.secondary_status is SecondaryStatus.TRAINING


def test_a_stop_that_fails_is_tried_again(training: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    step = training.until_it_trains()
    training.is_stop_wanted = True
    training.saw(_seen(step.job, is_stalled=True))

    def fail(*_args: Any, **_options: Any) -> bool:
        raise ServiceFailed("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(type(training.jobs), "stop", fail)
        step = training.wait_for()
    assert step.checkpoints is not None
    assert step.checkpoints.must_wake(step.checkpoints.seen)
    training.step()
    assert len(training.stalls) == 2
    assert training.state.checkpoints is not None
    assert training.state.checkpoints.reported_at is not None


def test_the_last_checkpoint_of_a_job_that_is_over_counts(training: Watched) -> None:
    step = training.until_it_trains()
    training.saw(_seen(step.job, saved=1))
    training.make_look = lambda job, _what: _seen(job, saved=2)
    assert training.jobs.stop(step.job.name, StopReason.DEADLINE)
    training.until_the_next_attempt()
    assert len(training.looks) == 1
    (attempt,) = training.state.attempts
    seen = training.state.checkpoints
    assert seen is not None
    assert seen.kept_by_attempts([attempt], 600) == 2


def test_a_last_look_that_fails_fails_nothing(training: Watched) -> None:
    step = training.until_it_trains()
    seen = _seen(step.job, saved=3600)
    training.saw(seen)

    def fail(*_: Any) -> SeenCheckpoints:
        raise ServiceFailed("no answer")

    training.make_look = fail
    training.jobs.stop(step.job.name, StopReason.DEADLINE)
    training.until_the_next_attempt()
    assert any("could not be looked at" in line for line in training.said)
    assert training.state.checkpoints == seen


# --- the guard -------------------------------------------------------------------------------------------


def _deadline(work: float = 4 * HOUR, hours: float = 10.0) -> Deadline:
    return Deadline(
        at=T0 + timedelta(hours=hours),
        submitted_at=T0,
        runtime=Runtime(mean_seconds=work, high_seconds=work),
        reserve=Reserve(launch_high_seconds=600, stop_seconds=0, notice_seconds=0, refusal_seconds=0),
    )


def _job(began: float) -> JobSnapshot:
    visit = Transition(status=SecondaryStatus.TRAINING, started_at=T0 + timedelta(seconds=began))
    return JobSnapshot(
        name="job",
        arn="arn",
        status=TrainingStatus.IN_PROGRESS,
        secondary_status=SecondaryStatus.TRAINING,
        created_at=T0,
        last_modified_at=T0,
        training_started_at=visit.started_at,
        is_spot=True,
        transitions=(visit,),
    )


def test_with_seen_checkpoints_only_what_is_saved_is_done() -> None:
    """The assumption says two hours less ten minutes. S3 has one hour."""
    job, now = _job(0), T0 + timedelta(hours=2)
    assumed = DeadlineGuard(deadline=_deadline())
    seen = replace(assumed, seen=_seen(job, saved=3600))
    assert assumed.outlook(now, job).slack_seconds == (10 - 2 - 4 + 2) * HOUR - 600 - 600
    assert seen.outlook(now, job).slack_seconds == (10 - 2 - 4 + 1) * HOUR - 600


def test_a_running_job_whose_checkpoints_stall_is_stopped_at_the_last_moment() -> None:
    """The assumption never stops it, and an interruption after that would miss the deadline."""
    job = _job(0)
    guard = DeadlineGuard(deadline=_deadline(hours=5.5))
    later = T0 + timedelta(hours=3)
    assert guard.outlook(later, job).on_demand_in_seconds is None
    seen = replace(guard, seen=_seen(job, saved=3600))
    outlook = seen.outlook(later, job)
    assert outlook.is_time_for_on_demand
    earlier = seen.outlook(T0 + timedelta(hours=2), job)
    assert earlier.on_demand_in_seconds == (5.5 - 2 - 3) * HOUR - 600
    assert not replace(guard, seen=_seen(job, saved=2.9 * HOUR)).outlook(later, job).is_time_for_on_demand


def test_the_guard_keeps_the_time_to_restore_what_is_saved() -> None:
    job, now = _job(0), T0 + timedelta(hours=2)
    guard = DeadlineGuard(deadline=_deadline(), seen=_seen(job))
    large = replace(guard, seen=replace(_seen(job), size_bytes=60_000_000_000))
    assert guard.outlook(now, job).slack_seconds - large.outlook(now, job).slack_seconds == 600


def test_a_launch_that_nobody_looked_at_counts_as_before() -> None:
    job, now = _job(0), T0 + timedelta(hours=2)
    assumed = DeadlineGuard(deadline=_deadline())
    assert replace(assumed, seen=SeenCheckpoints()).outlook(now, job) == assumed.outlook(now, job)


def test_a_run_that_takes_longer_than_expected_is_left_alone_once_that_is_saved() -> None:
    job, now = _job(0), T0 + timedelta(hours=5)
    guard = DeadlineGuard(deadline=_deadline(hours=5), seen=_seen(job, saved=4.1 * HOUR))
    assert guard.outlook(now, job).on_demand_in_seconds is None
