"""`--speed max`: from one due event to the next at once, in order, and never while a program runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local_sagemaker.clock import JumpingClock
from local_sagemaker.containers.simulated import SimulatedWork
from local_sagemaker.jobs.engine import Engine
from local_sagemaker.jobs.job import TrainingJob
from local_sagemaker.jobs.store import Store
from local_sagemaker.jobs.work import Site, Work
from local_sagemaker.market import Market, MarketSpec

from .support import DictObjects, market_from, request_for, running_server, wait_until

WEEK = """
random: {seed: 11, available_for: 2h, away_for: 45m}
interruptions: [{after: 30m, job: each, away: 10m}]
"""
LONG: dict[str, Any] = {
    "StoppingCondition": {"MaxRuntimeInSeconds": 20 * 86400, "MaxWaitTimeInSeconds": 28 * 86400}
}


class _Program:
    """Work that takes real time: until the test says it is done."""

    is_real = True

    def __init__(self, site: Site) -> None:
        self.site = site
        self.is_running = False

    def prepare(self) -> None:
        self.site.prepared()

    def start(self) -> None:
        self.is_running = True

    def interrupt(self, grace_seconds: float) -> None:  # noqa: ARG002
        self.site.stopped()

    def stop(self, grace_seconds: float) -> None:  # noqa: ARG002
        self.site.stopped()

    def upload(self) -> None:
        self.site.uploaded()

    def abandon(self) -> None:
        self.is_running = False


class _Jumping:
    """An engine on a clock that jumps; jobs without LOCAL_TRAINING_SECONDS are programs."""

    def __init__(self, market: MarketSpec) -> None:
        self.clock = JumpingClock()
        self.programs: list[_Program] = []
        self.seen: list[TrainingJob] = []
        objects = DictObjects()

        def work_for(site: Site, job: TrainingJob) -> Work:
            if job.environment:
                return SimulatedWork(site, job, objects, lambda _: None)
            self.programs.append(_Program(site))
            return self.programs[-1]

        self.engine = Engine(
            clock=self.clock,
            market=Market(market, started_at=self.clock.now()),
            store=Store(),
            work_for=work_for,
            listeners=(self.seen.append,),
        )

    def job(self, name: str) -> TrainingJob:
        with self.engine:
            job = self.engine.store.get(name)
        assert job is not None
        return job

    def wait_for_end(self, name: str) -> TrainingJob:
        wait_until(lambda: self.job(name).is_over, describe=lambda: str(self.job(name)))
        return self.job(name)


@contextmanager
def _jumping(market: MarketSpec | None = None) -> Iterator[_Jumping]:
    jumping = _Jumping(market or MarketSpec())
    jumping.engine.start()
    try:
        yield jumping
    finally:
        jumping.engine.close()


def test_a_week_of_waits_and_interruptions_takes_no_time(tmp_path: Path) -> None:
    with _jumping(market_from(tmp_path, WEEK)) as jumping:
        started = time.process_time()
        work = {"LOCAL_TRAINING_SECONDS": str(5 * 86400)}
        jumping.engine.create(
            request_for(Environment=work, CheckpointConfig={"S3Uri": "s3://bucket/c"}, **LONG), {}
        )
        job = jumping.wait_for_end("job")
        seconds = time.process_time() - started
    assert job.ended_at is not None
    assert (job.status, job.ended_at - job.created_at > timedelta(days=6)) == ("Completed", True)
    assert sum(t.status == "Interrupted" for t in job.transitions) > 20
    assert seconds < 3, "of computing, however busy the machine is"


def test_jobs_move_in_the_order_of_simulated_time(tmp_path: Path) -> None:
    with _jumping(market_from(tmp_path, WEEK)) as jumping:
        for number in range(20):
            work = {"LOCAL_TRAINING_SECONDS": str(600 * number + 60)}
            jumping.engine.create(request_for(f"job-{number}", Environment=work, **LONG), {})
        for number in range(20):
            jumping.wait_for_end(f"job-{number}")
    instants = [job.last_modified_at for job in jumping.seen]
    assert instants == sorted(instants)


def test_the_clock_does_not_jump_while_a_program_runs() -> None:
    with _jumping() as jumping:
        jumping.engine.create(request_for("program", Environment=None), {})
        wait_until(lambda: bool(jumping.programs) and jumping.programs[0].is_running)
        since, at = time.monotonic(), jumping.clock.now()
        jumping.engine.create(request_for("beside"), {})
        wait_until(lambda: time.monotonic() - since > 0.3)
        passed, real = (jumping.clock.now() - at).total_seconds(), time.monotonic() - since
        assert 0 < passed <= real * JumpingClock.SPEED_BESIDE_PROGRAMS + 1
        assert not jumping.job("beside").is_over
        jumping.programs[0].site.exited()
        assert jumping.wait_for_end("program").status == "Completed"
        assert jumping.wait_for_end("beside").status == "Completed"


def test_time_does_not_jump_to_what_no_longer_matters() -> None:
    with _jumping() as jumping:
        jumping.engine.create(request_for(), {})
        job = jumping.wait_for_end("job")
        assert job.ended_at is not None
        assert jumping.clock.now() - job.ended_at < timedelta(hours=1), "and not the max wait of four hours"


def test_a_job_that_waits_for_ever_lets_callers_in(tmp_path: Path) -> None:
    flapping = "random: {seed: 1, available_for: 1m, away_for: 1m}"
    with _jumping(market_from(tmp_path, flapping)) as jumping:
        jumping.engine.create(request_for(**LONG), {})
        started = time.perf_counter()
        jumping.job("job")
        assert time.perf_counter() - started < 2
        jumping.engine.reset()
        assert jumping.engine.next_due() is None


def test_the_server_says_that_its_speed_is_max_and_tells_a_whole_story() -> None:
    with running_server("--speed", "max") as server:
        before = server.control("GET", "clock")[1]
        assert before["speed"] == "max"
        server.client("sagemaker").create_training_job(**request_for())
        job = server.wait_for_end("job")
        after = server.control("GET", "clock")[1]["now"]
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]] == [
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    assert datetime.fromisoformat(before["now"]) <= job["CreationTime"] + timedelta(milliseconds=1)
    assert job["TrainingEndTime"].astimezone(UTC) <= datetime.fromisoformat(after)
