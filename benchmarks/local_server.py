"""How fast the local SageMaker is, compared with moto's server in the same run.

    python benchmarks/local_server.py [--jobs 10000] [--seconds 3] [--rounds 3] [--out FILE]

Both servers run as separate processes and get the same requests from the same client: raw HTTP, signed
for show, over connections that are kept as long as the server keeps them. The rounds of the two alternate,
so what else the machine does hits both; the median round counts. Nothing is written without --out.

What is not the same: a job of moto is born Completed and never changes; a job here is alive, and waits for
capacity that does not come until its max wait. moto checks less of a request.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil

ROOT = Path(__file__).resolve().parents[1]
CONNECTIONS = 8
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"

Call: TypeAlias = tuple[str, dict[str, Any]]

WEEK = """
description: a week of capacity that comes and goes
random: {seed: 11, available_for: 2h, away_for: 45m}
interruptions: [{after: 30m, job: each, away: 10m}]
"""
#: What a job must work to need a week of that market.
WEEK_WORK_SECONDS = 5 * 86400


def request_for(name: str, *, work_seconds: int = 1800, **overrides: Any) -> dict[str, Any]:
    """A CreateTrainingJob request as a person would send it."""
    return {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerRole",
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": {"max_depth": "6", "eta": "0.3", "num_round": "200", "objective": "reg:linear"},
        "InputDataConfig": [
            {
                "ChannelName": "train",
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/flights/2026-03-01"}
                },
            }
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
        "CheckpointConfig": {"S3Uri": f"s3://bucket/checkpoints/{name}"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400, "MaxWaitTimeInSeconds": 864000},
        "EnableManagedSpotTraining": True,
        "Environment": {"LOCAL_TRAINING_SECONDS": str(work_seconds)},
        "Tags": [{"Key": "team", "Value": "flights"}, {"Key": "dag", "Value": "train"}],
    } | overrides


# --- the client ---


class CallError(RuntimeError):
    """An answer that is an error."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body[:500].decode(errors="replace"))
        self.code = str(json.loads(body)["__type"]) if body.startswith(b"{") else "?"


class Connection:
    """One connection, kept while the server keeps it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._head = (
            f"POST / HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/x-amz-json-1.1\r\n"
            "Authorization: AWS4-HMAC-SHA256 Credential=any/20260301/us-east-1/sagemaker/aws4_request, "
            "SignedHeaders=host, Signature=0\r\nX-Amz-Date: 20260301T000000Z\r\n"
        )
        self._socket: socket.socket | None = None
        self._received = b""

    def send(self, call: Call) -> None:
        operation, params = call
        body = json.dumps(params).encode()
        head = f"{self._head}X-Amz-Target: SageMaker.{operation}\r\nContent-Length: {len(body)}\r\n\r\n"
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._received = b""
        self._socket.sendall(head.encode() + body)

    def receive(self) -> bytes:
        head = self._read_until(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        headers = dict(line.lower().split(b":", 1) for line in lines if line)
        length = int(headers[b"content-length"])
        body = self._read(length)
        is_old = status_line.startswith(b"HTTP/1.0")
        if headers.get(b"connection", b"close" if is_old else b"").strip() == b"close":
            self.close()
        if status_line.split()[1] != b"200":
            raise CallError(body)
        return body

    def call(self, operation: str, **params: Any) -> Any:
        self.send((operation, params))
        return json.loads(self.receive() or b"{}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._receive_more()
        head, self._received = self._received.split(mark, 1)
        return head

    def _read(self, length: int) -> bytes:
        while len(self._received) < length:
            self._receive_more()
        body, self._received = self._received[:length], self._received[length:]
        return body

    def _receive_more(self) -> None:
        assert self._socket is not None  # noqa: S101
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received += data


def rate(url: str, calls: Iterator[Call], *, connections: int, seconds: float) -> float:
    """Answers per second: each connection has one call under way; the client is one thread."""
    lines = [Connection(url) for _ in range(connections)]
    answered, started = 0, time.perf_counter()
    exhausted = False
    try:
        while not exhausted and time.perf_counter() - started < seconds:
            sent = []
            for line in lines:
                call = next(calls, None)
                if call is None:
                    exhausted = True
                    break
                line.send(call)
                sent.append(line)
            for line in sent:
                line.receive()
            answered += len(sent)
        return answered / (time.perf_counter() - started)
    finally:
        for line in lines:
            line.close()


# --- the servers ---


@dataclass
class Target:
    """One of the servers, with what was measured of it."""

    name: str
    url: str
    process: psutil.Process
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, what: str, value: float) -> None:
        self.figures.setdefault(what, []).append(value)

    def median(self, what: str) -> float:
        return statistics.median(self.figures[what])

    @property
    def rss_mb(self) -> float:
        return float(self.process.memory_info().rss) / 1e6

    @property
    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def _process(
    command: list[str], *, wait_for: str | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    pipe = subprocess.PIPE if wait_for else subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if wait_for and not line.startswith(wait_for):
            raise RuntimeError(f"{command} did not start")
        yield process, line
    finally:
        process.terminate()
        process.wait(timeout=30)
        if process.stdout:
            process.stdout.close()


@contextmanager
def local_server(*arguments: str) -> Iterator[Target]:
    command = [sys.executable, "-m", "local_sagemaker", "--port", "0", "--log-level", "warning"]
    with _process([*command, *arguments], wait_for="ready: ") as (process, line):
        url = line.removeprefix("ready: ").strip()
        yield Target("local SageMaker", url, psutil.Process(process.pid))


@contextmanager
def moto_server() -> Iterator[Target]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "import sys; from moto.server import main; main(sys.argv[1:])"]
    with _process([*command, "-H", "127.0.0.1", "-p", str(port)]) as (process, _):
        target = Target("moto", f"http://127.0.0.1:{port}", psutil.Process(process.pid))
        last = time.monotonic() + 60
        while True:
            try:
                Connection(target.url).call("ListTrainingJobs")
                break
            except OSError:
                if time.monotonic() > last:
                    raise
                time.sleep(0.1)
        yield target


# --- what is measured ---


def _create(targets: list[Target], jobs: int) -> None:
    """The first half over one connection, the second over several; in slices that alternate."""
    slices = 5
    size = jobs // (2 * slices)
    for target in targets:
        Connection(target.url).call("ListTrainingJobs")  # imports what the first call needs
        target.note("rss_before", target.rss_mb)
    for what, connections in (
        ("creates, 1 connection", 1),
        (f"creates, {CONNECTIONS} connections", CONNECTIONS),
    ):
        for part in range(slices):
            for target in targets:
                names = (f"job-{connections}-{part}-{i}" for i in range(size))
                calls = (("CreateTrainingJob", request_for(name)) for name in names)
                target.note(what, rate(target.url, calls, connections=connections, seconds=600))
    for target in targets:
        target.note("rss_after", target.rss_mb)


def _describe(targets: list[Target], jobs: int, *, seconds: float, rounds: int) -> None:
    size = jobs // 10
    names = [f"job-{c}-{part}-{i}" for c in (1, CONNECTIONS) for part in range(5) for i in range(size)]
    order = random.Random(1)  # noqa: S311

    def calls() -> Iterator[Call]:
        while True:
            yield "DescribeTrainingJob", {"TrainingJobName": order.choice(names)}

    for _ in range(rounds):
        for connections in (1, CONNECTIONS):
            what = f"describes, {connections} connection{'s' if connections > 1 else ''}"
            for target in targets:
                target.note(what, rate(target.url, calls(), connections=connections, seconds=seconds))


def _list(targets: list[Target], *, seconds: float, rounds: int) -> None:
    """Page after page of a hundred, from the first."""
    for _ in range(rounds):
        for target in targets:
            line, pages, token = Connection(target.url), 0, None
            started = time.perf_counter()
            while time.perf_counter() - started < seconds:
                params = {"MaxResults": 100} | ({"NextToken": token} if token else {})
                token = line.call("ListTrainingJobs", **params).get("NextToken")
                pages += 1
            target.note("list pages of 100", pages / (time.perf_counter() - started))
            line.close()


def _idle(targets: list[Target], *, seconds: float) -> None:
    before = [target.cpu_seconds for target in targets]
    time.sleep(seconds)
    for target, start in zip(targets, before, strict=True):
        target.note("idle CPU, %", 100 * (target.cpu_seconds - start) / seconds)


def simulated_week() -> dict[str, float]:
    """One job's week over HTTP at `--speed max`: seconds of wall time from Create to Completed."""
    with tempfile.TemporaryDirectory() as folder:
        market = Path(folder) / "week.yaml"
        market.write_text(WEEK, encoding="utf-8")
        with local_server("--speed", "max", "--market", str(market)) as target:
            line = Connection(target.url)
            with urlopen(Request(f"{target.url}/bucket", method="PUT")):  # noqa: S310  (its own server)
                pass
            limits = {"MaxRuntimeInSeconds": 20 * 86400, "MaxWaitTimeInSeconds": 28 * 86400}
            request = request_for("week", work_seconds=WEEK_WORK_SECONDS, StoppingCondition=limits)
            started = time.perf_counter()
            line.call("CreateTrainingJob", **request)
            while True:
                job = line.call("DescribeTrainingJob", TrainingJobName="week")
                if job["TrainingJobStatus"] != "InProgress":
                    break
            wall = time.perf_counter() - started
            line.close()
    if job["TrainingJobStatus"] != "Completed":
        raise RuntimeError(f"the week's job is {job['TrainingJobStatus']}")
    statuses = [entry["Status"] for entry in job["SecondaryStatusTransitions"]]
    return {
        "wall seconds": wall,
        "simulated days": (job["TrainingEndTime"] - job["CreationTime"]) / 86400,
        "interruptions": statuses.count("Interrupted"),
        "transitions": len(statuses),
    }


# --- the report ---


def _table(local: Target, moto: Target, jobs: int) -> list[str]:
    lines = ["| per second | local SageMaker | moto | ratio |", "| --- | ---: | ---: | ---: |"]
    for what in local.figures:
        if what.startswith(("creates", "describes", "list")):
            ours, theirs = local.median(what), moto.median(what)
            lines.append(f"| {what} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.1f} |")
    lines += ["", f"| with {jobs:,} jobs | local SageMaker | moto |", "| --- | ---: | ---: |"]
    grown = [target.median("rss_after") - target.median("rss_before") for target in (local, moto)]
    resident = [target.median("rss_after") for target in (local, moto)]
    per = f"memory per {jobs:,} jobs, MB"
    lines.append(f"| {per} | {grown[0]:.0f} | {grown[1]:.0f} |")
    lines.append(f"| resident in all, MB | {resident[0]:.0f} | {resident[1]:.0f} |")
    lines.append(
        f"| idle CPU, % of a core | {local.median('idle CPU, %'):.2f} | {moto.median('idle CPU, %'):.2f} |"
    )
    lines.append(f"| threads | {local.median('threads'):.0f} | {moto.median('threads'):.0f} |")
    return lines


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the end"
    )


def measure(jobs: int, seconds: float, rounds: int) -> list[str]:
    with ExitStack() as stack:
        local = stack.enter_context(local_server("--speed", "1", "--market", "no-capacity"))
        moto = stack.enter_context(moto_server())
        targets = [local, moto]
        steps: list[tuple[str, Callable[[], None]]] = [
            ("creating", lambda: _create(targets, jobs)),
            ("describing", lambda: _describe(targets, jobs, seconds=seconds, rounds=rounds)),
            ("listing", lambda: _list(targets, seconds=seconds, rounds=rounds)),
            ("idling", lambda: _idle(targets, seconds=max(seconds, 5.0))),
        ]
        for name, step in steps:
            print(f"{name} ...", file=sys.stderr)
            step()
        for target in targets:
            target.note("threads", target.process.num_threads())
        lines = _table(local, moto, jobs)
    week = simulated_week()
    story = (
        f"A simulated week of one job at `--speed max` ({week['simulated days']:.1f} days, "
        f"{week['interruptions']:.0f} interruptions, {week['transitions']:.0f} transitions): "
        f"{week['wall seconds']:.3f} s of wall time."
    )
    lines += ["", story]
    return [f"Machine: {_machine()}.", "", *lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the table there too")
    options = parser.parse_args()
    text = "\n".join(measure(options.jobs, options.seconds, options.rounds)) + "\n"
    print(text, end="")
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
