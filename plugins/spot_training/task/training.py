"""What the operator and the sensor share: one training, driven from an Airflow task.

Turns the driver's steps into Airflow's: defer or wait, XCom, task log, exceptions. It neither decides nor
polls.

    options.py        the task's options, cast
    specification.py  what to train, and the policy
    beginning.py      the training's identity, and its recorder
    waiting.py        waiting in this process, and the trigger's arguments
    time_limits.py    when the task gives up
    stopping.py       the job of a task that ends (recorded_job.py: before the training is known)
    job_log.py        jobs in the task log
    results.py        return value and XComs
    notices.py        notifiers and functions, once for each event
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from spot_training.compat import AirflowFailException, is_test_run
from spot_training.domain.checkpoints_seen import SeenCheckpoints
from spot_training.domain.errors import (
    AlgorithmFailed,
    InstallationUnknown,
    InvalidInput,
    SpotTrainingError,
    StateReplaced,
)
from spot_training.domain.lifecycle import JobSnapshot
from spot_training.domain.messages import statement_line
from spot_training.domain.savings import statement_of
from spot_training.domain.type_history import asked_last
from spot_training.installation import installation
from spot_training.sagemaker.local_cloud import describe_clock
from spot_training.training.counting import count_end
from spot_training.training.driver import TrainingDriver, Waiting

from .beginning import find_account, identity_of, open_recorder, private_ledger_warning
from .budget import AskedPrices, check_budget
from .deadline import run_began_at
from .job_log import JobLog
from .kept_state import state_of
from .notices import Notices
from .recorded_job import has_begun, job_sentence
from .results import (
    XCOM_JOB_NAME,
    attempts_outcome,
    describe_outlets,
    push_model,
    push_outcome,
    returned_description,
)
from .stopping import JobStopper
from .time_limits import has_no_time_for_a_retry, passed_limit
from .tries import is_last_try, is_replaced, is_replaced_by_live_try, task_states
from .type_history import histories_of_types
from .waiting import last_look, reports_until_over, trigger_arguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from spot_training.domain.budget import BudgetCheck
    from spot_training.domain.checkpoints_seen import CheckpointsToWatch
    from spot_training.domain.deadline import Deadline
    from spot_training.domain.ladder import Policy, Step
    from spot_training.domain.savings import Attempt, SavingsStatement
    from spot_training.domain.type_history import TypeHistory
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.jobs import TrainingJobs
    from spot_training.sagemaker.request import TrainingPlan
    from spot_training.training.driver import Completed, Progress
    from spot_training.training.host import CheckpointOptions

    from .options import TaskOptions
    from .specification import Specification

__all__ = ["TrainingTask", "task_states"]


class TrainingTask:
    """One training as one Airflow task sees it, for the length of one run of its process.

    It is the driver's `Host`. `adopt` names a job that was started elsewhere: the first attempt.
    """

    def __init__(
        self,
        *,
        context: Context,
        log: Any,
        options: TaskOptions,
        jobs: TrainingJobs,
        specification: Specification,
        adopt: str | None = None,
    ) -> None:
        self.options = options
        self._ti: Any = context["ti"]
        self._dag_run: Any = context["dag_run"]
        self._outlets = getattr(context.get("task"), "outlets", None) or ()
        self._outlet_events: Any = context.get("outlet_events")
        self._state = state_of(context)
        self._log = log
        self._specification = specification
        self._adopt = adopt
        self._job_log = JobLog(log, options)
        is_new = not has_begun(self._state)
        identity = identity_of(context, jobs, specification.plan, watches=adopt)
        self.recorder = open_recorder(
            self._state,
            identity,
            options.access,
            region=jobs.region,
            is_test=is_test_run(context),
            endpoint_url=jobs.endpoint_url,
            log=log,
            watches=adopt,
        )
        self.driver = TrainingDriver(
            jobs=jobs, store=self._state, identity=identity, host=self, recorder=self.recorder
        )
        self._notices = Notices(options.notices, context=context, log=log, driver=self.driver)
        # Each try has its own log.
        is_new_try = self._ti.try_number != self.driver.state.try_number
        if is_new_try and (clock := describe_clock(jobs.endpoint_url)):
            log.info("%s: times and costs are simulated.", clock)
        if is_new and (warning := private_ledger_warning()):
            log.warning("%s", warning)
        self._stopper = JobStopper(
            self.driver,
            stops_job=options.stop_job_on_kill,
            is_replaced=lambda: is_replaced_by_live_try(self._state, self._ti, identity),
            log=log,
        )

    # The driver's `Host` -----------------------------------------------------------------------------

    @property
    def only_watches(self) -> bool:
        return self._specification.only_watches

    @property
    def checkpoints(self) -> CheckpointOptions:
        return self.options.checkpoints

    def last_look(self, job: JobSnapshot, what: CheckpointsToWatch) -> SeenCheckpoints:
        return last_look(job, what, driver=self.driver, options=self.options)

    def uploads_stalled(self, facts: Mapping[str, Any]) -> bool:
        return self._notices.uploads_stalled(facts)

    def prepare(self) -> Mapping[str, Any]:
        return self._specification.prepare(self.say)

    def plan(self, identity: RunIdentity) -> TrainingPlan:
        return self._specification.plan(identity)

    def policy(self, seconds_left: float | None) -> Policy:
        return self._specification.policy(seconds_left)

    def deadline(self, now: Callable[[], datetime]) -> Deadline | None:
        if self.options.deadline is None:
            return None
        aws_now = now()
        began = run_began_at(self._dag_run, now=aws_now, real_now=datetime.now(UTC))
        return self.options.deadline.settle(
            self.driver.plan(), now=aws_now, run_began_at=began, check_interval=self.options.check_interval
        )

    def check_budget(self, step: Step) -> BudgetCheck | None:
        budget, driver = self.options.budget, self.driver
        if budget is None:
            return None
        deadline = driver.state.deadline
        return check_budget(
            budget,
            driver.plan(),
            step,
            attempts=driver.attempts,
            scouts=driver.state.scouts_over,
            runtime=deadline.runtime if deadline else self.options.runtime,
            price_of=self.price_of,
            now=driver.jobs.now(),
            like=self.options.like,
            seen=driver.state.checkpoints,
            # Without a live job on-demand is about to be bought; otherwise this is only a question.
            is_to_reserve=driver.state.current is None,
        )

    def price_of(self, instance_type: str) -> float | None:
        return self._prices(instance_type)

    @cached_property
    def _prices(self) -> AskedPrices:
        return AskedPrices(self.options.access, self.driver.jobs.region)

    def asked_last(self, types: Sequence[str]) -> Mapping[str, str]:
        return asked_last(types, self.type_histories(types))

    def type_histories(self, types: Sequence[str]) -> Sequence[TypeHistory]:
        return histories_of_types(
            types,
            region=self.driver.jobs.region,
            installation=self.driver.training.who.installation,
            is_simulated=self.recorder.local_cloud is not None,
            now=self.driver.jobs.now(),
        )

    def out_of_time(self) -> str | None:
        return passed_limit(self.options, self.driver.state)

    def say(self, text: str) -> None:
        self._log.info("%s", text)

    def job_over(self, job: JobSnapshot, attempt: Attempt) -> None:
        self._job_log.show_over(job, attempt)

    def pauses(self) -> None:
        self._notices.send_due()

    def account(self) -> str | None:
        return find_account(self.options.access)

    def installation(self) -> str:
        return installation()

    # The task's steps --------------------------------------------------------------------------------

    def proceed(self) -> Progress:
        """The next step. On failure `savings` and `attempts` are pushed before the error goes to Airflow.

        Failures that would repeat become `AirflowFailException` (no retry). Bad input and what a retry may
        fix keep their own class, so that Airflow's `retries` and `retry_policy` apply to the latter.
        """
        try:
            step = self.driver.proceed(
                try_number=self._ti.try_number,
                max_tries=self._ti.max_tries,
                clear_number=getattr(self._dag_run, "clear_number", None),
                adopt=self._adopt,
            )
            if isinstance(step, Waiting) and (reason := self.out_of_time()):
                self._stopper.stop_out_of_time(step, reason)
        except InvalidInput as error:
            self._stopper.stop_abandoned_job_quietly()
            self.recorder.end(self.driver.state, str(error))
            self._notices.send_due()
            raise
        except SpotTrainingError as error:
            self._fail(error)
        self._job_log.show_postponed()
        if self.driver.live_job:
            self._ti.xcom_push(key=XCOM_JOB_NAME, value=self.driver.live_job)
        if isinstance(step, Waiting):
            self.recorder.saw(step.job)
            self._notices.send_due(step.job)
        return step

    def take_in(self, event: Mapping[str, Any] | None) -> None:
        """What the trigger saw of the checkpoints. The job itself is described again."""
        seen = (event or {}).get("checkpoints")
        if seen and (event or {}).get("training_job_name") == self.driver.live_job:
            self.driver.saw_checkpoints(SeenCheckpoints.from_json(seen))

    def trigger_arguments(self, waiting: Waiting) -> dict[str, Any]:
        """The arguments of the trigger that the task defers to."""
        return trigger_arguments(
            waiting, driver=self.driver, options=self.options, record_key=self.recorder.key
        )

    def wait(self, waiting: Waiting) -> None:
        """Wait in this process until the job is over or time is up."""
        for report in reports_until_over(waiting, driver=self.driver, options=self.options, log=self._log):
            if isinstance(report, JobSnapshot):
                self._job_log.show(report)
                self.recorder.saw(report)
            else:
                self._job_log.show_lines(report.lines)

    def show(self, job: JobSnapshot, *, only_the_latest: bool = False) -> None:
        """Log the job's new transitions."""
        self._job_log.show(job, only_the_latest=only_the_latest)

    def outcome(self, completed: Completed) -> dict[str, Any]:
        """Push `savings` and `attempts` and return them with `Training`, the provider's return value."""
        self.recorder.end(self.driver.state, statement_line(self._statement()))
        self._count_end()
        description = completed.description
        outcome = {
            "Training": returned_description(description),
            **self._push_outcome(),
            **push_model(self._ti, description),
        }
        describe_outlets(self._outlets, self._outlet_events, outcome, log=self._log)
        self._notices.send_due()
        return outcome

    @property
    def outcome_so_far(self) -> dict[str, Any]:
        """`savings` and `attempts` as they are now, for OpenLineage."""
        return attempts_outcome(self.driver, self._statement(), also=self._about_savings())

    def started(self, waiting: Waiting) -> dict[str, Any]:
        """The return value of a task that does not wait."""
        self.driver.hand_over()
        description = self.driver.jobs.describe(waiting.job.name)
        return {"Training": returned_description(description), **self._push_outcome()}

    # The end of the task -----------------------------------------------------------------------------

    @property
    def has_job_to_stop(self) -> bool:
        """Whether a job of this task is alive that this task must still stop."""
        return self._stopper.has_job_to_stop

    @property
    def job_sentence(self) -> str:
        """What an error says about the training's job and its bill."""
        return job_sentence(self.driver.state, is_stopped=self.options.stop_job_on_kill, is_looked_for=True)

    def end_with_process(self) -> None:
        """Airflow ends this process: start nothing more, and stop the job unless it outlives its task."""
        self._stopper.end_with_process()

    def stop_abandoned_job(self) -> None:
        """The task ends and no other try follows: stop the job unless it outlives its task."""
        self._stopper.stop_abandoned_job()

    def leave_job(self, error: StateReplaced) -> None:
        """Another process of the task has taken over: start nothing more, and stop nothing."""
        if not self.driver.leaves_job:
            self._log.warning("%s", error)
        self.driver.leave_job()

    def _fail(self, error: SpotTrainingError) -> NoReturn:
        if isinstance(error, InstallationUnknown):
            raise error  # nothing has begun, and the training before it stays on record as it ended
        if isinstance(error, StateReplaced):
            self.leave_job(error)  # at once: a sensor may turn it into a skip, after which a job is stopped
            raise error
        if is_replaced(self._state):
            raise error  # a later try keeps the records, and may have pushed its XCom already
        may_retry = self._could_succeed(error) and not has_no_time_for_a_retry(
            self.options, self.driver.state
        )
        if may_retry and self.options.pokes_again and not self.driver.state.is_over:
            raise error
        # Before the last try's end the next one adopts the job; after it nobody looks at it again.
        is_final = not may_retry or is_last_try(self._ti)
        if is_final:
            self._stopper.stop_abandoned_job_quietly()
            self.driver.end_for_good()
        self.recorder.end(self.driver.state, str(error))
        if is_final:
            self._count_end()
        self._push_outcome()
        self._notices.send_due()
        if may_retry:
            raise error
        raise AirflowFailException(str(error)) from error

    def _could_succeed(self, error: SpotTrainingError) -> bool:
        """Whether a retry may do better; of a script that failed its author knows best."""
        return error.is_retryable or (self.options.retry_failed_script and isinstance(error, AlgorithmFailed))

    def _push_outcome(self) -> dict[str, Any]:
        return push_outcome(
            self._ti, self.driver, self._statement(), also=self._about_savings(), log=self._log
        )

    def _count_end(self) -> None:
        count_end(self.driver.state, self.driver.training.identity, self._statement())

    def _about_savings(self) -> dict[str, Any]:
        """That they are simulated, by the clock of a local SageMaker, and what they are in their currency."""
        local_cloud, amounts = self.recorder.local_cloud, self.recorder.amounts(self.driver.state)
        return {
            **({"local_cloud": local_cloud} if local_cloud else {}),
            **(amounts.to_json() if amounts else {}),
        }

    def _statement(self) -> SavingsStatement:
        state = self.driver.state
        return statement_of(state.attempts, self.recorder.prices, scouts=state.scouts_over)
