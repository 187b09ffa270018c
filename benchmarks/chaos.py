"""The chaos campaign: random fault schedules on real Airflow and the local SageMaker.

    .venv/bin/python benchmarks/chaos.py --runs 200 --seed 1

Each schedule is one Dag run: where its worker dies, whether there is capacity, how often spot interrupts it.
Meanwhile components are killed and restarted and the service throttles, fails, drops connections and loses
replies, at moments drawn from the same seed. Prints a line per run, logs the schedules, and ends with how
many broke the promise. `--only N` replays one batch.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from include.local_stack import LocalStack  # noqa: E402, TC001
from tests.chaos.support import (  # noqa: E402
    Run,
    chaos_stack,
    control,
    fail,
    jobs_of,
    judge,
    random_case,
    start,
    watch,
)

TYPES = (
    "ml.m5.large",
    "ml.m5.xlarge",
    "ml.m5.2xlarge",
    "ml.m5.4xlarge",
    "ml.c5.9xlarge",
    "ml.c5.xlarge",
    "ml.c5.2xlarge",
    "ml.c5.4xlarge",
)
FAULTS = ("ThrottlingException", "InternalFailure", "DropConnection", "LoseResponse")
CALLS = ("CreateTrainingJob", "DescribeTrainingJob", "ListTrainingJobs", "StopTrainingJob")
COMPONENTS = ("triggerer", "scheduler", "api-server")
BATCH_SECONDS = 240


def main() -> int:
    options = parse_arguments()
    batches = -(-options.runs // len(TYPES))
    broken: list[Run] = []
    done = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, chaos_stack(options.state or Path(folder)) as stack:
        for batch in [options.only] if options.only is not None else range(batches):
            runs = run_batch(stack, seed=options.seed, batch=batch)
            done += len(runs)
            broken += [run for run in runs if run.problems]
            tell(runs, batch, time.monotonic() - started)
    print(f"{done} schedules in {time.monotonic() - started:.0f} s, broke the promise: {len(broken)}")
    return 1 if broken else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200, help="schedules (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same schedules")
    parser.add_argument("--only", type=int, help="replay this batch alone")
    parser.add_argument("--state", type=Path, help="keep databases and logs in this folder")
    return parser.parse_args()


def run_batch(stack: LocalStack, *, seed: int, batch: int) -> list[Run]:
    """One run per instance type at once, so that each has a market of its own."""
    rng = random.Random(f"{seed}/{batch}")  # noqa: S311 - a replayable schedule, no secret
    runs = [
        start(stack, random_case(rng), instance_type=instance_type, run_id=f"chaos-{seed}-{batch}-{slot}")
        for slot, instance_type in enumerate(TYPES)
    ]
    over = threading.Event()
    trouble = threading.Thread(target=make_trouble, args=(stack, rng, runs, over))
    trouble.start()
    try:
        watch(stack, runs, timeout_seconds=BATCH_SECONDS)
    finally:
        over.set()
        trouble.join()
    for run in runs:
        if not run.problems:
            judge(stack, run)
    return runs


def make_trouble(stack: LocalStack, rng: random.Random, runs: Sequence[Run], over: threading.Event) -> None:
    """Faults, lost components, interruptions and flapping capacity, while the batch runs."""
    for moment in range(rng.randint(2, 6)):
        if over.wait(rng.uniform(0.5, 5)):
            return
        match rng.choice(["fault", "fault", "fault", "interrupt", "capacity", "component"]):
            case "fault":
                fail(stack, rng.choice(CALLS), rng.choice(FAULTS), rng.randint(1, 4))
            case "interrupt":
                interrupt_everything(stack, runs)
            case "capacity":
                available = rng.random() < 0.7
                body = {"instance_type": rng.choice(TYPES), "available": available}
                control(stack, "PUT", "capacity", body)
            case "component" if moment < 3:  # one lost component at a time, and not at every turn
                component = rng.choice(COMPONENTS)
                stack.kill(component)
                stack.restart(component)


def interrupt_everything(stack: LocalStack, runs: Sequence[Run]) -> None:
    for run in runs:
        if run.case.interruptions:
            for name, status in jobs_of(stack, run).items():
                if status == "InProgress":
                    try_to_interrupt(stack, name)


def try_to_interrupt(stack: LocalStack, name: str) -> None:
    try:
        control(stack, "POST", "interrupt", {"training_job_name": name})
    except OSError:
        return  # it waits, or runs on demand: nothing to interrupt


def tell(runs: Sequence[Run], batch: int, seconds: float) -> None:
    kept = sum(not run.problems for run in runs)
    print(f"batch {batch}: {kept} of {len(runs)} kept the promise, {seconds:.0f} s so far", flush=True)
    for run in runs:
        print(f"  {run.run_id} {json.dumps(asdict(run.case))}")
        for problem in run.problems:
            print(f"    BROKEN: {problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
