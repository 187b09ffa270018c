"""All tests but the longest, in pieces, several at once: `scripts/test` without arguments.

With `--fast`, those that start no server and no process, in two pieces.

Most tests wait: for Airflow's processes, and for simulated time. So two pieces for each core of the
machine run at once, or as many as `SPOT_TESTS_AT_ONCE` says. A piece is a pytest of its own: what it has
started stops when it ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Paths of tests, the longest pieces first. What has no path here is in a piece as well. Files that share an
#: Airflow are in one, or it starts twice.
PIECES: tuple[tuple[str, ...], ...] = (
    (
        "tests/airflow/test_approval.py",
        "tests/airflow/test_ledger.py",
        "tests/airflow/test_limits.py",
        "tests/airflow/test_main_job.py",
        "tests/airflow/test_page_at_root.py",
    ),
    ("tests/local_sagemaker",),
    ("tests/training",),
    (
        "tests/chaos/test_actions.py",
        "tests/chaos/test_campaign.py",
        "tests/chaos/test_components.py",
        "tests/chaos/test_faults.py",
        "tests/chaos/test_verdict.py",
        "tests/chaos/test_workers.py",
    ),
    ("tests/package", "tests/compose"),
    ("tests/advise", "tests/benchmarks", "tests/ledger"),
    ("tests/dashboard",),
    ("tests/airflow/test_takeover.py", "tests/airflow/test_triggerer.py"),
    ("tests/watching", "tests/task"),
    ("tests/chaos/test_celery.py",),
    (
        "tests/airflow/test_installation.py",
        "tests/airflow/test_local_stack.py",
        "tests/airflow/test_versions.py",
    ),
    ("tests/airflow/test_two_airflows.py", "tests/scale"),
    ("tests/airflow/test_upgrade.py",),
    ("tests/airflow/test_shipped_dags.py",),
)
#: Half of the fast tests, by their time.
FAST_HALF = (
    "tests/advise",
    "tests/benchmarks",
    "tests/dashboard",
    "tests/flight_delays",
    "tests/ledger",
    "tests/report",
)
#: Some minutes of the oldest Airflow.
OLDEST = "scripts/test-airflow --sample"
#: A piece with Airflow takes up to four gigabytes.
MOST_AT_ONCE = 6
#: Beside other pieces everything may take longer than its tests say.
PATIENCE = "LOCAL_STACK_PATIENCE"
DURATIONS = ("--durations=25", "--durations-min=10")
DURATION = re.compile(r"^([\d.]+)s (?:setup|call|teardown) +\S+", re.MULTILINE)
PROBLEM = re.compile(r"^(?:FAILED|ERROR) tests/.*", re.MULTILINE)
COUNTS = re.compile(r"^=+ (.*) in [\d.]+s.* =+$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A piece that has run. `cpu_seconds` are those of all its processes that have ended."""

    piece: Piece
    exit_code: int
    seconds: float
    cpu_seconds: float
    output: str

    @property
    def line(self) -> str:
        counts = ", ".join(COUNTS.findall(self.output)) or f"exit {self.exit_code}"
        return f"{_minutes(self.seconds)} (CPU {_minutes(self.cpu_seconds)})  {self.piece.name}: {counts}"


def all_pieces() -> list[Piece]:
    pytest = (sys.executable, "-m", "pytest", *DURATIONS)
    pieces = [Piece(name=" ".join(paths), command=(*pytest, *paths)) for paths in PIECES]
    oldest = Piece(name=OLDEST, command=(*OLDEST.split(), "--", *DURATIONS))
    listed = [f"--ignore={path}" for paths in PIECES for path in paths]
    others = Piece(name="all other tests", command=(*pytest, *listed))
    return [pieces[0], oldest, others, *pieces[1:]]


def fast_pieces() -> list[Piece]:
    pytest = (sys.executable, "-m", "pytest", "-q", "-m", "fast", "-p", "no:cacheprovider")
    others = tuple(f"--ignore={path}" for path in FAST_HALF)
    return [
        Piece(name=" ".join(FAST_HALF), command=(*pytest, *FAST_HALF)),
        Piece(name="all other fast tests", command=(*pytest, *others)),
    ]


class Runner:
    """Runs pieces, and ends what still runs when it is interrupted."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_over = False

    def run(self, pieces: Sequence[Piece]) -> Iterator[Ended]:
        """The pieces, as they end."""
        with tempfile.TemporaryDirectory() as logs, ThreadPoolExecutor(self._at_once) as pool:
            try:
                started = [
                    pool.submit(self._run, piece, Path(logs) / str(number))
                    for number, piece in enumerate(pieces)
                ]
                for each in as_completed(started):
                    yield each.result()
            finally:
                self._end_all()
                pool.shutdown(cancel_futures=True)

    def _run(self, piece: Piece, log: Path) -> Ended:
        began = time.monotonic()
        with log.open("wb") as output, self._lock:
            if self._is_over:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                piece.command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={PATIENCE: "2", **os.environ},
                start_new_session=True,
            )
            self._running.add(process)
        say(f"{time.strftime('%H:%M:%S')} begins: {piece.name}")
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        with self._lock:
            self._running.remove(process)
        return Ended(
            piece=piece,
            exit_code=process.returncode,
            seconds=time.monotonic() - began,
            cpu_seconds=used.ru_utime + used.ru_stime,
            output=log.read_text(errors="replace"),
        )

    def _end_all(self) -> None:
        """SIGTERM to all processes of each piece; what a test has started ends with it."""
        with self._lock:
            self._is_over = True
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)


def report(ended: Sequence[Ended]) -> None:
    """What the pieces say one after the other, once more and together: times, slowest tests, failures."""
    slowest = [found for each in ended for found in DURATION.finditer(each.output)]
    slowest.sort(key=lambda found: -float(found[1]))
    say("the slowest tests:", *(f"  {found[0]}" for found in slowest[:25]))
    say("the pieces:", *(f"  {each.line}" for each in ended))
    if failed := [each for each in ended if each.exit_code]:
        problems = [problem for each in failed for problem in PROBLEM.findall(each.output)]
        say("failed:", *(f"  {each.piece.name}: exit {each.exit_code}" for each in failed), *problems)


def say(*lines: str) -> None:
    print("[test]", "\n".join(lines), flush=True)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60:2}:{int(seconds) % 60:02}"


def main(pieces: Sequence[Piece], at_once: int) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # in the background, SIGINT is ignored
        signal.signal(number, signal.default_int_handler)
    say(f"{len(pieces)} pieces, {at_once} at once; each is shown when it ends")
    ended: list[Ended] = []
    for each in Runner(at_once).run(pieces):
        ended.append(each)
        say(f"{time.strftime('%H:%M:%S')} ended, {len(ended)} of {len(pieces)}: {each.piece.name}")
        print(each.output, flush=True)
    report(ended)
    return next((each.exit_code for each in ended if each.exit_code), 0)


if __name__ == "__main__":
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = fast_pieces() if "--fast" in sys.argv else all_pieces()
    sys.exit(main(wanted, int(os.environ.get("SPOT_TESTS_AT_ONCE") or min(MOST_AT_ONCE, 2 * cores))))
