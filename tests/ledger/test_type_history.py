"""The spot jobs of the last two weeks, by instance type and region."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import Attempt, PurchaseOption
from spot_training.domain.type_history import WITHIN, TypeHistory
from spot_training.ledger import Ledger
from spot_training.ledger.type_history import type_histories
from tests.records import T0, make_attempt, make_record

NOW = T0 + timedelta(days=1)
A, B = "ml.m5.xlarge", "ml.m5.2xlarge"


def _attempt(number: int, **facts: Any) -> Attempt:
    return make_attempt(number=number, **{"job_name": f"job-{number}", **facts})


def _histories(ledger: Ledger, **question: Any) -> list[TypeHistory]:
    with ledger.read() as reader:
        return type_histories(reader, **{"now": NOW, "installations": ["airflow"], **question})


def test_attempts_moves_and_scouts_are_read_from_records(ledger: Ledger) -> None:
    waited = {"started_at": None, "billable_seconds": 0}
    attempts = (
        _attempt(1, ending=Ending.MOVED, interruptions=1),
        _attempt(2, instance_type=B, ending=Ending.MOVED, **waited),
        _attempt(3, purchase=PurchaseOption.ON_DEMAND),
    )
    refused = _attempt(
        2, instance_type=B, ending=Ending.CAPACITY_ERROR, created_at=None, ended_at=None, **waited
    )
    scouts = (
        _attempt(1, instance_type=B, ending=Ending.SCOUT_DONE, started_at=T0 + timedelta(minutes=2)),
        _attempt(2, instance_type=B, ending=Ending.NO_CAPACITY, **waited),
    )
    ledger.write(make_record(run_id="1", attempts=attempts, scouts=scouts))
    ledger.write(make_record(run_id="2", attempts=(attempts[0], refused)))
    (two, one) = _histories(ledger, region="us-east-1")
    assert one == TypeHistory(region="us-east-1", instance_type=A, attempts=2, interrupted=2, price_ratio=0.3)
    assert two == TypeHistory(
        region="us-east-1",
        instance_type=B,
        scouts=2,
        scouts_with_capacity=1,
        found_after_seconds=120,
        moves=2,
        failed_moves=2,
        price_ratio=0.3,
    )


def test_a_merged_ledger_answers_the_same(ledger: Ledger) -> None:
    for run in range(3):
        ledger.write(make_record(run_id=str(run), attempts=(_attempt(1, interruptions=run),)))
    before = _histories(ledger)
    assert [history.interrupted for history in before] == [2]
    ledger.compact()
    assert _histories(ledger) == before


def test_what_is_old_elsewhere_simulated_or_a_test_does_not_count(ledger: Ledger) -> None:
    old = T0 - WITHIN
    ledger.write(
        make_record(run_id="old", attempts=(_attempt(1, created_at=old, started_at=old, ended_at=old),))
    )
    ledger.write(make_record(run_id="another type", attempts=(_attempt(1, instance_type=B),)))
    ledger.write(make_record(run_id="another region", region="eu-west-1"))
    ledger.write(make_record(installation="staging"))
    ledger.write(make_record(run_id="simulated", local_cloud="local, 60 times as fast"))
    ledger.write(make_record(run_id="a test", is_test=True))
    assert _histories(ledger, region="us-east-1", types=[A], is_simulated=False) == []
    assert [history.attempts for history in _histories(ledger, types=[A], is_simulated=True)] == [1]
