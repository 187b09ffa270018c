"""The trainings (work, deadline, two series, a window), drawn by a seed, and the market that replays them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.policies.any_of import overlapping
from benchmarks.policies.compare import read_traces
from local_sagemaker.service_model import instance_types
from spot_training.domain.deadline import Reserve
from spot_training.domain.instance_types import kind_of
from spot_training.task.deadline import RESUME_SECONDS

if TYPE_CHECKING:
    from spot_training.advise.traces import Trace

MODES = ("one", "two", "back")
HOURS = (4.0, 48.0)
STRETCHES = (1.25, 1.5)
#: Spot price / on-demand price, of the traces' own instances.
PRICE_RATIO = 0.318
#: Of the market file. The first two together are what the guard takes for a typical launch.
LAUNCH_SECONDS, DOWNLOAD_SECONDS, UPLOAD_SECONDS = 120, 180, 60
#: How often the simulated jobs save, and what the guard is given. They save at an interruption, too.
CHECKPOINT_EVERY_SECONDS = 600
CHECK_INTERVAL = 1
#: Of the Dag: the guard keeps the delay of a retry free.
RETRY_SECONDS = 1
#: `deadline_reserve`: for how long Airflow may be unavailable.
RESERVE_SECONDS = 3600
RESERVE = Reserve(
    notice_seconds=CHECK_INTERVAL + RESUME_SECONDS + RETRY_SECONDS, extra_seconds=RESERVE_SECONDS
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is asked for. `from_seconds` is the moment of both traces at which it is submitted."""

    number: int
    types: tuple[str, str]
    traces: tuple[Trace, Trace]
    from_seconds: float
    work_seconds: int
    deadline_seconds: int

    def run_id(self, mode: str) -> str:
        return f"{mode}-{self.number:02}"


def read_from(folder: Path) -> list[Trace]:
    return [replace(trace, name=str(folder.resolve() / trace.name)) for trace in read_traces(folder)]


def draw(count: int, traces: Sequence[Trace], seed: int) -> list[Training]:
    """Pairs of series of one folder, and windows that lie in them."""
    groups = overlapping(traces)
    if not groups:
        raise SystemExit("--traces has no folder with several series: those of one folder overlap in time")
    rng = random.Random(seed)  # noqa: S311 - the same trainings for the same seed
    pairs = pairs_of_types()
    if count > len(pairs):
        raise SystemExit(f"--trainings {count}: give {len(pairs)} at most, because each has two types")
    trainings = []
    for number in range(count):
        first, second = rng.sample(groups[rng.choice(sorted(groups))], 2)
        work = round(3600 * rng.uniform(*HOURS))
        deadline = round(work * rng.choice(STRETCHES) + RESERVE.total_seconds)
        trainings.append(
            Training(
                number=number,
                types=pairs[number],
                traces=(first, second),
                from_seconds=round(rng.uniform(0, max(0.0, first.seconds - deadline - 3600))),
                work_seconds=work,
                deadline_seconds=deadline,
            )
        )
    return trainings


def pairs_of_types() -> list[tuple[str, str]]:
    """Types between which a training can move, each in one pair."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(instance_types()):
        if (kind := kind_of(name)) is not None:
            kinds.setdefault(str(kind), []).append(name)
    return [
        (first, second)
        for names in sorted(kinds.values(), key=len, reverse=True)
        for first, second in zip(names[::2], names[1::2], strict=False)
    ]


def write_market(path: Path, trainings: Sequence[Training]) -> Path:
    """Each type replays its series from the training's moment on. Times count from the reset."""
    market = {
        "price_ratio": PRICE_RATIO,
        "launch": LAUNCH_SECONDS,
        "download": DOWNLOAD_SECONDS,
        "upload": UPLOAD_SECONDS,
        "instance_types": {
            instance_type: {
                "trace": {
                    "file": trace.name,
                    "skip": begins_at(trace, training.from_seconds),
                }
            }
            for training in trainings
            for instance_type, trace in zip(training.types, training.traces, strict=True)
        },
    }
    path.write_text(yaml.safe_dump(market))
    return path


def begins_at(trace: Trace, seconds: float) -> float:
    """The market file skips whole ticks."""
    return seconds // trace.tick_seconds * trace.tick_seconds


def params_of(training: Training, mode: str) -> dict[str, Any]:
    policy: dict[str, Any] = {"name": "deadline"}
    if mode != "one":
        policy["instance_types"] = list(training.types)
    if mode == "back":
        policy["back_to_spot"] = True
    return {
        "instance_type": training.types[0],
        "policy": json.dumps(policy),
        "work_seconds": training.work_seconds,
        "deadline_seconds": training.deadline_seconds,
        "reserve_seconds": RESERVE_SECONDS,
        "checkpoint_every_seconds": CHECKPOINT_EVERY_SECONDS,
        "check_interval": CHECK_INTERVAL,
    }
