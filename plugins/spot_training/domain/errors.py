"""Everything that can go wrong, one class per case a caller would handle differently.

    SpotTrainingError
    ├── InvalidInput (ValueError)              a request that must not be sent
    │   ├── EmptyValue                         a template that rendered to nothing
    │   ├── MaxWaitBelowMaxRuntime
    │   ├── WaitTooLongForAlgorithm            built-in algorithm without checkpoints, more than an hour
    │   ├── UnknownPolicy
    │   ├── DeadlineCannotBeKept               not even by on-demand at once
    │   ├── BudgetSpent                        on-demand only, and the month's budget has no room for it
    │   └── AboveCap                           more than the Dag's own caps allow
    ├── MissingPackage (RuntimeError)          an optional dependency that is not installed
    ├── InvalidTrace (ValueError)              a capacity trace that cannot be read
    ├── InstallationUnknown (RuntimeError)     which Airflow this is cannot be read, so no job is created
    ├── NewerFormat (ValueError)               data that a newer version of this package wrote
    ├── LedgerBusy (RuntimeError)              a record that changes faster than it can be read
    ├── SweepRefused (RuntimeError)            whose the live jobs are is not certain enough to stop them
    └── TrainingNotCompleted (RuntimeError)    what happened to a job
        ├── OutOfSteps                         spot causes only, and the policy has nothing left to try
        │   └── OnDemandRefused                not even on-demand was to be had
        ├── AlgorithmFailed                    the script failed
        ├── RequestRefused                     the job or the call was refused for what it asks
        ├── MaxRuntimeReached
        ├── StoppedBySomeone
        ├── ServiceFailed                      SageMaker's own failure
        ├── CredentialsExpired                 a session ended while the training went on
        ├── NotOurJob                          a job of our name that we did not create
        ├── ConnectionChanged                  the connection leads elsewhere than to the job
        ├── TaskKilled                         the task was told to end while its training went on
        └── TimedOutWaiting                    the caller's own patience, not SageMaker's

A message says what happened, where the job and the bill stand, and what to do. `is_retryable` answers
one question: could the same request succeed if it were made again?
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar


class SpotTrainingError(Exception):
    """Root of everything this package raises on purpose.

    `nothing_was_created` is set where AWS refused to create a job, for certain: there is none to look after.
    """

    is_retryable: ClassVar[bool] = False
    nothing_was_created: bool = False


class InvalidInput(SpotTrainingError, ValueError):
    """A value that must not reach AWS: names the field, the value and the way out.

    Whether a training job is alive is not known here: the task says so beside it.
    """

    def __init__(self, field: str, value: object, way_out: str) -> None:
        super().__init__(f"{field} is {value!r}: {way_out}")
        self.field = field
        self.value = value
        self.way_out = way_out


class MissingPackage(SpotTrainingError, RuntimeError):
    """An optional dependency is not installed: names what needs it, and the extra that installs it."""

    def __init__(self, package: str, needed_by: str, *, extra: str) -> None:
        super().__init__(
            f"The package {package} is not installed, and {needed_by} needs it. Install it where this "
            f"process runs: pip install 'airflow-provider-spot-training[{extra}]', or pip install {package}"
        )
        self.package = package


class EmptyValue(InvalidInput):
    """A required value is missing, or its template rendered to nothing."""


class MaxWaitBelowMaxRuntime(InvalidInput):
    """`MaxWaitTimeInSeconds` covers waiting and running, so it cannot be below `MaxRuntimeInSeconds`."""


class WaitTooLongForAlgorithm(InvalidInput):
    """A built-in algorithm that does not checkpoint may wait an hour at most."""


class UnknownPolicy(InvalidInput):
    """No policy of that name."""


class DeadlineCannotBeKept(InvalidInput):
    """The deadline is earlier than on-demand could finish, if it started at once."""


class BudgetSpent(InvalidInput):
    """The month's budget has no room for on-demand, and the policy has no spot to wait for."""


class AboveCap(InvalidInput):
    """A value that costs money is above what the Dag's author allows."""


class InvalidTrace(SpotTrainingError, ValueError):
    """A capacity trace that cannot be read: names the source, the field and the way out."""

    def __init__(self, source: str, problem: str) -> None:
        way_out = 'give JSON as {"metadata": {"gap_seconds": 300}, "data": [1, 0, ...]}, 1 for spot capacity.'
        super().__init__(f"{source}: {problem}; {way_out}")


class InstallationUnknown(SpotTrainingError, RuntimeError):
    """Which Airflow this is cannot be read. So no job is created: another Airflow's may have its name."""

    is_retryable = True

    def __init__(self, trouble: str) -> None:
        super().__init__(
            f"It is not known {trouble}. Until it is, no training job is created: another Airflow's job "
            "could be taken for this one's. Install this package where the scheduler runs (or copy it with "
            "spot_training_plugin.py into the plugins folder) and restart the scheduler: it creates the "
            "Variable when it starts. Or set [spot_training] installation "
            "(AIRFLOW__SPOT_TRAINING__INSTALLATION) to a name that no other Airflow in this AWS account has. "
            "See docs/security.md."
        )


class NewerFormat(SpotTrainingError, ValueError):
    """A newer version of this package wrote it: it is left alone, neither misread nor written over."""

    def __init__(self, what: str, *, found: int, newest_known: int) -> None:
        super().__init__(
            f"{what} was written by a newer version of spot_training (format {found}; this one reads up to "
            f"{newest_known}). It is left as it is. Install that version again, or a later one."
        )
        self.found = found


class LedgerBusy(SpotTrainingError, RuntimeError):
    """A record of the ledger was replaced at each look: nothing is read rather than all but one."""

    is_retryable = True


class SweepRefused(SpotTrainingError, RuntimeError):
    """The sweeper cannot tell whose the live jobs are, so it stops none."""


class TrainingNotCompleted(SpotTrainingError, RuntimeError):
    """A training that did not complete."""


class OutOfSteps(TrainingNotCompleted):
    """Every attempt ended for want of capacity, and the policy has nothing left to try.

    Not retryable: how often and how long to wait for spot is the policy's to say.
    """


class OnDemandRefused(OutOfSteps):
    """On-demand was asked for, and a quota or SageMaker's own capacity refused it: no spot cause."""

    is_retryable = True


class AlgorithmFailed(TrainingNotCompleted):
    """The training script failed; it would fail again on any instance."""


class RequestRefused(TrainingNotCompleted):
    """AWS refused what was asked for: a permission, a quota, a field, a data source."""


class MaxRuntimeReached(TrainingNotCompleted):
    """The job ran for `MaxRuntimeInSeconds` and was stopped."""


class StoppedBySomeone(TrainingNotCompleted):
    """A person or another program stopped the job: not ours to start again."""


class ServiceFailed(TrainingNotCompleted):
    """SageMaker failed, not the script."""

    is_retryable = True


class CredentialsExpired(TrainingNotCompleted):
    """The session the calls were signed with is over; a new try gets a new one."""

    is_retryable = True


class NotOurJob(TrainingNotCompleted):
    """A training job has the name we chose, but somebody else created it."""


class ConnectionChanged(TrainingNotCompleted):
    """The connection leads to another region or account than the one in which the training's job was made.

    The job is not forgotten: once the connection is set back, a clear goes on with it.
    """


class TaskKilled(TrainingNotCompleted):
    """The task was told to end while its training went on; a next try picks it up."""

    is_retryable = True


class TimedOutWaiting(TrainingNotCompleted):
    """The caller's own limit passed before the job was over."""

    is_retryable = True


def __getattr__(name: str) -> Any:
    """Names of 0.1.0."""
    if name == "OutOfRungs":
        warnings.warn("OutOfRungs is called OutOfSteps now.", DeprecationWarning, stacklevel=2)
        return OutOfSteps
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
