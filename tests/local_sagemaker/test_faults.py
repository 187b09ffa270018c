"""Which calls a fault hits: by number, by time, by chance."""

from __future__ import annotations

import random
from typing import Any

from local_sagemaker.api.faults import Fault, Faults, Order


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _rng() -> random.Random:
    return random.Random(1)  # noqa: S311 - a sequence that can be repeated


def _order(**overrides: Any) -> Order:
    settings: dict[str, Any] = {"operation": "StopTrainingJob", "fault": Fault.THROTTLING}
    return Order(**(settings | overrides))


def _hits(faults: Faults, calls: int, operation: str = "StopTrainingJob") -> int:
    return sum(faults.take(operation) is not None for _ in range(calls))


def test_an_outage_hits_every_call_until_it_is_over() -> None:
    clock = _Clock()
    faults = Faults(now=clock)
    faults.add(_order(count=None, seconds=120))
    assert _hits(faults, 1000) == 1000
    clock.now += 119.9
    assert _hits(faults, 1) == 1
    clock.now += 0.1
    assert _hits(faults, 1000) == 0


def test_half_of_the_calls_are_throttled() -> None:
    faults = Faults(rng=_rng())
    faults.add(_order(count=None, seconds=120, probability=0.5))
    assert 450 < _hits(faults, 1000) < 550


def test_calls_that_are_spared_do_not_count() -> None:
    faults = Faults(rng=_rng())
    faults.add(_order(count=7, probability=0.1))
    assert _hits(faults, 1000) == 7


def test_a_call_that_one_fault_spares_may_be_hit_by_the_next() -> None:
    faults = Faults(rng=_rng())
    faults.add(_order(count=None, probability=0.5))
    faults.add(_order(operation="*", fault=Fault.INTERNAL_FAILURE, count=None))
    taken = [faults.take("StopTrainingJob") for _ in range(100)]
    assert {order.fault for order in taken if order} == {Fault.THROTTLING, Fault.INTERNAL_FAILURE}
    assert None not in taken


def test_a_fault_leaves_other_operations_alone() -> None:
    faults = Faults()
    faults.add(_order(count=None))
    assert _hits(faults, 10, "ListTrainingJobs") == 0
