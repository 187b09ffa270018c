"""Everything that can go wrong, with one class for each case that a caller handles differently.

    SpotTrainingError
    ├── InvalidInput (ValueError)              an invalid request, which is not sent
    │   ├── EmptyValue                         a template rendered to an empty value
    │   ├── MaxWaitBelowMaxRuntime
    │   ├── WaitTooLongForAlgorithm            built-in algorithm without checkpoints, more than an hour
    │   ├── UnknownPolicy
    │   ├── DeadlineCannotBeKept               not even if on-demand starts at once
    │   ├── BudgetSpent                        on-demand only, and it would exceed the month's budget
    │   └── AboveCap                           more than the Dag's caps allow
    ├── MissingPackage (RuntimeError)          an optional dependency is not installed
    ├── InvalidTrace (ValueError)              a capacity trace cannot be read
    ├── InstallationUnknown (RuntimeError)     the identity of this Airflow is unknown, so no job is created
    ├── NewerFormat (ValueError)               a newer version of this package wrote the data
    ├── LedgerBusy (RuntimeError)              a record changes faster than it can be read
    ├── StateReplaced (RuntimeError)           another process of the task has written its state
    ├── SweepRefused (RuntimeError)            it is not certain which installation owns the running jobs
    └── TrainingNotCompleted (RuntimeError)    a training that did not complete
        ├── OutOfSteps                         no capacity, and the policy has no step left
        │   └── OnDemandRefused                not even on-demand was available
        ├── AlgorithmFailed                    the script failed
        ├── RequestRefused                     AWS refused the request
        ├── MaxRuntimeReached
        ├── StoppedBySomeone
        ├── ServiceFailed                      SageMaker failed
        ├── CredentialsExpired                 the AWS session ended while the training continued
        ├── NotOurJob                          a job has our name, but this task did not create it
        ├── ConnectionChanged                  the connection leads to another region or account
        ├── TaskKilled                         the task was killed while its training continued
        └── TimedOutWaiting                    the caller's time limit passed

A message says what happened, what that means for the job and its cost, and what to do. `is_retryable` says
whether the same request could succeed if it were made again.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar


class SpotTrainingError(Exception):
    """Base class of the errors that this package raises.

    `nothing_was_created` is set if AWS certainly refused to create a job, so there is no job to stop.
    """

    is_retryable: ClassVar[bool] = False
    nothing_was_created: bool = False


class InvalidInput(SpotTrainingError, ValueError):
    """An invalid value, which is not sent to AWS. The message has the field, the value and what to do.

    Whether a training job is running is not known here: the task adds it.
    """

    def __init__(self, field: str, value: object, way_out: str) -> None:
        super().__init__(f"{field} is {value!r}: {way_out}")
        self.field = field
        self.value = value
        self.way_out = way_out


class MissingPackage(SpotTrainingError, RuntimeError):
    """An optional dependency is not installed. The message says what needs it and which extra installs it."""

    def __init__(self, package: str, needed_by: str, *, extra: str) -> None:
        super().__init__(
            f"The package {package} is not installed, and {needed_by} needs it. Install it where this "
            f"process runs: pip install 'airflow-provider-spot-training[{extra}]' or pip install {package}"
        )
        self.package = package


class EmptyValue(InvalidInput):
    """A required value is missing, or its template rendered to an empty value."""


class MaxWaitBelowMaxRuntime(InvalidInput):
    """`MaxWaitTimeInSeconds` covers waiting and running, so it cannot be below `MaxRuntimeInSeconds`."""


class WaitTooLongForAlgorithm(InvalidInput):
    """A built-in algorithm without checkpoints may wait for at most an hour."""


class UnknownPolicy(InvalidInput):
    """There is no policy with this name."""


class DeadlineCannotBeKept(InvalidInput):
    """Even on-demand could not finish before the deadline if it started at once."""


class BudgetSpent(InvalidInput):
    """On-demand would exceed the month's budget, and the policy has no spot step to wait with."""


class AboveCap(InvalidInput):
    """A value that costs money is above the limit that the Dag's author set."""


class InvalidTrace(SpotTrainingError, ValueError):
    """A capacity trace cannot be read. The message has the source, the problem and the expected format."""

    def __init__(self, source: str, problem: str) -> None:
        way_out = 'give JSON as {"metadata": {"gap_seconds": 300}, "data": [1, 0, ...]}, 1 for spot capacity.'
        super().__init__(f"{source}: {problem}; {way_out}")


class InstallationUnknown(SpotTrainingError, RuntimeError):
    """The identity of this Airflow cannot be read, so no job is created: its name may be taken."""

    is_retryable = True

    def __init__(self, trouble: str) -> None:
        super().__init__(
            f"It is not known {trouble}. Until it is, no training job is created, because it could "
            "be mistaken for another Airflow's. Install this package where the scheduler runs (or copy it "
            "with spot_training_plugin.py into the plugins folder) and restart the scheduler, which creates "
            "the Variable when it starts. Or set [spot_training] installation "
            "(AIRFLOW__SPOT_TRAINING__INSTALLATION) to a name that no other Airflow in this AWS account has. "
            "See docs/security.md."
        )


class NewerFormat(SpotTrainingError, ValueError):
    """A newer version of this package wrote the data. It is neither read nor overwritten."""

    def __init__(self, what: str, *, found: int, newest_known: int) -> None:
        super().__init__(
            f"{what} was written by a newer version of spot_training (format {found}; this one reads up to "
            f"{newest_known}). It is left unchanged. Install that version again, or a later one."
        )
        self.found = found


class LedgerBusy(SpotTrainingError, RuntimeError):
    """A record of the ledger was replaced during each attempt to read it, so nothing is read."""

    is_retryable = True


class StateReplaced(SpotTrainingError, RuntimeError):
    """Another process of the same task has written the task's state: this one changes nothing more.

    Before Airflow 3.3 only, where the state is in the ledger's storage. The job is the other process's.
    """

    is_retryable = True


class SweepRefused(SpotTrainingError, RuntimeError):
    """The sweeper cannot determine which installation owns the running jobs, so it stops none."""


class TrainingNotCompleted(SpotTrainingError, RuntimeError):
    """A training that did not complete."""


class OutOfSteps(TrainingNotCompleted):
    """No attempt got enough capacity, and the policy has no step left.

    Not retryable: the policy decides how often and how long to wait for spot.
    """


class OnDemandRefused(OutOfSteps):
    """SageMaker refused an on-demand job because of a quota or its capacity."""

    is_retryable = True


class AlgorithmFailed(TrainingNotCompleted):
    """The training script failed. It would fail on any instance."""


class RequestRefused(TrainingNotCompleted):
    """AWS refused the request because of a permission, a quota, a field or a data source."""


class MaxRuntimeReached(TrainingNotCompleted):
    """The job ran for `MaxRuntimeInSeconds` and was stopped."""


class StoppedBySomeone(TrainingNotCompleted):
    """A person or another program stopped the job, so it is not started again."""


class ServiceFailed(TrainingNotCompleted):
    """SageMaker failed, not the script."""

    is_retryable = True


class CredentialsExpired(TrainingNotCompleted):
    """The AWS session of the calls has expired. A new try gets a new one."""

    is_retryable = True


class NotOurJob(TrainingNotCompleted):
    """A training job has the name that this task chose, but somebody else created it."""


class ConnectionChanged(TrainingNotCompleted):
    """The connection leads to another region or account than the one in which the training's job was created.

    The job stays on record. Set the connection back and clear the task to continue with it.
    """


class TaskKilled(TrainingNotCompleted):
    """The task was killed while its training continued. The next try continues with it."""

    is_retryable = True


class TimedOutWaiting(TrainingNotCompleted):
    """The caller's time limit passed before the job was over."""

    is_retryable = True


def __getattr__(name: str) -> Any:
    """Names in 0.1.0."""
    if name == "OutOfRungs":
        warnings.warn("OutOfRungs is deprecated: use OutOfSteps.", DeprecationWarning, stacklevel=2)
        return OutOfSteps
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
