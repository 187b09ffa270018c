"""What waiting costs: 10,000 jobs in one process, compared with the Amazon provider's trigger at 1,000.

    python benchmarks/waiting.py [--jobs 10000] [--provider-jobs 1000] [--out FILE]
    python benchmarks/waiting.py --live [--trainings 1000]     the same through a real scheduler and triggerer

Each side waits in a separate process (`waiting_process.py`) for jobs of the local SageMaker, over real
HTTP, one side after the other: ours by polling, ours by events (EventBridge and SQS), and the provider's
`SageMakerTrigger` with its defaults, in `.venv-provider` (made here if it is not there: its aiobotocore wants
an older botocore). Measured is: memory, CPU to register, the longest stall of the event loop, calls while
nothing happens, and the seconds from a job's end to its event: one by one, and a tenth of all at once.

It ends with 1, and a line for each, when a figure of ours is above what was asked for. Not the same are the
numbers of jobs: the provider's are a tenth as many. At 10,000 it would need 19 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

import boto3
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.local_server import local_server, rate, request_for  # noqa: E402

PROCESS = ROOT / "benchmarks" / "waiting_process.py"
TEMPLATE = ROOT / "include" / "infra" / "events.cloudformation.yaml"
#: A minute a second: a job that is stopped while it waits is over after two or three seconds.
SPEED = 60
#: Of the jobs, ended one after the other; a tenth of them ends at once.
ONE_BY_ONE = 150
ENDS_SECONDS = 75.0
#: It is quick for a minute after jobs came.
CALM_SECONDS = 70.0
AWS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
#: The targets for 10,000 waiting jobs.
TARGETS = {
    "memory per job, KB": 10.0,
    "CPU to register, ms": 0.5,
    "longest event-loop stall, ms": 150.0,
    "AWS calls per minute, nothing happening": 12.0,
}
POLLING, EVENTS, PROVIDER = "ours, polling", "ours, events", "provider"
#: And of the seconds from a job's end to its event: median and 99th percentile, one by one and in a storm.
DETECTION_TARGETS = {POLLING: (5.0, 10.0), EVENTS: (2.0, 4.0)}
ONE_BY_ONE_FIGURES, STORM_FIGURES = "one by one", "a tenth at once"


@dataclass(slots=True)
class Side:
    """What was measured of one way of waiting."""

    name: str
    jobs: int
    figures: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)


def target_of(side: str, what: str) -> float | None:
    """What a figure may be at most; None for a side or a figure of which nothing is asked."""
    if side not in DETECTION_TARGETS:
        return None
    median, late = DETECTION_TARGETS[side]
    for which in (ONE_BY_ONE_FIGURES, STORM_FIGURES):
        if what == f"detection, {which}, median s":
            return median
        if what == f"detection, {which}, 99th percentile s":
            return late
    return TARGETS.get(what)


def misses(sides: Iterable[Side]) -> list[str]:
    """A line for each figure that is above what was asked for."""
    return [
        f"{side.name}: {what} is {_number(figure)}, asked for are {_number(target)} at most"
        for side in sides
        for what, figure in side.figures.items()
        if (target := target_of(side.name, what)) is not None and figure > target
    ]


class Waiting:
    """A process in which triggers wait."""

    def __init__(
        self, python: Path, side: str, names: Sequence[str], url: str, queue_url: str | None
    ) -> None:
        command = [str(python), str(PROCESS), side, str(len(names))]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "AIRFLOW"))}
        self._process = subprocess.Popen(
            command + (["--queue-url", queue_url] if queue_url else []),
            env=kept | AWS | {"AWS_ENDPOINT_URL": url, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
        )
        for name in names:
            self._order(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)

    def measure(self) -> dict[str, Any]:
        self._order("measure")
        return self.read()

    def count(self) -> int:
        """How many triggers have fired; costs the process next to nothing, unlike `measure`."""
        self._order("count")
        return int(self.read()["fired"])

    def end(self) -> dict[str, float]:
        """When each trigger fired."""
        self._order("end")
        fired: dict[str, float] = self.read()["fired"]
        return fired

    def read(self) -> dict[str, Any]:
        for line in self._process.stdout or ():
            if line.startswith("@"):
                facts: dict[str, Any] = json.loads(line[1:])
                return facts
        raise RuntimeError(f"the waiting process ended with {self._process.wait()}")

    def _order(self, text: str) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()


def client(service: str, url: str) -> Any:
    make: Any = boto3.client  # typed by the services' names, which are literal there
    return make(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - the local cloud takes any
    )


def control(url: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    request = Request(f"{url}/_local/{path}", method=method, data=json.dumps(body or {}).encode())  # noqa: S310
    with urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read() or b"null")


@contextmanager
def cloud_with_jobs(jobs: int) -> Iterator[tuple[str, list[str]]]:
    """A local SageMaker with jobs that wait for capacity that does not come."""
    names = [f"waiting-{n}" for n in range(jobs)]
    wait = {"MaxRuntimeInSeconds": 86400, "MaxWaitTimeInSeconds": 28 * 86400}
    with local_server("--speed", str(SPEED)) as target:
        control(target.url, "PUT", "capacity", {"instance_type": "ml.m5.xlarge", "available": False})
        calls = (("CreateTrainingJob", request_for(name, StoppingCondition=wait)) for name in names)
        rate(target.url, calls, connections=4, seconds=3600)
        # Until all of them say that there is no capacity.
        time.sleep(5)
        yield target.url, names


def make_queue(url: str) -> str:
    formation = client("cloudformation", url)
    formation.create_stack(StackName="events", TemplateBody=TEMPLATE.read_text())
    (stack,) = formation.describe_stacks(StackName="events")["Stacks"]
    return str(next(o["OutputValue"] for o in stack["Outputs"] if o["OutputKey"] == "QueueUrl"))


class Clock:
    """The local SageMaker's time in this machine's."""

    def __init__(self, url: str) -> None:
        answer = control(url, "GET", "clock")
        self._here, self._there = time.time(), datetime.fromisoformat(answer["now"]).timestamp()

    def here(self, there: datetime) -> float:
        return self._here + (there.timestamp() - self._there) / SPEED


def stop(url: str, names: Iterable[str], *, over_seconds: float) -> None:
    """Stop jobs, spread evenly over some seconds (0: as fast as can be)."""
    names = list(names)
    if not over_seconds:
        rate(url, (("StopTrainingJob", {"TrainingJobName": n}) for n in names), connections=4, seconds=600)
        return
    sagemaker, started = client("sagemaker", url), time.monotonic()
    for number, name in enumerate(names):
        time.sleep(max(0.0, started + over_seconds * number / len(names) - time.monotonic()))
        sagemaker.stop_training_job(TrainingJobName=name)


def wait_until_fired(waiting: Waiting, count: int) -> dict[str, Any]:
    """What was measured meanwhile."""
    last, fired = time.monotonic() + 120, 0
    while time.monotonic() < last:
        time.sleep(2)
        fired = waiting.count()
        if fired >= count:
            return waiting.measure()
    raise RuntimeError(f"only {fired} of {count} triggers fired within two minutes")


def measure(
    name: str,
    *,
    python: Path,
    side: str,
    jobs: int,
    calm_seconds: float,
    idle_seconds: float,
    has_events: bool = False,
) -> Side:
    """Register, wait, let nothing happen, let jobs end one by one, and a tenth of all at once."""
    measured = Side(name, jobs)
    order = random.Random(1)  # noqa: S311
    with cloud_with_jobs(jobs) as (url, names):
        queue_url = make_queue(url) if has_events else None
        with (
            Waiting(Path(sys.executable), "nobody", [], url, None) as nobody,
            Waiting(python, side, names, url, queue_url) as waiting,
        ):
            first = waiting.read()
            nobody.read()
            registered, rss = first["registered"], first["rss_before_mb"]
            noise = [nobody.measure()]
            tell(f"{name}: {jobs:,} registered in {registered['seconds']:.1f} s, {registered['calls']}")
            time.sleep(calm_seconds)
            calm = waiting.measure()
            noise.append(nobody.measure())
            time.sleep(idle_seconds)
            idle = waiting.measure()
            noise.append(nobody.measure())
            tell(f"{name}: nothing happening, {idle['measured']}")
            ending = order.sample(names, ONE_BY_ONE + jobs // 10)
            one_by_one, at_once = ending[:ONE_BY_ONE], ending[ONE_BY_ONE:]
            looks = [calm, idle]
            stop(url, one_by_one, over_seconds=ENDS_SECONDS)
            looks.append(wait_until_fired(waiting, ONE_BY_ONE))
            stop(url, at_once, over_seconds=0)
            looks.append(wait_until_fired(waiting, len(ending)))
            noise.append(nobody.measure())
            fired = waiting.end()
            minutes = idle["measured"]["seconds"] / 60
            measured.calls = idle["measured"]["calls"]
            measured.figures = {
                "memory per job, KB": (idle["rss_mb"] - rss) * 1024 / jobs,
                "CPU to register, ms": registered["cpu_seconds"] * 1000 / jobs,
                **stalls(registered, [look["measured"] for look in looks], [n["measured"] for n in noise]),
                "AWS calls per minute, nothing happening": sum(measured.calls.values()) / minutes,
                "CPU while nothing happens, % of a core": idle["measured"]["cpu_seconds"] / minutes / 0.6,
                **detection(ONE_BY_ONE_FIGURES, url, one_by_one, fired),
                **detection(STORM_FIGURES, url, at_once, fired),
            }
    return measured


def stalls(
    registered: dict[str, Any], looks: Sequence[dict[str, Any]], noise: Sequence[dict[str, Any]]
) -> dict[str, float]:
    """The event loop's longest waits, in milliseconds.

    A busy machine delays every process. So the figures also show the CPU time of the process itself in the
    wait, and how long an idle process was delayed at the same time.
    """
    whole, own = "longest_stall_seconds", "longest_own_stall_seconds"
    return {
        "longest event-loop stall, ms": 1000 * max(m[whole] for m in (registered, *looks)),
        "... of it this process's own CPU": 1000 * max(m[own] for m in (registered, *looks)),
        "... own CPU, after registering": 1000 * max(m[own] for m in looks),
        "... of a process that waits for nothing, meanwhile": 1000 * max(m[whole] for m in noise),
    }


def detection(what: str, url: str, names: Sequence[str], fired: dict[str, float]) -> dict[str, float]:
    """Seconds from the end of each job, as SageMaker tells it, to its trigger's event."""
    clock, sagemaker = Clock(url), client("sagemaker", url)
    jobs = {name: sagemaker.describe_training_job(TrainingJobName=name) for name in names}
    waits = sorted(
        fired[name] - clock.here(job["SecondaryStatusTransitions"][-1]["StartTime"])
        for name, job in jobs.items()
    )
    return {
        f"detection, {what}, median s": statistics.median(waits),
        f"detection, {what}, 99th percentile s": waits[int(len(waits) * 0.99)],
    }


def table(sides: Sequence[Side]) -> str:
    """Markdown: a row for each figure; the ratio compares the provider with the first side."""
    head = ["", *(f"{side.name} ({side.jobs:,} jobs)" for side in sides), "asked for"]
    provider = next((side for side in sides if side.name == PROVIDER), None)
    if provider:
        head.append("provider / ours")
    rows = [head, ["---", *("---:" for _ in head[1:])]]
    for what in sides[0].figures:
        targets = dict.fromkeys(_number(target_of(side.name, what)) for side in sides)
        row = [what, *(_number(side.figures[what]) for side in sides), " / ".join(filter(None, targets))]
        if provider and sides[0].figures[what]:
            row.append(_number(provider.figures[what] / sides[0].figures[what]))
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def import_cost(rounds: int = 15) -> str:
    """What `import spot_training.operators` adds to a Dag file that imports `airflow.sdk`."""
    probe = (
        "import time, airflow.sdk; from airflow.sdk import BaseOperator, BaseSensorOperator, DAG, task;"
        "started = time.process_time(); import spot_training.operators, spot_training.sensors;"
        "print((time.process_time() - started) * 1000)"
    )
    times = [
        float(subprocess.check_output([sys.executable, "-c", probe], text=True, cwd=ROOT).splitlines()[-1])
        for _ in range(rounds)
    ]
    return (
        f"{statistics.median(times):.1f} ms of CPU (median of {rounds}; {min(times):.1f} to {max(times):.1f})"
    )


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def set_up_provider() -> Path:
    """The interpreter of the provider's environment."""
    done = subprocess.run(
        ["bash", "-c", "source scripts/_setup.sh; spot_setup_provider"], cwd=ROOT, check=False
    )
    if done.returncode:
        raise SystemExit("the provider's environment cannot be made here; --without-provider leaves it out")
    return ROOT / ".venv-provider" / "bin" / "python"


def machine() -> str:
    gigabytes = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores, {gigabytes:.0f} GB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--provider-jobs", type=int, default=1_000)
    parser.add_argument("--idle-seconds", type=float, default=120.0, help="how long nothing happens")
    parser.add_argument("--only", choices=["polling", "events", "provider"], help="one side alone")
    parser.add_argument("--without-provider", action="store_true")
    parser.add_argument("--live", action="store_true", help="real Airflow on Postgres instead")
    parser.add_argument("--trainings", type=int, default=1_000, help="with --live")
    parser.add_argument("--out", type=Path, help="write the report there too")
    options = parser.parse_args()
    missed: list[str] = []
    if options.live:
        from tests.scale.live import report as report_live

        text = report_live(options.trainings, tell)
    else:
        text, missed = report(options)
    print(text)
    for line in missed:
        tell(f"MISSED  {line}")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 1 if missed else 0


def report(options: argparse.Namespace) -> tuple[str, list[str]]:
    """The report, and what is above its target."""
    ours = Path(sys.executable)
    sides = []
    if options.only in (None, "polling"):
        how = {"python": ours, "side": "ours", "jobs": options.jobs, "idle_seconds": options.idle_seconds}
        sides.append(measure(POLLING, calm_seconds=CALM_SECONDS, **how))
    if options.only in (None, "events"):
        how = {"python": ours, "side": "ours", "jobs": options.jobs, "idle_seconds": options.idle_seconds}
        sides.append(measure(EVENTS, calm_seconds=CALM_SECONDS, has_events=True, **how))
    if options.only == "provider" or not (options.only or options.without_provider):
        sides.append(
            measure(
                PROVIDER,
                python=set_up_provider(),
                side="provider",
                jobs=options.provider_jobs,
                calm_seconds=10,
                idle_seconds=min(60.0, options.idle_seconds),
            )
        )
    calls = [f"- Calls while nothing happened, {side.name}: {side.calls}" for side in sides]
    lines = [f"{machine()}:", "", table(sides), "", *calls, f"- Dag parse: {import_cost()}"]
    return "\n".join(lines), misses(sides)


if __name__ == "__main__":
    sys.exit(main())
