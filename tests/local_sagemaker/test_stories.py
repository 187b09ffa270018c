"""The same seed gives the same events; and jobs on recorded capacity."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from local_sagemaker.market import MarketSpec, scenario_names

from .support import START, Simulation, market_from

RANDOM = "random: {{seed: {seed}, available_for: 50m, away_for: 20m}}"
WORK = {"LOCAL_TRAINING_SECONDS": "14400"}
CHECKPOINTS = {"S3Uri": "s3://bucket/c"}
LIMITS = {"StoppingCondition": {"MaxRuntimeInSeconds": 8 * 3600, "MaxWaitTimeInSeconds": 48 * 3600}}


def _events(market: MarketSpec, step_seconds: float) -> list[tuple[str, str, float]]:
    """What ten jobs live through, seen by a client that looks every so often."""
    simulation = Simulation(market=market)
    for number in range(10):
        checkpoints = CHECKPOINTS if number % 2 else None
        simulation.create(f"job-{number}", Environment=WORK, CheckpointConfig=checkpoints, **LIMITS)
    while simulation.engine._running.runs:
        simulation.pass_time(step_seconds)
        assert simulation.clock.now() < START + timedelta(days=3)
    return sorted(
        (job.name, str(visit.status), (visit.started_at - START).total_seconds())
        for job in simulation.engine.store.jobs()
        for visit in job.transitions
    )


def test_the_same_seed_gives_the_same_events_however_time_passes(tmp_path: Path) -> None:
    first, again, other = (market_from(tmp_path, RANDOM.format(seed=seed)) for seed in (7, 7, 8))
    events = _events(first, 60)
    assert any(status == "Interrupted" for _, status, _ in events)
    assert _events(again, 7919) == events
    assert _events(other, 60) != events


@pytest.mark.parametrize("name", scenario_names())
def test_a_shipped_scenario_is_the_same_twice(name: str) -> None:
    from local_sagemaker.market import load_market

    assert _events(load_market(name), 600) == _events(load_market(name), 86_400 / 7)


def _traces() -> Path:
    folder = os.environ.get("SPOT_TRACES")
    if not folder:
        pytest.skip("needs the spot traces: give their folder as SPOT_TRACES")
    return Path(folder)


def test_a_job_lives_through_real_capacity(tmp_path: Path) -> None:
    traces = sorted(_traces().rglob("*.json"))
    assert traces, "the folder holds no trace"
    interrupted = 0
    for trace in traces:
        market = market_from(tmp_path, f"trace: {{file: {trace}, repeat: true}}")
        simulation = Simulation(market=market)
        limits = {"MaxRuntimeInSeconds": 20 * 86400, "MaxWaitTimeInSeconds": 28 * 86400}
        work = {"LOCAL_TRAINING_SECONDS": str(2 * 86400)}
        simulation.create(Environment=work, CheckpointConfig=CHECKPOINTS, StoppingCondition=limits)
        job = simulation.run_to_end()
        assert job.status in ("Completed", "Stopped"), trace.name
        for visit in job.transitions:
            if visit.status == "Downloading":
                assert simulation.engine.market.is_spot_available(job.instance_type, visit.started_at)
        interrupted += sum(visit.status == "Interrupted" for visit in job.transitions)
    assert interrupted > 0
