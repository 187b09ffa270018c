"""The training jobs of a run: what each is for, and how long it may run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: On a local SageMaker, this type has no capacity during a run.
SCARCE_TYPE = "ml.c5.xlarge"
MAX_RUNTIME_SECONDS = 900
#: The default quota of AWS for the run time of a job.
_LONGEST_SECONDS = 432_000
#: A script gets this many real seconds at least before a limit ends it.
_LEAST_REAL_SECONDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """One job. `acts` has what the run does to some of them."""

    name: str
    purpose: str
    probe: str = "look"
    is_spot: bool = True
    has_entrypoint: bool = False
    has_checkpoints: bool = False
    #: The job that has to be over before this one is created, and in whose checkpoint prefix it continues.
    after: str | None = None
    #: None: as for most jobs.
    max_runtime_seconds: int | None = None
    max_wait_seconds: int | None = None
    #: The secondary status that it is meant to end in.
    end: str = "Completed"
    #: Only where there is a control API.
    is_local: bool = False
    is_scarce: bool = False

    def runtime_seconds(self, speed: float) -> int:
        """MaxRuntimeInSeconds: on a fast clock longer, because a script takes real time."""
        if self.max_runtime_seconds is None:
            return round(min(MAX_RUNTIME_SECONDS * max(1.0, speed), _LONGEST_SECONDS))
        least = 0 if self.is_scarce else _LEAST_REAL_SECONDS * speed
        return round(max(self.max_runtime_seconds, least))


JOBS = (
    JobPlan(
        name="complete",
        purpose="a spot job with a script, a channel and checkpoints",
        has_checkpoints=True,
    ),
    JobPlan(
        name="stopped",
        purpose="a spot job that is stopped while it trains",
        probe="hold",
        end="Stopped",
        has_checkpoints=True,
    ),
    JobPlan(
        name="over-time",
        purpose="an on-demand job with an entrypoint that reaches its max runtime",
        probe="hold",
        end="MaxRuntimeExceeded",
        is_spot=False,
        has_entrypoint=True,
        max_runtime_seconds=300,
    ),
    JobPlan(
        name="failed",
        purpose="an on-demand job with a script that fails",
        probe="fail",
        end="Failed",
        is_spot=False,
    ),
    JobPlan(
        name="plain",
        purpose="an on-demand job with an entrypoint and without checkpoints",
        is_spot=False,
        has_entrypoint=True,
    ),
    JobPlan(
        name="never-started",
        purpose="a spot job that is stopped while Starting",
        probe="hold",
        end="Stopped",
        is_scarce=True,
        max_runtime_seconds=60,
    ),
    JobPlan(
        name="interrupted",
        purpose="a spot job that is interrupted",
        probe="hold",
        has_checkpoints=True,
        is_local=True,
    ),
    JobPlan(
        name="no-capacity",
        purpose="a spot job that never gets capacity",
        probe="hold",
        end="MaxWaitTimeExceeded",
        is_scarce=True,
        is_local=True,
        max_runtime_seconds=120,
        max_wait_seconds=120,
    ),
    JobPlan(
        name="resume",
        purpose="a spot job on the capacity and the checkpoints of the first one",
        has_checkpoints=True,
        after="complete",
    ),
)
PLANS = {plan.name: plan for plan in JOBS}


def job_name(run_id: str, name: str) -> str:
    """With capitals, because SageMaker writes names in lower case in ARNs only."""
    return f"{run_id}-{name.title()}"


def with_predecessors(names: Iterable[str]) -> list[JobPlan]:
    """The jobs of these names, and those that they come after, in the order of a run."""
    wanted = set(names)
    wanted |= {str(PLANS[name].after) for name in wanted if PLANS[name].after}
    return [plan for plan in JOBS if plan.name in wanted]
