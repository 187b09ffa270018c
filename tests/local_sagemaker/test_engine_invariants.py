"""What holds for all simulated jobs: names, a reset, the order of events, legal moves, limits."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_sagemaker.jobs.errors import (
    NotInterruptibleError,
    ResourceInUseError,
    ValidationError,
)
from local_sagemaker.jobs.lifecycle import (
    SecondaryStatus,
    is_legal_move,
)
from local_sagemaker.market import MarketSpec, load_market

from .support import DictObjects, Simulation, market_from, statuses_of

CHECKPOINTS = {"S3Uri": "s3://bucket/checkpoints/run"}


def test_a_name_is_taken_until_its_job_is_deleted(simulation: Simulation) -> None:
    simulation.create()
    with pytest.raises(ResourceInUseError, match="names must be unique"):
        simulation.create()
    with pytest.raises(ResourceInUseError):
        simulation.engine.delete("job")
    simulation.run_to_end()
    simulation.engine.delete("job")
    simulation.create()
    assert simulation.job().secondary_status == "Starting"


def test_a_reset_deletes_jobs_and_starts_the_market_again(tmp_path: Path) -> None:
    market = market_from(tmp_path, "capacity: [{from: 0m, to: 10m, available: false}]")
    simulation = Simulation(market=market)
    simulation.pass_time(3600)
    simulation.create()
    simulation.engine.reset()
    assert simulation.engine.next_due() is None
    simulation.create()
    simulation.pass_time(300)
    assert "Insufficient capacity" in simulation.job().transitions[-1].message


def test_the_events_do_not_depend_on_how_often_a_client_looks() -> None:
    stories = []
    for step in (7.0, 100000.0):
        simulation = Simulation(market=load_market("each-job-twice"))
        simulation.create(CheckpointConfig=CHECKPOINTS)
        while not simulation.job().is_over:
            simulation.pass_time(step)
        stories.append(simulation.job().transitions)
    assert stories[0] == stories[1]


def test_ten_thousand_waiting_jobs_need_no_event_each_but_their_limit() -> None:
    simulation = Simulation(market=load_market("no-capacity"))
    for number in range(1000):
        simulation.create(f"job-{number}")
    assert len(simulation.engine._schedule._heap) <= 1000 + 1


_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("stop"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("interrupt"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("capacity"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 4000), st.booleans()),
    ),
    max_size=25,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(actions=_ACTIONS)
def test_whatever_happens_every_job_moves_legally_and_ends_within_its_limits(
    actions: list[tuple[str, int, bool]],
) -> None:
    simulation = Simulation(market=MarketSpec(), objects=DictObjects())
    names: set[str] = set()
    for action, number, flag in actions:
        name = f"job-{number}"
        try:
            match action:
                case "create":
                    create = simulation.create if flag else simulation.create_on_demand
                    create(name, CheckpointConfig={"S3Uri": f"s3://bucket/{name}"})
                    names.add(name)
                case "stop":
                    simulation.engine.stop(name)
                case "interrupt":
                    simulation.engine.interrupt(name)
                case "capacity":
                    simulation.engine.set_capacity("ml.m5.xlarge", available=flag)
                case "wait":
                    simulation.pass_time(number)
        except (ValidationError, ResourceInUseError, NotInterruptibleError):
            pass
    for name in names:
        _check_invariants(simulation, name)


def _check_invariants(simulation: Simulation, name: str) -> None:
    job = simulation.run_to_end(name)
    path = [t.status for t in job.transitions]
    assert path[0] is SecondaryStatus.STARTING
    assert all(is_legal_move(before, after) for before, after in pairwise(path))
    assert all(a.ended_at == b.started_at for a, b in pairwise(job.transitions))
    assert job.failure_reason is None
    training, billed = job.training_seconds_at(simulation.clock.now()), job.billed_seconds
    assert (training is None) == (billed is None) == (job.started_at is None)
    if training is not None and billed is not None:
        assert 1 <= billed <= training <= 7200 + 600
    if job.is_spot:
        assert (job.last_modified_at - job.created_at).total_seconds() <= 14400 + 600


def test_capacity_of_two_types_that_comes_back_at_once_is_seen_by_everybody_who_waits(
    tmp_path: Path,
) -> None:
    """The job on both types is launched at the first one's change, when the other's is still to be met."""
    market = "on_demand: {capacity: [{from: 0m, to: 3h, available: false}], shortage: wait}"
    simulation = Simulation(market=market_from(tmp_path, market))
    both = [
        {"InstanceGroupName": name, "InstanceType": name, "InstanceCount": 1}
        for name in ("ml.m5.xlarge", "ml.c5.large")
    ]
    simulation.create_on_demand("both", ResourceConfig={"InstanceGroups": both, "VolumeSizeInGB": 1})
    alone = {"InstanceType": "ml.c5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    simulation.create_on_demand("alone", ResourceConfig=alone)
    for name in ("both", "alone"):
        assert statuses_of(simulation.run_to_end(name))[-1] == "Completed"
