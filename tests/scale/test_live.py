"""Deferred trainings at once through a real scheduler and triggerer, on Postgres: the small edition.

`benchmarks/waiting.py --live` does the same with a thousand.
"""

from __future__ import annotations

import pytest

from include.local_stack import describe_missing_programs

from .live import LATE_SECONDS, run_live


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.skipif(bool(describe_missing_programs()), reason=describe_missing_programs())
def test_every_training_is_resumed_although_the_triggerer_dies() -> None:
    outcome = run_live(24, waves=4)
    assert outcome.states == {"success": 24}
    assert outcome.oldest_heartbeat < LATE_SECONDS
    # A process before the wait and one after it, however long that was; a killed triggerer costs none.
    assert len(outcome.slot_seconds) == 2 * outcome.trainings
