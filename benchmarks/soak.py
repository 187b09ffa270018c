"""Simulated days with 5,000 jobs at a time: interruptions, capacity that comes and goes, faults of all kinds.

    python benchmarks/soak.py [--minutes 30] [--jobs 5000] [--kept 1000] [--speed 600] [--out FILE]

Each job that is over is looked at: did it end as its limits say, by legal moves, without gaps? Another takes
its place at once. The newest thousand that are over are kept, the others deleted with their objects: after a
minute or two the server has the same number of jobs of each kind all the time. Its memory must not grow from
then on, and it must answer `health` meanwhile. The exit status is 1 when anything was wrong. Nothing is
written without --out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.local_server import CallError, Connection, Target, local_server, request_for
from spot_training.domain.lifecycle import SecondaryStatus, is_legal_move

MARKET = """
description: the capacity of each type varies by itself; the soak also changes two of them
random: {seed: 5, available_for: 3h, away_for: 40m}
instance_types:
  ml.c5.xlarge: {interruptions: [{after: 20m, job: each, away: 5m}, {after_checkpoints: 4, job: each}]}
  ml.m5.2xlarge: {price_ratio: [{from: 0h, ratio: 0.3}, {from: 6h, ratio: 0.8}]}
  ml.c5.2xlarge: {available: true}
"""
#: Many, so that one type is a small part of the load.
TYPES = tuple(
    f"ml.{family}.{size}"
    for family in ("m5", "c5", "r5", "m6i", "c6i", "g5")
    for size in ("xlarge", "2xlarge", "4xlarge")
)
FLIPPED_TYPES = ("ml.m5.2xlarge", "ml.c5.2xlarge")
FAULTS = ("ThrottlingException", "InternalFailure", "DropConnection", "LoseResponse")
FAULTY_OPERATIONS = ("CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob", "ListTrainingJobs")
#: Simulated seconds: enforcement lag, then at most five to stop and sixty to upload, or sixty to release.
LATE_SECONDS = 60 + 65
OVER = ("Completed", "Failed", "Stopped")
TRIES = 20
SECONDS_BETWEEN_TROUBLES = 5.0
#: The line through the memory is drawn through averages of so many stretches: two looks in a row are nearly
#: the same number, two stretches are not. Then Student's t for 95 %, with two degrees of freedom less.
STRETCHES = 12
T_95 = 2.228
#: A run this long must not be sure of more.
JUDGED_MINUTES = 20.0
MOST_MB_PER_HOUR = 10.0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The server at one moment."""

    #: Seconds since the start.
    at: float
    #: Resident.
    mb: float
    threads: int
    #: Jobs not known to be over, and jobs that are.
    alive: int
    kept: int


@dataclass
class Soak:
    """One run: what was asked of the server, and what was wrong with what it did."""

    target: Target
    jobs: int
    kept: int
    order: random.Random
    wanted: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    endings: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    health_seconds: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    over: deque[str] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._line = Connection(self.target.url)
        keys: dict[str, Any] = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        self._s3 = boto3.client("s3", endpoint_url=self.target.url, region_name="us-east-1", **keys)
        self._s3.create_bucket(Bucket="bucket")
        self._garbage: list[str] = []

    # --- calls ---

    def call(self, operation: str, **params: Any) -> Any:
        """Like a client that retries what can be retried; a lost Create meets its own job."""
        for attempt in range(TRIES):
            try:
                return self._line.call(operation, **params)
            except CallError as exc:
                if attempt and operation == "CreateTrainingJob" and exc.code == "ResourceInUse":
                    return {}
                if exc.code not in ("ThrottlingException", "InternalFailure"):
                    raise
            except OSError:
                self._line.close()
        raise RuntimeError(f"{operation} failed {TRIES} times")

    def control(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.target.url}/_local/{path}", method=method, data=data)  # noqa: S310
        with urlopen(request, timeout=30) as answer:  # noqa: S310  (its own server)
            return json.loads(answer.read())

    # --- what happens ---

    def create(self) -> None:
        name = f"soak-{next(self._numbers)}"
        work = self.order.randrange(1800, 6 * 3600)
        runtime = self.order.choice([work // 2, work + 3600, 2 * work + 3600])
        is_spot = self.order.random() < 0.85
        environment = {"LOCAL_TRAINING_SECONDS": str(work)}
        if self.order.random() < 0.05:
            environment["LOCAL_TRAINING_FAILURE"] = "on purpose"
        limits = {"MaxRuntimeInSeconds": runtime}
        if is_spot:
            limits["MaxWaitTimeInSeconds"] = runtime + self.order.choice([0, 1800, 4 * 3600, 12 * 3600])
        resources = {"InstanceType": self.order.choice(TYPES), "InstanceCount": 1, "VolumeSizeInGB": 10}
        request = request_for(
            name,
            Environment=environment,
            StoppingCondition=limits,
            ResourceConfig=resources,
            EnableManagedSpotTraining=is_spot,
        )
        if self.order.random() < 0.4:
            del request["CheckpointConfig"]
        self.wanted[name] = request
        self.call("CreateTrainingJob", **request)
        self.done["created"] += 1

    def trouble(self) -> None:
        """A few random things that go wrong."""
        names = list(self.wanted)
        for name in self.order.sample(names, min(50, len(names))):
            try:
                self.control("POST", "interrupt", {"training_job_name": name})
                self.done["interrupted by hand"] += 1
            except HTTPError as exc:
                exc.close()
                self._check(exc.code == 400, f"interrupting {name} was answered with {exc.code}")
        for name in self.order.sample(names, min(20, len(names))):
            try:
                self.stopped.add(name)
                self.call("StopTrainingJob", TrainingJobName=name)
                self.done["stopped by hand"] += 1
            except CallError as exc:
                self._check("is in status" in str(exc), f"stopping {name}: {exc}")
        flip = {"instance_type": self.order.choice(FLIPPED_TYPES), "available": self.order.random() < 0.8}
        self.control("PUT", "capacity", flip)
        for operation in FAULTY_OPERATIONS:
            count = self.order.randrange(1, 6)
            fault = {"operation": operation, "error": self.order.choice(FAULTS), "count": count}
            self.control("POST", "faults", fault)
            self.done["faults"] += count

    def look(self, *, replace: bool = True) -> None:
        """Go through all jobs there are; another job takes the place of each that is over."""
        expected = {*self.wanted, *self.over}
        now = datetime.fromisoformat(self.control("GET", "clock")["now"]).timestamp()
        params: dict[str, Any] = {"MaxResults": 100}
        listed: set[str] = set()
        while True:
            page = self.call("ListTrainingJobs", **params)
            for summary in page["TrainingJobSummaries"]:
                name = summary["TrainingJobName"]
                listed.add(name)
                if summary["TrainingJobStatus"] not in OVER:
                    self._check_not_overdue(summary, now)
                elif name in self.wanted:
                    self._judge(name)
                    if replace:
                        self.create()
            # Those that came meanwhile are the last, and for the next look.
            if "NextToken" not in page or not listed <= expected:
                break
            params["NextToken"] = page["NextToken"]
        missing = expected - listed
        forgotten = [name for name in (*self.wanted, *self.over) if name in missing]
        self._check(not forgotten, f"forgotten: {forgotten[:3]}")

    def measure(self, started: float) -> None:
        asked = time.perf_counter()
        self._check(self.control("GET", "health") == {"status": "ok"}, "health is not ok")
        self.health_seconds.append(time.perf_counter() - asked)
        self.samples.append(
            Sample(
                at=time.monotonic() - started,
                mb=self.target.rss_mb,
                threads=self.target.process.num_threads(),
                alive=len(self.wanted),
                kept=len(self.over),
            )
        )

    def finish(self) -> None:
        """Stop what is left; it must be over within minutes of simulated time."""
        for name in list(self.wanted):
            try:
                self.stopped.add(name)
                self.call("StopTrainingJob", TrainingJobName=name)
            except CallError as exc:
                self._check("is in status" in str(exc), f"stopping {name}: {exc}")
        last = time.monotonic() + 60
        while self.wanted and time.monotonic() < last:
            self.look(replace=False)
        self._check(not self.wanted, f"{len(self.wanted)} jobs never ended: {list(self.wanted)[:3]}")

    # --- what is checked ---

    def _check(self, is_so: bool, problem: str) -> None:
        if not is_so:
            self.problems.append(problem)

    def _check_not_overdue(self, summary: dict[str, Any], now: float) -> None:
        request = self.wanted.get(summary["TrainingJobName"])
        wait = (request or {}).get("StoppingCondition", {}).get("MaxWaitTimeInSeconds")
        if wait is not None:
            age = now - summary["CreationTime"]
            self._check(age <= wait + LATE_SECONDS + 1, f"{summary['TrainingJobName']} is overdue at {age}")

    def _judge(self, name: str) -> None:
        job = self.call("DescribeTrainingJob", TrainingJobName=name)
        request = self.wanted.pop(name)
        self.endings[job["SecondaryStatus"]] += 1
        self.done["interruptions"] += sum(
            visit["Status"] == "Interrupted" for visit in job["SecondaryStatusTransitions"]
        )
        self.problems.extend(
            f"{name}: {claim}: {json.dumps(job)}"
            for claim, is_so in verdict(job, request, was_stopped=name in self.stopped).items()
            if not is_so
        )
        self.stopped.discard(name)
        self.over.append(name)
        if len(self.over) > self.kept:
            self._bury(self.over.popleft())
            self._sweep()

    def _bury(self, name: str) -> None:
        self.call("DeleteTrainingJob", TrainingJobName=name)
        self._garbage.append(f"models/{name}/output/model.tar.gz")
        self._garbage.append(f"checkpoints/{name}/local-progress.json")

    def _sweep(self) -> None:
        while len(self._garbage) >= 500:
            keys, self._garbage = self._garbage[:500], self._garbage[500:]
            self._s3.delete_objects(
                Bucket="bucket", Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )


def verdict(job: dict[str, Any], request: dict[str, Any], *, was_stopped: bool) -> dict[str, bool]:
    """What must be so of a job that is over, each with its name."""
    visits = job["SecondaryStatusTransitions"]
    limits = request["StoppingCondition"]
    held = job.get("TrainingTimeInSeconds")
    billed = job.get("BillableTimeInSeconds")
    ended_after = visits[-1]["StartTime"] - job["CreationTime"]
    wait, runtime = limits.get("MaxWaitTimeInSeconds"), limits["MaxRuntimeInSeconds"]
    moves = itertools.pairwise(visits)
    return {
        "its moves are legal": all(
            is_legal_move(SecondaryStatus(a["Status"]), SecondaryStatus(b["Status"]))
            and abs(a["EndTime"] - b["StartTime"]) < 0.002
            for a, b in moves
        ),
        "it ends within its max wait": wait is None or ended_after <= wait + LATE_SECONDS + 1,
        "it ends within its max runtime": held is None or held <= runtime + LATE_SECONDS,
        "it is billed at most what it ran": billed is None or (held is not None and billed <= held),
        "it ends as it should": _is_right_ending(job, request, was_stopped=was_stopped),
    }


def _is_right_ending(job: dict[str, Any], request: dict[str, Any], *, was_stopped: bool) -> bool:
    limits, environment = request["StoppingCondition"], request["Environment"]
    visits = [visit for visit in job["SecondaryStatusTransitions"] if visit["Status"] == "Training"]
    worked = [visit["EndTime"] - visit["StartTime"] for visit in visits]
    age = job["SecondaryStatusTransitions"][-1]["StartTime"] - job["CreationTime"]
    match job["SecondaryStatus"]:
        case "Completed" | "Failed":
            did_work = sum(worked) if "CheckpointConfig" in request else worked[-1]
            is_failure = "LOCAL_TRAINING_FAILURE" in environment
            return (
                did_work >= int(environment["LOCAL_TRAINING_SECONDS"]) - 1
                and is_failure == (job["SecondaryStatus"] == "Failed")
                and is_failure == ("FailureReason" in job)
            )
        case "Stopped":
            return was_stopped
        case "MaxRuntimeExceeded":
            return bool(job["TrainingTimeInSeconds"] >= limits["MaxRuntimeInSeconds"])
        case "MaxWaitTimeExceeded":
            return bool(age >= limits["MaxWaitTimeInSeconds"])
        case _:
            return False


# --- the run ---


def run(soak: Soak, minutes: float, tell: Callable[[str], None]) -> float:
    """Returns the simulated days that passed."""
    started, last_told, last_trouble = time.monotonic(), 0.0, 0.0
    began = datetime.fromisoformat(soak.control("GET", "clock")["now"])
    for _ in range(soak.jobs):
        soak.create()
    while time.monotonic() - started < minutes * 60:
        if time.monotonic() - last_trouble > SECONDS_BETWEEN_TROUBLES:
            last_trouble = time.monotonic()
            soak.trouble()
        soak.look()
        soak.measure(started)
        if time.monotonic() - last_told > 30:
            last_told = time.monotonic()
            now = soak.samples[-1]
            tell(f"{now.at / 60:5.1f} min, {now.alive} jobs alive, {now.kept} kept, {now.mb:.0f} MB")
    soak.finish()
    return (datetime.fromisoformat(soak.control("GET", "clock")["now"]) - began).total_seconds() / 86400


def second_half(samples: list[Sample]) -> list[Sample]:
    """By then the caches are full and as many jobs go as come."""
    return [sample for sample in samples if sample.at >= samples[-1].at / 2]


def trend(samples: list[Sample]) -> tuple[float, float] | None:
    """MB per hour, and how far the truth may be from it (95 %); None when there is too little to tell."""
    size = len(samples) // STRETCHES
    if size < 2:
        return None
    stretches = [samples[i * size : (i + 1) * size] for i in range(STRETCHES)]
    hours = [statistics.fmean(sample.at for sample in stretch) / 3600 for stretch in stretches]
    mbs = [statistics.fmean(sample.mb for sample in stretch) for stretch in stretches]
    slope, start = statistics.linear_regression(hours, mbs)
    unexplained = sum((mb - start - slope * hour) ** 2 for hour, mb in zip(hours, mbs, strict=True))
    spread = statistics.pvariance(hours) * STRETCHES
    return slope, T_95 * math.sqrt(unexplained / (STRETCHES - 2) / spread)


def growth(samples: list[Sample], minutes: float) -> str | None:
    """What is wrong with the memory of a run that is long enough to tell."""
    found = trend(second_half(samples))
    if minutes < JUDGED_MINUTES or found is None or found[0] - found[1] <= MOST_MB_PER_HOUR:
        return None
    return f"memory grows: {found[0]:+.1f} ± {found[1]:.1f} MB per hour in the second half"


def report(soak: Soak, days: float, minutes: float, speed: float) -> list[str]:
    samples, later = soak.samples, second_half(soak.samples)
    marks = [next(s for s in samples if s.at >= samples[-1].at * tenth / 10) for tenth in range(11)]
    story = ", ".join(f"{sample.mb:.0f} at {sample.at / 60:.1f}" for sample in marks)
    found = trend(later)
    growth = "too short to measure" if found is None else f"{found[0]:+.2f} ± {found[1]:.2f} MB per hour"
    endings = ", ".join(f"{name} {count:,}" for name, count in soak.endings.most_common())
    done = ", ".join(f"{name} {count:,}" for name, count in sorted(soak.done.items()))
    health = soak.health_seconds
    slowest, median = max(health) * 1000, statistics.median(health) * 1000
    return [
        f"{minutes:g} minutes at speed {speed:g}: {days:.1f} simulated days, {soak.jobs:,} jobs at a time.",
        "",
        f"- Jobs over: {sum(soak.endings.values()):,} ({endings}).",
        f"- Done to them: {done}.",
        f"- Not as it should be: {len(soak.problems)}.",
        f"- Health: {len(health)} answers, slowest {slowest:.0f} ms, median {median:.1f} ms.",
        f"- Threads: {_range(sample.threads for sample in samples)}.",
        f"- Memory (MB at minute): {story}.",
        f"- Second half: {_range(s.alive for s in later)} jobs alive, {_range(s.kept for s in later)} kept.",
        f"- Second half: {_range(round(s.mb) for s in later)} MB; trend, with 95 % confidence: {growth}.",
    ]


def _range(numbers: Iterable[int]) -> str:
    found = list(numbers)
    return f"{min(found):,} to {max(found):,}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of real time")
    parser.add_argument("--jobs", type=int, default=5000, help="at a time")
    parser.add_argument("--kept", type=int, default=1000, help="jobs that are over and not deleted yet")
    parser.add_argument("--speed", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the report there too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without ending the server
    with tempfile.TemporaryDirectory() as folder:
        market = Path(folder) / "soak.yaml"
        market.write_text(MARKET, encoding="utf-8")
        with local_server("--speed", str(options.speed), "--market", str(market)) as target:
            order = random.Random(options.seed)  # noqa: S311
            soak = Soak(target=target, jobs=options.jobs, kept=options.kept, order=order)
            days = run(soak, options.minutes, lambda text: print(text, file=sys.stderr, flush=True))
    if problem := growth(soak.samples, options.minutes):
        soak.problems.append(problem)
    text = "\n".join(report(soak, days, options.minutes, options.speed)) + "\n"
    print(text, end="")
    for problem in soak.problems[:10]:
        print(f"WRONG: {problem}", file=sys.stderr)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
