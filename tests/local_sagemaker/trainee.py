"""A training script with a fault of choice, for the drill: it counts, and saves after each step."""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path


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
    seeded = random.Random(7)  # noqa: S311
    while state["step"] < args.steps:
        time.sleep(0.06)
        number = state["step"] + 1
        draws = seeded if fault == "loses-random-state" else random.Random(number)  # noqa: S311
        state = {"step": number, "sum": state["sum"] + draws.random()}
        if fault != "no-checkpoint":
            save(folder, state, fault)
    model = Path(os.environ["SM_MODEL_DIR"])
    (model / "weights.json").write_text(json.dumps(state))
    (model / "about.txt").write_text("a counter")


def load(folder: Path, fault: str) -> dict:
    for path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            return json.loads(path.read_text())
        except ValueError:
            if fault == "trusts-checkpoints":
                raise
            print("skipping", path.name)
    return {"step": 0, "sum": 0.0}


def save(folder: Path, state: dict, fault: str) -> None:
    text = json.dumps(state)
    if fault == "overwrites":
        (folder / "step-only.json").write_text(text)
        return
    if fault == "deletes-first":
        for old in folder.glob("step-*.json"):
            old.unlink()
    final = folder / f"step-{state['step']:04d}.json"
    temporary = folder / ".writing"
    temporary.write_text(text)
    temporary.replace(final)
    for old in sorted(folder.glob("step-*.json"))[:-3]:
        old.unlink()


main()
