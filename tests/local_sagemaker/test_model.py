"""Whatever people and the market do, in whatever order: what must hold of every job after every step.

A profile that takes minutes: `LOCAL_SAGEMAKER_MODEL_EXAMPLES=5000`.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from local_sagemaker.api import operations
from local_sagemaker.jobs.errors import (
    NotInterruptibleError,
    ResourceInUseError,
    ResourceLimitExceededError,
    ValidationError,
)
from local_sagemaker.jobs.job import TrainingJob
from local_sagemaker.jobs.lifecycle import (
    HOLDING_STATUSES,
    TERMINAL_SECONDARY_STATUSES,
    SecondaryStatus,
    TrainingStatus,
    is_legal_move,
)
from local_sagemaker.market import MarketSpec, load_market

from .support import START, Simulation, on_demand_request_for, request_for

S = SecondaryStatus
TYPES = ("ml.m5.xlarge", "ml.c5.large")
RESOURCES: tuple[dict[str, Any], ...] = (
    *({"InstanceType": each, "InstanceCount": 1, "VolumeSizeInGB": 1} for each in TYPES),
    {
        "InstanceGroups": [
            {"InstanceGroupName": each, "InstanceType": each, "InstanceCount": 1} for each in TYPES
        ]
    },
)
NAMES = tuple(f"job-{number}" for number in range(8))

#: Enforcement lag, then the longest way out: five seconds and a minute to upload, or a minute to let go.
LAG_SECONDS = 60
WAY_OUT_SECONDS = 65
#: A job may be uploading when its time is up: that minute is granted.
UPLOAD_SECONDS = 60
#: Members of DescribeTrainingJob that there are only once the job held instances.
STARTED_MEMBERS = ("TrainingStartTime", "TrainingTimeInSeconds")
STARTED_AND_OVER_MEMBERS = ("TrainingEndTime", "BillableTimeInSeconds")

MARKETS = (
    "available: true",
    "available: false",
    "random: {seed: 3, available_for: 40m, away_for: 15m}",
    "random: {seed: 9, available_for: 3m, away_for: 2m}",
    "interruptions: [{after: 5m, job: each, away: 7m}, {after_checkpoints: 2, away: 90s}]",
    "on_demand: {capacity: [{from: 0m, to: 3h, available: false}], shortage: wait}",
    "on_demand: {capacity: [{from: 10m, to: 3h, available: false}], shortage: fail, fail_after: 5m}",
    "{quota: {spot: 2, on_demand: 2}, capacity: [{from: 20m, to: 50m, available: false}]}",
    "internal_errors: [{after: 4m, job: each}, {after: 8m, job: each}]",
    "{origin: first-job, capacity: [{from: 0m, to: 30m, available: false}], price_ratio: 1.0}",
)


@cache
def _market(text: str) -> MarketSpec:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "market.yaml"
        path.write_text(text, encoding="utf-8")
        return load_market(str(path))


class LocalSageMakerModel(RuleBasedStateMachine):
    """Names the model believes alive are `known`; everything else is asked of the engine."""

    @initialize(market=st.sampled_from(MARKETS))
    def begin(self, market: str) -> None:
        self.simulation = Simulation(market=_market(market))
        self.engine = self.simulation.engine
        self.known: set[str] = set()
        self.modified: dict[str, datetime] = {}
        self.lengths: dict[str, int] = {}

    # --- what people do ---

    @rule(
        name=st.sampled_from(NAMES),
        resources=st.sampled_from(RESOURCES),
        is_spot=st.booleans(),
        has_checkpoints=st.booleans(),
        fails=st.integers(0, 4).map(lambda number: number == 0),
        work=st.sampled_from([0, 30, 600, 3000, 20_000]),
        runtime=st.sampled_from([1, 60, 900, 7200, 86_400]),
        patience=st.sampled_from([0, 1, 600, 30_000]),
        retries=st.sampled_from([None, 1, 2]),
        pending=st.sampled_from([None, 1800]),
    )
    def create(
        self,
        name: str,
        resources: dict[str, Any],
        is_spot: bool,
        has_checkpoints: bool,
        fails: bool,
        work: int,
        runtime: int,
        patience: int,
        retries: int | None,
        pending: int | None,
    ) -> None:
        environment = {"LOCAL_TRAINING_SECONDS": str(work)} | (
            {"LOCAL_TRAINING_FAILURE": "on purpose"} if fails else {}
        )
        limits = {"MaxRuntimeInSeconds": runtime}
        if pending is not None and not is_spot:
            limits["MaxPendingTimeInSeconds"] = pending
        make = request_for if is_spot else on_demand_request_for
        request = make(
            name,
            Environment=environment,
            CheckpointConfig={"S3Uri": f"s3://bucket/{name}"} if has_checkpoints else None,
            RetryStrategy={"MaximumRetryAttempts": retries} if retries else None,
            ResourceConfig=resources,
            StoppingCondition=limits | ({"MaxWaitTimeInSeconds": runtime + patience} if is_spot else {}),
        )
        try:
            operations.create_training_job(self.engine, request)
        except ResourceInUseError:
            assert name in self.known
        except ResourceLimitExceededError:
            assert name not in self.known
        else:
            assert name not in self.known
            self.known.add(name)

    @rule(name=st.sampled_from(NAMES))
    def stop(self, name: str) -> None:
        could = name in self.known and not self._job(name).is_over
        try:
            self.engine.stop(name)
        except ValidationError:
            assert not could
        else:
            assert could
            assert self._job(name).status == TrainingStatus.STOPPING

    @rule(name=st.sampled_from(NAMES), notice=st.sampled_from([0, 120]))
    def interrupt(self, name: str, notice: int) -> None:
        job = self._job(name) if name in self.known else None
        could = job is not None and job.is_spot and job.secondary_status in (S.DOWNLOADING, S.TRAINING)
        try:
            self.engine.interrupt(name, notice_seconds=notice)
        except NotInterruptibleError:
            assert not could
        else:
            assert could
            assert self._job(name).secondary_status == S.INTERRUPTED

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        could = name in self.known and self._job(name).is_over
        try:
            self.engine.delete(name)
        except (ValidationError, ResourceInUseError):
            assert not could
        else:
            assert could
            self.known.discard(name)
            self.modified.pop(name, None)
            self.lengths.pop(name, None)

    @rule(instance_type=st.sampled_from(TYPES), available=st.booleans())
    def set_capacity(self, instance_type: str, available: bool) -> None:
        self.engine.set_capacity(instance_type, available=available)

    # --- time ---

    @rule(seconds=st.sampled_from([0.001, 1, 59.5, 120, 600, 3600, 40_000]))
    def pass_time(self, seconds: float) -> None:
        self.simulation.pass_time(seconds)

    @precondition(lambda self: self.engine.next_due() is not None)
    @rule(more=st.integers(1, 6))
    def pass_events(self, more: int) -> None:
        for _ in range(more):
            due = self.engine.next_due()
            if due is not None:
                self.simulation.clock.advance_to(due)
                with self.engine:
                    pass

    # --- what must hold ---

    @invariant()
    def no_job_is_forgotten(self) -> None:
        assert {job.name for job in self.engine.store.jobs()} == self.known
        assert sorted(self._listed()) == sorted(self.known)
        assert set(self.engine._running.runs) == {name for name in self.known if not self._job(name).is_over}

    @invariant()
    def describe_and_list_agree(self) -> None:
        summaries = self._listed()
        for name in self.known:
            described = operations.describe_training_job(self.engine, {"TrainingJobName": name})
            shared = summaries[name].keys() & described.keys()
            assert {key: described[key] for key in shared} == {key: summaries[name][key] for key in shared}
            assert ("TrainingEndTime" in described) == ("TrainingEndTime" in summaries[name])

    @invariant()
    def transitions_are_legal_and_without_gaps(self) -> None:
        for job in self._jobs():
            visits = job.transitions
            assert visits[0].started_at == job.created_at
            for before, after in itertools.pairwise(visits):
                assert is_legal_move(before.status, after.status), job
                assert before.ended_at == after.started_at, job
                assert before.started_at <= after.started_at, job
            assert (visits[-1].ended_at is not None) == job.is_over, job
            assert len(visits) >= self.lengths.get(job.name, 0), "a visit was lost"
            self.lengths[job.name] = len(visits)

    @invariant()
    def the_two_statuses_fit_each_other(self) -> None:
        for job in self._jobs():
            secondary = job.secondary_status
            assert job.is_over == (secondary in TERMINAL_SECONDARY_STATUSES), job
            match job.status:
                case TrainingStatus.COMPLETED:
                    assert secondary == S.COMPLETED
                case TrainingStatus.FAILED:
                    assert secondary == S.FAILED
                case TrainingStatus.STOPPED:
                    assert secondary in (S.STOPPED, S.MAX_RUNTIME_EXCEEDED, S.MAX_WAIT_TIME_EXCEEDED)
                case TrainingStatus.STOPPING:
                    assert secondary in (S.STOPPING, S.UPLOADING)
                case _:
                    assert secondary not in (S.STOPPING, *TERMINAL_SECONDARY_STATUSES)

    @invariant()
    def nobody_runs_and_waits_at_once(self) -> None:
        engine = self.engine
        for name, run in engine._running.runs.items():
            job = self._job(name)
            is_waiting = engine._life.capacity.is_waiting(run)
            is_holding = job.secondary_status in HOLDING_STATUSES
            assert is_waiting + run.is_launching + is_holding <= 1, job
            if job.secondary_status in (S.STARTING, S.PENDING):
                assert is_waiting != run.is_launching, job
                assert run.work is None, job
            else:
                assert not is_waiting, job
                assert not run.is_launching, job
            if is_holding:
                assert run.work is not None, job

    @invariant()
    def something_will_happen_to_every_job(self) -> None:
        with_events = {event.run.name for event in self.engine._schedule.list_alive() if event.run}
        for name, run in self.engine._running.runs.items():
            is_waiting = self.engine._life.capacity.is_waiting(run)
            assert name in with_events or (is_waiting and not run.is_spot), self._job(name)

    @invariant()
    def spot_runs_only_where_there_is_capacity(self) -> None:
        for run in self.engine._running.runs.values():
            job, at = self._job(run.name), self.simulation.clock.now()
            if run.is_spot and job.secondary_status in (S.DOWNLOADING, S.TRAINING):
                assert all(self.engine.market.is_spot_available(each, at) for each in job.instances), job

    @invariant()
    def nothing_costs_more_than_it_ran_nor_runs_longer_than_it_exists(self) -> None:
        now = self.simulation.clock.now()
        for job in self._jobs():
            training, billed = job.training_seconds_at(now), job.billed_seconds
            end = job.last_modified_at if job.is_over else now
            if training is not None:
                assert training <= max(1.0, (end - job.created_at).total_seconds() + 1e-3), job
            if billed is not None:
                assert training is not None
                assert 1 <= billed <= training, job
                assert job.is_spot or billed == training, job

    @invariant()
    def members_are_there_only_when_they_should_be(self) -> None:
        for job in self._jobs():
            described = operations.describe_training_job(self.engine, {"TrainingJobName": job.name})
            has_started = any(visit.status == S.DOWNLOADING for visit in job.transitions)
            for member in STARTED_MEMBERS:
                assert (member in described) == has_started, (member, job)
            for member in STARTED_AND_OVER_MEMBERS:
                assert (member in described) == (has_started and job.is_over), (member, job)
            assert ("FailureReason" in described) == (job.status == TrainingStatus.FAILED), job
            for visit in described["SecondaryStatusTransitions"][:-1]:
                assert "EndTime" in visit

    @invariant()
    def every_job_ends_within_its_limits(self) -> None:
        now = self.simulation.clock.now()
        for job in self._jobs():
            end = job.last_modified_at if job.is_over else now
            held = job.held_seconds_at(now)
            assert held <= job.max_runtime_seconds + LAG_SECONDS + UPLOAD_SECONDS + 1e-3, job
            if job.max_wait_seconds is not None:
                late = max(WAY_OUT_SECONDS, UPLOAD_SECONDS) + LAG_SECONDS
                limit = timedelta(seconds=job.max_wait_seconds + late)
                assert end - job.created_at <= limit, job

    @invariant()
    def the_last_change_never_goes_back(self) -> None:
        for job in self._jobs():
            assert job.last_modified_at >= self.modified.get(job.name, START), job
            assert job.last_modified_at <= self.simulation.clock.now(), job
            assert job.last_modified_at >= job.transitions[-1].started_at, job
            self.modified[job.name] = job.last_modified_at

    def teardown(self) -> None:
        """With capacity for everybody, every job comes to its end."""
        if not hasattr(self, "simulation"):
            return
        for instance_type in TYPES:
            self.engine.set_capacity(instance_type, available=True)
        if self.known:
            self.simulation.run_until(lambda: not self.engine._running.runs)
        for job in self._jobs():
            assert job.is_over
            if job.status == TrainingStatus.COMPLETED:
                assert "LOCAL_TRAINING_FAILURE" not in job.environment

    def _job(self, name: str) -> TrainingJob:
        job = self.engine.store.get(name)
        assert job is not None
        return job

    def _jobs(self) -> list[TrainingJob]:
        return list(self.engine.store.jobs())

    def _listed(self) -> dict[str, dict[str, Any]]:
        """By ListTrainingJobs, page by page."""
        found: dict[str, dict[str, Any]] = {}
        params: dict[str, Any] = {"MaxResults": 3}
        while True:
            page = operations.list_training_jobs(self.engine, params)
            for summary in page["TrainingJobSummaries"]:
                assert summary["TrainingJobName"] not in found, "listed twice"
                found[summary["TrainingJobName"]] = summary
            if "NextToken" not in page:
                return found
            params["NextToken"] = page["NextToken"]


pytestmark = pytest.mark.slow
TestWhateverHappens = LocalSageMakerModel.TestCase
TestWhateverHappens.settings = settings(
    max_examples=int(os.environ.get("LOCAL_SAGEMAKER_MODEL_EXAMPLES", "400")),
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
