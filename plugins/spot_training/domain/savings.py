"""What a training took and what it saved, over all its attempts.

Decides how seconds are summed and what they are compared with. Seconds are per instance unless the name says
`instance_seconds`. Unknown stays unknown (None): a missing figure is never taken as zero, except for a job
that never started, which costs nothing because it never held an instance.

Dollars are billable seconds x instances x the *on-demand* price per hour: the spot discount is in the
billable seconds already. Without a known price for the instance type they are None.

**Net** savings also count what spot wasted: of a training that failed, what was billed for the spot attempts
that ended because of spot (`spot_failures`). Of a training that completed, this is in its bill already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, TypeAlias

from .attempts import (
    MOST_TRANSITIONS,
    Attempt,
    PurchaseOption,
    as_plain,
    attempt_of,
    kept_transitions,
    saved_percent,
    stored_as,
    times_instances,
    transition_from_json,
    transition_to_json,
    unknown_of,
    wait_seconds_of,
)
from .interruptions import is_spot_cause
from .lifecycle import CAPACITY_CAUSES, Ending

#: What is in `attempts` keeps its names here.
__all__ = [
    "ENDINGS_OF_SPOT_FAILURES",
    "MOST_TRANSITIONS",
    "NO_PRICES",
    "Attempt",
    "CleanRunBasis",
    "Prices",
    "PurchaseOption",
    "Rate",
    "SavingsStatement",
    "attempt_of",
    "billed_usd",
    "cost_usd",
    "kept_transitions",
    "on_demand_rate",
    "saved_percent",
    "spot_failures",
    "statement_of",
    "stored_as",
    "transition_from_json",
    "transition_to_json",
    "unknown_of",
    "wait_seconds_of",
]

#: On-demand US dollars per instance-hour, by instance type: plain numbers, or `Rate`.
Prices: TypeAlias = Mapping[str, float]
NO_PRICES: Prices = {}


class Rate(float):
    """A list price, which spot pays, and the discount that on-demand gets, as of a SageMaker Savings Plan."""

    discount_percent: float

    def __new__(cls, usd_per_hour: float, discount_percent: float = 0.0) -> Rate:
        rate = super().__new__(cls, usd_per_hour)
        rate.discount_percent = discount_percent
        return rate

    @property
    def on_demand(self) -> float:
        return float(self) * (1 - self.discount_percent / 100)


def on_demand_rate(usd_per_hour: float | None) -> float | None:
    """What on-demand costs per hour at this price."""
    return usd_per_hour.on_demand if isinstance(usd_per_hour, Rate) else usd_per_hour


class CleanRunBasis(StrEnum):
    """How the length of a clean on-demand run is known."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNKNOWN = "unknown"


def cost_usd(instance_seconds: int | None, usd_per_hour: float | None) -> float | None:
    """US dollars for billed instance-seconds. Nothing billed costs nothing at any price."""
    if instance_seconds == 0:
        return 0.0
    if instance_seconds is None or usd_per_hour is None:
        return None
    return round(instance_seconds * usd_per_hour / 3600, 6)


def billed_usd(attempt: Attempt, prices: Prices) -> float | None:
    """What one attempt cost, or None if its seconds or its price are not known."""
    price = prices.get(attempt.instance_type or "")
    if attempt.purchase is PurchaseOption.ON_DEMAND:
        price = on_demand_rate(price)
    return cost_usd(attempt.billable_instance_seconds, price)


def spot_failures(attempts: Sequence[Attempt], scouts: Sequence[Attempt] = ()) -> list[Attempt]:
    """The spot attempts and scouts that produced nothing because of spot: none if the training completed.

    What a failing script or a person's stop costs is not spot's fault. A task's time limit is, if the job was
    interrupted before: the time went to spot.
    """
    if any(attempt.ending is Ending.COMPLETED for attempt in attempts):
        return []
    lost = [a for a in attempts if a.purchase is PurchaseOption.SPOT and _ended_because_of_spot(a)]
    return [*lost, *scouts]


#: The endings that `spot_failures` may have.
ENDINGS_OF_SPOT_FAILURES = CAPACITY_CAUSES | {Ending.MAX_RUNTIME, Ending.STOPPED_AT_TIME_LIMIT}


def _ended_because_of_spot(attempt: Attempt) -> bool:
    ran_out_of_time = attempt.ending is Ending.STOPPED_AT_TIME_LIMIT and attempt.interruptions > 0
    return is_spot_cause(attempt) or ran_out_of_time


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingsStatement:
    """A training's seconds and savings, over all its attempts, the abandoned ones too.

    `savings_percent` compares all billed instance-seconds with one clean on-demand run, so it is negative
    when spot lost money. `clean_run_seconds` is that run's length: measured where one uninterrupted job did
    the whole training; estimated as the work done plus one launch where it took several (work that had to be
    repeated after an interruption is in it, so the estimate is an upper bound); unknown when the training
    did not complete. `job_savings_percent` is AWS's formula over the same seconds. `abandoned` is what the
    attempts that did not complete were billed: of a training that failed, all of it. `spot_failed` is what
    `spot_failures` were billed, which the `net` figures take off: a training that completed has none.
    `net_savings_percent` is of the dollars if prices are known, else of instance time. `scouts` is what the
    scouts were billed (`scouting`). That is part of the bill, and of what was abandoned.
    """

    completed: bool
    attempts: int
    interruptions: int
    wait_seconds: int
    training_seconds: int | None
    billable_seconds: int | None
    training_instance_seconds: int | None
    billable_instance_seconds: int | None
    abandoned_instance_seconds: int | None
    clean_run_seconds: int | None
    clean_run_instance_seconds: int | None
    clean_run_basis: CleanRunBasis
    savings_percent: float | None
    job_savings_percent: float | None
    billed_usd: float | None
    clean_run_usd: float | None
    saved_usd: float | None
    abandoned_usd: float | None
    spot_failed_instance_seconds: int | None
    spot_failed_usd: float | None
    net_saved_usd: float | None
    net_savings_percent: float | None
    scout_instance_seconds: int | None = 0
    scout_usd: float | None = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {each.name: as_plain(getattr(self, each.name)) for each in fields(self)}


def statement_of(
    attempts: Sequence[Attempt], prices: Prices = NO_PRICES, *, scouts: Sequence[Attempt] = ()
) -> SavingsStatement:
    """Sum up the attempts of one training, in any order; `prices` are on-demand US dollars per hour.

    Its `scouts` count in the instance-seconds and dollars that were billed, abandoned or lost because of
    spot, and in nothing else.
    """
    completed = next((a for a in attempts if a.ending is Ending.COMPLETED), None)
    jobs = [*attempts, *scouts]
    abandoned = [a for a in jobs if a is not completed]
    clean_run, basis = _clean_run(attempts, completed)
    clean_instances = times_instances(clean_run, completed.instance_count) if completed else None
    clean_usd = _clean_run_usd(completed, clean_instances, prices)
    billed_instances = _total(a.billable_instance_seconds for a in jobs)
    training_instances = _total(a.training_instance_seconds for a in attempts)
    billed = _total_usd(billed_usd(a, prices) for a in jobs)
    saved = None if clean_usd is None or billed is None else round(clean_usd - billed, 6)
    percent = saved_percent(billed_instances, clean_instances)
    failures = spot_failures(attempts, scouts)
    spot_failed = _total_usd(billed_usd(a, prices) for a in failures)
    return SavingsStatement(
        completed=completed is not None,
        attempts=len(attempts),
        interruptions=sum(a.interruptions for a in attempts),
        wait_seconds=sum(a.wait_seconds for a in attempts),
        training_seconds=_total(a.training_seconds for a in attempts),
        billable_seconds=_total(a.billable_seconds for a in attempts),
        training_instance_seconds=training_instances,
        billable_instance_seconds=billed_instances,
        abandoned_instance_seconds=_total(a.billable_instance_seconds for a in abandoned),
        clean_run_seconds=clean_run,
        clean_run_instance_seconds=clean_instances,
        clean_run_basis=basis,
        savings_percent=percent,
        job_savings_percent=saved_percent(
            _total(a.billable_instance_seconds for a in attempts), training_instances
        ),
        billed_usd=billed,
        clean_run_usd=clean_usd,
        saved_usd=saved,
        abandoned_usd=_total_usd(billed_usd(a, prices) for a in abandoned),
        spot_failed_instance_seconds=_total(a.billable_instance_seconds for a in failures),
        spot_failed_usd=spot_failed,
        net_saved_usd=saved if completed else None if spot_failed is None else 0.0 - spot_failed,
        net_savings_percent=_first_known(saved_percent(billed, clean_usd), percent),
        scout_instance_seconds=_total(a.billable_instance_seconds for a in scouts),
        scout_usd=_total_usd(billed_usd(a, prices) for a in scouts),
    )


def _first_known(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _clean_run_usd(completed: Attempt | None, instance_seconds: int | None, prices: Prices) -> float | None:
    if completed is None:
        return None
    return cost_usd(instance_seconds, on_demand_rate(prices.get(completed.instance_type or "")))


def _clean_run(attempts: Sequence[Attempt], completed: Attempt | None) -> tuple[int | None, CleanRunBasis]:
    if completed is None or completed.work_seconds is None or completed.launch_seconds is None:
        return None, CleanRunBasis.UNKNOWN
    carried = [a for a in attempts if a.work_seconds and a.has_checkpoints and a is not completed]
    if not carried and not completed.interruptions:
        return completed.training_seconds, CleanRunBasis.MEASURED
    if not completed.has_checkpoints:
        return None, CleanRunBasis.UNKNOWN
    work = completed.work_seconds + sum(a.work_seconds or 0 for a in carried)
    return work + completed.launch_seconds, CleanRunBasis.ESTIMATED


def _total(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _total_usd(values: Iterable[float | None]) -> float | None:
    known = list(values)
    if any(value is None for value in known):
        return None
    return round(math.fsum(value for value in known if value is not None), 6)
