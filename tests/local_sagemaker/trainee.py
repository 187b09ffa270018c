"""A training script with a fault of choice, for the drill: it counts, and saves after each step.

`late`, `stops-early` and `hides-damage` are no faults, but keep the drill from seeing something.
"""

import argparse
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="none")
    parser.add_argument("--steps", type=int, default=24)
    args = parser.parse_args()
    fault, folder = args.fault, Path(os.environ["SM_CHECKPOINT_DIR"])
    if fault == "fails":
        sys.exit("no such column: price")
    state = {"step": 0, "sum": 0.0} if fault == "never-resumes" else load(folder, fault)
    if fault == "fails-on-restart" and state["step"]:
        sys.exit("cannot restart")
    print("resuming from step", state["step"])
    first_saved = args.steps // 2 if fault == "late" else 1
    # As early stopping may end it sooner in one run than in another.
    job = json.loads(os.environ["SM_TRAINING_ENV"])["job_name"]
    is_early = fault == "stops-early" and not job.endswith(("-warm-up", "-uninterrupted"))
    seeded = random.Random(7)  # noqa: S311
    while state["step"] < args.steps:
        time.sleep(0 if is_early else 0.06)
        number = state["step"] + 1
        draws = seeded if fault == "loses-random-state" else random.Random(number)  # noqa: S311
        if fault == "late":  # a log in the same folder is no checkpoint
            with (folder / "metrics.csv").open("a") as metrics:
                metrics.write(f"{number}\n")
        state = {"step": number, "sum": state["sum"] + draws.random()}
        if fault != "no-checkpoint" and number >= first_saved and not is_early:
            save(folder, state, fault)
    if fault == "tidies-up":
        for old in folder.glob("step-*.json"):
            old.unlink()
        time.sleep(1.5)  # the evaluation
    if fault == "hides-damage":
        state["noise"] = random.random()  # noqa: S311
    model = Path(os.environ["SM_MODEL_DIR"])
    if fault == "takes-the-last-name":
        shutil.copy(find_last_name(folder), model / "weights.json")
    else:
        (model / "weights.json").write_text(json.dumps(state))
    (model / "about.txt").write_text("a counter")


def find_last_name(folder: Path) -> Path:
    """Of the files in the folder, once SageMaker has begun to upload the newest checkpoint."""
    until = time.monotonic() + 3
    while max(folder.glob("step-*")).suffix == ".json" and time.monotonic() < until:
        time.sleep(0.05)
    return max(folder.glob("step-*"))


def load(folder: Path, fault: str) -> dict[str, Any]:
    for path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            return dict(json.loads(path.read_text()))
        except ValueError:
            if fault == "trusts-checkpoints":
                raise
            if fault == "hides-damage":
                return {"step": int(path.stem[5:]), "sum": 0.0}
            print("skipping", path.name)
    return {"step": 0, "sum": 0.0}


def save(folder: Path, state: dict[str, Any], fault: str) -> None:
    text = json.dumps(state)
    if fault == "overwrites":
        (folder / "step-only.json").write_text(text)
        return
    final = folder / f"step-{state['step']:04d}.json"
    if fault == "trusts-checkpoints":
        final.write_text(text)
    else:
        temporary = folder / ".writing"
        temporary.write_text(text)
        temporary.replace(final)
    pattern = "step-*" if fault == "counts-markers" else "step-*.json"
    for old in sorted(folder.glob(pattern))[:-3]:
        old.unlink(missing_ok=True)  # SageMaker removes a marker, too


main()
