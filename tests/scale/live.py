"""Many trainings that wait at the same time in a real triggerer, on Postgres, until capacity comes in waves.

Each wave's jobs end within the same second. In the middle the triggerer is killed, a wave ends while there is
none, and another is started. Nothing may be stuck, and the triggerer's heartbeat never late.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from include.local_stack import LocalStack, Postgres, environment, wait_until

ROOT = Path(__file__).resolve().parents[2]
DAG = "scale"
#: Ten minutes a second.
SPEED = 600
#: A wave of trainings each: a tenth of all, with all of them.
TYPES = (
    "ml.m5.large",
    "ml.m5.xlarge",
    "ml.m5.2xlarge",
    "ml.m5.4xlarge",
    "ml.m5.12xlarge",
    "ml.m5.24xlarge",
    "ml.c5.xlarge",
    "ml.c5.2xlarge",
    "ml.c5.4xlarge",
    "ml.c5.9xlarge",
)
#: Airflow's default: a triggerer whose heartbeat is older counts as lost.
LATE_SECONDS = 30
#: So long until a triggerer that was killed here is replaced.
TAKE_OVER_SECONDS = 10
#: More at once than there are cores would hold each other's slots.
PARALLELISM = os.cpu_count() or 1
ENV = {
    "AIRFLOW__TRIGGERER__CAPACITY": "20000",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(TAKE_OVER_SECONDS),
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "20000",
    "AIRFLOW__CORE__MAX_MAP_LENGTH": "20000",
    "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "64",
    # Tasks that were queued behind hundreds of others have not been lost.
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "3600",
}

#: The line a worker's supervisor writes when a task's process has ended.
FINISHED = re.compile(
    r"Workload finished.*?duration=(?P<seconds>[\d.]+)"
    r".*?final_state=(?P<state>\w+).*?workload_id=(?P<task>\S+)"
)


@dataclass(slots=True)
class Watchman:
    """Looks at the triggerer's heartbeat every second, from outside."""

    postgres: Postgres
    ages: list[float] = field(default_factory=list)
    is_off_duty: bool = False
    _ends: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        while not self._ends.wait(1.0):
            age = self.postgres.run_sql(
                "SELECT min(extract(epoch FROM now() - latest_heartbeat)) FROM job"
                " WHERE job_type = 'TriggererJob' AND state = 'running'"
            )
            if age and not self.is_off_duty:
                self.ages.append(float(age))

    @contextmanager
    def on_duty(self) -> Iterator[None]:
        thread = threading.Thread(target=self.look, name="watchman")
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run showed. Seconds are real ones."""

    trainings: int
    states: dict[str, int]
    seconds_to_defer_all: float
    seconds_from_wave_to_end: list[float]
    seconds_in_all: float
    wave_spreads: list[float]
    oldest_heartbeat: float
    blocked: list[str]
    slot_seconds: list[float]

    @property
    def slot_seconds_per_training(self) -> float:
        return sum(self.slot_seconds) / self.trainings


class Live:
    """One stack, one run."""

    def __init__(
        self,
        stack: LocalStack,
        postgres: Postgres,
        *,
        trainings: int,
        waves: int,
        tell: Callable[[str], None],
    ) -> None:
        self._stack = stack
        self._postgres = postgres
        self._tell = tell
        self._waves = dict.fromkeys(TYPES[:waves], trainings // waves)
        self._trainings = sum(self._waves.values())
        self._watchman = Watchman(postgres)
        self._spreads: list[float] = []

    def run(self, *, timeout_seconds: float) -> Outcome:
        for kind in self._waves:
            self._set_capacity(kind, available=False)
        self._stack.api.wait_for_dag(DAG)
        self._stack.api.unpause(DAG)
        started = time.monotonic()
        self._stack.api.trigger(DAG, {"waves": self._waves}, run_id="all")
        with self._watchman.on_duty():
            self._wait_for({"deferred": self._trainings}, timeout_seconds)
            deferred = time.monotonic() - started
            self._tell(f"{self._trainings} deferred after {deferred:.0f} s: {self._states()}")
            waits = [self._release(number, timeout_seconds) for number in range(len(self._waves))]
        return Outcome(
            trainings=self._trainings,
            states=self._states(),
            seconds_to_defer_all=deferred,
            seconds_from_wave_to_end=waits,
            seconds_in_all=time.monotonic() - started,
            wave_spreads=self._spreads,
            oldest_heartbeat=max(self._watchman.ages, default=0.0),
            blocked=self._blocked(),
            slot_seconds=self._slot_seconds(),
        )

    def _release(self, number: int, timeout_seconds: float) -> float:
        """Let a wave train to its end, and wait until its tasks are over."""
        kind, done = TYPES[number], sum(list(self._waves.values())[: number + 1])
        without_triggerer = number == (len(self._waves) - 1) // 2
        if without_triggerer:
            self._tell("killing the triggerer")
            self._watchman.is_off_duty = True
            self._stack.kill("triggerer")
        started = time.monotonic()
        self._set_capacity(kind, available=True)
        if without_triggerer:
            self._wait_until_over(kind)
            self._stack.restart("triggerer")
            self._watchman.is_off_duty = False
            self._tell("the triggerer is back")
        self._wait_for({"success": done}, timeout_seconds)
        self._spreads.append(self._spread(kind))
        waited = time.monotonic() - started
        self._tell(f"wave {number + 1}: {waited:.1f} s, ends within {self._spreads[-1]:.2f} s")
        return waited

    def _wait_for(self, wanted: dict[str, int], timeout_seconds: float) -> None:
        def look() -> bool:
            states = self._states()
            if failed := {s for s in states if s in ("failed", "upstream_failed")}:
                raise AssertionError(f"tasks are {failed}: {states}")
            return all(states.get(state, 0) >= count for state, count in wanted.items())

        wait_until(
            look,
            f"{wanted} of {self._trainings} trainings",
            timeout_seconds=timeout_seconds,
            poll_seconds=0.5,
            explain=lambda: str(self._states()),
        )

    def _states(self) -> dict[str, int]:
        rows = self._postgres.run_sql(
            "SELECT coalesce(state, 'none'), count(*) FROM task_instance"
            " WHERE task_id = 'train' AND map_index >= 0 GROUP BY 1"
        )
        return {state: int(count) for state, count in (row.split("|") for row in rows.splitlines())}

    def _jobs(self, kind: str) -> list[dict[str, Any]]:
        client = self._stack.boto3_client("sagemaker")
        pages = client.get_paginator("search").paginate(
            Resource="TrainingJob",
            SearchExpression={
                "Filters": [{"Name": "ResourceConfig.InstanceType", "Operator": "Equals", "Value": kind}]
            },
        )
        return [result["TrainingJob"] for page in pages for result in page["Results"]]

    def _wait_until_over(self, kind: str) -> None:
        wait_until(
            lambda: all(job["TrainingJobStatus"] == "Completed" for job in self._jobs(kind)),
            f"the jobs on {kind} to be over",
            timeout_seconds=120,
        )

    def _spread(self, kind: str) -> float:
        """Real seconds between the first and the last end of a wave's jobs."""
        ends = [job["TrainingEndTime"] for job in self._jobs(kind)]
        return float((max(ends) - min(ends)).total_seconds() / SPEED)

    def _set_capacity(self, kind: str, *, available: bool) -> None:
        body = {"instance_type": kind, "available": available}
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self._stack.sagemaker_url}/_local/capacity", method="PUT", data=json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310
            pass

    def _blocked(self) -> list[str]:
        """What Airflow's watchdog says of an event loop that was blocked, by whomever."""
        text = (self._stack.log_dir / "triggerer.log").read_text(errors="replace")
        return re.findall(r"async thread was blocked for ([\d.]+) seconds", text)

    def _slot_seconds(self) -> list[float]:
        """How long each process of a training's task held a worker's slot: one before the wait, one after.

        A task is a success in the database a moment before its process ends, and the log has that.
        """
        output = self._stack.log_dir / "scheduler.log"
        seconds: list[float] = []

        def look() -> bool:
            seconds[:] = _seconds_of_trainings(output.read_text(errors="replace"))
            return len(seconds) >= 2 * self._trainings

        wait_until(look, "the end of each task's two processes", timeout_seconds=60)
        if len(seconds) > 2 * self._trainings:
            lines = output.read_text(errors="replace").splitlines()
            ends = [line for line in lines if FINISHED.search(line) or "[error" in line]
            self._tell("more processes than that:\n" + "\n".join(ends))
        return seconds


def _seconds_of_trainings(log: str) -> list[float]:
    """How long the processes of tasks that deferred took; the task that makes the configs does not."""
    ends = list(FINISHED.finditer(log))
    trainings = {end["task"] for end in ends if end["state"] == "deferred"}
    return [float(end["seconds"]) for end in ends if end["task"] in trainings]


def run_live(
    trainings: int,
    *,
    waves: int = len(TYPES),
    tell: Callable[[str], None] = print,
    timeout_seconds: float = 600,
) -> Outcome:
    """Everything from nothing: Postgres, Airflow, the local SageMaker; gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, Postgres() as postgres:
        state = Path(folder)
        dags = state / "dags"
        dags.mkdir()
        shutil.copy(Path(__file__).parent / "dags" / "scale.py", dags)
        env = ENV | {environment.DATABASE: f"postgresql+psycopg2{postgres.address}"}
        stack = LocalStack(
            ROOT, state / "state", speed=SPEED, dags_folder=dags, env=env, parallelism=PARALLELISM, say=tell
        )
        with stack:
            live = Live(stack, postgres, trainings=trainings, waves=waves, tell=tell)
            return live.run(timeout_seconds=timeout_seconds)


def report(trainings: int, tell: Callable[[str], None]) -> str:
    """A run as lines of Markdown."""
    outcome = run_live(trainings, tell=tell, timeout_seconds=3600)
    waits, slots = outcome.seconds_from_wave_to_end, outcome.slot_seconds
    lines = {
        "Trainings": f"{outcome.trainings:,}; at the end {outcome.states}",
        "All deferred after": f"{outcome.seconds_to_defer_all:.0f} s",
        "All over after": f"{outcome.seconds_in_all:.0f} s, with a triggerer killed and started again",
        "A wave": f"{outcome.trainings // len(waits)} trainings, whose jobs end within"
        f" {max(outcome.wave_spreads):.2f} s",
        "From capacity to the wave's last task": f"median {statistics.median(waits):.0f} s,"
        f" longest {max(waits):.0f} s",
        "Oldest heartbeat of the triggerer": f"{outcome.oldest_heartbeat:.1f} s (late from {LATE_SECONDS} s)",
        "Event loop blocked, by Airflow's watchdog": f"{len(outcome.blocked)} times,"
        f" longest {max(map(float, outcome.blocked), default=0.0):.2f} s",
        "Worker-slot seconds per training": f"{outcome.slot_seconds_per_training:.2f}"
        f" ({len(slots):,} processes, median {statistics.median(slots):.2f} s, longest {max(slots):.1f} s)",
    }
    return "\n".join(f"- {what}: {figure}." for what, figure in lines.items())
