"""What an on-demand attempt would cost: how long it takes, on which instances, at which price."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.budget import OnDemandCost, PriceOf
from spot_training.domain.deadline import CHECKPOINT_EVERY_SECONDS, LAUNCH_SECONDS, Runtime, kept_by_attempts
from spot_training.domain.records import model_of
from spot_training.domain.savings import on_demand_rate
from spot_training.ledger.prices import configured_prices
from spot_training.process import within
from spot_training.sagemaker.request import max_runtime_of

from .past_runs import Teachers, learn

if TYPE_CHECKING:
    from spot_training.connections import AwsAccess
    from spot_training.domain.checkpoints_seen import SeenCheckpoints
    from spot_training.domain.savings import Attempt
    from spot_training.sagemaker.request import TrainingPlan

log = logging.getLogger(__name__)

#: How long a decision waits for the ledger or a price.
READ_SECONDS = 30.0


def on_demand_cost(
    plan: TrainingPlan,
    instance_types: Sequence[str] = (),
    *,
    attempts: Sequence[Attempt],
    runtime: Runtime | None,
    now: datetime,
    price_of: PriceOf,
    like: Sequence[str] = (),
    seen: SeenCheckpoints | None = None,
) -> OnDemandCost:
    """What going on demand from the checkpoints of `attempts` would cost.

    `instance_types` are the step's: the most expensive counts, because SageMaker may choose any. `runtime` is
    the task's own; None: learned from past runs, or else the request's longest. `seen` is what is saved.
    """
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
    keeps = kept_by_attempts if seen is None else seen.kept_by_attempts
    kept = keeps(attempts, lost) if plan.checkpoint_uri else 0.0
    work = max(0.0, (known.mean_seconds if known else longest) - kept)
    choices = _choices(plan.request["ResourceConfig"], instance_types)
    most_expensive = max(choices, key=lambda choice: _usd_per_hour(choice, price_of) or 0.0)
    is_priced = all(_usd_per_hour(choice, price_of) is not None for choice in choices)
    return OnDemandCost(
        instances=" and ".join(f"{count} x {kind}" for kind, count in most_expensive.items()),
        seconds=work + (past.billed_launch_seconds if past else LAUNCH_SECONDS),
        basis=known.basis if known else "MaxRuntimeInSeconds: no past run is on record",
        usd_per_hour=_usd_per_hour(most_expensive, price_of) if is_priced else None,
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
        price = on_demand_rate(price_of(kind))
        if price is None:
            return None
        total += price * count
    return total


class AskedPrices:
    """The prices of one region, each asked for once. A price that is not available is None."""

    def __init__(self, access: AwsAccess, region: str) -> None:
        self._access = access
        self._region = region
        self._known: dict[str, float | None] = {}

    def __call__(self, instance_type: str) -> float | None:
        if instance_type not in self._known:
            self._known[instance_type] = self._ask(instance_type)
        return self._known[instance_type]

    def _ask(self, instance_type: str) -> float | None:
        def ask() -> float | None:
            price = configured_prices(self._access).price_of(self._region, instance_type)
            if price is not None and not price.is_usd:
                log.warning(
                    "The price of %s in %s (%s) is in %s, and budgets and limits are in US dollars: what "
                    "on-demand would cost is not known. Give the price in dollars in [spot_training] "
                    "prices_file.",
                    instance_type,
                    self._region,
                    price.source,
                    price.currency,
                )
                return None
            return price.rate if price else None

        try:
            return within(READ_SECONDS, ask)
        except Exception as error:  # noqa: BLE001 - the price is not known then
            log.warning("The price of %s is not known: %s", instance_type, error)
            return None
