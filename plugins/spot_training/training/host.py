"""What the driver needs from others: from the task that runs a training, and from its recorder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from spot_training.domain.budget import BudgetCheck
    from spot_training.domain.checkpoints_seen import CheckpointsToWatch, SeenCheckpoints
    from spot_training.domain.deadline import Deadline
    from spot_training.domain.ladder import Policy, Step
    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.domain.savings import Attempt, Prices
    from spot_training.domain.stop_reasons import StopNote
    from spot_training.domain.type_history import TypeHistory
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.request import TrainingPlan

    from .state import TrainingState


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointOptions:
    """How a training's checkpoints are looked at.

    `is_wanted`: None is with a deadline only. `pattern`: `domain.checkpoint_pattern`. `given_seconds`: how
    often the script saves, as its author says.
    """

    is_wanted: bool | None = None
    pattern: str = ""
    given_seconds: float | None = None


class Host(Protocol):
    """The task that runs a training.

    `plan`, `policy` and `deadline` are asked only when there is something to decide or to create, that is
    when no job of the training is alive. Bad input (`InvalidInput`) is then refused without leaving a job.
    """

    @property
    def only_watches(self) -> bool:
        """Whether it is only a job that was started elsewhere, without a policy for what follows."""

    @property
    def checkpoints(self) -> CheckpointOptions:
        """How its checkpoints are looked at."""

    def last_look(self, job: JobSnapshot, what: CheckpointsToWatch) -> SeenCheckpoints:
        """What is saved of a job that is over. Raises `SpotTrainingError`."""

    def uploads_stalled(self, facts: Mapping[str, Any]) -> bool:
        """Checkpoints no longer arrive: do what the author asks for. Returns whether to stop the job."""

    def prepare(self) -> Mapping[str, Any]:
        """Do what comes before each job is created: uploads. Returns fields of the request known only then.

        Raises errors that are marked with `nothing_was_created`.
        """

    def plan(self, identity: RunIdentity) -> TrainingPlan:
        """What to train, under the names of this identity."""

    def policy(self, seconds_left: float | None) -> Policy:
        """What to try next. `seconds_left` until the deadline; None without one."""

    def deadline(self, now: Callable[[], datetime]) -> Deadline | None:
        """The deadline, settled at the first submission; None without one. `now` asks AWS for its time."""

    def check_budget(self, step: Step) -> BudgetCheck | None:
        """Whether the month's budget has room for on-demand, before it is bought; None without a budget."""

    def price_of(self, instance_type: str) -> float | None:
        """US dollars per instance-hour on demand; None if not known. Asked only to compare types."""

    def asked_last(self, types: Sequence[str]) -> Mapping[str, str]:
        """The types with many interruptions or failures lately, with the reason. Asked only of several."""

    def type_histories(self, types: Sequence[str]) -> Sequence[TypeHistory]:
        """What spot jobs met on these types lately. Asked only for a way back to spot."""

    def out_of_time(self) -> str | None:
        """Why no other job may be started: a time limit that has passed. None while there is time."""

    def say(self, text: str) -> None:
        """Write a line into the task log."""

    def job_over(self, job: JobSnapshot, attempt: Attempt) -> None:
        """Called once for each job of this training, when it is over."""

    def pauses(self) -> None:
        """Called when no job is alive, and time passes until one is asked for again. Raises nothing."""

    def account(self) -> str | None:
        """The AWS account of the connection. Asked only if a job is gone."""

    def installation(self) -> str:
        """The installation under which a new generation begins. Raises `InstallationUnknown`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRecord:
    """What the ledger knows of a task: its generation, what is over, and the current job."""

    generation: int = 0
    attempts: tuple[Attempt, ...] = ()
    scouts: tuple[Attempt, ...] = ()
    current_job: str = ""

    @property
    def job_names(self) -> tuple[str, ...]:
        names = (*(attempt.job_name for attempt in self.attempts), self.current_job)
        return tuple(name for name in names if name)


class Recorder(Protocol):
    """Keeps a training's record, and what must outlive its state. Only `why_stopped` raises anything.

    The order of the calls carries the promise: `saved` with an intent comes before its job is created.
    """

    @property
    def prices(self) -> Prices:
        """The on-demand prices known so far."""

    def restored(self, state: TrainingState) -> None:
        """What earlier processes of the task left."""

    def planned(self, plan: TrainingPlan) -> None:
        """What is being trained."""

    def saw_end(self, job: JobSnapshot) -> None:
        """A job that is over, before its attempt is saved: where its model and checkpoints are."""

    def saving(self, state: TrainingState) -> None:
        """A change of the state, before it is written."""

    def saved(self, state: TrainingState) -> None:
        """The same change, after it was written."""

    def uploads_stalled(self, reason: str) -> None:
        """The checkpoints of the running job no longer arrive."""

    def state_lost(self, attempts: tuple[Attempt, ...], scouts: tuple[Attempt, ...]) -> None:
        """Attempts and scouts of a generation that has lost its state."""

    def known_jobs(self) -> OnRecord:
        """What the record says of this task. Asked only if its state is empty."""

    def keep_stop(self, job_name: str, note: StopNote) -> None:
        """Keep why we stop a job, if it cannot be written into the job's tags. Takes a second at most."""

    def why_stopped(self, job_name: str) -> StopNote | None:
        """What `keep_stop` kept. Raises `ServiceFailed` if that cannot be read now."""


class NoRecorder:
    """A `Recorder` that keeps nothing."""

    @property
    def prices(self) -> Prices:
        return {}

    def restored(self, state: TrainingState) -> None: ...

    def planned(self, plan: TrainingPlan) -> None: ...

    def saw_end(self, job: JobSnapshot) -> None: ...

    def saving(self, state: TrainingState) -> None: ...

    def saved(self, state: TrainingState) -> None: ...

    def uploads_stalled(self, reason: str) -> None: ...

    def state_lost(self, attempts: tuple[Attempt, ...], scouts: tuple[Attempt, ...]) -> None: ...

    def known_jobs(self) -> OnRecord:
        return OnRecord()

    def keep_stop(self, job_name: str, note: StopNote) -> None: ...

    def why_stopped(self, job_name: str) -> StopNote | None:  # noqa: ARG002
        return None
