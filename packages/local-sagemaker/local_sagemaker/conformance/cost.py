"""The highest possible cost of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from local_sagemaker.services.pricing import PRICES_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .jobs import JobPlan

#: What a job may run beyond its limit. AWS was seen five minutes late.
_LATE_SECONDS = 600


def known_price(region: str, instance_type: str) -> float | None:
    """The on-demand price per hour of the built-in price list."""
    listed: dict[str, dict[str, float]] = yaml.safe_load(PRICES_FILE.read_text(encoding="utf-8"))
    return listed.get(region, {}).get(instance_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The highest possible cost: each job until its limit, ten minutes late, at the on-demand price."""

    seconds: int
    usd_per_hour: float
    jobs: int
    refusals: int

    @property
    def usd(self) -> float:
        return self.seconds / 3600 * self.usd_per_hour

    def __str__(self) -> str:
        return (
            f"The highest possible cost is {self.usd:.2f} USD: {self.jobs} jobs on one instance each, and "
            f"{self.refusals} requests that should be refused, or are stopped at once; each until its max "
            f"runtime and {_LATE_SECONDS // 60} minutes late, {self.seconds / 3600:.1f} hours in all, at "
            f"{self.usd_per_hour:g} USD per hour on demand. Storage, logs, requests and one "
            "ml.r5d.large add less than 0.10 USD."
        )


def highest_cost(plans: Iterable[JobPlan], *, refusals: Iterable[int], usd_per_hour: float) -> Cost:
    """`refusals` are the max runtimes of the requests that should be refused."""
    jobs, refused = list(plans), list(refusals)
    limits = [*(plan.runtime_seconds(1.0) for plan in jobs), *refused]
    return Cost(
        seconds=sum(limits) + _LATE_SECONDS * len(limits),
        usd_per_hour=usd_per_hour,
        jobs=len(jobs),
        refusals=len(refused),
    )
