"""How soon the local SageMaker is ready, compared with importing moto's server in the same run.

    python benchmarks/start.py [--rounds 10]

A round starts each command once, with warm files; the median round counts. `first answer` includes what the
server imports at its first call of SageMaker, and of S3.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.local_server import Connection

READY = [sys.executable, "-P", "-m", "local_sagemaker", "--port", "0", "--log-level", "warning"]
MOTO = [sys.executable, "-P", "-c", "import moto.server; print('ready: ', flush=True); input()"]


@contextmanager
def started(command: list[str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith("ready: "):
                raise RuntimeError(f"{command} did not start")
            yield line.removeprefix("ready: ").strip(), process
        finally:
            process.terminate()


def until_ready(command: list[str], then: Callable[[str], object] = lambda _url: None) -> tuple[float, float]:
    """Seconds of real time and of CPU until the command is ready and has done what is asked `then`."""
    begun = time.perf_counter()
    with started(command) as (url, process):
        then(url)
        seconds = time.perf_counter() - begun
        times = psutil.Process(process.pid).cpu_times()
    return seconds, times.user + times.system


def call_sagemaker(url: str) -> None:
    Connection(url).call("ListTrainingJobs")


def call_s3(url: str) -> None:
    with urlopen(Request(f"{url}/bucket", method="PUT")):  # noqa: S310  (its own server)
        pass


MEASURED: list[tuple[str, Callable[[], tuple[float, float]]]] = [
    ("local-sagemaker, `ready:`", lambda: until_ready(READY)),
    ("local-sagemaker, first answer of SageMaker", lambda: until_ready(READY, call_sagemaker)),
    ("local-sagemaker, first answer of S3", lambda: until_ready(READY, call_s3)),
    ("`import moto.server`", lambda: until_ready(MOTO)),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    for _, measure in MEASURED:
        measure()  # files get warm
    runs = [[measure() for _, measure in MEASURED] for _ in range(rounds)]
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n")
    print("| | seconds | of CPU |\n| --- | ---: | ---: |")
    for place, (name, _) in enumerate(MEASURED):
        seconds, cpu = (statistics.median(run[place][part] for run in runs) for part in (0, 1))
        print(f"| {name} | {seconds:.2f} | {cpu:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
