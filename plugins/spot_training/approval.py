"""Ask a person before a training buys on-demand: tasks that follow a training on spot only.

    trained_on_spot = SpotTrainingOperator(task_id="train_on_spot", policy="spot_only", ...)
    went_on = ask_before_on_demand(trained_on_spot, limit_usd=25, answer_within=timedelta(hours=4))

Uses the human-in-the-loop operator of Airflow's standard provider: the question is in the UI under *Required
Actions*. A sensor with a policy continues the training, from the same checkpoints and with the last spot job
as its first attempt. It never starts a job while another job of the training is running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup, get_current_context, task

from .compat import AirflowFailException, hitl_operator
from .domain.budget import OnDemandCost, usd_from
from .domain.errors import InvalidInput
from .domain.interruptions import is_spot_cause
from .domain.ladder import what_happened, why_no_other
from .domain.messages import counted
from .domain.money import dollars
from .domain.parsing import in_words
from .domain.savings import Attempt
from .domain.stopping import MAX_RUNTIME_SECONDS
from .sensors import SpotTrainingSensor
from .task.specification import WatchedJob

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier
    from airflow.sdk.execution_time.hitl import HITLUser

    from .connections import AwsAccess
    from .operators import SpotTrainingOperator

BUY = "Buy on-demand"
WAIT = "Keep waiting for spot"
QUESTION = "question"


def ask_before_on_demand(
    train: SpotTrainingOperator,
    *,
    limit_usd: float | str,
    answer_within: timedelta,
    more_waits: int = 2,
    group_id: str = "on_demand",
    assigned_users: HITLUser | list[HITLUser] | None = None,
    notifiers: Sequence[BaseNotifier] = (),
) -> SpotTrainingSensor:
    """Add the tasks that continue `train` if it gets no spot capacity: `price`, `ask` and `go_on`, which it
    returns.

    :param train: a training on spot only. A lack of spot capacity uses none of its `retries`.
    :param limit_usd: the most that on-demand may cost without a question, in US dollars (templated). If the
        price is not known, a person is always asked.
    :param answer_within: how long a person has to answer. Without an answer, the training keeps waiting for
        spot.
    :param more_waits: how many more waits "keep waiting" means, each twice as long as the one before.
    :param assigned_users: who may answer. None: everybody who may answer any question.
    :param notifiers: notify people of the question.
    """
    _check_arguments(limit_usd, answer_within, more_waits)
    with TaskGroup(group_id, tooltip="Runs if there was no spot capacity") as group:
        inside: Callable[[str], str] = group.child_id
        waiting = _Waiting(answer_within=answer_within, more_waits=more_waits)
        priced = _price_task(train, inside, waiting)(limit_usd)
        ask = hitl_operator()(
            task_id="ask",
            subject="Buy on-demand for {{ dag.dag_id }}?",
            body=f"{{{{ ti.xcom_pull(task_ids='{inside('price')}', key='{QUESTION}') }}}}",
            options=[BUY, WAIT],
            defaults=WAIT,
            response_timeout=answer_within,
            assigned_users=assigned_users,
            notifiers=list(notifiers),
        )
        go_on = _go_on(train, answer=f"ti.xcom_pull(task_ids='{inside('ask')}')", more_waits=more_waits)
        train >> priced >> [ask, go_on]
        ask >> go_on
    return go_on


def _check_arguments(limit_usd: object, answer_within: object, more_waits: int) -> None:
    """Refuse at parse time what would otherwise fail in the middle of a training."""
    if not 1 <= more_waits <= 10:
        raise InvalidInput("more_waits", more_waits, "give 1 to 10.")
    if not isinstance(answer_within, timedelta) or answer_within <= timedelta():
        raise InvalidInput("answer_within", answer_within, "give a timedelta above zero: timedelta(hours=4).")
    is_known = limit_usd is None or isinstance(limit_usd, int | float | str)
    if is_known and "{{" not in str(limit_usd):
        usd_from(limit_usd, field="limit_usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """How long the training waits for an answer and for spot."""

    answer_within: timedelta
    more_waits: int


def _price_task(train: SpotTrainingOperator, inside: Callable[[str], str], waiting: _Waiting) -> Any:
    train_id, access = train.task_id, _access_of(train)

    @task.branch(task_id="price", trigger_rule="all_failed", retries=2)
    def price(limit: float | str) -> str:
        """Estimate the cost of on-demand from here. Ask only if it is above the limit."""
        ti: Any = get_current_context()["ti"]
        attempts = _attempts(ti.xcom_pull(task_ids=train_id, key="attempts"), train_id)
        cost = _cost(access, attempts)
        may_cost = usd_from(limit, field="limit_usd")
        question = _question(attempts, cost, may_cost, waiting)
        ti.xcom_push(key=QUESTION, value=question)
        print(question)
        is_cheap = cost.usd is not None and cost.usd <= may_cost
        return inside("go_on" if is_cheap else "ask")

    return price


def _access_of(train: SpotTrainingOperator) -> AwsAccess:
    from .connections import AwsAccess

    return AwsAccess(
        aws_conn_id=train.aws_conn_id,
        region_name=train.region_name,
        verify=train.verify,
        botocore_config=train.botocore_config,
    )


def _attempts(xcom: Any, train_id: str) -> tuple[Attempt, ...]:
    attempts = tuple(Attempt.from_json(fact) for fact in xcom or ())
    if not attempts:
        raise AirflowFailException(
            f"{train_id} made no attempt, so there is nothing to continue. See its log."
        )
    if not is_spot_cause(attempts[-1]):
        raise AirflowFailException(
            f"{train_id} did not end for lack of spot capacity ({attempts[-1].ending}): "
            f"{why_no_other(attempts[-1])}."
        )
    if not any(attempt.job_name for attempt in attempts):
        raise AirflowFailException(
            f"SageMaker refused every attempt of {train_id}, so there is no job to continue. See its log."
        )
    return attempts


def _cost(access: AwsAccess, attempts: tuple[Attempt, ...]) -> OnDemandCost:
    from .sagemaker.identity import RunIdentity
    from .task.budget import AskedPrices, on_demand_cost

    jobs = access.jobs()
    last_job = next(attempt.job_name for attempt in reversed(attempts) if attempt.job_name)
    plan = WatchedJob(jobs, last_job).plan(RunIdentity(dag_id="", run_id="", task_id=""))
    prices = AskedPrices(access, jobs.region)
    return on_demand_cost(plan, attempts=attempts, runtime=None, now=jobs.now(), price_of=prices)


def _question(attempts: tuple[Attempt, ...], cost: OnDemandCost, limit_usd: float, waiting: _Waiting) -> str:
    """What a person has to know to decide, in Markdown."""
    waited = attempts[-1].max_wait_seconds or 0
    longest = sum(min(waited * 2**n, MAX_RUNTIME_SECONDS) for n in range(1, waiting.more_waits + 1))
    happened = what_happened(attempts[-1])
    has_checkpoints = any(attempt.has_checkpoints for attempt in attempts)
    start = "It continues from the last checkpoint." if has_checkpoints else "It starts from zero."
    return (
        f"{happened[0].upper()}{happened[1:]}; {counted(len(attempts), 'attempt')} so far.\n\n"
        f"**On-demand** would take {cost} ({cost.basis}). {start} The limit without a question is "
        f"{dollars(limit_usd)}.\n\n"
        f"**{WAIT}**: up to {in_words(longest)} more, then the training fails. This also happens without an "
        f"answer within {in_words(waiting.answer_within.total_seconds())}."
    )


def _go_on(train: SpotTrainingOperator, *, answer: str, more_waits: int) -> SpotTrainingSensor:
    """The same training, on demand or on spot again, depending on the answer and the limit."""
    waits = f"(({answer}) or {{}}).get('chosen_options') == ['{WAIT}']"
    return SpotTrainingSensor(
        task_id="go_on",
        trigger_rule="none_failed_min_one_success",
        training_job_name=f"{{{{ ti.xcom_pull(task_ids='{train.task_id}', key='training_job_name') }}}}",
        # The job that is over counts as the first step.
        policy={
            "name": f"{{{{ 'spot_only' if {waits} else 'widen' }}}}",
            "spot_attempts": f"{{{{ {1 + more_waits} if {waits} else 1 }}}}",
        },
        deferrable=train.deferrable,
        check_interval=train.check_interval,
        print_log=train.print_log,
        stop_job_on_kill=train.stop_job_on_kill,
        caps=train.caps,
        aws_conn_id=train.aws_conn_id,
        region_name=train.region_name,
        verify=train.verify,
        botocore_config=train.botocore_config,
    )
