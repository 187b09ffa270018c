"""The chaos campaign: random schedules of faults, losses and people, on real Airflow and the local SageMaker.

    .venv/bin/python benchmarks/chaos.py --runs 200 --seed 1

A schedule is one Dag run: where its worker dies, what spot does to it, and what a person does to its task.
Meanwhile components are lost and the service throttles, fails, is slow and loses connections and replies;
all of it is drawn from the seed, batch by batch. Prints how each run did, logs every schedule, and ends with
how many runs broke the promise. `--only N` plays one batch again; `--celery` has Celery workers
instead of LocalExecutor.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.chaos.campaign import LOSSES, LOSSES_WITH_CELERY, Schedule, draw, run_batch  # noqa: E402
from tests.chaos.support import Run, chaos_lab  # noqa: E402

BATCH_SIZE = 10


def main() -> int:
    options = parse_arguments()
    numbers = [options.only] if options.only is not None else range(-(-options.runs // BATCH_SIZE))
    broken = done = 0
    started = time.monotonic()
    with contextlib.ExitStack() as life:
        folder = options.state or Path(life.enter_context(tempfile.TemporaryDirectory()))
        lab = life.enter_context(chaos_lab(folder, has_celery=options.celery))
        for number in numbers:
            size = min(BATCH_SIZE, options.runs - number * BATCH_SIZE) if options.only is None else BATCH_SIZE
            losses = LOSSES_WITH_CELERY if options.celery else LOSSES
            schedule = draw(options.seed, number, size=size, losses=losses)
            runs = run_batch(lab, schedule, f"{options.seed}-{number}")
            done += len(runs)
            broken += sum(bool(run.problems) for run in runs)
            tell(runs, schedule, number, time.monotonic() - started)
    print(f"{done} schedules in {time.monotonic() - started:.0f} s, broke the promise: {broken}")
    return 1 if broken else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200, help="schedules (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same schedules")
    parser.add_argument("--only", type=int, help="play this batch alone")
    parser.add_argument("--celery", action="store_true", help="with Celery workers and Redis")
    parser.add_argument("--state", type=Path, help="keep databases and logs in this folder")
    return parser.parse_args()


def tell(runs: Sequence[Run], schedule: Schedule, batch: int, seconds: float) -> None:
    kept = sum(not run.problems for run in runs)
    print(f"batch {batch}: {kept} of {len(runs)} kept the promise, {seconds:.0f} s so far")
    print(f"  {json.dumps(schedule.to_json())}")
    for run in runs:
        for problem in run.problems:
            print(f"  BROKEN: {run.run_id}: {problem}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
