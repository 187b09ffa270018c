"""50 trainings with deadlines on real Airflow and the local SageMaker, compared with the simulator.

    python benchmarks/deadlines.py --traces DIR [--trainings 50] [--speed 120] [--out FILE]

Each training has its own instance type, and its spot capacity replays a part of a recorded trace
(`{"metadata": {"gap_seconds": n}, "data": [1, 0, ...]}`), 4 to 8 hours of work and a deadline: 1.1 to 2 times
the work, plus the reserve that the guard keeps free. It goes through the real operator, deferred, with the
policy `deadline`. The simulator then walks that policy over the same stretch, with the same deadline, reserve
and overhead, as a training that never leaves on-demand. What the two cost is taken apart, training by
training; the parts add up to the difference:

    moved     work that was done on demand instead of on spot, or the other way round
    repeated  work that was done again after a checkpoint
    launches  what is billed around the work: the simulator bills all of a launch and whole ticks, SageMaker
              nothing before Downloading, but the upload at the end
    rounding  SageMaker bills whole seconds

The exit status is 1 when a deadline was missed, a training failed, or the whole cost is off by more than 5 %.
--out writes everything as JSON. Nothing is kept otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from include.local_stack import LocalStack, best_database  # noqa: E402
from include.local_stack.api import FINISHED_RUN  # noqa: E402
from local_sagemaker.service_model import instance_types  # noqa: E402
from spot_training.advise.moves import BackToSpot, Guard, Workload  # noqa: E402
from spot_training.advise.traces import Trace, parse_trace  # noqa: E402
from spot_training.domain.deadline import Deadline, Reserve, Runtime  # noqa: E402
from spot_training.domain.lifecycle import SecondaryStatus  # noqa: E402
from spot_training.domain.savings import Attempt, PurchaseOption  # noqa: E402
from spot_training.policies import simulate  # noqa: E402
from spot_training.sagemaker.descriptions import snapshot_of  # noqa: E402
from spot_training.task.deadline import RESUME_SECONDS  # noqa: E402

if TYPE_CHECKING:
    from spot_training.advise.simulator import Walk

DAG, TASK = "deadlines", "train"
POLICY = "deadline"
#: Other policies, which are simulated for the same trainings.
OTHER_POLICIES = ("on_demand", "widen")
WORK_HOURS = (4, 6, 8)
STRETCHES = (1.1, 1.25, 1.5, 2.0)
#: Spot price / on-demand price, of the traces' own instances.
PRICE_RATIO = 0.318
#: Of the market file: together what the guard takes for a typical launch (`LAUNCH_SECONDS`).
LAUNCH_SECONDS, DOWNLOAD_SECONDS, UPLOAD_SECONDS = 120, 180, 60
#: A simulated job loses nothing at an interruption; the guard has to assume something.
CHECKPOINT_EVERY_SECONDS = 60
CHECK_INTERVAL = 1
#: The guard's own tick; those of the traces are cut into such pieces.
TICK_SECONDS = 60.0
#: Real seconds for Airflow to resume a task, in addition to what the operator keeps free.
RESUME_REAL_SECONDS = 45
#: Tasks on workers at once: more would only wait for each other's CPU.
PARALLELISM = 6
#: Who is earlier is queued earlier: a task that resumes, before those that have not begun.
FIRST_DATE = datetime(2026, 1, 1, tzinfo=UTC)
TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is asked for: times in seconds, `deadline_seconds` after submission."""

    run_id: str
    instance_type: str
    work_seconds: int
    deadline_seconds: int
    trace: Trace
    first_tick: int

    @property
    def window(self) -> Trace:
        """Its stretch of the trace, cut into ticks of about a minute, as the guard decides."""
        pieces = max(1, round(self.trace.tick_seconds / TICK_SECONDS))
        needed = int(self.deadline_seconds // self.trace.tick_seconds) + 1
        ticks = self.trace.ticks[self.first_tick : self.first_tick + needed]
        cut = bytes(tick for tick in ticks for _ in range(pieces))
        return Trace(ticks=cut, tick_seconds=self.trace.tick_seconds / pieces, name=self.trace.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a training went, simulated or live. Seconds; `work` of `held` is training, the rest is around it.

    `ordered_at` (when on-demand was decided on) and `finish` count from submission; `cost_hours` are hours of
    on-demand.
    """

    launches: int
    spot_work: float
    spot_held: float
    on_demand_work: float
    on_demand_held: float
    ordered_at: float | None
    finish: float
    cost_hours: float

    @property
    def work(self) -> float:
        return self.spot_work + self.on_demand_work

    @property
    def launch_cost_seconds(self) -> float:
        """What was paid for around the work, in seconds on demand."""
        on_spot = self.spot_held - self.spot_work
        return on_spot * PRICE_RATIO + self.on_demand_held - self.on_demand_work


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One training, simulated and live. `difference`: live less simulated, on-demand hours by reason."""

    training: Training
    simulated: Course
    live: Course
    others: dict[str, float]
    slack_seconds: float
    wake_up_seconds: float | None
    attempts: tuple[Attempt, ...]

    @property
    def difference(self) -> dict[str, float]:
        mine, theirs = self.live, self.simulated
        again = mine.work - theirs.work
        seconds = {
            "moved": (mine.on_demand_work - theirs.on_demand_work) * (1 - PRICE_RATIO),
            "repeated": again * PRICE_RATIO,
            "launches": mine.launch_cost_seconds - theirs.launch_cost_seconds,
        }
        hours = {reason: value / 3600 for reason, value in seconds.items()}
        return {**hours, "rounding": mine.cost_hours - theirs.cost_hours - sum(hours.values())}

    @property
    def is_kept(self) -> bool:
        return self.slack_seconds >= 0


# --- what is asked for -----------------------------------------------------------------------------------


def read_traces(folder: Path) -> list[Trace]:
    found = [parse_trace(path.read_text(), source=str(path)) for path in sorted(folder.rglob("*.json"))]
    if not found:
        raise SystemExit(f"--traces {folder}: there is no *.json in it")
    return found


def reserve_of(speed: float) -> Reserve:
    """What the operator keeps free; `extra_seconds` is its `deadline_reserve`."""
    return Reserve(
        notice_seconds=CHECK_INTERVAL + RESUME_SECONDS, extra_seconds=round(RESUME_REAL_SECONDS * speed)
    )


def draw(count: int, traces: Sequence[Trace], reserve: Reserve, seed: int) -> list[Training]:
    """Trainings over all traces, works and stretches, the longest first."""
    rng = random.Random(seed)  # noqa: S311 - the same trainings for the same seed
    types = sorted(instance_types())[:count]
    kept_free = reserve.launch_high_seconds + reserve.besides_launch_seconds
    trainings = []
    for number, instance_type in enumerate(types):
        work = 3600 * rng.choice(WORK_HOURS)
        deadline = round(work * rng.choice(STRETCHES) + kept_free)
        trace = traces[number % len(traces)]
        last_start = len(trace) - int(deadline // trace.tick_seconds) - 1
        trainings.append(
            Training(
                run_id=f"training-{number:02}",
                instance_type=instance_type,
                work_seconds=work,
                deadline_seconds=deadline,
                trace=trace,
                first_tick=rng.randrange(max(1, last_start)),
            )
        )
    return sorted(trainings, key=lambda training: -training.deadline_seconds)


def write_market(path: Path, trainings: Iterable[Training]) -> Path:
    """Each type replays its training's stretch, from the moment its spot job is created."""
    market = {
        "price_ratio": PRICE_RATIO,
        "launch": LAUNCH_SECONDS,
        "download": DOWNLOAD_SECONDS,
        "upload": UPLOAD_SECONDS,
        "origin": "first-job",
        "instance_types": {
            training.instance_type: {
                "trace": {
                    "file": str(Path(training.trace.name).resolve()),
                    "skip": training.first_tick * training.trace.tick_seconds,
                }
            }
            for training in trainings
        },
    }
    path.write_text(yaml.safe_dump(market))
    return path


# --- live ------------------------------------------------------------------------------------------------


def run_live(
    trainings: Sequence[Training], reserve: Reserve, *, speed: float, state: Path
) -> dict[str, tuple[str, list[Attempt], dict[str, Any]]]:
    """Each training's state, attempts and XCom `deadline`, by run."""
    state.mkdir(parents=True, exist_ok=True)
    with (
        best_database() as database,
        LocalStack(
            ROOT,
            state / "stack",
            speed=speed,
            market=write_market(state / "market.yaml", trainings),
            dags_folder=ROOT / "benchmarks" / "dags",
            env=database,
            parallelism=PARALLELISM,
        ) as stack,
    ):
        tell(f"metadata database: {'PostgreSQL' if database else 'SQLite'}")
        stack.boto3_client("s3").create_bucket(Bucket="deadlines")
        stack.api.wait_for_dag(DAG)
        # Before anything runs: a call that writes while tasks run may block SQLite for its whole timeout.
        for number, training in enumerate(trainings):
            date = FIRST_DATE + timedelta(minutes=number)
            stack.api.trigger(DAG, params_of(training, reserve), run_id=training.run_id, logical_date=date)
        stack.api.unpause(DAG)
        began = time.monotonic()
        wait_for_all(stack, len(trainings), began)
        return {training.run_id: what_happened(stack, training) for training in trainings}


def params_of(training: Training, reserve: Reserve) -> dict[str, Any]:
    return {
        "instance_type": training.instance_type,
        "policy": POLICY,
        "work_seconds": training.work_seconds,
        "deadline_seconds": training.deadline_seconds,
        "reserve_seconds": round(reserve.extra_seconds),
        "checkpoint_every_seconds": CHECKPOINT_EVERY_SECONDS,
        "check_interval": CHECK_INTERVAL,
    }


def wait_for_all(stack: LocalStack, count: int, began: float) -> None:
    told_at, over = began, 0
    while over < count:
        time.sleep(1)
        runs = stack.api.list_runs(DAG)
        over = sum(run["state"] in FINISHED_RUN for run in runs)
        if time.monotonic() - told_at >= 60 or over == count:
            told_at = time.monotonic()
            tell(f"{over} of {count} are over after {told_at - began:.0f} s")


def what_happened(stack: LocalStack, training: Training) -> tuple[str, list[Attempt], dict[str, Any]]:
    state = stack.api.task_instance(DAG, training.run_id, TASK)["state"]
    if state != "success":
        return state, [], {}
    xcom = stack.api.xcom(DAG, training.run_id, TASK, "attempts")
    attempts = [with_transitions(stack, Attempt.from_json(attempt)) for attempt in xcom]
    return state, attempts, stack.api.xcom(DAG, training.run_id, TASK, "deadline")


def with_transitions(stack: LocalStack, attempt: Attempt) -> Attempt:
    """XCom has none, SageMaker has."""
    description = stack.boto3_client("sagemaker").describe_training_job(TrainingJobName=attempt.job_name)
    return replace(attempt, transitions=snapshot_of(description).transitions)


def live_course(attempts: Sequence[Attempt]) -> Course:
    submitted_at, ended_at = attempts[0].created_at, attempts[-1].ended_at
    assert submitted_at is not None  # noqa: S101 - the job was created, and completed
    assert ended_at is not None  # noqa: S101
    spot, on_demand = by_purchase(attempts)
    ordered = order_of(attempts)
    return Course(
        launches=sum(
            visit.status is SecondaryStatus.DOWNLOADING
            for attempt in attempts
            for visit in attempt.transitions
        ),
        spot_work=sum(attempt.work_seconds or 0 for attempt in spot),
        spot_held=sum(attempt.training_seconds or 0 for attempt in spot),
        on_demand_work=sum(attempt.work_seconds or 0 for attempt in on_demand),
        on_demand_held=sum(attempt.training_seconds or 0 for attempt in on_demand),
        ordered_at=(ordered - submitted_at).total_seconds() if ordered else None,
        finish=(ended_at - submitted_at).total_seconds(),
        cost_hours=sum(attempt.billable_seconds or 0 for attempt in attempts) / 3600,
    )


def by_purchase(attempts: Sequence[Attempt]) -> tuple[list[Attempt], list[Attempt]]:
    spot = [attempt for attempt in attempts if attempt.purchase is PurchaseOption.SPOT]
    return spot, [attempt for attempt in attempts if attempt.purchase is PurchaseOption.ON_DEMAND]


def order_of(attempts: Sequence[Attempt]) -> datetime | None:
    """When the guard stopped the spot job for on-demand, or on-demand was created without one."""
    spot, on_demand = by_purchase(attempts)
    if not on_demand:
        return None
    visits = spot[-1].transitions if spot else ()
    stops = [visit.started_at for visit in visits if visit.status is SecondaryStatus.STOPPING]
    return stops[0] if stops else on_demand[0].created_at


def wake_up_of(attempts: Sequence[Attempt]) -> float | None:
    """From that order to the on-demand job, in AWS's seconds: spot stops, Airflow resumes the task."""
    ordered_at, (spot, on_demand) = order_of(attempts), by_purchase(attempts)
    created_at = on_demand[0].created_at if spot and on_demand else None
    return (created_at - ordered_at).total_seconds() if created_at and ordered_at else None


# --- simulated -------------------------------------------------------------------------------------------


def walk_as_live(training: Training, policy: str, deadline: Deadline) -> Walk:
    """The policy over the training's stretch, with what the live guard sees: see `DeadlineGuard`."""
    seconds = (deadline.at - deadline.submitted_at).total_seconds()
    seen = Workload(
        work_seconds=deadline.runtime.mean_seconds,
        deadline_seconds=seconds - deadline.reserve.besides_launch_seconds,
        overhead_seconds=deadline.reserve.launch_seconds,
        spot_price=PRICE_RATIO,
        on_demand_price=1.0,
        back_to_spot=BackToSpot.NEVER,
    )
    guard = Guard(overhead_seconds=deadline.reserve.launch_high_seconds)
    return simulate(policy, seen, training.window, guard=guard)


def simulated_course(walked: Walk, deadline: Deadline) -> Course:
    """A walk never leaves on-demand here, so what it did on demand is its end."""
    spot_and_waits = walked.spot_seconds + walked.wait_seconds
    has_on_demand = walked.on_demand_seconds > 0
    overhead = deadline.reserve.launch_seconds
    on_demand_work = walked.finish_seconds - spot_and_waits - overhead if has_on_demand else 0.0
    return Course(
        launches=walked.launches,
        spot_work=deadline.runtime.mean_seconds - on_demand_work,
        spot_held=walked.spot_seconds,
        on_demand_work=on_demand_work,
        on_demand_held=walked.on_demand_seconds,
        ordered_at=spot_and_waits if has_on_demand else None,
        finish=walked.finish_seconds,
        cost_hours=walked.cost_on_demand_hours,
    )


def compare(
    training: Training, attempts: Sequence[Attempt], kept: dict[str, Any], reserve: Reserve
) -> Outcome:
    """The simulator gets the deadline that was set live, and the moment of the submission."""
    submitted_at, at = attempts[0].created_at, datetime.fromisoformat(kept["at"])
    assert submitted_at is not None  # noqa: S101 - the job was created
    runtime = Runtime(
        mean_seconds=training.work_seconds,
        high_seconds=training.work_seconds,
        checkpoint_every_seconds=CHECKPOINT_EVERY_SECONDS,
    )
    deadline = Deadline(at=at, submitted_at=submitted_at, runtime=runtime, reserve=reserve)
    live = live_course(attempts)
    return Outcome(
        training=training,
        simulated=simulated_course(walk_as_live(training, POLICY, deadline), deadline),
        live=live,
        others={name: walk_as_live(training, name, deadline).cost_on_demand_hours for name in OTHER_POLICIES},
        slack_seconds=(at - submitted_at - timedelta(seconds=live.finish)).total_seconds(),
        wake_up_seconds=wake_up_of(attempts),
        attempts=tuple(attempts),
    )


# --- the report ------------------------------------------------------------------------------------------

REASONS = ("moved", "repeated", "launches", "rounding")


def pair(of: Callable[[Course], float | None], digits: int = 2) -> Callable[[Outcome], str]:
    """Simulated, live."""

    def tell_both(outcome: Outcome) -> str:
        values = [of(outcome.simulated), of(outcome.live)]
        return ", ".join("-" if value is None else f"{value:.{digits}f}" for value in values)

    return tell_both


def in_hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600


#: Of the table; a pair is simulated, live.
COLUMNS: dict[str, Callable[[Outcome], str]] = {
    "training": lambda one: one.training.run_id.removeprefix("training-"),
    "trace": lambda one: f"{Path(one.training.trace.name).stem}+{one.training.first_tick}",
    "work": lambda one: f"{one.training.work_seconds / 3600:.0f}",
    "deadline": lambda one: f"{one.training.deadline_seconds / 3600:.1f}",
    "cost": pair(lambda course: course.cost_hours),
    **{reason: lambda one, reason=reason: f"{one.difference[reason]:+.3f}" for reason in REASONS},  # type: ignore[misc]
    "launches": pair(lambda course: course.launches, 0),
    "work on spot": pair(lambda course: in_hours(course.spot_work)),
    "on demand after": pair(lambda course: in_hours(course.ordered_at)),
    "done after": pair(lambda course: in_hours(course.finish)),
    "wake-up": lambda one: "-" if one.wake_up_seconds is None else f"{one.wake_up_seconds / 60:.0f} min",
    "slack": lambda one: f"{one.slack_seconds / 3600:.2f}",
}


def report(outcomes: Sequence[Outcome], failed: Mapping[str, str], speed: float) -> str:
    rows = [list(COLUMNS), ["---"] * len(COLUMNS)]
    rows += [[tell_one(outcome) for tell_one in COLUMNS.values()] for outcome in outcomes]
    lines = [f"{machine()}:", "", *(f"| {' | '.join(cells)} |" for cells in rows), ""]
    lines += ["Costs in on-demand hours, the rest in hours; pairs are simulated, live.", ""]
    lines += [*cost_lines(outcomes), "", *sums(outcomes, speed)]
    return "\n".join([*lines, *(f"- Failed: {run_id} is {state}" for run_id, state in failed.items())])


def cost_lines(outcomes: Sequence[Outcome]) -> list[str]:
    simulated, live = costs(outcomes)
    ends = [[one.simulated.ordered_at, one.live.ordered_at] for one in outcomes]
    fallbacks = ", ".join(str(sum(at is not None for at in side)) for side in zip(*ends, strict=True))
    return [
        "| trainings | on demand in the end | cost simulated | cost live | live / simulated |",
        "| ---: | ---: | ---: | ---: | ---: |",
        f"| {len(outcomes)} | {fallbacks} | {simulated:.1f} | {live:.1f} | {live / simulated:.3f} |",
    ]


def sums(outcomes: Sequence[Outcome], speed: float) -> list[str]:
    simulated, live = costs(outcomes)
    missed = [outcome.training.run_id for outcome in outcomes if not outcome.is_kept]
    parts = {reason: sum(outcome.difference[reason] for outcome in outcomes) for reason in REASONS}
    wake_ups = sorted(one.wake_up_seconds / speed for one in outcomes if one.wake_up_seconds is not None)
    slacks = sorted(outcome.slack_seconds / 60 for outcome in outcomes)
    others = {name: sum(outcome.others[name] for outcome in outcomes) / live for name in OTHER_POLICIES}
    lines = [
        f"- Deadlines missed: {len(missed)} of {len(outcomes)} {missed or ''}".rstrip(),
        f"- Cost, live / simulated: {live / simulated:.4f}; the difference as a share of the simulated cost: "
        + ", ".join(f"{reason} {hours / simulated:+.2%}" for reason, hours in parts.items()),
        "- The same trainings, simulated, against live: "
        + ", ".join(f"{name} {ratio:.2f}" for name, ratio in others.items()),
        f"- Slack left at the end, minutes: {slacks[0]:.0f} at least, median {statistics.median(slacks):.0f}",
    ]
    if wake_ups:
        lines.append(
            "- Wake-up (from the order to stop spot to the on-demand job), real seconds: "
            f"median {statistics.median(wake_ups):.1f}, slowest {wake_ups[-1]:.1f}"
        )
    return lines


def costs(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    simulated = sum(outcome.simulated.cost_hours for outcome in outcomes)
    return simulated, sum(outcome.live.cost_hours for outcome in outcomes)


def to_json(outcome: Outcome) -> dict[str, Any]:
    training = outcome.training
    return {
        **{key: value for key, value in asdict(training).items() if key != "trace"},
        "trace": training.trace.name,
        "simulated": asdict(outcome.simulated),
        "live": asdict(outcome.live),
        "difference": outcome.difference,
        "others": outcome.others,
        "slack_seconds": outcome.slack_seconds,
        "wake_up_seconds": outcome.wake_up_seconds,
        "attempts": [attempt.to_json() for attempt in outcome.attempts],
    }


def machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, required=True, help="folder of recorded traces, at any depth")
    parser.add_argument("--trainings", type=int, default=50, help="up to 100 (default: %(default)s)")
    parser.add_argument("--speed", type=float, default=120, help="simulated seconds in a real one")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same trainings")
    parser.add_argument("--state", type=Path, help="keep databases and logs in this folder")
    parser.add_argument("--out", type=Path, help="write every training and attempt there, as JSON")
    options = parser.parse_args()
    reserve = reserve_of(options.speed)
    trainings = draw(options.trainings, read_traces(options.traces), reserve, options.seed)
    with contextlib.ExitStack() as life:
        state = options.state or Path(life.enter_context(tempfile.TemporaryDirectory()))
        happened = run_live(trainings, reserve, speed=options.speed, state=state)
    failed = {run_id: found for run_id, (found, _, _) in happened.items() if found != "success"}
    outcomes = [
        compare(training, *happened[training.run_id][1:], reserve)
        for training in trainings
        if training.run_id not in failed
    ]
    print(report(outcomes, failed, options.speed))
    if options.out:
        options.out.write_text(json.dumps([to_json(outcome) for outcome in outcomes], indent=1) + "\n")
    simulated, live = costs(outcomes)
    is_kept = not failed and all(outcome.is_kept for outcome in outcomes)
    return 0 if is_kept and abs(live / simulated - 1) <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
