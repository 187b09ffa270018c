"""Carries one training to its end: stored state in, next step out.

The operator and the sensor both drive with it. It decides nothing about steps (the policy does), waits for
no job (the watcher does; here only a refusal is let rest) and knows no Airflow; it makes sure that what the
policy decided happens exactly once, whoever dies in between.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from spot_training.domain.deadline import Deadline, DeadlineGuard, Outlook, kept_by_attempts
from spot_training.domain.decide import (
    check_keeps_deadline,
    decide,
    end_watching,
    finish_if_complete,
    give_up_at_limit,
    is_complete,
    pause_before,
)
from spot_training.domain.errors import (
    AlgorithmFailed,
    BudgetSpent,
    ConnectionChanged,
    InvalidInput,
    MaxRuntimeReached,
    NotOurJob,
    OnDemandRefused,
    OutOfSteps,
    RequestRefused,
    ServiceFailed,
    SpotTrainingError,
    StoppedBySomeone,
    TaskKilled,
    TimedOutWaiting,
    TrainingNotCompleted,
)
from spot_training.domain.ladder import Action, Decision, Policy, Situation, Step
from spot_training.domain.lifecycle import (
    Ending,
    JobSnapshot,
    TrainingStatus,
    ending_of,
)
from spot_training.domain.messages import attempt_line, counted, deadline_line
from spot_training.domain.parsing import in_words
from spot_training.domain.savings import Attempt, PurchaseOption, SavingsStatement, attempt_of, statement_of
from spot_training.domain.stop_reasons import StopNote, StopReason, ending_of_stop
from spot_training.sagemaker.calls import Refusal
from spot_training.sagemaker.certainty import Answer, until_sure
from spot_training.sagemaker.descriptions import snapshot_of
from spot_training.sagemaker.identity import TAG_INTENT, TAG_KEY, RunIdentity, number_of
from spot_training.sagemaker.jobs import (
    TAG_SECONDS,
    TAG_SECONDS_WHEN_KILLED,
    CapacityRefused,
    Created,
    NameSpent,
    NoTagsYet,
    NotThereYet,
    TrainingJobs,
    check_is_ours,
)
from spot_training.sagemaker.request import TrainingPlan, max_runtime_of

from .host import Host, NoRecorder, OnRecord, Recorder
from .state import Intent, StateStore, TrainingState, load_state, save_state

log = logging.getLogger(__name__)

#: Where a process is about to be killed: as often as there is time for.
ASK_TAGS_WHEN_KILLED = 3
#: Names of jobs that were deleted leave gaps in a training's numbers.
MOST_MISSING_IN_A_ROW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job of this training is alive: wait until it is over, then call `advance` again.

    With a `guard` (a spot job, and a deadline) it is to be stopped when the guard says so; see `Punctual`.
    """

    job: JobSnapshot
    guard: DeadlineGuard | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The training is done. `description` is `DescribeTrainingJob`'s answer for the attempt that did it."""

    description: dict[str, Any]
    attempts: tuple[Attempt, ...]

    @property
    def statement(self) -> SavingsStatement:
        return statement_of(self.attempts)


Progress = Waiting | Completed


#: Which error tells the story of which ending, once the policy has given up.
_ERRORS: dict[Ending, type[TrainingNotCompleted]] = {
    Ending.NO_CAPACITY: OutOfSteps,
    Ending.OUT_OF_WAIT: OutOfSteps,
    Ending.CAPACITY_ERROR: OutOfSteps,
    Ending.QUOTA: OutOfSteps,
    Ending.MAX_RUNTIME: MaxRuntimeReached,
    Ending.STOPPED_BY_USER: StoppedBySomeone,
    Ending.STOPPED_FOR_DEADLINE: OutOfSteps,
    Ending.STOPPED_AT_TIME_LIMIT: TimedOutWaiting,
    Ending.STOPPED_WITH_TASK: StoppedBySomeone,
    Ending.ALGORITHM_ERROR: AlgorithmFailed,
    Ending.CLIENT_ERROR: RequestRefused,
    Ending.INTERNAL_ERROR: ServiceFailed,
}

_WHAT_TO_DO: dict[Ending, str] = {
    Ending.NO_CAPACITY: "Widen the wait, allow other instance types, or end the ladder on demand.",
    Ending.OUT_OF_WAIT: "Widen the wait, or end the ladder on demand.",
    Ending.CAPACITY_ERROR: "Allow other instance types, or try again later.",
    Ending.QUOTA: "Ask AWS Service Quotas for more of this instance type, or lower max_active_runs.",
    Ending.MAX_RUNTIME: "Raise MaxRuntimeInSeconds, or make the training shorter.",
    Ending.STOPPED_BY_USER: "Clear the task to train again.",
    Ending.STOPPED_AT_TIME_LIMIT: "Allow more time.",
    Ending.STOPPED_WITH_TASK: "Clear the task to train again.",
    Ending.STOPPED_FOR_DEADLINE: "End the policy on demand.",
    Ending.ALGORITHM_ERROR: "Fix the training script; it would fail the same way on any instance.",
    Ending.CLIENT_ERROR: "Correct what the request asks for.",
    Ending.INTERNAL_ERROR: "SageMaker failed, not the script: a retry may succeed.",
}


class TrainingDriver:
    """One training, from its stored state to its end.

    `host` is the task that runs it, `recorder` keeps its record. `identity` is that of the stored training,
    which keeps it to its end.
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
        self._store = store
        self._identity = identity
        self._host = host
        self._recorder: Recorder = recorder or NoRecorder()
        self._now = now
        self._sleep = sleep
        self._is_killed = False
        self.leaves_job = False
        """Whether a later try looks after the job, and not this process."""
        self._starts_anew_once_over = False
        self._described: dict[str, Any] = {}
        stored = load_state(store)
        if stored is not None:
            self._recorder.restored(stored)
        self.state = self._stored = stored or TrainingState()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return self.state.attempts

    @property
    def live_job(self) -> str | None:
        """The name of the job that is alive, or may be."""
        return self.state.current.job_name if self.state.current else None

    @property
    def is_live_job_ours(self) -> bool:
        """Whether this task created the live job (and not whoever started what a sensor watches)."""
        return self.state.current is not None and not self.state.current.is_foreign

    def proceed(
        self, *, try_number: int, max_tries: int, clear_number: int | None = None, adopt: str | None = None
    ) -> Progress:
        """Start the training, or pick it up where it stands: after a deferral, a crash, a retry or a clear.

        `try_number` and `max_tries` are the task instance's, `clear_number` its Dag run's (None: not known).
        `adopt` names a job that was started elsewhere, to be taken as the first attempt. Returns and raises
        as `advance` does.
        """
        if try_number != self.state.try_number:
            self._begin_try(try_number, max_tries, clear_number, adopt)
        return self.advance()

    def _begin_try(
        self, try_number: int, max_tries: int, clear_number: int | None, adopt: str | None
    ) -> None:
        state = self.state
        is_cleared = _is_cleared(state, max_tries=max_tries, clear_number=clear_number)
        if state.is_over and is_cleared:
            state = self._begin_generation()
        elif state.is_over and not (is_complete(state.attempts) or _was_stopped_by_a_person(state)):
            state = _climb_again(state)
        self._starts_anew_once_over = is_cleared and state.is_handed_over
        if state.current is None and adopt and not state.attempts:
            state = replace(state, current=_foreign_intent(adopt))
        if is_cleared:  # whoever clears a task gives it its time anew
            state = replace(state, began_at=None, giving_up=None)
        now = self._now()
        self.state = replace(
            state,
            try_number=try_number,
            max_tries=max_tries,
            clear_number=clear_number,
            installation=state.installation or self._identity.installation,
            began_at=state.began_at or now,
            try_began_at=now,
        )
        if state.current is not None:
            self._save(self.state)
        # Without a job it is saved with the next intent: a process that dies before that began nothing.

    def _begin_generation(self) -> TrainingState:
        """A person cleared a training that was over: new names, new checkpoints, a ledger of its own.

        One that had no job has left its names free, and they come first to whoever has lost the state.
        """
        had_jobs = any(not attempt.was_refused for attempt in self.state.attempts)
        generation = self.state.generation + had_jobs
        return TrainingState(
            generation=generation,
            installation=self._host.installation(),
            first_installation=self._who.first.installation if generation else "",
        )

    def advance(self) -> Progress:
        """Do what is to be done now, until there is something to wait for or the training is over.

        Raises the `TrainingNotCompleted` that tells why it ended otherwise; the attempts are on record then.
        """
        while True:
            if (intent := self.state.current) is not None:
                step = self._look_after(intent)
                if step is not None:
                    return step
                if self.state.current is not None:
                    continue  # created only now, or found: there is nothing to decide
            self._leave_if_killed()
            decision = self._decide()
            if self._pause_after_refusal(decision):
                decision = self._decide()
            match decision.action:
                case Action.START if reason := self._host.out_of_time():
                    self._save(replace(self.state, giving_up=reason))
                case Action.START:
                    self._start(decision)
                case Action.FINISH:
                    return self._complete()
                case Action.GIVE_UP:
                    self._save(replace(self.state, is_over=True))
                    raise self._error(decision)

    def stop(self, why: StopReason, *, tag_within: float = TAG_SECONDS) -> bool:
        """Stop the job that is alive, if there is one. Returns whether there was something to stop."""
        intent = self.state.current
        if intent is None or not self._may_be_stopped(intent):
            return False
        stopped = self.jobs.stop(
            intent.job_name,
            why,
            tag_within=tag_within,
            keep_reason=lambda note: self._keep_stop_note(intent.job_name, note),
        )
        if stopped:
            self._host.say(f"Stopped training job {intent.job_name}: billed until it has uploaded and ended.")
        return stopped

    def kill(self) -> bool:
        """Stop the live job because this process is being killed, also one that is being created just now."""
        self.start_nothing_more()
        return self.stop(StopReason.TASK_KILLED, tag_within=TAG_SECONDS_WHEN_KILLED)

    def _keep_stop_note(self, job_name: str, note: StopNote) -> None:
        """Where its tag was not written: into the state, or the ledger where a signal handler does it."""
        current = self.state.current
        if not self._is_killed and current is not None and current.job_name == job_name:
            with contextlib.suppress(Exception):  # the ledger keeps it then
                self._save(replace(self.state, current=current.with_stop(note)))
                return
        self._recorder.keep_stop(job_name, note)

    def start_nothing_more(self) -> None:
        """Airflow told this process to end, and lets it run on for a while."""
        self._is_killed = True

    def leave_job(self) -> None:
        """Start nothing more, and stop nothing: a later try of the task looks after the job."""
        self._is_killed = self.leaves_job = True

    def _leave_if_killed(self) -> None:
        if not self._is_killed:
            return
        if self.leaves_job:
            raise TaskKilled(
                "Airflow heard nothing from this try for too long and replaced it by a later one. "
                f"Training job {self.live_job} continues, and the later try waits for it."
            )
        raise TaskKilled(
            "This task was told to end: a person marked or cleared it, or its worker shuts down. Its "
            "training job is over or was stopped, and no other is started. "
            + _where_a_next_try_starts(self.state.attempts)
        )

    def end_for_good(self) -> None:
        """Note that Airflow does not try again: a try that comes all the same is a person's clear."""
        if self.state.is_over:
            self._save(replace(self.state, is_final=True))

    def give_up(self, reason: str) -> None:
        """Stop the job for good; once it is over, `advance` records it and raises `TimedOutWaiting`."""
        self._save(replace(self.state, giving_up=reason))
        self._host.say(f"Giving up: {reason}.")
        self.stop(StopReason.TIME_LIMIT)

    # One attempt -----------------------------------------------------------------------------------

    def _look_after(self, intent: Intent) -> Progress | None:
        """Wait for the job of the intent, or record it when it is over; create it if it never was."""
        if self.leaves_job:
            self._leave_if_killed()
        description = self._describe(intent)
        if description is None:
            self._deal_with_missing(intent)
            return None
        if not (intent.is_created or intent.is_foreign) and not self._claim(intent, description):
            return None
        job = snapshot_of(description)
        ending = ending_of(job)
        if ending is None:
            self._stop_again_if_given_up(job)
            return Waiting(job=job, guard=self._guard_of(job, intent))
        message = ""
        if ending is Ending.STOPPED_BY_USER and not intent.is_foreign:
            ending, message = self._who_stopped(job, intent)
        attempt = attempt_of(
            job,
            number=intent.number,
            step=intent.step,
            reason=intent.reason,
            ending=ending,
            message=message,
        )
        self._save(self.state.with_attempt(attempt))
        if self._starts_anew_once_over:
            self._start_anew()
            return None
        self._described = description
        self._host.job_over(job, attempt)
        self._host.say(attempt_line(attempt))
        return None

    def _start_anew(self) -> None:
        """A person cleared a task that had ended with its job alive, which is over by now."""
        self._starts_anew_once_over = False
        was, fresh = self.state, self._begin_generation()
        self._save(
            replace(
                fresh,
                try_number=was.try_number,
                max_tries=was.max_tries,
                clear_number=was.clear_number,
                began_at=was.began_at,
                try_began_at=was.try_began_at,
            )
        )

    def hand_over(self) -> None:
        """Note that the task ends well with its job alive: a clear after that job's end trains anew."""
        self._save(replace(self.state, is_handed_over=True))

    def _stop_again_if_given_up(self, job: JobSnapshot) -> None:
        """The process that gave up may have died before its stop, or the stop failed."""
        if self.state.giving_up and job.status is not TrainingStatus.STOPPING:
            self.stop(StopReason.TIME_LIMIT)

    def _who_stopped(self, job: JobSnapshot, intent: Intent) -> tuple[Ending, str]:
        """Which stop of ours a `Stopped` job's was, or a person's; and what to say of it, if anything.

        Only a reason of ours that is on record makes it ours. Where nobody can tell it is a person's, too:
        then nothing is started against somebody's will.
        """
        if self.state.giving_up:
            return Ending.STOPPED_AT_TIME_LIMIT, ""
        trouble: Exception | None = None
        note = intent.stop_note
        if note is None:
            try:
                note = self._until_sure(lambda: self.jobs.stop_note(job.arn))
            except (RequestRefused, NoTagsYet) as error:
                trouble = error
        note = note or self._recorder.why_stopped(job.name)
        if note is not None:
            is_ours = note.explains(job, real_seconds=self.jobs.clock.real_seconds)
            return ending_of_stop(note if is_ours else None), ""
        if trouble is None:
            return Ending.STOPPED_BY_USER, ""
        why = "it has none" if isinstance(trouble, NoTagsYet) else str(trouble)
        return Ending.STOPPED_BY_USER, (
            f"it was stopped, and nobody can tell by whom: its tags could not be read ({why}), so no other "
            "job is started"
        )

    # Answers that are not believed at once ------------------------------------------------------------

    def _describe(self, intent: Intent) -> dict[str, Any] | None:
        """`DescribeTrainingJob`; None is what AWS says again and again, where the job was made.

        A job that was not confirmed yet is simply created again, if there is time: its name is taken if it is
        there.
        """
        self._check_place(intent)
        is_confirmed = intent.is_created or intent.is_foreign
        if not (is_confirmed or self.state.giving_up or self._host.out_of_time()):
            return self.jobs.describe(intent.job_name)
        description = self._until_sure(lambda: self.jobs.describe(intent.job_name), is_sure=bool)
        if description is None:
            self._check_account(intent)
        return description

    def _until_sure(
        self, ask: Callable[[], Answer], *, is_sure: Callable[[Answer], bool] = lambda _answer: True
    ) -> Answer:
        return until_sure(ask, rest=self._rest, is_sure=is_sure)

    def _rest(self, seconds: float, *, is_over: Callable[[], object] = lambda: False) -> None:
        """Let AWS's time pass, until `is_over`. Raises `TaskKilled` once this process was told to end."""
        over_at = time.monotonic() + self.jobs.clock.real_seconds(seconds)
        while not (self._is_killed or is_over()) and (left := over_at - time.monotonic()) > 0:
            self._sleep(min(1.0, left))
        self._leave_if_killed()

    def _check_place(self, intent: Intent) -> None:
        """Refuse a connection that leads to another region: nothing is known there of the job."""
        here = f"{self.jobs.partition}/{self.jobs.region}"
        if intent.region and here != f"{intent.partition}/{intent.region}":
            raise ConnectionChanged(
                f"Training job {intent.job_name} was created in {intent.region} ({intent.partition}), and "
                f"the connection now leads to {self.jobs.region} ({self.jobs.partition}). Nothing was "
                "created or stopped; the job, if it is alive, is billed. Set the connection's region back "
                f"(or give region_name={intent.region!r}) and clear the task: it goes on with the job."
            )

    def _check_account(self, intent: Intent) -> None:
        """Refuse credentials of another account, which say "not found" of every job of the first."""
        if not intent.account:
            return
        here = self.jobs.account() or self._host.account()
        if here and here != intent.account:
            raise ConnectionChanged(
                f"Training job {intent.job_name} was created in account {intent.account}, and the connection "
                f"now leads to account {here}. Nothing was created or stopped; the job, if it is alive, is "
                "billed. Set the connection's credentials back and clear the task: it goes on with the job."
            )

    def _deal_with_missing(self, intent: Intent) -> None:
        """There is no such job: it was deleted, or the call to create it never reached AWS."""
        if intent.is_foreign:
            self._save(replace(self.state, current=None, is_over=True))
            raise RequestRefused(
                f"There is no training job named {intent.job_name} in {self.jobs.region}. Nothing was "
                "created. Check the name, the region and the connection."
            )
        if intent.is_created:
            self._save(self.state.with_attempt(_deleted_attempt(intent)))
            return
        if reason := self.state.giving_up or self._host.out_of_time():
            self._save(replace(self.state, current=None, giving_up=reason))
            return
        policy = self._policy()
        self.plan().check(policy)
        self._create(intent, policy.steps[min(intent.step, len(policy.steps) - 1)])

    def _start(self, decision: Decision) -> None:
        assert decision.step is not None  # noqa: S101 - what `START` means
        on_record = OnRecord() if self.state.attempts else self._recorder.known_jobs()
        if on_record.generation < self.state.generation:
            on_record = OnRecord()  # a person's clear replaced that story
        self.state = replace(self.state, generation=max(self.state.generation, on_record.generation))
        plan = self.plan()
        plan.check(self._policy())
        intent = Intent(
            job_name=plan.job_name(self._next_name()),
            number=self.state.next_number,
            step=decision.step_index,
            reason=decision.reason,
            nonce=uuid.uuid4().hex,
            purchase=decision.step.purchase,
            partition=self.jobs.partition,
            region=self.jobs.region,
        )
        if self._has_found(on_record, intent):
            return
        self._save(replace(self.state, current=intent))
        try:
            self._create(intent, decision.step)
        except SpotTrainingError as error:
            if error.nothing_was_created:  # no job to look after, and none to hold money for
                self._save(replace(self.state, current=None))
            raise

    def _has_found(self, on_record: OnRecord, intent: Intent) -> bool:
        """Whether the ledger knows jobs of these names, so that it is the state that was lost.

        The first of them may have been deleted since: its name is free, and a later one is alive.
        """
        numbers = self._numbers_on(on_record)
        found = self._find_own_jobs(1, at_least=max(numbers)) if numbers else []
        if not (found or any(attempt.job_name for attempt in on_record.attempts)):
            return False
        self._go_on_with(found, intent, on_record)
        return True

    def _numbers_on(self, on_record: OnRecord) -> list[int]:
        return [number_of(name) for name in on_record.job_names if self._who.is_name(name)]

    def _next_name(self) -> int:
        """The number in the next job's name. An attempt that was refused has no job, and leaves it its name.

        So whoever finds a name of this training free knows that it has no job behind it.
        """
        is_own = self._who.is_name
        taken = (a for a in self.state.attempts if not a.was_refused)
        return max((number_of(a.job_name) if is_own(a.job_name) else a.number for a in taken), default=0) + 1

    def _create(self, intent: Intent, step: Step) -> None:
        plan = self.plan()
        request = {**plan.attempt_request(step, number=intent.number), "TrainingJobName": intent.job_name}
        request["Tags"] = [*request["Tags"], {"Key": TAG_INTENT, "Value": intent.nonce}]
        self._leave_if_killed()
        self._host.say(f"Attempt {intent.number}: {intent.reason}")
        try:
            created = self._take(
                intent,
                lambda: self.jobs.create_or_adopt(request, key=plan.identity.key, nonce=intent.nonce),
            )
        except CapacityRefused as refused:
            attempt = _refused_attempt(intent, step, plan, refused)
            self._save(self.state.with_attempt(attempt))
            self._host.say(f"{attempt_line(attempt)} {refused.text}")
            return
        if created is None:
            return
        if self._is_killed:
            self._stop_created(intent)
            self._leave_if_killed()
        how = "Created" if created.is_new else "Found and adopted our own"
        self._host.say(f"{how} training job {intent.job_name} ({step}).")

    def _stop_created(self, intent: Intent) -> None:
        """Stop the job that came to be while this process was being killed, for which no state is written."""
        if self.leaves_job:
            return
        self.jobs.stop(
            intent.job_name,
            StopReason.TASK_KILLED,
            tag_within=TAG_SECONDS_WHEN_KILLED,
            keep_reason=lambda note: self._recorder.keep_stop(intent.job_name, note),
        )

    def _claim(self, intent: Intent, description: dict[str, Any]) -> bool:
        """Whether the job found under the name of an unconfirmed intent is the one it meant."""
        found = self._take(
            intent, lambda: self.jobs.claim(description, key=self._who.key, nonce=intent.nonce)
        )
        return found is not None

    def _take(self, intent: Intent, call: Callable[[], Created]) -> Created | None:
        """The intent's job, which is confirmed then; None where the state was lost."""
        try:
            job = self._until_sure(call)
        except NoTagsYet:
            self._save(replace(self.state, current=None))
            check_is_ours(intent.job_name, {}, key=self._who.key)
            raise
        except NotOurJob:
            self._save(replace(self.state, current=None))
            raise
        except NotThereYet as error:
            raise ServiceFailed(
                f"SageMaker says the training job name {intent.job_name} is taken, but describes no such job "
                "for more than a minute (it may be being deleted). Nothing new was created. Try again in a "
                "few minutes."
            ) from error
        except NameSpent:
            if self._remembers_none_of_its_own:
                self._go_on_without_memory(intent)
                return None
            job = Created(arn=self._arn_of(intent.job_name), is_new=False)
        if not self._is_killed:
            self._save(replace(self.state, current=replace(intent, is_created=True, arn=job.arn)))
        return job

    def _arn_of(self, job_name: str) -> str:
        job = self.jobs.snapshot(job_name)
        return job.arn if job else ""

    def _go_on_without_memory(self, intent: Intent) -> None:
        """A training of these names lost its state: go on with its live job, or begin another generation."""
        first, on_record = number_of(intent.job_name), self._recorder.known_jobs()
        at_least = max(self._numbers_on(on_record), default=first)
        self._go_on_with(self._find_own_jobs(first, at_least=at_least), intent, on_record)

    def _go_on_with(self, found: list[JobSnapshot], intent: Intent, on_record: OnRecord) -> None:
        """Take over the live one of these jobs, of which the state knows nothing, or train anew.

        What the ledger has of earlier attempts is kept: their jobs may have been deleted since.
        """
        kept = on_record.attempts if on_record.generation == self.state.generation else ()
        known = {attempt.job_name for attempt in kept}
        seen = tuple(
            attempt_of(job, number=number_of(job.name), step=0, reason="found", ending=ending)
            for job in found
            if job.name not in known and (ending := ending_of(job)) is not None
        )
        earlier = tuple(sorted((*kept, *seen), key=lambda attempt: attempt.number))
        # What is over on record is over, also where SageMaker answers with a status that nobody knows.
        alive = next((job for job in found if not (job.is_terminal or job.name in known)), None)
        if alive is not None:
            self._take_over(alive, earlier, step=intent.step)
            return
        generation = self.state.generation + 1
        last = found[-1].name if found else intent.job_name
        self._host.say(
            f"Training job {last} is over, and nothing is remembered of it: this run's state was "
            f"deleted, or the run was made again. Training anew, as generation {generation}."
        )
        self._recorder.state_lost(earlier)
        self._save(replace(self.state, current=None, generation=generation))

    def _take_over(self, alive: JobSnapshot, earlier: tuple[Attempt, ...], *, step: int) -> None:
        self._host.say(
            f"Nothing is remembered of training job {alive.name}, which is alive: going on with it."
        )
        taken = Intent(
            job_name=alive.name,
            number=number_of(alive.name),
            step=step,
            reason="found alive",
            is_created=True,
            purchase=PurchaseOption.SPOT if alive.is_spot else PurchaseOption.ON_DEMAND,
            partition=self.jobs.partition,
            region=self.jobs.region,
            arn=alive.arn,
        )
        self._save(replace(self.state, current=taken, attempts=(*self.state.attempts, *earlier)))
        self._leave_if_killed()

    @property
    def _remembers_none_of_its_own(self) -> bool:
        """Whether no attempt under this generation's names is on record: it begins, or its state was lost."""
        return not any(self._who.is_name(attempt.job_name) for attempt in self.state.attempts)

    def _find_own_jobs(self, first: int, *, at_least: int) -> list[JobSnapshot]:
        """All jobs of this generation: their names are numbered, so no list has to be read.

        Jobs that were deleted leave gaps; up to number `at_least` each name is asked for.
        """
        found = self._until_sure(
            lambda: self._look_for_jobs(first, at_least=at_least),
            is_sure=lambda jobs: set(range(first, at_least + 1)) <= set(jobs),
        )
        return [job for job in found.values() if self._has_our_key(job.arn)]

    def _look_for_jobs(self, first: int, *, at_least: int) -> dict[int, JobSnapshot]:
        """The jobs of the names with these numbers, by number, and those after them."""
        plan = self.plan()
        found: dict[int, JobSnapshot] = {}
        missing = 0
        for number in count(first):
            if number > at_least and missing >= MOST_MISSING_IN_A_ROW:
                break
            job = self.jobs.snapshot(plan.job_name(number))
            missing = 0 if job else missing + 1
            if job:
                found[number] = job
        return found

    def _has_our_key(self, arn: str) -> bool:
        """Whether the job is ours, by its tags; a single answer without any is not believed."""
        tags = self._until_sure(lambda: self.jobs.tags(arn), is_sure=bool)
        return tags.get(TAG_KEY) == self._who.key

    def _may_be_stopped(self, intent: Intent) -> bool:
        """Whether the job is the intent's: until it is claimed, the name may be that of somebody else's.

        Where the connection leads elsewhere by now, a job of that name there is another one.
        """
        if intent.region and (intent.partition, intent.region) != (self.jobs.partition, self.jobs.region):
            return False
        if intent.is_created or intent.is_foreign:
            return True
        return any(self.jobs.is_ours(intent.job_name, key=self._who.key) for _ in range(ASK_TAGS_WHEN_KILLED))

    # The whole -------------------------------------------------------------------------------------

    def _decide(self) -> Decision:
        """What comes next, by the rules of `domain.decide` in their order."""
        if decision := give_up_at_limit(self.state.attempts, self.state.giving_up):
            return decision
        if self._was_stopped_with_earlier_try:
            self._save(_climb_again(self.state))
        if decision := finish_if_complete(self.state.attempts):
            return decision
        if self._host.only_watches:
            return end_watching(self.state.attempts)
        return self._ask_policy()

    @property
    def _was_stopped_with_earlier_try(self) -> bool:
        """Whether the last job was stopped with its task, or for its time, and the task runs again by now."""
        attempts = self.state.attempts[self.state.ladder_from :]
        if not attempts:
            return False
        if attempts[-1].ending is Ending.STOPPED_AT_TIME_LIMIT:
            return not (self.state.giving_up or self._host.out_of_time())
        return attempts[-1].ending is Ending.STOPPED_WITH_TASK

    def _ask_policy(self) -> Decision:
        self._warn_of_spot_without_checkpoints()
        self._fix_deadline()
        policy = self._policy()
        if not self.state.attempts:
            for note in getattr(policy, "notes", ()):
                self._host.say(note)
        decision = decide(policy, self._situation(), self._host.check_budget)
        if decision.budget_usd is not None and not self.state.attempts:
            way_out = f"{decision.reason}. Raise it, choose a policy with spot, or train next month."
            raise BudgetSpent("budget", decision.budget_usd, way_out)
        return decision

    def _warn_of_spot_without_checkpoints(self) -> None:
        """The first thing said of a training that an interruption throws back to its start."""
        if self.state.attempts or self.plan().checkpoint_uri is not None:
            return
        if all(step.purchase is PurchaseOption.ON_DEMAND for step in self._policy().steps):
            return
        longest = in_words(max_runtime_of(self.plan().request))
        self._host.say(
            "This training runs on spot without checkpoints: the config has no CheckpointConfig. An "
            "interruption loses all work done so far, which is billed and done again from zero, up to "
            f"{longest} (MaxRuntimeInSeconds) each time."
        )

    def _situation(self) -> Situation:
        climbed = self.state.attempts[self.state.ladder_from :]
        return Situation(attempts=climbed, outlook=self._outlook())

    def _pause_after_refusal(self, decision: Decision) -> bool:
        """Let time pass before a refused step is asked for again. Whether any passed: decide anew then."""
        attempts = self.state.attempts
        if decision.action is not Action.START or not attempts or not attempts[-1].was_refused:
            return False
        seconds = pause_before(decision, self._situation())
        if not seconds:
            return False
        self._host.say(f"Asking again in {in_words(seconds)}.")
        self._rest(seconds, is_over=self._host.out_of_time)
        return True

    # The deadline ----------------------------------------------------------------------------------

    def _fix_deadline(self) -> None:
        """Settle the deadline, once for the training: at its first submission."""
        if self.state.deadline is not None or self.state.attempts:
            return
        deadline = self._host.deadline(self.jobs.now)
        if deadline is None:
            return
        check_keeps_deadline(self._policy_before(deadline))
        self._save(replace(self.state, deadline=deadline))
        self._host.say(deadline_line(deadline))

    def _outlook(self) -> Outlook | None:
        if self.state.deadline is None:
            return None
        guard = self._guard(self.state.deadline, has_checkpoints=self.plan().checkpoint_uri is not None)
        return guard.outlook(self.jobs.now())

    def _guard_of(self, job: JobSnapshot, intent: Intent) -> DeadlineGuard | None:
        """What watches over a spot job of our own while it is alive."""
        if self.state.deadline is None or not job.is_spot or intent.is_foreign or self._host.only_watches:
            return None
        # A Dag that was changed meanwhile is refused once there is something to decide: no job is alive.
        with contextlib.suppress(InvalidInput):
            if self._waits_for_budget(self._policy().steps):
                return None
        return self._guard(self.state.deadline, has_checkpoints=job.checkpoint_uri is not None)

    def _waits_for_budget(self, steps: tuple[Step, ...]) -> bool:
        """Whether nothing is to stop the spot job: the on-demand job it would make room for is not paid."""
        check = self._host.check_budget(next(r for r in steps if r.purchase is PurchaseOption.ON_DEMAND))
        return check is not None and not check.budget.deadline_wins and check.objection is not None

    def _guard(self, deadline: Deadline, *, has_checkpoints: bool) -> DeadlineGuard:
        lost = deadline.runtime.checkpoint_every_seconds
        return DeadlineGuard(
            deadline=deadline,
            kept_seconds=kept_by_attempts(self.state.attempts, lost),
            has_checkpoints=has_checkpoints,
        )

    def _complete(self) -> Completed:
        name = self.state.attempts[-1].job_name
        is_at_hand = self._described.get("TrainingJobName") == name
        description = self._described if is_at_hand else self.jobs.describe(name) or {}
        self._save(replace(self.state, is_over=True, is_final=True))
        return Completed(description=description, attempts=self.state.attempts)

    def _error(self, decision: Decision) -> TrainingNotCompleted:
        if not self.state.attempts:
            reason = f"{decision.reason[0].upper()}{decision.reason[1:]}"
            return TimedOutWaiting(f"{reason}. No training job was created. Allow more time.")
        last = self.state.attempts[-1]
        statement = statement_of(self.state.attempts)
        billed = statement.billable_instance_seconds
        bill = "unknown" if billed is None else in_words(billed)
        kind = TimedOutWaiting if self.state.giving_up else _error_of(last)
        what_to_do = _what_to_do(self.state.attempts) if kind is not TimedOutWaiting else "Allow more time."
        what = f"Training job {last.job_name} is over" if last.job_name else "No training job was created"
        return kind(
            f"{what}: {last.ending} ({last.message or 'no message'}). "
            f"{decision.reason[0].upper()}{decision.reason[1:]}. No job of this training is alive; billed "
            f"over {counted(statement.attempts, 'attempt')}: {bill}. "
            f"{what_to_do}"
        )

    def _policy(self) -> Policy:
        return self._policy_before(self.state.deadline)

    def _policy_before(self, deadline: Deadline | None) -> Policy:
        left = None if deadline is None else (deadline.at - self.jobs.now()).total_seconds()
        return self._host.policy(left)

    def plan(self) -> TrainingPlan:
        """What the attempts of this generation ask for. Raises the `InvalidInput` of a bad request."""
        plan = self._host.plan(self._who)
        self._recorder.planned(plan)
        return plan

    @property
    def _who(self) -> RunIdentity:
        state = self.state
        return replace(
            self._identity,
            generation=state.generation,
            installation=state.installation or self._identity.installation,
            first_installation=state.first_installation,
        )

    def _save(self, state: TrainingState) -> None:
        if state != self._stored:
            self._recorder.saving(state)
            save_state(self._store, state)
            self._recorder.saved(state)
        self.state = self._stored = state


def _what_to_do(attempts: tuple[Attempt, ...]) -> str:
    """The way out for a training whose policy gave up, and what it can go on from."""
    last, has_checkpoints = attempts[-1], _left_checkpoints(attempts)
    way_out = _WHAT_TO_DO[last.ending]
    if last.ending is Ending.MAX_RUNTIME and last.interruptions:
        way_out = "Train on demand, or raise MaxRuntimeInSeconds."
        if not has_checkpoints:
            way_out += (
                " With a CheckpointConfig an interruption loses only the work since the last checkpoint."
            )
    return f"{way_out} The checkpoints are kept." if has_checkpoints else way_out


def _where_a_next_try_starts(attempts: tuple[Attempt, ...]) -> str:
    if not any(attempt.has_started for attempt in attempts):
        return "A next try starts the training."
    where = "goes on from the checkpoints" if _left_checkpoints(attempts) else "starts again from zero"
    return f"A next try {where}."


def _left_checkpoints(attempts: tuple[Attempt, ...]) -> bool:
    """Whether an attempt trained and had a place for checkpoints; that the script wrote some is not known."""
    return any(attempt.has_checkpoints and attempt.has_started for attempt in attempts)


def _error_of(last: Attempt) -> type[TrainingNotCompleted]:
    is_refused = last.ending in {Ending.QUOTA, Ending.CAPACITY_ERROR}
    if is_refused and last.purchase is PurchaseOption.ON_DEMAND:
        return OnDemandRefused
    return _ERRORS[last.ending]


def _foreign_intent(name: str) -> Intent:
    return Intent(job_name=name, number=1, step=0, reason="started outside this task", is_foreign=True)


def _is_cleared(state: TrainingState, *, max_tries: int, clear_number: int | None) -> bool:
    """Whether a person cleared the task since the state's last try, and Airflow did not simply retry it.

    A retry never changes `max_tries`. A clear sets it from the Dag's `retries` as they are now, so it may
    also fall, or stay what it was; then only a clear can follow a last try, or an end that Airflow does not
    retry. Such an end may not have reached Airflow, where the process was lost just then: the run's
    `clear_number` tells, which grows with the clears in the run, of other tasks, too.
    """
    if not state.try_number:
        return False
    if max_tries != state.max_tries:
        return True
    no_retry_could_follow = state.is_final or state.try_number > state.max_tries
    if clear_number is None or state.clear_number is None:
        return state.try_number > state.max_tries
    return no_retry_could_follow and clear_number != state.clear_number


def _was_stopped_by_a_person(state: TrainingState) -> bool:
    return bool(state.attempts) and state.attempts[-1].ending is Ending.STOPPED_BY_USER


def _climb_again(state: TrainingState) -> TrainingState:
    """Airflow retries a training that failed: the ladder from its first step, the attempts kept."""
    return replace(state, ladder_from=len(state.attempts), is_over=False, is_final=False, giving_up=None)


def _deleted_attempt(intent: Intent) -> Attempt:
    return Attempt(
        number=intent.number,
        step=intent.step,
        job_name=intent.job_name,
        purchase=intent.purchase,
        reason=intent.reason,
        ending=Ending.STOPPED_BY_USER,
        message="there is no such training job any more: it was deleted before its end was seen",
    )


def _refused_attempt(intent: Intent, step: Step, plan: TrainingPlan, refused: CapacityRefused) -> Attempt:
    resources = plan.request["ResourceConfig"]
    return Attempt(
        number=intent.number,
        step=intent.step,
        job_name="",  # it leaves the name to the next attempt
        purchase=step.purchase,
        reason=intent.reason,
        ending=Ending.QUOTA if refused.refusal is Refusal.QUOTA else Ending.CAPACITY_ERROR,
        instance_type=step.instance_types[0] if step.instance_types else resources.get("InstanceType"),
        instance_count=int(resources.get("InstanceCount", 1)),
        max_runtime_seconds=max_runtime_of(plan.request),
        max_wait_seconds=step.max_wait_seconds,
        training_seconds=0,
        billable_seconds=0,
        message=refused.text,
    )
