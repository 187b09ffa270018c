"""50 trainings of 4 to 48 hours on real Airflow, on one type and on any of two, compared with the simulator.

    python benchmarks/live_policies.py --traces DIR [--modes one,two,back] [--state DIR] [--out FILE]

Each training is drawn by the seed: its work, a deadline of 1.25 or 1.5 times the work plus what the guard
keeps free, and two series of one folder of traces from the same moment on, which overlap in time. It goes
through the real operator, deferred, with the policy `deadline`, in each mode:

    one    on the first type
    two    on any of both types, with scouts
    back   the same with a way back from on-demand to spot

All trainings of all modes run at the same time. Every type of the local SageMaker replays one series. Its
clock runs at --speed while all tasks are deferred, and at --awake-speed while any task waits for a worker or
runs: so what Airflow takes to resume a task counts as little as on AWS, where a training of two days does not
notice it. The simulator (`advise.hand_overs`) walks each training from the moment at which it was submitted,
with the capacity, deadline, reserve and launches that it had. Costs are billed seconds of all attempts and
scouts, from the ledger, at one price for all types, in hours of on-demand.

With --state, finished trainings are kept in that folder, and the same command runs only those that are
missing. The exit status is 1 if a deadline was missed, a training failed, the cost of a mode is off by more
than 5 %, or any of two costs more than 0.85 of one type.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from benchmarks.policies.any_of import overlapping  # noqa: E402
from benchmarks.policies.compare import read_traces  # noqa: E402
from include.local_stack import LocalStack, best_database  # noqa: E402
from include.local_stack.api import FINISHED_RUN  # noqa: E402
from local_sagemaker import ServerHandle  # noqa: E402
from local_sagemaker.service_model import instance_types  # noqa: E402
from spot_training.advise.capacity import Interval, Market, intervals_of  # noqa: E402
from spot_training.advise.hand_overs import walk_events, way_back_for  # noqa: E402
from spot_training.advise.moves import BackToSpot, Guard, Workload  # noqa: E402
from spot_training.domain.attempts import Attempt, PurchaseOption  # noqa: E402
from spot_training.domain.deadline import Reserve  # noqa: E402
from spot_training.domain.instance_types import kind_of  # noqa: E402
from spot_training.domain.lifecycle import SecondaryStatus  # noqa: E402
from spot_training.domain.records import RecordState, TrainingRecord  # noqa: E402
from spot_training.ledger import Ledger, Selection  # noqa: E402
from spot_training.task.deadline import RESUME_SECONDS  # noqa: E402

if TYPE_CHECKING:
    from spot_training.advise.simulator import Walk
    from spot_training.advise.traces import Trace

DAG = "deadlines"
MODES = ("one", "two", "back")
HOURS = (4.0, 48.0)
STRETCHES = (1.25, 1.5)
#: Spot price / on-demand price, of the traces' own instances.
PRICE_RATIO = 0.318
#: Of the market file. The first two together are what the guard takes for a typical launch.
LAUNCH_SECONDS, DOWNLOAD_SECONDS, UPLOAD_SECONDS = 120, 180, 60
#: How long SageMaker takes to stop a job that runs, or a scout.
STOP_SECONDS = 60
#: A simulated job loses nothing at an interruption; the guard has to assume something.
CHECKPOINT_EVERY_SECONDS = 60
CHECK_INTERVAL = 1
#: Of the Dag: the guard keeps the delay of a retry free.
RETRY_SECONDS = 1
#: `deadline_reserve`: for how long Airflow may be unavailable.
RESERVE_SECONDS = 3600
RESERVE = Reserve(
    notice_seconds=CHECK_INTERVAL + RESUME_SECONDS + RETRY_SECONDS, extra_seconds=RESERVE_SECONDS
)
#: Tasks on workers at once: more would only wait for each other's CPU.
PARALLELISM = 6
#: Who is earlier is queued earlier.
FIRST_DATE = datetime(2026, 1, 1, tzinfo=UTC)
AWAKE = ("scheduled", "queued", "running", "restarting", "up_for_retry")
#: Its job was created.
SUBMITTED = ("deferred", "success", "failed")
LOOK_SECONDS = 0.3
#: A task that has just been deferred is watched a moment later.
SETTLE_SECONDS = 1.0
OFF_BY, AT_MOST_OF_ONE = 0.05, 0.85


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a training went. Hours, from submission; `cost` is in hours of on-demand."""

    cost: float
    spot: float
    on_demand: float
    scouts: int
    scout_cost: float
    launches: int
    finish: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One training in one mode, simulated and live."""

    mode: str
    number: int
    series: str
    work: float
    deadline: float
    simulated: Course
    live: Course
    misses: dict[str, bool]
    attempts: list[dict[str, Any]] = field(default_factory=list)
    scouts: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        courses = {side: Course(**data[side]) for side in ("simulated", "live")}
        return cls(**{**data, **courses})


# --- what is asked for -----------------------------------------------------------------------------------


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


# --- live ------------------------------------------------------------------------------------------------


class Governor:
    """Runs the clock slowly while a task is awake, and at 1 until all trainings are submitted."""

    def __init__(self, stack: LocalStack, *, trainings: int, speed: float, awake_speed: float) -> None:
        self._stack = stack
        self._trainings = trainings
        self._sagemaker = ServerHandle(url=stack.sagemaker_url, pid=0)
        self._speeds = (speed, awake_speed)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._govern, daemon=True)
        self.awake_seconds = 0.0
        self.looks = self.faults = 0

    def __enter__(self) -> Governor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _govern(self) -> None:
        current, awake_at, looked_at = 1.0, time.monotonic(), time.monotonic()
        is_submitted = False
        while not self._is_over.wait(LOOK_SECONDS):
            now = time.monotonic()
            try:
                awake = self._count(AWAKE)
                if not is_submitted:
                    is_submitted = self._count(SUBMITTED) >= self._trainings
            except Exception as error:  # noqa: BLE001 - Airflow is busy: then time must not run
                self.faults += 1
                tell(f"tasks could not be counted: {error}")
                awake = 1
            self.looks += 1
            if awake:
                self.awake_seconds += now - looked_at
                awake_at = now
            looked_at = now
            is_awake = now - awake_at < SETTLE_SECONDS
            wanted = self._speeds[1] if is_awake else self._speeds[0]
            if is_submitted and wanted != current:
                self._sagemaker.control("PUT", "clock", speed=wanted)
                current = wanted

    def _count(self, states: Sequence[str]) -> int:
        params = {"state": list(states), "limit": 1}
        path = f"dags/{DAG}/dagRuns/~/taskInstances"
        return int(self._stack.api.request("GET", path, params=params)["total_entries"])


def run_live(
    asked: Sequence[tuple[Training, str]], *, speed: float, awake_speed: float, state: Path
) -> Iterator[Outcome]:
    """Each outcome, as soon as its training is over. Failed ones give none."""
    trainings = list({training.number: training for training, _ in asked}.values())
    with (
        best_database() as database,
        LocalStack(
            ROOT,
            state / "stack",
            speed=1,
            market=write_market(state / "market.yaml", trainings),
            dags_folder=ROOT / "benchmarks" / "dags",
            env=database,
            parallelism=PARALLELISM,
        ) as stack,
    ):
        tell(f"metadata database: {'PostgreSQL' if database else 'SQLite'}")
        sagemaker = ServerHandle(url=stack.sagemaker_url, pid=0)
        stack.api.wait_for_dag(DAG)
        for number, (training, mode) in enumerate(asked):
            date = FIRST_DATE + timedelta(minutes=number)
            stack.api.trigger(DAG, params_of(training, mode), run_id=training.run_id(mode), logical_date=date)
        sagemaker.reset()
        origin = datetime.fromisoformat(sagemaker.control("GET", "clock")["now"])
        stack.boto3_client("s3").create_bucket(Bucket="deadlines")
        stack.api.unpause(DAG)
        began = time.monotonic()
        with Governor(stack, trainings=len(asked), speed=speed, awake_speed=awake_speed) as governor:
            yield from _finished(stack, asked, origin, began)
        seconds = time.monotonic() - began
        now = datetime.fromisoformat(sagemaker.control("GET", "clock")["now"])
        tell(
            f"{len(asked)} trainings took {seconds / 60:.0f} real minutes and "
            f"{(now - origin).total_seconds() / 3600:.0f} simulated hours; "
            f"a task was awake for {governor.awake_seconds / seconds:.0%} of it"
        )


def _finished(
    stack: LocalStack, asked: Sequence[tuple[Training, str]], origin: datetime, began: float
) -> Iterator[Outcome]:
    left = {training.run_id(mode): (training, mode) for training, mode in asked}
    told_at = began
    while left:
        time.sleep(5)
        over = {run_id: state for run_id, state in states_of(stack).items() if run_id in left}
        records = read_records(stack) if over else {}
        for run_id, state in over.items():
            training, mode = left.pop(run_id)
            record = records.get(run_id)
            if record is None or record.state is not RecordState.COMPLETED:
                tell(f"{run_id} is {state}: {record.reason if record else 'no record'}")
                continue
            yield compare(training, mode, record, origin)
        if time.monotonic() - told_at >= 60 or not left:
            told_at = time.monotonic()
            tell(f"{len(asked) - len(left)} of {len(asked)} are over after {told_at - began:.0f} s")


def states_of(stack: LocalStack) -> dict[str, str]:
    """The finished runs."""
    found: dict[str, str] = {}
    for offset in range(0, 1000, 100):
        runs = stack.api.list_runs(DAG, state=sorted(FINISHED_RUN), offset=offset)
        found |= {run["dag_run_id"]: run["state"] for run in runs}
        if len(runs) < 100:
            break
    return found


def read_records(stack: LocalStack) -> dict[str, TrainingRecord]:
    with Ledger.at(stack.airflow_home / "spot_ledger").read() as reader:
        return {record.run_id: record for record in reader.records(Selection(dag_ids=(DAG,)))}


def live_course(record: TrainingRecord) -> Course:
    began_at, ended_at = record.began_at, record.ended_at
    assert began_at is not None  # noqa: S101 - it is complete
    assert ended_at is not None  # noqa: S101
    on_spot = [attempt for attempt in record.attempts if attempt.purchase is PurchaseOption.SPOT]
    on_demand = [attempt for attempt in record.attempts if attempt.purchase is PurchaseOption.ON_DEMAND]
    return Course(
        cost=billed_hours((*record.attempts, *record.scouts)),
        spot=sum(attempt.training_seconds or 0 for attempt in on_spot) / 3600,
        on_demand=sum(attempt.training_seconds or 0 for attempt in on_demand) / 3600,
        scouts=sum(scout.has_started for scout in record.scouts),
        scout_cost=billed_hours(record.scouts),
        launches=sum(
            visit.status is SecondaryStatus.DOWNLOADING
            for attempt in record.attempts
            for visit in attempt.transitions
        ),
        finish=(ended_at - began_at).total_seconds() / 3600,
    )


def billed_hours(attempts: Sequence[Attempt]) -> float:
    return sum(attempt.billable_seconds or 0 for attempt in attempts) / 3600


# --- simulated -------------------------------------------------------------------------------------------


def walk_as_live(
    training: Training, mode: str, *, submitted_at: datetime, deadline_at: datetime, origin: datetime
) -> Walk:
    """The mode over the capacity that the training had, with what the guard keeps free."""
    workload = Workload(
        work_seconds=training.work_seconds,
        deadline_seconds=(deadline_at - submitted_at).total_seconds(),
        overhead_seconds=RESERVE.launch_seconds,
        spot_price=PRICE_RATIO,
        on_demand_price=1.0,
        back_to_spot=BackToSpot.HAND_OVER if mode == "back" else BackToSpot.NEVER,
    )
    guard = Guard(
        overhead_seconds=RESERVE.launch_high_seconds, reserve_seconds=RESERVE.besides_launch_seconds
    )
    how = {
        "checkpoint_every_seconds": CHECKPOINT_EVERY_SECONDS,
        "scout_launch_seconds": LAUNCH_SECONDS,
        "stop_seconds": STOP_SECONDS,
        "scout_stop_seconds": STOP_SECONDS,
    }
    traces = training.traces[: 1 if mode == "one" else 2]
    late = (submitted_at - origin).total_seconds()
    return walk_events(
        workload,
        [Market(trace=trace) for trace in traces],
        way_back_for(workload, guard, hand_over=how),
        intervals=[since(trace, begins_at(trace, training.from_seconds) + late) for trace in traces],
    )


def since(trace: Trace, moment: float) -> tuple[Interval, ...]:
    """When there is capacity, in seconds from this moment of the trace. Its last value holds, as live."""
    found = [(start - moment, end - moment) for start, end in intervals_of(trace) if end > moment]
    if found and trace.ticks[-1]:
        found[-1] = (found[-1][0], float("inf"))
    return tuple((max(0.0, start), end) for start, end in found)


def simulated_course(walked: Walk) -> Course:
    return Course(
        cost=walked.cost_on_demand_hours,
        spot=walked.spot_seconds / 3600,
        on_demand=walked.on_demand_seconds / 3600,
        scouts=walked.scouts,
        scout_cost=walked.scout_seconds * PRICE_RATIO / 3600,
        launches=walked.launches,
        finish=walked.finish_seconds / 3600,
    )


def compare(training: Training, mode: str, record: TrainingRecord, origin: datetime) -> Outcome:
    submitted_at, deadline_at, ended_at = record.began_at, record.deadline_at, record.ended_at
    assert submitted_at is not None  # noqa: S101 - it is complete
    assert deadline_at is not None  # noqa: S101
    assert ended_at is not None  # noqa: S101
    walked = walk_as_live(training, mode, submitted_at=submitted_at, deadline_at=deadline_at, origin=origin)
    return Outcome(
        mode=mode,
        number=training.number,
        series=" ".join(Path(trace.name).stem for trace in training.traces)
        + f" + {training.from_seconds / 3600:.0f} h",
        work=training.work_seconds / 3600,
        deadline=(deadline_at - submitted_at).total_seconds() / 3600,
        simulated=simulated_course(walked),
        live=live_course(record),
        misses={"simulated": walked.missed, "live": ended_at > deadline_at},
        attempts=[attempt.to_json() for attempt in record.attempts],
        scouts=[scout.to_json() for scout in record.scouts],
    )


# --- the report ------------------------------------------------------------------------------------------


COLUMNS = (
    "mode", "training", "series", "work", "due", "cost", "spot", "on demand", "launches", "scouts",
    "done after", "met",
)  # fmt: skip


def report(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"| {' | '.join('---' for _ in COLUMNS)} |"
    for one in sorted(outcomes, key=lambda one: (MODES.index(one.mode), one.number)):
        mine, theirs = one.simulated, one.live
        cells = [one.mode, f"{one.number:02}", one.series, f"{one.work:.1f}", f"{one.deadline:.1f}"]
        cells += [
            f"{getattr(mine, name):.{digits}f}, {getattr(theirs, name):.{digits}f}"
            for name, digits in (
                ("cost", 2), ("spot", 1), ("on_demand", 1), ("launches", 0), ("scouts", 0), ("finish", 1),
            )
        ]  # fmt: skip
        yield f"| {' | '.join([*cells, 'no' if one.misses['live'] else 'yes'])} |"
    yield ""
    yield "Hours; costs in hours of on-demand; pairs are simulated, live."
    yield ""
    yield "| mode | trainings | missed | cost simulated | live | live / simulated | live / work on demand |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for mode in MODES:
        if found := [one for one in outcomes if one.mode == mode]:
            simulated, live, work = sums(found)
            missed = sum(one.misses["live"] for one in found)
            yield (
                f"| {mode} | {len(found)} | {missed} | {simulated:.1f} | {live:.1f} | "
                f"{live / simulated:.3f} | {live / work:.3f} |"
            )
    yield ""
    for mode in MODES[1:]:
        if (pair := of_one(outcomes, mode)) is not None:
            yield f"{mode} / one, the same {pair[2]} trainings: simulated {pair[0]:.3f}, live {pair[1]:.3f}"


def sums(outcomes: Sequence[Outcome]) -> tuple[float, float, float]:
    """The costs simulated and live, and the work."""
    return (
        sum(one.simulated.cost for one in outcomes),
        sum(one.live.cost for one in outcomes),
        sum(one.work for one in outcomes),
    )


def of_one(outcomes: Sequence[Outcome], mode: str) -> tuple[float, float, int] | None:
    """The cost of a mode, compared with one type, of the trainings that have both: simulated, live."""
    by_number = {name: {o.number: o for o in outcomes if o.mode == name} for name in ("one", mode)}
    both = sorted(by_number["one"].keys() & by_number[mode].keys())
    if not both:
        return None
    mine, base = (sums([by_number[name][number] for number in both]) for name in (mode, "one"))
    return mine[0] / base[0], mine[1] / base[1], len(both)


def find_faults(outcomes: Sequence[Outcome], asked: int) -> Iterator[str]:
    if len(outcomes) < asked:
        yield f"{asked - len(outcomes)} of {asked} trainings did not complete"
    if missed := [f"{one.mode}-{one.number:02}" for one in outcomes if one.misses["live"]]:
        yield f"missed deadlines: {', '.join(missed)}"
    for mode in MODES:
        simulated, live, _ = sums([one for one in outcomes if one.mode == mode])
        if simulated and abs(live / simulated - 1) > OFF_BY:
            yield f"{mode}: live / simulated is {live / simulated:.3f}"
    pair = of_one(outcomes, "two")
    if pair and pair[1] > AT_MOST_OF_ONE:
        yield f"any of two costs {pair[1]:.3f} of one type, above {AT_MOST_OF_ONE}"


def machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
    parser.add_argument("--speed", type=float, default=150, help="simulated seconds in a real one")
    parser.add_argument("--awake-speed", type=float, default=15, help="the same while a task is awake")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same trainings")
    parser.add_argument("--state", type=Path, help="keep results, databases and logs in this folder")
    parser.add_argument("--out", type=Path, help="write every training and attempt there, as JSON")
    given = parser.parse_args()
    with contextlib.ExitStack() as life:
        state = given.state or Path(life.enter_context(tempfile.TemporaryDirectory()))
        state.mkdir(parents=True, exist_ok=True)
        kept = state / f"outcomes-seed-{given.seed}.jsonl"
        outcomes = (
            [Outcome.from_json(json.loads(line)) for line in kept.read_text().splitlines()]
            if (kept.exists())
            else []
        )
        outcomes = [one for one in outcomes if one.mode in given.modes and one.number < given.trainings]
        done = {(one.mode, one.number) for one in outcomes}
        trainings = draw(given.trainings, read_from(given.traces), given.seed)
        asked = [
            (each, mode) for each in trainings for mode in given.modes if (mode, each.number) not in done
        ]
        tell(f"{machine()}: {len(asked)} trainings to run, {len(done)} done before")
        if asked:
            found = run_live(asked, speed=given.speed, awake_speed=given.awake_speed, state=state)
            with kept.open("a") as lines:
                for outcome in found:
                    lines.write(json.dumps(asdict(outcome)) + "\n")
                    lines.flush()
                    outcomes.append(outcome)
    print("\n".join(report(outcomes)))
    if given.out:
        given.out.write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n")
    faults = list(find_faults(outcomes, given.trainings * len(given.modes)))
    for fault in faults:
        tell(fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
