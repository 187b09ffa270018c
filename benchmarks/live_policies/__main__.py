"""50 trainings of 4 to 48 hours on real Airflow, on one type and on any of two, compared with the simulator.

    python benchmarks/live_policies --traces DIR [--modes one,two,back] [--state DIR] [--out FILE]

Each training is drawn by the seed: its work, a deadline of 1.25 or 1.5 times the work plus what the guard
keeps free, and two series of one folder of traces from the same moment on, which overlap in time. It goes
through the real operator, deferred, with the policy `deadline`, in each mode:

    one    on the first type
    two    on any of both types, with scouts
    back   the same with a way back from on-demand to spot

All trainings of all modes run at the same time. Every type of the local SageMaker replays one series. Its
clock runs at --speed while all tasks are deferred, and at --awake-speed while any task waits for a worker or
runs, so what Airflow takes to resume a task counts as little as on AWS, where a training of two days does not
notice it. The simulator (`advise.hand_overs`) walks each training from the moment at which it was submitted,
with the capacity, deadline, reserve and launches that it had. Costs are billed seconds of all attempts and
scouts, from the ledger, at one price for all types, in hours of on-demand.

With --state, finished trainings are kept in that folder, and the same command runs only those that are
missing. --due-within 24 runs the shorter ones, and without it the same command runs the rest later. The exit
status is 1 if a deadline was missed, a training failed, the cost of a mode is off by more than 5 %, or any of
two costs more than 0.85 of one type.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a folder: the project's root is where the package is found
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.live_policies.compared import compare, find_faults, report, to_json
from benchmarks.live_policies.drawn import MODES, draw, read_from
from benchmarks.live_policies.live import Happened, run_live, tell


def machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def modes_of(text: str) -> tuple[str, ...]:
    modes = tuple(text.split(","))
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]}: give some of {','.join(MODES)}")
    return modes


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, required=True, help="a folder with folders of traces")
    parser.add_argument("--modes", type=modes_of, default=("one", "two"), help="some of one,two,back")
    parser.add_argument("--trainings", type=int, default=50, help="of each mode (default: %(default)s)")
    parser.add_argument("--due-within", type=float, metavar="HOURS", help="only those with such a deadline")
    parser.add_argument("--speed", type=float, default=60, help="simulated seconds in a real one")
    parser.add_argument("--awake-speed", type=float, default=6, help="the same while a task is awake")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same trainings")
    parser.add_argument("--state", type=Path, help="keep results, databases and logs in this folder")
    parser.add_argument("--out", type=Path, help="write every training and attempt there, as JSON")
    given = parser.parse_args()
    trainings = draw(given.trainings, read_from(given.traces), given.seed)
    most = float("inf") if given.due_within is None else given.due_within * 3600
    wanted = {each.number: each for each in trainings if each.deadline_seconds <= most}
    with contextlib.ExitStack() as life:
        state = given.state or Path(life.enter_context(tempfile.TemporaryDirectory()))
        state.mkdir(parents=True, exist_ok=True)
        kept = state / f"happened-seed-{given.seed}.jsonl"
        lines = kept.read_text().splitlines() if kept.exists() else []
        happened = [Happened.from_json(json.loads(line)) for line in lines]
        happened = [one for one in happened if one.mode in given.modes and one.number in wanted]
        done = {(one.mode, one.number) for one in happened}
        asked = [
            (each, mode)
            for each in wanted.values()
            for mode in given.modes
            if (mode, each.number) not in done
        ]
        tell(f"{machine()}: {len(asked)} trainings to run, {len(done)} done before")
        if asked:
            found = run_live(asked, speed=given.speed, awake_speed=given.awake_speed, state=state)
            with kept.open("a") as file:
                for one in found:
                    file.write(json.dumps(one.to_json()) + "\n")
                    file.flush()
                    happened.append(one)
    outcomes = compare(trainings, happened)
    print("\n".join(report(outcomes)))
    if given.out:
        given.out.write_text(json.dumps([to_json(one) for one in outcomes], indent=1) + "\n")
    faults = list(find_faults(outcomes, len(wanted) * len(given.modes)))
    for fault in faults:
        tell(fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
