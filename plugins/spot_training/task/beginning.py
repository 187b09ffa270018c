"""What a task needs before its training can begin or continue: its identity, and whoever keeps its record."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spot_training.compat import conf
from spot_training.installation import installation_of_training
from spot_training.sagemaker.identity import RunIdentity
from spot_training.training.state import load_state

from .kept_state import state_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from spot_training.connections import AwsAccess
    from spot_training.sagemaker.jobs import TrainingJobs
    from spot_training.sagemaker.request import TrainingPlan
    from spot_training.training.recorder import Bookkeeper
    from spot_training.training.state import StateStore

#: How long STS may take to say which account the credentials belong to.
STS_SECONDS = 5.0
#: Executors that run tasks on the scheduler's own machine.
LOCAL_EXECUTORS = frozenset({"LocalExecutor", "SequentialExecutor"})


def identity_of(
    context: Context,
    jobs: TrainingJobs,
    make_plan: Callable[[RunIdentity], TrainingPlan],
    *,
    watches: str | None = None,
) -> RunIdentity:
    """The identity of a task's training: the one it began under, or this Airflow's for one that begins.

    Raises `InstallationUnknown`, and the `InvalidInput` of a state or a request that cannot be read.
    """
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
        load_state(state_of(context)),
        run_began_at=getattr(context["dag_run"], "start_date", None),
        has_job=has_job,
    )
    return replace(task, installation=name)


def open_recorder(
    store: StateStore,
    identity: RunIdentity,
    access: AwsAccess,
    *,
    region: str,
    endpoint_url: str,
    log: Any,
    watches: str | None = None,
    is_test: bool = False,
) -> Bookkeeper:
    """The recorder of one task's training: the configured ledger, prices from AWS or `prices_file`."""
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
        endpoint_url=endpoint_url,
        watches=watches,
        is_test=is_test,
    )


def find_account(access: AwsAccess) -> str | None:
    """The account of the credentials by STS, within seconds; None if it does not answer."""
    from spot_training.process import within

    try:
        return within(STS_SECONDS, access.account)
    except Exception:  # noqa: BLE001 - networks with VPC endpoints may lack STS
        return None


def private_ledger_warning() -> str | None:
    """The warning for an Airflow where each machine that runs tasks has a separate ledger."""
    from spot_training.ledger.store import folder_of_one_machine

    configured = conf.get("core", "executor", fallback="LocalExecutor")
    # `team=...;` and `alias:` may come before a name, a module path before a class.
    names = re.findall(r"\w+(?=\s*(?:[,;]|$))", configured)
    remote = [name for name in names if name not in LOCAL_EXECUTORS]
    folder = folder_of_one_machine() if remote else None
    if folder is None:
        return None
    return (
        f"The ledger is the folder {folder}, and {remote[0]} may run tasks on other machines. Each machine "
        "then has a separate ledger, and budgets, reports, the page and the sweeper see only part of the "
        "trainings. Set [spot_training] ledger (AIRFLOW__SPOT_TRAINING__LEDGER) to storage that all machines "
        "share, such as s3://bucket/prefix."
    )
