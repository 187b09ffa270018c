"""What a task says of its month's budget, made into the `Purse` that on-demand has to fit into.

Reads the ledger and the prices. Nothing here may fail a training: what cannot be read is not known, and the
rule (`domain.spending`) says what follows from that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .domain.casting import is_left_out
from .domain.deadline import (
    CHECKPOINT_EVERY_SECONDS,
    LAUNCH_SECONDS,
    Runtime,
    kept_by_attempts,
)
from .domain.records import CurrentJob, TrainingRecord, model_of
from .domain.savings import Attempt, PurchaseOption, billed_usd, cost_usd
from .domain.spending import Budget, MonthSpending, OnDemandCost, Purse, budget_from, month_of
from .installation import names_of_own_records
from .past_runs import Teachers, learn

if TYPE_CHECKING:
    from .aws.identity import RunIdentity
    from .aws.request import TrainingPlan
    from .domain.policy import Rung
    from .hooks import AwsAccess
    from .ledger import LedgerReader

log = logging.getLogger(__name__)

#: A decision waits so long for the ledger or a price.
READ_SECONDS = 30.0
#: SageMaker ends a job after 28 days: what says it runs for longer was never settled.
LONGEST_RUN = timedelta(days=30)

PriceOf = Callable[[str], float | None]
"""On-demand US dollars per hour of an instance type in the training's region, None where it is not known."""


def budget_of(task: Any) -> Budget | None:
    """The task's `budget`, else `[spot_training] budget`; a sensor has none. Raises `InvalidInput`."""
    from airflow.sdk.configuration import conf

    if not hasattr(task, "budget"):
        return None
    if not is_left_out(task.budget):
        return budget_from(task.budget)
    setting = conf.get("spot_training", "budget", fallback="")
    return budget_from(setting, field="[spot_training] budget")


def open_purse(
    budget: Budget,
    plan: TrainingPlan,
    rung: Rung,
    *,
    attempts: Sequence[Attempt],
    runtime: Runtime | None,
    price_of: PriceOf,
    now: datetime,
    like: Sequence[str] = (),
) -> Purse:
    """How the budget stands if the training now went on demand on `rung`. `now` is AWS's time.

    `like` are Dags whose runs teach, too, how long the training takes.
    """
    return Purse(
        budget=budget,
        spending=_read_spending(plan.identity, attempts, now=now, price_of=price_of),
        cost=on_demand_cost(
            plan,
            rung.instance_types,
            attempts=attempts,
            runtime=runtime,
            now=now,
            price_of=price_of,
            like=like,
        ),
    )


def _read_spending(
    identity: RunIdentity, attempts: Sequence[Attempt], *, now: datetime, price_of: PriceOf
) -> MonthSpending | None:
    from .aws.bounded import within
    from .ledger import Ledger

    installations = names_of_own_records(identity.installation)

    def read() -> MonthSpending:
        with Ledger.configured().read() as reader:
            return month_spending(
                reader, identity, attempts, now=now, price_of=price_of, installations=installations
            )

    try:
        return within(READ_SECONDS, read)
    except Exception as error:  # noqa: BLE001 - what cannot be read is not known
        log.warning("The ledger could not be asked what this month has cost: %s", error)
        return None


class AskedPrices:
    """The prices of one region, each asked for once. What cannot be had is not known."""

    def __init__(self, access: AwsAccess, region: str) -> None:
        self._access = access
        self._region = region
        self._known: dict[str, float | None] = {}

    def __call__(self, instance_type: str) -> float | None:
        if instance_type not in self._known:
            self._known[instance_type] = self._ask(instance_type)
        return self._known[instance_type]

    def _ask(self, instance_type: str) -> float | None:
        from .aws.bounded import within
        from .ledger.prices import configured_prices

        def ask() -> float | None:
            price = configured_prices(self._access).price_of(self._region, instance_type)
            return price.usd_per_hour if price else None

        try:
            return within(READ_SECONDS, ask)
        except Exception as error:  # noqa: BLE001 - what cannot be had is not known
            log.warning("The price of %s is not known: %s", instance_type, error)
            return None


# What an on-demand attempt would cost ---------------------------------------------------------------


def on_demand_cost(
    plan: TrainingPlan,
    instance_types: Sequence[str] = (),
    *,
    attempts: Sequence[Attempt],
    runtime: Runtime | None,
    now: datetime,
    price_of: PriceOf,
    like: Sequence[str] = (),
) -> OnDemandCost:
    """What going on demand from the checkpoints of `attempts` would cost.

    `instance_types` are the rung's (the dearest counts, for SageMaker may choose any), `runtime` what the
    task says of itself; None: learned from past runs, or else the request's longest.
    """
    from .aws.request import max_runtime_of

    past = learn(
        model=model_of(plan.job_name(1)),
        instance_type=plan.instance_type,
        instance_count=plan.instance_count,
        teachers=Teachers.of(plan.identity, like),
        now=now,
    )
    known = runtime or (past.runtime if past else None)
    longest = max_runtime_of(plan.request)
    lost = known.checkpoint_every_seconds if known else CHECKPOINT_EVERY_SECONDS
    kept = kept_by_attempts(attempts, lost) if plan.checkpoint_uri else 0.0
    work = max(0.0, (known.mean_seconds if known else longest) - kept)
    choices = _choices(plan.request["ResourceConfig"], instance_types)
    dearest = max(choices, key=lambda choice: _usd_per_hour(choice, price_of) or 0.0)
    is_priced = all(_usd_per_hour(choice, price_of) is not None for choice in choices)
    return OnDemandCost(
        instances=" and ".join(f"{count} x {kind}" for kind, count in dearest.items()),
        seconds=work + (past.billed_launch_seconds if past else LAUNCH_SECONDS),
        basis=known.basis if known else "MaxRuntimeInSeconds: no past run is on record",
        usd_per_hour=_usd_per_hour(dearest, price_of) if is_priced else None,
    )


def _choices(resources: Mapping[str, Any], instance_types: Sequence[str]) -> list[dict[str, int]]:
    """The sets of instances the job may get: instance types and how many of each."""
    if instance_types:
        return [{kind: int(resources.get("InstanceCount", 1))} for kind in instance_types]
    if preferences := resources.get("InstancePreferences"):
        return [{choice["InstanceType"]: int(choice.get("InstanceCount", 1))} for choice in preferences]
    together: dict[str, int] = {}
    for group in resources.get("InstanceGroups") or [resources]:
        kind = str(group.get("InstanceType", ""))
        together[kind] = together.get(kind, 0) + int(group.get("InstanceCount", 1))
    return [together]


def _usd_per_hour(instances: Mapping[str, int], price_of: PriceOf) -> float | None:
    total = 0.0
    for kind, count in instances.items():
        price = price_of(kind)
        if price is None:
            return None
        total += price * count
    return total


# What the month has cost -----------------------------------------------------------------------------

_BILLED = """
SELECT coalesce(sum(usd), 0) AS usd, count(*) FILTER (usd IS NULL) AS unpriced
FROM (
    SELECT a.job_name, max(a.billed_usd) AS usd
    FROM (SELECT unnest(attempts) AS a FROM trainings
          WHERE dag_id = $dag_id AND list_contains($installations::VARCHAR[], installation)
            AND NOT (key = $key AND generation = $generation))
    WHERE a.started_at IS NOT NULL AND a.ended_at >= $since AND a.ended_at < $until
    GROUP BY a.job_name
)
"""
_REPLACED = """
SELECT coalesce(sum(replaced_usd), 0) AS usd FROM trainings
WHERE dag_id = $dag_id AND list_contains($installations::VARCHAR[], installation)
  AND began_at >= $since AND began_at < $until
"""
_SPOT_SHARE = """
SELECT sum(a.billable_seconds * a.instance_count)
       / nullif(sum(a.training_seconds * a.instance_count), 0) AS share
FROM (SELECT unnest(attempts) AS a FROM trainings
      WHERE dag_id = $dag_id AND list_contains($installations::VARCHAR[], installation)
        AND began_at >= $since)
WHERE a.purchase = 'spot' AND a.billable_seconds IS NOT NULL
"""


def month_spending(
    reader: LedgerReader,
    identity: RunIdentity,
    own_attempts: Iterable[Attempt],
    *,
    now: datetime,
    price_of: PriceOf,
    installations: Sequence[str] = (),
) -> MonthSpending:
    """What the Dag's trainings have cost this month, those under way by the best knowledge there is.

    A job counts in the month it ended in, and once, whichever tasks watched it. `own_attempts` are those of
    the training that asks: the ledger may not have the last one yet. `installations` are the names of this
    Airflow's records; left out, the training's own.
    """
    installations = installations or (identity.installation,)
    since = month_of(now)
    month = {
        "dag_id": identity.dag_id,
        "installations": list(installations),
        "since": since,
        "until": month_of(since + timedelta(days=32)),
    }
    key = identity.record_key
    (billed,) = reader.query(_BILLED, {**month, "key": key, "generation": identity.generation})
    (replaced,) = reader.query(_REPLACED, month)
    own = [a for a in own_attempts if a.has_started and a.ended_at and month_of(a.ended_at) == since]
    asked = {a.instance_type: price_of(a.instance_type) for a in own if a.instance_type}
    prices = {kind: price for kind, price in asked.items() if price is not None}
    own_usd = [billed_usd(a, prices) for a in own]
    running = _running(reader, identity, installations, now=now, price_of=price_of)
    return MonthSpending(
        began_at=since,
        billed_usd=billed["usd"] + replaced["usd"] + sum(usd or 0.0 for usd in own_usd),
        running_usd=sum(usd or 0.0 for usd in running),
        unpriced=billed["unpriced"] + own_usd.count(None) + running.count(None),
    )


def _running(
    reader: LedgerReader,
    identity: RunIdentity,
    installations: Sequence[str],
    *,
    now: datetime,
    price_of: PriceOf,
) -> list[float | None]:
    """What the Dag's other live jobs will have cost: spot so far, on-demand to its expected end."""
    from .ledger import Selection

    since, whose = now - LONGEST_RUN, tuple(installations)
    under_way = Selection(since=since, dag_ids=(identity.dag_id,), installations=whose, states=("running",))
    parameters = {"dag_id": identity.dag_id, "installations": list(whose), "since": since}
    (share,) = reader.query(_SPOT_SHARE, parameters)
    teachers = Teachers(installations=whose, dag_ids=(identity.dag_id,))
    return [
        _so_far(
            record,
            record.current_job,
            now=now,
            spot_share=share["share"] or 1.0,
            price_of=price_of,
            teachers=teachers,
        )
        for record in reader.records(under_way)
        if record.key != identity.record_key and record.current_job is not None
    ]


def _so_far(
    record: TrainingRecord,
    job: CurrentJob,
    *,
    now: datetime,
    spot_share: float,
    price_of: PriceOf,
    teachers: Teachers,
) -> float | None:
    kind = job.instance_type or record.instance_type or ""
    held = (now - job.started_at).total_seconds() if job.started_at else 0.0
    if job.purchase is PurchaseOption.SPOT:
        seconds = max(0.0, held) * spot_share
    else:
        # What may have been bought counts as bought: nobody has seen yet how the newest job is.
        past = learn(
            model=record.model,
            instance_type=kind,
            instance_count=job.instance_count,
            teachers=teachers,
            now=now,
        )
        expected = past.runtime.mean_seconds + past.billed_launch_seconds if past else 0.0
        seconds = max(held, expected)
    price = record.usd_per_hour.get(kind) or price_of(kind)
    return cost_usd(round(seconds * job.instance_count), price)
