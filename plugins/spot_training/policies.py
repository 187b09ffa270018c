"""The policies by name, and `simulate`: what anybody may call to put a policy or a trace beside ours.

    simulate("rule", {"work_seconds": 172800, "deadline_seconds": 216000}, [1, 1, 0, 1], tick_seconds=300)

Policies are made with their options as keywords: `POLICIES["widen"](spot_attempts=3)`. The planner needs
numpy (and uses numba where it is installed); the others need the standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .domain.errors import InvalidInput
from .domain.moves import SIMPLE_POLICIES, BackToSpot, Guard, MovePolicy, Spells, Workload, make_policy
from .domain.packages import needed_by
from .domain.simulator import DEFAULT_GUARD, Walk, walk

if TYPE_CHECKING:
    from .domain.traces import Trace
    from .planner.market import Prior

__all__ = ["POLICIES", "policy_named", "simulate", "workload_from"]


def _planner(*, prior: Prior | None = None) -> MovePolicy:
    with needed_by("the policy planner"):
        from .planner.market import Prior
        from .planner.planning import Planner

    if prior is not None and not isinstance(prior, Prior):
        raise InvalidInput("policy.prior", prior, "give what planner.market.fit_prior returns, in Python.")
    return Planner() if prior is None else Planner(prior=prior)


#: Every policy by name; each takes its options as keywords.
POLICIES: dict[str, Callable[..., MovePolicy]] = {**SIMPLE_POLICIES, "planner": _planner}


def policy_named(name: str, **options: Any) -> MovePolicy:
    """A policy from its name and options; raises `UnknownPolicy` or `InvalidInput`."""
    return make_policy(name, POLICIES, **options)


def workload_from(values: Workload | Mapping[str, Any]) -> Workload:
    """A workload from plain values: seconds, dollars per hour, and how it may go back to spot."""
    if isinstance(values, Workload):
        return values
    known = [field.name for field in fields(Workload)]
    for name in values:
        if name not in known:
            raise InvalidInput(f"workload.{name}", values[name], f"give some of {', '.join(known)}.")
    for name in ("work_seconds", "deadline_seconds"):
        if name not in values:
            raise InvalidInput(f"workload.{name}", None, "give seconds.")
    given = dict(values)
    try:
        given["back_to_spot"] = BackToSpot(given.get("back_to_spot", BackToSpot.BESIDE))
    except ValueError as exc:
        ways = ", ".join(BackToSpot)
        raise InvalidInput("workload.back_to_spot", given["back_to_spot"], f"give one of {ways}.") from exc
    return Workload(**given)


def simulate(
    policy: str | MovePolicy,
    workload: Workload | Mapping[str, Any],
    trace: Trace | Sequence[Any],
    *,
    tick_seconds: float = 300.0,
    history: Spells = (),
    sees_capacity: bool = False,
    guard: Guard | None = DEFAULT_GUARD,
) -> Walk:
    """Walk a policy over a trace: what it costs, when it is done, whether it misses the deadline.

    `policy`: a name of `POLICIES`, or anything with `name` and `begin(workload, history)`. `workload`: a
    `Workload` or a mapping of its fields (seconds; dollars per hour). `trace`: 0 and 1 for each tick of
    `tick_seconds`, or a `Trace`. `history`: spells (has_spot, seconds) seen in this market before, oldest
    first. `sees_capacity`: whether capacity is seen while on-demand runs, as on no SageMaker. `guard` keeps
    the deadline outside the policy; None leaves it to the policy alone.
    """
    chosen = policy_named(policy) if isinstance(policy, str) else policy
    return walk(
        chosen,
        workload_from(workload),
        trace,
        tick_seconds=tick_seconds,
        history=history,
        sees_capacity=sees_capacity,
        guard=guard,
    )
