"""Jobs, attempts and trainings as a task log shows them, in sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .lifecycle import JobSnapshot, SecondaryStatus, Transition
from .moments import clock_time
from .parsing import in_words
from .savings import Attempt, CleanRunBasis, SavingsStatement, wait_seconds_of

if TYPE_CHECKING:
    from .deadline import Deadline

#: Arguments: the job's name, the reason, and `stop_command`.
COULD_NOT_STOP = "Training job %s could NOT be stopped and is still billed: %s Stop it by hand: %s"


def stop_command(job_name: str, region: str | None) -> str:
    """The command that stops a job by hand. Without a region, it uses that of the command line."""
    where = f" --region {region}" if region else ""
    return f"aws sagemaker stop-training-job --training-job-name {job_name}{where}"


def attempt_line(attempt: Attempt) -> str:
    """An attempt that is over: how it ended, how long it waited and trained, what was billed and saved."""
    subject = " ".join(filter(None, (str(attempt.purchase), attempt.instance_type)))
    return f"Attempt {attempt.number} ({subject}) is over: {attempt.ending}. {_account(attempt)}."


def _account(attempt: Attempt) -> str:
    waited = f"Waited {in_words(attempt.wait_seconds)}"
    if not attempt.has_started:
        return f"{waited}, never started, nothing billed"
    parts = [waited, f"trained {in_words(attempt.training_seconds or 0)}"]
    if attempt.interruptions:
        parts.append(f"interrupted {times(attempt.interruptions)}")
    if attempt.billable_seconds is not None:
        parts.append(f"billed {in_words(attempt.billable_seconds)}")
    saved = attempt.shown_savings_percent
    return ", ".join(parts) + (f" ({saved:g} % below on-demand)" if saved is not None else "")


#: What amounts in dollars are made of, for page and report.
PRICE_BASIS = (
    "Amounts are in US dollars: billed instance time at on-demand list prices, from AWS's price list or your "
    "prices file with its discounts. Storage, data transfer, extra copies of data and checkpoints, requests, "
    "taxes and credits are not included."
)


#: What the headline of page, report and mail means.
NET_MEANING = (
    "Net means that the cost of spot includes spot attempts that ended because of spot (no capacity, "
    "interruptions, the deadline) in trainings that failed."
)


def tests_line(count: int, billed: str) -> str:
    """How many test runs the figures leave out. `billed` is an amount, or empty."""
    runs = counted(count, "test run")
    cost = f", billed {billed}" if billed else ""
    return f"The figures do not include {runs} (airflow dags test, airflow tasks test){cost}."


def counted(count: int, thing: str) -> str:
    """`1 attempt`, `2 attempts`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def times(count: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def simulated_line(trainings: int) -> str:
    """How many trainings of a sum ran on a local SageMaker. Empty for none."""
    if not trainings:
        return ""
    owner = "its" if trainings == 1 else "their"
    return f"{counted(trainings, 'training')} ran on a local cloud: {owner} times and costs are simulated."


#: A log has its own time for each line. A transition gets AWS's time only if it differs by more than this.
SAME_TIME = timedelta(minutes=1)


@dataclass(slots=True)
class TransitionTracker:
    """Returns each transition of a job once."""

    _seen: set[tuple[SecondaryStatus, datetime, str]] = field(default_factory=set)
    _shown: datetime | None = None

    def news(self, job: JobSnapshot) -> list[Transition]:
        """The transitions that are new since the last call."""
        fresh = [t for t in job.transitions if (t.status, t.started_at, t.message) not in self._seen]
        self._seen.update((t.status, t.started_at, t.message) for t in fresh)
        return fresh

    def lines(self, job: JobSnapshot, now: datetime | None = None) -> list[str]:
        """A log line for each transition that is new since the last call."""
        return [self.line(job, visit, now) for visit in self.news(job)]

    def line(self, job: JobSnapshot, visit: Transition, now: datetime | None = None) -> str:
        """A transition as a log shows it `now`, by this machine's clock.

        With AWS's time in words if it is another one: the transition was noticed late, is shown again at the
        end of a job, or happened on the local cloud's clock. The day is shown where it changes.
        """
        now = now or datetime.now(UTC)
        if abs(now - visit.started_at) <= SAME_TIME:
            return f"{job.name} {transition_line(job, visit)}"
        at = clock_time(visit.started_at.astimezone(UTC), self._shown or now.astimezone(UTC))
        self._shown = visit.started_at.astimezone(UTC)
        return f"{job.name} {transition_line(job, visit, at=at)}"


#: The name in 0.1.0.
Narrator = TransitionTracker


def transition_line(job: JobSnapshot, visit: Transition, *, at: str = "") -> str:
    """A transition: the status and message of AWS, and what they mean for this training."""
    when = f" at {at}" if at else ""
    message = f": {visit.message}" if visit.message else ""
    remark = _remark(job, visit)
    return f"{visit.status}{when}{message}" + (f" [{remark}]" if remark else "")


def _remark(job: JobSnapshot, visit: Transition) -> str:
    match visit.status:
        case SecondaryStatus.STARTING if visit is job.transitions[0] and job.max_wait_seconds:
            return f"may wait and run for {in_words(job.max_wait_seconds)} in total"
        case SecondaryStatus.DOWNLOADING:
            return f"waited {in_words(wait_seconds_of(job, before=visit.started_at))} so far"
        case SecondaryStatus.INTERRUPTED:
            where = "from its last checkpoint" if job.checkpoint_uri else "from zero: it saves no checkpoints"
            return f"AWS reclaimed the spot capacity; the job starts again {where}"
        case _:
            return ""


def deadline_line(deadline: Deadline) -> str:
    """The deadline, and whether it can be met, at submission."""
    runtime = deadline.runtime
    expected = in_words(runtime.mean_seconds)
    if runtime.high_seconds > runtime.mean_seconds:
        expected += f", {in_words(runtime.high_seconds)} at worst"
    finish = clock_time(deadline.earliest_finish, deadline.submitted_at)
    line = (
        f"Deadline: {clock_time(deadline.at, deadline.submitted_at)}, in "
        f"{in_words((deadline.at - deadline.submitted_at).total_seconds())}. "
        f"Expected training: {expected} ({runtime.basis})."
    )
    if deadline.is_late:
        return (
            f"{line} It CANNOT be met: the earliest possible finish is {finish}. The training starts anyway."
        )
    return f"{line} The earliest possible finish, with on-demand at once, is {finish}."


def statement_line(statement: SavingsStatement) -> str:
    """A training in one line: attempts, wait, seconds, savings."""
    billed = statement.billable_instance_seconds
    parts = [
        counted(statement.attempts, "attempt"),
        f"waited {in_words(statement.wait_seconds)}",
        f"interrupted {times(statement.interruptions)}" if statement.interruptions else "never interrupted",
        f"billed {'unknown' if billed is None else in_words(billed)}",
    ]
    done = "Training completed" if statement.completed else "Training not completed"
    return f"{done}: {', '.join(parts)}{_saved(statement)}."


def _saved(statement: SavingsStatement) -> str:
    percent = statement.net_savings_percent
    if percent is None:  # an XCom of an earlier version does not have it
        percent = statement.savings_percent
    if percent is None:
        return "; savings unknown" if statement.completed else ""
    about = "about " if statement.clean_run_basis is CleanRunBasis.ESTIMATED else ""
    if percent < 0:
        return f"; spot cost {about}{-percent:g} % more than on-demand without interruptions"
    return f"; saved {about}{percent:g} % against on-demand without interruptions"
