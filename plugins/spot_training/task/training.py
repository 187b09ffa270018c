"""What the operator and the sensor share: one training, driven from an Airflow task.

Turns the driver's steps into Airflow's: defer or wait, XCom, task log, exceptions. Neither decides nor polls.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from spot_training.domain.deadline import Runtime, like_from, runtime_from
from spot_training.domain.errors import (
    AlgorithmFailed,
    InstallationUnknown,
    InvalidInput,
    SpotTrainingError,
    TimedOutWaiting,
)
from spot_training.domain.lifecycle import Ending, JobSnapshot
from spot_training.domain.messages import COULD_NOT_STOP, Narrator, counted, statement_line, stop_command
from spot_training.domain.parsing import as_bool, in_words, is_left_out, parse_seconds
from spot_training.domain.savings import Attempt, statement_of
from spot_training.domain.stop_reasons import StopReason
from spot_training.domain.text import with_whole_text
from spot_training.installation import installation, installation_of_training
from spot_training.ledger.stop_reasons import LedgerStops
from spot_training.training.state import STATE_KEY, TrainingState, job_on_record, load_state

from .access import access_of
from .base import is_last_try
from .budget import AskedPrices, budget_of, check_budget
from .deadline import DeadlineTerms, run_began_at
from .kept_state import KeptState, knows_this_try

if TYPE_CHECKING:
    from airflow.sdk import Context

    from spot_training.connections import AwsAccess
    from spot_training.domain.budget import Budget, BudgetCheck
    from spot_training.domain.deadline import Deadline
    from spot_training.domain.ladder import Policy, Step
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.jobs import TrainingJobs
    from spot_training.sagemaker.request import TrainingPlan
    from spot_training.training.driver import Completed, Progress, Waiting
    from spot_training.training.recorder import Bookkeeper
    from spot_training.training.state import StateStore
    from spot_training.triggers import TrainingJobTrigger

#: Airflow kills a task's process five seconds after it told it to end: what is to be said is said before.
LOUD_AFTER_SECONDS = 3
#: How long Airflow may take to say whether a later try has begun: a second of those five.
ANSWER_SECONDS = 1.0
#: How long STS may take to say which account the credentials are of.
STS_SECONDS = 5.0
#: How much of the training's own log goes into the task log when an attempt is over.
LOG_TAIL_LINES = 50

XCOM_SAVINGS = "savings"
XCOM_ATTEMPTS = "attempts"
XCOM_DEADLINE = "deadline"
XCOM_JOB_NAME = "training_job_name"

#: `print_log`: the training's log as it comes, too.
LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What operator and sensor are told about waiting, logging, stopping and reaching AWS, cast from text."""

    access: AwsAccess
    check_interval: int
    deferrable: bool
    print_log: bool
    shows_log_live: bool
    stop_job_on_kill: bool
    retry_failed_script: bool
    wait_for_completion: bool
    #: A failure that a retry may mend ends no poke: the sensor looks again.
    pokes_on: bool
    deadline: DeadlineTerms | None
    budget: Budget | None
    runtime: Runtime | None
    #: Dags whose runs teach, beside the own one's, how long the training takes.
    like: tuple[str, ...]
    time_limit: timedelta | None
    execution_timeout: timedelta | None

    @classmethod
    def of(cls, task: Any) -> Options:
        """Read and cast the rendered attributes of an operator or sensor."""
        shows_log_live = isinstance(task.print_log, str) and task.print_log.strip().lower() == LIVE
        access = access_of(task)
        deferrable = as_bool(task.deferrable, field="deferrable")
        access.budget()  # a setting that waiting would refuse is refused before there is a job
        return cls(
            access=access,
            check_interval=_at_least_a_second(task.check_interval, "check_interval"),
            deferrable=deferrable,
            print_log=shows_log_live or _prints_log(task.print_log),
            shows_log_live=shows_log_live,
            stop_job_on_kill=as_bool(task.stop_job_on_kill, field="stop_job_on_kill"),
            retry_failed_script=as_bool(
                getattr(task, "retry_failed_script", False), field="retry_failed_script"
            ),
            wait_for_completion=as_bool(
                getattr(task, "wait_for_completion", True), field="wait_for_completion"
            ),
            pokes_on=bool(getattr(task, "silent_fail", False)) and not deferrable,
            deadline=DeadlineTerms.of(task),
            budget=budget_of(task),
            runtime=runtime_from(getattr(task, "expected_runtime", None)),
            like=like_from(getattr(task, "expected_runtime", None)),
            time_limit=_time_limit(task),
            execution_timeout=task.execution_timeout,
        )


def open_books(
    store: StateStore,
    identity: RunIdentity,
    access: AwsAccess,
    *,
    region: str,
    log: Any,
    watches: str | None = None,
) -> Bookkeeper:
    """The bookkeeper of one task's record: the configured ledger, prices from AWS or `prices_file`."""
    from spot_training.ledger import Ledger
    from spot_training.ledger.prices import configured_prices
    from spot_training.training.recorder import Bookkeeper

    return Bookkeeper(
        ledger=Ledger.configured,
        store=store,
        identity=identity,
        region=region,
        warn=lambda text: log.warning("%s", text),
        price_of=lambda region, kind: configured_prices(access).price_of(region, kind),
        watches=watches,
    )


#: Executors whose tasks run on the scheduler's own machine.
LOCAL_EXECUTORS = frozenset({"LocalExecutor", "SequentialExecutor"})


def private_ledger_warning() -> str | None:
    """What to say where each machine that runs tasks has a ledger of its own."""
    from spot_training.ledger.store import folder_of_one_machine

    configured = conf.get("core", "executor", fallback="LocalExecutor")
    # `team=...;` and `alias:` may stand before a name, a module path before a class.
    names = re.findall(r"\w+(?=\s*(?:[,;]|$))", configured)
    remote = [name for name in names if name not in LOCAL_EXECUTORS]
    folder = folder_of_one_machine() if remote else None
    if folder is None:
        return None
    return (
        f"The ledger is the folder {folder}, and {remote[0]} may run tasks on other machines: each then has "
        "a ledger of its own, and budgets, reports, the page and the sweeper see only part of the trainings. "
        "Set [spot_training] ledger (AIRFLOW__SPOT_TRAINING__LEDGER) to storage that all machines share, "
        "such as s3://bucket/prefix."
    )


def task_states(ti: Any) -> Callable[[RunIdentity], str | None]:
    """How the sweeper asks for a task's state from within a task: by Airflow's API server."""
    from spot_training.sweep.orphans import NO_SUCH_TASK

    def state_of(identity: RunIdentity) -> str | None:
        found = ti.get_task_states(
            dag_id=identity.dag_id, run_ids=[identity.run_id], task_ids=[identity.task_id]
        ).get(identity.run_id, {})
        suffix = f"_{identity.map_index}" if identity.map_index >= 0 else ""
        state: str | None = found.get(f"{identity.task_id}{suffix}", NO_SUCH_TASK)
        return state

    return state_of


def _prints_log(value: Any) -> bool:
    try:
        return as_bool(value, field="print_log")
    except InvalidInput:
        raise InvalidInput("print_log", value, 'give true, false or "live".') from None


def _at_least_a_second(value: Any, field: str) -> int:
    seconds = parse_seconds(value, field=field)
    if seconds < 1:
        raise InvalidInput(field, value, "give 1 second or more.")
    return seconds


def _time_limit(task: Any) -> timedelta | None:
    """The operator's `training_timeout` (or `max_ingestion_time`), or the sensor's `timeout`."""
    if hasattr(task, "training_timeout"):
        for field in ("training_timeout", "max_ingestion_time"):
            if not is_left_out(value := getattr(task, field)):
                return timedelta(seconds=_at_least_a_second(value, field))
        return None
    return timedelta(seconds=parse_seconds(task.timeout, field="timeout"))


class TrainingTask:
    """One training as one Airflow task sees it, for the length of one run of its process."""

    def __init__(
        self,
        *,
        context: Context,
        log: Any,
        options: Options,
        jobs: TrainingJobs,
        make_plan: Callable[[RunIdentity], TrainingPlan],
        make_policy: Callable[[float | None], Policy] | None,
        adopt: str | None = None,
    ) -> None:
        from spot_training.training.driver import TrainingDriver

        if not has_begun(context["task_state_store"]) and (warning := private_ledger_warning()):
            log.warning("%s", warning)
        ti = context["ti"]
        identity = identity_of(context, jobs, make_plan, watches=adopt)
        self.books = open_books(
            KeptState(context["task_state_store"]),
            identity,
            options.access,
            region=jobs.region,
            log=log,
            watches=adopt,
        )
        self._ti: Any = ti
        self._identity = identity
        self._store: Any = context["task_state_store"]
        self._dag_run: Any = context["dag_run"]
        self._log = log
        self.options = options
        self._adopt = adopt
        self._narrator = Narrator()
        self._untold: list[Attempt] = []
        self._stopped: str | None = None
        self._make_plan = make_plan
        self._make_policy = make_policy
        self.driver = TrainingDriver(
            jobs=jobs,
            store=KeptState(context["task_state_store"]),
            identity=identity,
            host=self,
            recorder=self.books,
        )

    # The driver's `Host` -----------------------------------------------------------------------------

    @property
    def only_watches(self) -> bool:
        return self._make_policy is None

    def plan(self, identity: RunIdentity) -> TrainingPlan:
        return self._make_plan(identity)

    def policy(self, seconds_left: float | None) -> Policy:
        assert self._make_policy is not None  # noqa: S101 - a training that only watches asks for none
        return self._make_policy(seconds_left)

    def deadline(self, now: Callable[[], datetime]) -> Deadline | None:
        if self.options.deadline is None:
            return None
        aws_now = now()
        began = run_began_at(self._dag_run, now=aws_now, real_now=datetime.now(UTC))
        return self.options.deadline.settle(
            self._plan(), now=aws_now, run_began_at=began, check_interval=self.options.check_interval
        )

    def check_budget(self, step: Step) -> BudgetCheck | None:
        budget, driver = self.options.budget, self.driver
        if budget is None:
            return None
        deadline = driver.state.deadline
        return check_budget(
            budget,
            self._plan(),
            step,
            attempts=driver.attempts,
            runtime=deadline.runtime if deadline else self.options.runtime,
            price_of=AskedPrices(self.options.access, driver.jobs.region),
            now=driver.jobs.now(),
            like=self.options.like,
            # Who has no job under way is about to buy one; others only ask.
            is_to_reserve=driver.state.current is None,
        )

    def out_of_time(self) -> str | None:
        if self.driver.state.giving_up:
            return None
        now = datetime.now(UTC)
        return next((reason for moment, reason in self._limits() if moment <= now), None)

    def say(self, text: str) -> None:
        self._log.info("%s", text)

    def job_over(self, job: JobSnapshot, attempt: Attempt) -> None:
        # All its transitions, although the trigger logged them: Airflow starts the trigger's log anew
        # at each deferral of a try, so only the last attempt's would be left.
        self.tell(job)
        if attempt.ending is Ending.STOPPED_FOR_DEADLINE:
            self._untold.append(attempt)  # its log can wait for the on-demand job, that job not for its log
        else:
            self._tell_log_tail(attempt)

    def account(self) -> str | None:
        return find_account(self.options.access)

    def installation(self) -> str:
        return installation()

    # The task's steps --------------------------------------------------------------------------------

    def proceed(self) -> Progress:
        """The next step. On failure `savings` and `attempts` are pushed before the error goes to Airflow.

        Failures that would repeat become `AirflowFailException` (no retry); bad input, and what a retry may
        mend, keep their own class, so that Airflow's `retries` and `retry_policy` apply to the latter.
        """
        from spot_training.training.driver import Waiting

        try:
            step = self.driver.proceed(
                try_number=self._ti.try_number,
                max_tries=self._ti.max_tries,
                clear_number=getattr(self._dag_run, "clear_number", None),
                adopt=self._adopt,
            )
            if isinstance(step, Waiting) and (reason := self.out_of_time()):
                self._run_out_of_time(step, reason)
        except InvalidInput as error:
            self._let_go_quietly()
            self.books.end(self.driver.state, str(error))
            raise
        except SpotTrainingError as error:
            self._fail(error)
        for attempt in self._untold:
            self._tell_log_tail(attempt)
        self._untold.clear()
        if self.driver.live_job:
            self._ti.xcom_push(key=XCOM_JOB_NAME, value=self.driver.live_job)
        if isinstance(step, Waiting):
            self.books.saw(step.job)
        return step

    def trigger(self, step: Waiting) -> TrainingJobTrigger:
        """What the task defers to. A job that somebody else started is not stopped with the task."""
        from spot_training.triggers import TrainingJobTrigger
        from spot_training.watching.deadline_stop import guard_to_json

        return TrainingJobTrigger(
            training_job_name=step.job.name,
            check_interval=self.options.check_interval,
            stop_job_on_kill=self.options.stop_job_on_kill and self.driver.is_live_job_ours,
            until=until.isoformat() if (until := self._until()) else None,
            guard=guard_to_json(step.guard, step.job, self.driver.jobs.clock.now()) if step.guard else None,
            record_key=self.books.key,
            # Where the job is: the connection's region may change while the task is deferred.
            **{**asdict(self.options.access), "region_name": self.driver.jobs.region},
        )

    def wait(self, step: Waiting) -> None:
        """Wait in this process until the job is over or time is up, with the watcher the triggerer uses."""
        from spot_training.watching.deadline_stop import Punctual, follow_punctually
        from spot_training.watching.watcher import JobWatcher, LogLines, Missing, Trouble

        jobs, watching = self.driver.jobs, self.options.access.watching()
        # Clients of the watcher's own: its calls wait for the budget, and fail soon. A stop does neither.
        reports = follow_punctually(
            JobWatcher(watching.jobs, make_logs=watching.logs, budget=watching.budget()),
            step.job.name,
            interval_seconds=self.options.check_interval,
            until=self._until,
            punctual=Punctual(step.guard, lambda: jobs.clock) if step.guard else None,
            stop=lambda _job: self.driver.stop(StopReason.DEADLINE),
            say=self._log.info,
            shows_log=self.options.shows_log_live,
        )
        for report in reports:
            match report:
                case JobSnapshot():
                    self.tell(report)
                    self.books.saw(report)
                case LogLines():
                    for line in report.lines:
                        self._log.info("  | %s", line)
                case Trouble():
                    self._log.warning("%s", report)
                case Missing():
                    self._log.warning("There is no training job %s any more.", report.name)

    def tell(self, job: JobSnapshot, *, only_the_latest: bool = False) -> None:
        """Write the job's new transitions into the task log."""
        for line in self._narrator.lines(job)[-1 if only_the_latest else 0 :]:
            self._log.info("%s", line)

    def outcome(self, completed: Completed) -> dict[str, Any]:
        """Push `savings` and `attempts` and return them beside `Training`, the provider's return value."""
        self.books.end(self.driver.state, statement_line(statement_of(self.driver.attempts)))
        return {"Training": _as_returned(completed.description), **self._push_outcome()}

    def started(self, step: Waiting) -> dict[str, Any]:
        """The return value of a task that does not wait."""
        self.driver.hand_over()
        return {"Training": _as_returned(self.driver.jobs.describe(step.job.name)), **self._push_outcome()}

    def end_with_process(self) -> None:
        """This process was told to end: start nothing more; stop the job unless it is to outlive its task."""
        self.driver.start_nothing_more()
        if self.options.stop_job_on_kill and not self._leaves_job_to_later_try():
            self.stop(StopReason.TASK_KILLED)

    @property
    def has_job_to_stop(self) -> bool:
        """Whether a job is alive that is not to outlive this task, and was not told to stop yet."""
        is_ours = self.driver.is_live_job_ours and self.options.stop_job_on_kill
        return is_ours and self._stopped != self.driver.live_job

    @property
    def standing(self) -> str:
        """Where the training's job stands, and with it the bill: for an error that does not say so."""
        return _standing(self.driver.state, is_stopped=self.options.stop_job_on_kill, is_looked_for=True)

    def let_go(self) -> None:
        """`stop`, once, unless the job is to outlive its task: nobody will look after it."""
        if self.has_job_to_stop and not self._leaves_job_to_later_try():
            self.stop(StopReason.TASK_ENDED)

    def stop(self, why: StopReason) -> None:
        """Stop the live job if this task created it, and start no other. Loud when a stop fails: it costs."""
        self.driver.start_nothing_more()
        name = self.driver.live_job
        if name is None or not self.driver.is_live_job_ours:
            return
        by_hand = self.driver.jobs.stop_command(name)
        soon = threading.Timer(
            LOUD_AFTER_SECONDS,
            self._log.error,
            (COULD_NOT_STOP, name, "SageMaker has not confirmed it so far; it is asked again.", by_hand),
        )
        soon.daemon = True
        soon.start()
        try:
            is_stopped = self.driver.kill() if why is StopReason.TASK_KILLED else self.driver.stop(why)
            if is_stopped:
                self._stopped = name
        except Exception as error:
            self._log.error(COULD_NOT_STOP, name, error, by_hand)
            raise
        finally:
            soon.cancel()

    def _run_out_of_time(self, step: Waiting, reason: str) -> None:
        """Stop our own job and wait until it is over and counted; leave one that is to outlive this task."""
        is_ours = self.driver.is_live_job_ours
        if is_ours and self.options.stop_job_on_kill:
            self.driver.give_up(reason)
            self._stopped = step.job.name
            return
        why = "stop_job_on_kill is False" if is_ours else "this task did not start it"
        raise TimedOutWaiting(
            f"{reason[0].upper()}{reason[1:]} and training job {step.job.name} is not over. It goes on: "
            f"{why}. Allow more time, or stop it by hand: {self.driver.jobs.stop_command(step.job.name)}"
        )

    def _fail(self, error: SpotTrainingError) -> NoReturn:
        if isinstance(error, InstallationUnknown):
            raise error  # nothing has begun, and the training before it stays on record as it ended
        if self._is_replaced():
            raise error  # a later try keeps the records, and has perhaps pushed its XCom already
        may_retry = self._could_succeed(error) and not self._is_out_of_time()
        if may_retry and self.options.pokes_on and not self.driver.state.is_over:
            raise error
        # Before the last try's end the next one adopts the job; after it nobody looks at it again.
        if not may_retry or is_last_try(self._ti):
            self._let_go_quietly()
            self.driver.end_for_good()
        self.books.end(self.driver.state, str(error))
        self._push_outcome()
        if may_retry:
            raise error
        raise AirflowFailException(str(error)) from error

    def _is_replaced(self) -> bool:
        """Whether this process stood still for so long that Airflow has given its task to a later try.

        XCom asks for no try: a late push would replace what the later try has pushed. Without an answer
        there is none.
        """
        from spot_training.process import within

        try:
            return not within(ANSWER_SECONDS, lambda: knows_this_try(self._store))
        except Exception:  # noqa: BLE001 - the API server is away, or this process's token is too old
            return False

    def _leaves_job_to_later_try(self) -> bool:
        """Whether a later try looks after the job that is alive; not where the task's run was deleted."""
        from spot_training.process import within
        from spot_training.sweep.orphans import NO_SUCH_TASK, OVER_STATES

        if self.driver.leaves_job or self.driver.live_job is None or not self._is_replaced():
            return self.driver.leaves_job
        try:
            state = within(ANSWER_SECONDS, lambda: task_states(self._ti)(self._identity))
        except Exception:  # noqa: BLE001
            return False
        if state == NO_SUCH_TASK or state in OVER_STATES:
            return False
        self.driver.leave_job()
        self._log.warning(
            "Airflow has replaced this try of the task by a later one, which looks after training job %s: it "
            "is not stopped.",
            self.driver.live_job,
        )
        return True

    def _let_go_quietly(self) -> None:
        with contextlib.suppress(Exception):  # said loudly already; the error that led here matters more
            self.let_go()

    def _plan(self) -> TrainingPlan:
        return self.driver.plan()

    def _until(self) -> datetime | None:
        """When this task's patience ends, by its own limit or by `execution_timeout`, which Airflow does not
        enforce while a task is deferred. None without a limit, and once it has passed.
        """
        state = self.driver.state
        if state.giving_up:
            return None
        limits = [moment for moment, _ in self._limits()]
        return min(limits, default=None)

    def _could_succeed(self, error: SpotTrainingError) -> bool:
        """Whether a retry may do better; of a script that failed its author knows best."""
        return error.is_retryable or (self.options.retry_failed_script and isinstance(error, AlgorithmFailed))

    def _is_out_of_time(self) -> bool:
        """Whether the limit of the whole training has passed: a retry would have no time left."""
        limit, began_at = self.options.time_limit, self.driver.state.began_at
        return limit is not None and began_at is not None and began_at + limit <= datetime.now(UTC)

    def _limits(self) -> list[tuple[datetime, str]]:
        state, options = self.driver.state, self.options
        limits: list[tuple[datetime, str]] = []
        if options.time_limit is not None and state.began_at is not None:
            words = f"the task's time limit of {in_words(options.time_limit.total_seconds())} passed"
            limits.append((state.began_at + options.time_limit, words))
        if options.execution_timeout is not None and state.try_began_at is not None:
            words = f"execution_timeout of {in_words(options.execution_timeout.total_seconds())} passed"
            limits.append((state.try_began_at + options.execution_timeout, words))
        return limits

    def _push_outcome(self) -> dict[str, Any]:
        attempts = self.driver.attempts
        statement = statement_of(attempts, self.books.prices)
        outcome = {
            XCOM_SAVINGS: statement.to_json(),
            XCOM_ATTEMPTS: [attempt.to_json(with_transitions=False) for attempt in attempts],
            **self._deadline_outcome(),
        }
        for key, value in outcome.items():
            self._ti.xcom_push(key=key, value=value)
        if attempts:
            self._log.info("%s", statement_line(statement))
        return outcome

    def _deadline_outcome(self) -> dict[str, Any]:
        """Whether the deadline was kept, on AWS's clock; nothing without one, or while a job is alive."""
        deadline, attempts = self.driver.state.deadline, self.driver.attempts
        if deadline is None or not attempts or self.driver.live_job:
            return {}
        ended_at, is_done = attempts[-1].ended_at, attempts[-1].ending is Ending.COMPLETED
        kept = is_done and ended_at is not None and ended_at <= deadline.at
        if not kept:
            self._log.warning("The deadline %s was missed.", f"{deadline.at:%Y-%m-%d %H:%M} UTC")
        return {
            XCOM_DEADLINE: {
                "at": deadline.at.isoformat(),
                "kept": kept,
                "ended_at": ended_at.isoformat() if ended_at else None,
            }
        }

    def _tell_log_tail(self, attempt: Attempt) -> None:
        failed = attempt.ending in {Ending.ALGORITHM_ERROR, Ending.CLIENT_ERROR}
        if not attempt.has_started or not (self.options.print_log or failed):
            return
        try:
            lines = self.options.access.logs().tail(attempt.job_name, LOG_TAIL_LINES)
        except Exception as error:  # noqa: BLE001 - a missing logs permission must not fail a training
            self._log.warning("The log of %s could not be read: %s", attempt.job_name, error)
            return
        if lines:
            self._log.info("The last %d lines of the log of %s:", len(lines), attempt.job_name)
        for line in lines:
            self._log.info("  | %s", line)


def find_account(access: AwsAccess) -> str | None:
    """The account of the credentials by STS, within seconds; None where it does not answer."""
    from spot_training.process import within

    try:
        return within(STS_SECONDS, access.account)
    except Exception:  # noqa: BLE001 - networks with VPC endpoints may lack STS
        return None


def identity_of(
    context: Context,
    jobs: TrainingJobs,
    make_plan: Callable[[RunIdentity], TrainingPlan],
    *,
    watches: str | None = None,
) -> RunIdentity:
    """The names of a task's training: those it began under, or this Airflow's for one that begins.

    Raises `InstallationUnknown`, and the `InvalidInput` of a state or a request that cannot be read.
    """
    from spot_training.sagemaker.identity import RunIdentity

    ti: Any = context["ti"]
    task = RunIdentity(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
    )

    def has_job(who: RunIdentity) -> bool:
        return watches is None and jobs.is_ours(make_plan(who).job_name(1), key=who.key)

    name = installation_of_training(
        task,
        load_state(KeptState(context["task_state_store"])),
        run_began_at=getattr(context["dag_run"], "start_date", None),
        has_job=has_job,
    )
    return replace(task, installation=name)


def has_begun(store: StateStore) -> bool:
    """Whether an earlier process of this task left a state."""
    return store.get(STATE_KEY) is not None


def stop_job_on_record(task: Any, store: StateStore) -> None:
    """Stop the job that the stored state names: for a task that fails before it knows its training.

    Only one that is confirmed to be ours. The state need not be readable beyond that.
    """
    name = job_on_record(store.get(STATE_KEY))
    if not name:
        return
    try:
        stops = LedgerStops()
        if (
            access_of(task)
            .jobs()
            .stop(name, StopReason.TASK_ENDED, keep_reason=lambda note: stops.keep(name, note))
        ):
            task.log.info("Stopped training job %s: billed until it has uploaded and ended.", name)
    except Exception as error:
        by_hand = stop_command(name, task.region_name)
        task.log.error(COULD_NOT_STOP, name, error, by_hand)  # noqa: TRY400 - the task's own error matters
        raise


def _as_returned(description: dict[str, Any] | None) -> Any:
    """`DescribeTrainingJob`'s answer for XCom, which whoever may read the Dag may read."""
    from spot_training.sagemaker.request import without_secrets

    return None if description is None else as_plain_json(without_secrets(description))


def standing_on_record(store: StateStore, *, is_stopped: bool) -> str:
    """`TrainingTask.standing`, from the stored state: for a task that fails before it knows its training."""
    try:
        state = load_state(store)
    except InvalidInput:
        return "A training job of this task may be alive and billed."
    return _standing(state or TrainingState(), is_stopped=is_stopped, is_looked_for=False)


def _standing(state: TrainingState, *, is_stopped: bool, is_looked_for: bool) -> str:
    intent, attempts = state.current, len(state.attempts)
    if intent is not None and intent.is_foreign:
        return f"Training job {intent.job_name} was left alone."
    # The driver goes on only when it knows that there is no job of an unconfirmed name.
    if intent is not None and not intent.is_created and not is_looked_for:
        return f"Training job {intent.job_name} may be alive and billed: look for it, and stop it by hand."
    if intent is not None and intent.is_created:
        goes_on = "is told to stop, and billed until it has" if is_stopped else "goes on and is billed"
        return f"Training job {intent.job_name}, if it is alive, {goes_on}."
    if attempts:
        return f"No training job was created after {counted(attempts, 'attempt')}, and none is alive."
    return "No training job was created."


def as_plain_json(value: Any) -> Any:
    """A boto3 response as numbers, strings, lists and dictionaries: times become ISO 8601."""
    return with_whole_text(json.loads(json.dumps(value, default=_iso)))


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not plain JSON")
