"""A training as one process of its task has it: its stored state, and what it works with.

Every part of the driver reads and changes the training through this value. `save` is the one way to the
state store: the ledger has each change before it, and no call that creates something comes before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from spot_training.sagemaker.certainty import Answer, until_sure

from .counting import count_change
from .outcome import error_of_killed
from .state import Intent, StateStore, TrainingState, load_state, save_state

if TYPE_CHECKING:
    from spot_training.domain.deadline import Deadline
    from spot_training.domain.ladder import Policy
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.jobs import TrainingJobs
    from spot_training.sagemaker.request import TrainingPlan

    from .host import Host, Recorder


class ActiveTraining:
    """One training in one process.

    `identity` is that of the stored training, which keeps it to its end. `is_killed` says that Airflow ended
    this process (it runs on for a while), `leaves_job` that a later try looks after the job then.
    """

    def __init__(
        self,
        *,
        jobs: TrainingJobs,
        store: StateStore,
        identity: RunIdentity,
        host: Host,
        recorder: Recorder,
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        self.jobs = jobs
        self.host = host
        self.recorder = recorder
        self.identity = identity
        self.now = now
        self.sleep = sleep
        self.is_killed = False
        self.leaves_job = False
        self._store = store
        stored = load_state(store)
        if stored is not None:
            recorder.restored(stored)
        self.state = self._stored = stored or TrainingState()

    def save(self, state: TrainingState) -> None:
        """Write the state, unless nothing changed."""
        if state != self._stored:
            self.recorder.saving(state)
            save_state(self._store, state)
            self.recorder.saved(state)
        before, self.state, self._stored = self._stored, state, state
        count_change(before, state, self.identity, lambda: self.recorder.prices)

    # What it asks its task for ---------------------------------------------------------------------

    @property
    def who(self) -> RunIdentity:
        """The identity of the current generation, which its job names and tags are made of."""
        state = self.state
        return replace(
            self.identity,
            generation=state.generation,
            installation=state.installation or self.identity.installation,
            first_installation=state.first_installation,
        )

    def plan(self) -> TrainingPlan:
        """What the attempts of this generation ask for. Raises the `InvalidInput` of a bad request."""
        plan = self.host.plan(self.who)
        self.recorder.planned(plan)
        return plan

    def policy(self) -> Policy:
        """What to try next, before the training's deadline if it has one."""
        return self.policy_before(self.state.deadline)

    def policy_before(self, deadline: Deadline | None) -> Policy:
        left = None if deadline is None else (deadline.at - self.jobs.now()).total_seconds()
        return self.host.policy(left)

    def is_elsewhere(self, intent: Intent) -> bool:
        """Whether the connection now leads to another region than the one the job was made in."""
        here = (self.jobs.partition, self.jobs.region)
        return bool(intent.region) and (intent.partition, intent.region) != here

    # The process -----------------------------------------------------------------------------------

    def leave_if_killed(self) -> None:
        """Raise `TaskKilled` once Airflow has ended this process."""
        if self.is_killed:
            raise error_of_killed(self.state, leaves_job=self.leaves_job)

    def rest(
        self,
        seconds: float,
        *,
        is_over: Callable[[], object] = lambda: False,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Let AWS's time pass, until `is_over`. Raises `TaskKilled` once Airflow has ended this process.

        `meanwhile` is called once, at the beginning.
        """
        over_at = time.monotonic() + self.jobs.clock.real_seconds(seconds)
        meanwhile()
        while not (self.is_killed or is_over()) and (left := over_at - time.monotonic()) > 0:
            self.sleep(min(1.0, left))
        self.leave_if_killed()

    def until_sure(
        self, ask: Callable[[], Answer], *, is_sure: Callable[[Answer], bool] = lambda _answer: True
    ) -> Answer:
        """An answer of AWS that counts (`sagemaker.certainty`)."""
        return until_sure(ask, rest=self.rest, is_sure=is_sure)
