"""The chaos campaign: random schedules of faults, losses and people, on real Airflow and the local SageMaker.

    .venv/bin/python benchmarks/chaos.py --runs 300 --seed 1

A schedule is one Dag run: where its worker dies, what spot does to it, and what a person does to its task,
its job or its connection. Meanwhile components pause or are lost, and the service throttles, fails, is
slow, loses connections and replies, or gives a wrong answer; all of it is drawn from the seed, batch by
batch. Prints how each batch did, and at the end how often each kind was drawn and broken.

With `--hand-overs` each schedule is a training with several instance types, and something happens at a point
of the way from one job to the next (`tests/chaos/hand_overs.py`). A second table then says how often what
happened at which point.

A campaign can be played in pieces: `--out FILE` gets a line of JSON for each batch, with commit and seed, and
the same command goes on where FILE ends; `--from N --to M` plays these batches alone. `--add FILE...` plays
nothing, and adds up what is in the files. `--only N` plays one batch again; `--celery` has Celery workers
instead of LocalExecutor. LOCAL_STACK_AIRFLOW_PYTHON names the Python of an environment with another Airflow
(`scripts/test-airflow` makes them), and a run is judged by what is promised on it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from include.local_stack.environment import airflow_version  # noqa: E402
from tests.chaos import hand_overs, kinds  # noqa: E402
from tests.chaos.campaign import Batch, play, summary_of  # noqa: E402
from tests.chaos.drawing import (  # noqa: E402
    BATCH_SIZE,
    LOSSES,
    LOSSES_WITH_CELERY,
    Schedule,
    draw,
)
from tests.chaos.support import chaos_lab  # noqa: E402
from tests.chaos.verdict import evidence_of  # noqa: E402


def main() -> int:
    options = parse_arguments()
    if options.add:
        return conclude(read_lines(options.add))
    commit = find_commit()
    done = [line for line in read_lines([options.out]) if is_of(line, commit, options)] if options.out else []
    played = {line["batch"] for line in done}
    numbers = [number for number in which_batches(options) if number not in played]
    if numbers:
        done += play_all(numbers, options, commit)
    return conclude(done)


def play_all(numbers: Sequence[int], options: argparse.Namespace, commit: str) -> list[dict[str, Any]]:
    lines = []
    with contextlib.ExitStack() as life:
        folder = options.state or Path(life.enter_context(tempfile.TemporaryDirectory()))
        regime = draw_batch(numbers[0], options).regime
        lab = life.enter_context(chaos_lab(folder, has_celery=options.celery, regime=regime))
        prefix = "hand-over-" if options.hand_overs else ""
        for number in numbers:
            began = time.monotonic()
            batch = play(lab, draw_batch(number, options), f"{prefix}{options.seed}-{number}")
            line = {
                **what_is_played(commit, options),
                "batch": number,
                "seconds": round(time.monotonic() - began),
            }
            line |= summary_of(batch)
            lines.append(line)
            tell(batch, line)
            if options.out:
                with options.out.open("a") as file:
                    file.write(kinds.as_json(line) + "\n")
    return lines


def draw_batch(number: int, options: argparse.Namespace) -> Schedule:
    left = options.runs - number * BATCH_SIZE
    size = BATCH_SIZE if options.only is not None else min(BATCH_SIZE, left)
    if options.hand_overs:
        return hand_overs.draw(options.seed, number, size=size)
    losses = LOSSES_WITH_CELERY if options.celery else LOSSES
    return draw(options.seed, number, size=size, losses=losses, has_tasks=not options.celery)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=300, help="schedules (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same schedules")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first batch to play")
    parser.add_argument("--to", type=int, dest="last", help="the last batch to play")
    parser.add_argument("--only", type=int, help="play this batch alone")
    parser.add_argument("--out", type=Path, help="add a line of JSON for each batch, and go on where it ends")
    parser.add_argument("--add", type=Path, nargs="+", help="add up the pieces in these files; plays nothing")
    parser.add_argument("--hand-overs", action="store_true", help="trainings with several instance types")
    parser.add_argument("--celery", action="store_true", help="with Celery workers and Redis")
    parser.add_argument("--state", type=Path, help="keep databases and logs in this folder")
    return parser.parse_args()


def which_batches(options: argparse.Namespace) -> Sequence[int]:
    if options.only is not None:
        return [options.only]
    last = -(-options.runs // BATCH_SIZE) - 1
    return range(options.first, min(last, options.last if options.last is not None else last) + 1)


def find_commit() -> str:
    """The commit that is played, with a mark where the product is not as committed."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    commit = git("rev-parse", "--short=10", "HEAD")
    is_changed = git("status", "--porcelain", "--", "plugins", "packages", "include", "tests/chaos")
    return f"{commit} and changes" if is_changed else commit


def what_is_played(commit: str, options: argparse.Namespace) -> dict[str, Any]:
    airflow = ".".join(map(str, airflow_version()))
    kind = {"hand-overs": True} if options.hand_overs else {}
    return {"commit": commit, "airflow": airflow, "seed": options.seed, "celery": options.celery, **kind}


def is_of(line: dict[str, Any], commit: str, options: argparse.Namespace) -> bool:
    is_same_kind = line.get("hand-overs", False) == options.hand_overs
    return is_same_kind and what_is_played(commit, options).items() <= line.items()


def read_lines(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]


def tell(batch: Batch, line: dict[str, Any]) -> None:
    kept = line["schedules"] - line["broken"]
    print(f"batch {line['batch']}: {kept} of {line['schedules']} kept the promise, {line['seconds']} s")
    print(f"  {kinds.as_json(batch.schedule.to_json())}")
    for run in batch.runs:
        for problem in run.problems:
            print(f"  BROKEN: {run.run_id} ({batch.slot_of(run).kind}): {problem}")
        if run.problems:
            print(f"    {kinds.as_json(evidence_of(batch.lab, run))}")
    sys.stdout.flush()


def conclude(lines: Sequence[dict[str, Any]]) -> int:
    """The table over all batches; the exit status is 1 if one is broken."""
    print(kinds.table(kinds.add_up(line["counts"] for line in lines)))
    if cuts := kinds.add_up_cuts(line.get("cuts", {}) for line in lines):
        print(kinds.table_of_cuts(cuts))
        print(f"{sum(line['hand_overs'] for line in lines)} jobs were stopped for the next one")
    freezes = sum(line["freezes"] for line in lines)
    outlasting = sum(line["freezes_outlasting_threshold"] for line in lines)
    schedules = sum(line["schedules"] for line in lines)
    broken = sum(line["broken"] for line in lines)
    print(f"{freezes} freezes, {outlasting} of them longer than the health threshold in force")
    lost = sum(line["stopped_by_lost_workers"] for line in lines)
    print(f"{lost} jobs stopped, and followed by another, by workers that Airflow had given up")
    for commit, airflow, seed in sorted(
        {(line["commit"], line.get("airflow", "3.3"), line["seed"]) for line in lines}
    ):
        print(f"commit {commit}, Airflow {airflow}, seed {seed}")
    seconds = sum(line["seconds"] for line in lines)
    print(f"{schedules} schedules in {seconds} s, broke the promise: {broken}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
