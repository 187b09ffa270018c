"""Carries one training to its end: stored state in, next step out.

The operator and the sensor both drive with it. It decides nothing about steps (the policy does), waits for
no job (the watcher does) and knows no Airflow. It makes sure that what the policy decided happens exactly
once, whoever dies in between.

    proceed        tries.py       a new try, a clear, a new generation
      advance      describing.py  the live job: what SageMaker says of it
                   stopping.py    who stopped it; our own stops
                   deciding.py    what comes next (deadline.py: against the deadline)
                   creating.py    the intent, then CreateTrainingJob (adoption.py: jobs of a lost state)
                   scouting.py    other instance types with capacity
                   way_back.py    spot capacity while on-demand runs
                   checkpoints.py what is saved, and stalled uploads
                   outcome.py     the error of a training that did not complete
    after it       notices.py     what is worth a notice
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.ladder import Action
from spot_training.domain.lifecycle import Ending, JobSnapshot, ending_of
from spot_training.domain.messages import attempt_line
from spot_training.domain.savings import Attempt, attempt_of
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.descriptions import snapshot_of
from spot_training.sagemaker.jobs import TAG_SECONDS, TAG_SECONDS_WHEN_KILLED, TrainingJobs

from . import checkpoints, creating, scouting, stopping, tries, way_back
from .active import ActiveTraining
from .deadline import guard_of
from .deciding import decide_next
from .describing import describe
from .host import Host, NoRecorder, Recorder
from .outcome import error_of
from .progress import Completed, Progress, Waiting

if TYPE_CHECKING:
    from spot_training.domain.checkpoints_seen import SeenCheckpoints
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.request import TrainingPlan

    from .state import Intent, StateStore, TrainingState

__all__ = ["Completed", "Progress", "TrainingDriver", "Waiting"]


class TrainingDriver:
    """One training, from its stored state to its end.

    `host` is the task that runs it, `recorder` keeps its record. `identity` is that of the stored training.
    """

    def __init__(
        self,
        *,
        jobs: TrainingJobs,
        store: StateStore,
        identity: RunIdentity,
        host: Host,
        recorder: Recorder | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.jobs = jobs
        self.training = ActiveTraining(
            jobs=jobs,
            store=store,
            identity=identity,
            host=host,
            recorder=recorder or NoRecorder(),
            now=now,
            sleep=sleep,
        )
        self._starts_anew_once_over = False
        self._described: dict[str, Any] = {}

    @property
    def state(self) -> TrainingState:
        return self.training.state

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return self.state.attempts

    @property
    def live_job(self) -> str | None:
        """The name of the job that is alive, or may be."""
        return self.state.current.job_name if self.state.current else None

    @property
    def is_live_job_ours(self) -> bool:
        """Whether this task created the live job (a sensor also watches jobs that others started)."""
        return self.state.current is not None and not self.state.current.is_foreign

    @property
    def has_scouts(self) -> bool:
        """Whether scouts of this training may be alive."""
        return bool(self.state.scouts)

    def plan(self) -> TrainingPlan:
        """What the attempts of this generation ask for. Raises the `InvalidInput` of a bad request."""
        return self.training.plan()

    # Carrying on -----------------------------------------------------------------------------------

    def proceed(
        self, *, try_number: int, max_tries: int, clear_number: int | None = None, adopt: str | None = None
    ) -> Progress:
        """Start the training, or continue it after a deferral, a crash, a retry or a clear.

        `try_number` and `max_tries` are the task instance's, `clear_number` its Dag run's (None: not known).
        `adopt` names a job that was started elsewhere, to be taken as the first attempt. Returns and raises
        as `advance` does.
        """
        if try_number != self.state.try_number:
            self._starts_anew_once_over = tries.begin_try(
                self.training,
                try_number=try_number,
                max_tries=max_tries,
                clear_number=clear_number,
                adopt=adopt,
            )
        return self.advance()

    def advance(self) -> Progress:
        """Do what is due, until there is something to wait for or the training is over.

        Raises the `TrainingNotCompleted` that says why it ended otherwise; the attempts are on record then.
        """
        training = self.training
        while True:
            if (intent := self.state.current) is not None:
                waiting = self._look_after(intent)
                if waiting is not None:
                    return waiting
                if self.state.current is not None:
                    continue  # created only now, or found: there is nothing to decide
            training.leave_if_killed()
            decision = decide_next(training)
            match decision.action:
                case Action.START if reason := training.host.out_of_time():
                    training.save(replace(self.state, giving_up=reason))
                case Action.START:
                    scouting.call_back(training)
                    creating.start(training, decision)
                case Action.FINISH:
                    scouting.settle(training)
                    return self._complete()
                case Action.GIVE_UP:
                    scouting.settle(training)
                    training.save(replace(self.state, is_over=True))
                    raise error_of(self.state, decision)

    def _look_after(self, intent: Intent) -> Waiting | None:
        """Wait for the intent's job, or record it when it is over; create it if it was never created."""
        training = self.training
        if training.leaves_job:
            training.leave_if_killed()
        description = describe(training, intent)
        if description is None:
            creating.create_or_record_missing(training, intent)
            return None
        is_confirmed = intent.is_created or intent.is_foreign
        if not is_confirmed and not creating.claim(training, intent, description):
            return None
        job = snapshot_of(description)
        ending = ending_of(job)
        if ending is None:
            stopping.stop_again_if_given_up(training, job)
            call = (scouting if job.is_spot else way_back).look_after(training, job, intent)
            to_watch = checkpoints.look_after(
                training, job, intent, wake_after=call.saved_after if call else None
            )
            guard = guard_of(training, job, intent)
            scouts = tuple(scout.job_name for scout in self.state.scouts if scout.is_created)
            return Waiting(job=job, guard=guard, call=call, checkpoints=to_watch, scouts=scouts)
        self._record(job, intent, ending, description)
        return None

    def _record(self, job: JobSnapshot, intent: Intent, ending: Ending, description: dict[str, Any]) -> None:
        """Record an attempt that is over."""
        message = ""
        if ending is Ending.STOPPED_BY_USER and not intent.is_foreign:
            ending, message = stopping.who_stopped(self.training, job, intent)
        checkpoints.look_at_end(self.training, job, ending)
        attempt = attempt_of(
            job, number=intent.number, step=intent.step, reason=intent.reason, ending=ending, message=message
        )
        self.training.recorder.saw_end(job)
        self.training.save(self.state.with_attempt(attempt))
        if self._starts_anew_once_over:
            self._starts_anew_once_over = False
            scouting.settle(self.training)
            tries.start_anew(self.training)
            return
        self._described = description
        self.training.host.job_over(job, attempt)
        self.training.host.say(attempt_line(attempt))

    def saw_checkpoints(self, seen: SeenCheckpoints | None) -> None:
        """Take in what was seen of the live job's checkpoints while it was waited for."""
        checkpoints.take_in(self.training, seen)

    def _complete(self) -> Completed:
        name = self.attempts[-1].job_name
        is_at_hand = self._described.get("TrainingJobName") == name
        description = self._described if is_at_hand else self.jobs.describe(name) or {}
        self.training.save(replace(self.state, is_over=True, is_final=True))
        return Completed(description=description, attempts=self.attempts, scouts=self.state.scouts_over)

    # Stopping --------------------------------------------------------------------------------------

    def stop(self, why: StopReason, *, tag_within: float = TAG_SECONDS) -> bool:
        """Stop the job that is alive, if there is one. Returns whether there was something to stop."""
        return stopping.stop(self.training, why, tag_within=tag_within)

    def stop_scouts(self, why: StopReason) -> None:
        """Stop the scouts of a training that has no job now."""
        stopping.stop_scouts(self.training, why)

    def give_up(self, reason: str) -> None:
        """Stop the job for good; once it is over, `advance` records it and raises `TimedOutWaiting`."""
        self.training.save(replace(self.state, giving_up=reason))
        self.training.host.say(f"Giving up: {reason}.")
        self.stop(StopReason.TIME_LIMIT)

    def kill(self) -> bool:
        """Stop the live job because this process is being killed, also one that is being created just now."""
        self.start_nothing_more()
        return self.stop(StopReason.TASK_KILLED, tag_within=TAG_SECONDS_WHEN_KILLED)

    def start_nothing_more(self) -> None:
        """Airflow ended this process, and lets it run on for a while."""
        self.training.is_killed = True

    @property
    def leaves_job(self) -> bool:
        """Whether a later try looks after the job, and not this process."""
        return self.training.leaves_job

    def leave_job(self) -> None:
        """Start nothing more, and stop nothing: a later try of the task looks after the job."""
        self.training.is_killed = self.training.leaves_job = True

    # The end of the task ---------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Note that the task succeeds with its job alive: a clear after that job's end trains anew."""
        self.training.save(replace(self.state, is_handed_over=True))

    def remember_notices(self, keys: Iterable[str]) -> None:
        """Note that these notices are sent (`notices`)."""
        state = self.state
        self.training.save(replace(state, notified=(*state.notified, *keys)))

    def end_for_good(self) -> None:
        """Note that Airflow does not try again: if another try comes, a person cleared the task."""
        if self.state.is_over:
            self.training.save(replace(self.state, is_final=True))
