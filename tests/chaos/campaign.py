"""Random schedules of faults, losses and people, drawn whole from a seed before anything is started.

A batch is some runs at once and what happens meanwhile to them and to all. The same seed and batch give the
same schedule; what a machine makes of it is up to its timing.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import httpx

from include.local_stack import AirflowApiError

from .actions import Action, act
from .support import KILL_POINTS, TASK, Case, Lab, Run, until

CALLS = ("CreateTrainingJob", "DescribeTrainingJob", "ListTrainingJobs", "StopTrainingJob")
LOSSES = ("triggerer", "scheduler", "api-server", "connections", "database")
#: With Celery there is one more to lose.
LOSSES_WITH_CELERY = (*LOSSES, "worker")
OUTAGE_SECONDS = 120
#: Outages take time: a handful in 200 runs is enough.
BATCHES_PER_OUTAGE = 5
BATCH_SECONDS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens so many real seconds after the batch began."""

    at_seconds: float
    what: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_loss(self) -> bool:
        return self.what == "lose"

    @property
    def is_outage(self) -> bool:
        return self.details.get("operation") == "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a batch does: its runs, and everything that happens to them."""

    cases: tuple[Case, ...]
    events: tuple[Event, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def draw(seed: int, batch: int, *, size: int, losses: Sequence[str] = LOSSES) -> Schedule:
    """The schedule of one batch."""
    rng = random.Random(f"{seed}/{batch}")  # noqa: S311 - a story that can be told again
    cases = tuple(_draw_case(rng) for _ in range(size))
    events = [event for slot in range(size) for event in _draw_action(rng, slot)]
    events += [_draw_fault(rng) for _ in range(rng.randint(1, 4))]
    events += [_draw_market(rng, size) for _ in range(rng.randint(0, 6))]
    if batch % BATCHES_PER_OUTAGE == 3:
        details = {"operation": "*", "error": "InternalFailure", "seconds": OUTAGE_SECONDS}
        events.append(Event(at_seconds=_moment(rng, 25), what="fault", details=details))
    if rng.random() < 0.9:  # one lost component in a batch: each comes back before the next is lost
        details = {"component": losses[batch % len(losses)]}  # in turn: a campaign loses each several times
        events.append(Event(at_seconds=_moment(rng, 25), what="lose", details=details))
    return Schedule(cases=cases, events=tuple(sorted(events, key=lambda event: event.at_seconds)))


def _moment(rng: random.Random, latest: float) -> float:
    return round(rng.uniform(0.5, latest), 1)


def _draw_case(rng: random.Random) -> Case:
    case = Case(
        kill_at=tuple(rng.sample(KILL_POINTS, rng.choice([0, 0, 1, 1, 2, 3]))),
        deferrable=rng.random() < 0.75,
        has_capacity=rng.random() < 0.6,
        seconds=rng.choice([300, 1200, 3600]),
        first_wait=rng.choice([7200, 7200, 14400]),
        has_retries=rng.random() < 0.8,
        trigger_fails_after=rng.choice([0, 1, 3]) if rng.random() < 0.2 else None,
    )
    return _draw_watching(rng, case) if rng.random() < 0.25 else case


def _draw_watching(rng: random.Random, case: Case) -> Case:
    """The job is under way before its task looks: it takes longer, so that there is something to watch."""
    return replace(
        case,
        watches=True,
        deferrable=rng.random() < 0.5,
        looks=rng.choice(["poke", "reschedule"]),
        seconds=rng.choice([1200, 6000, 12000]),
        max_run=14400,
        first_wait=rng.choice([14400, 28800]),
    )


def _draw_action(rng: random.Random, slot: int) -> list[Event]:
    """What a person does to the run of a slot: mostly nothing."""
    if rng.random() > 0.4:
        return []
    details = {"slot": slot, "action": str(rng.choice(list(Action)))}
    return [Event(at_seconds=_moment(rng, 30), what="act", details=details)]


def _draw_fault(rng: random.Random) -> Event:
    call = rng.choice(CALLS)
    details = rng.choice(
        [
            {"operation": call, "error": "ThrottlingException", "count": rng.randint(1, 6)},
            {"operation": call, "error": "ThrottlingException", "probability": 0.5, "seconds": 30},
            {"operation": call, "error": "InternalFailure", "count": rng.randint(1, 6)},
            {"operation": call, "error": "DropConnection", "count": rng.randint(1, 4)},
            {"operation": call, "error": "LoseResponse", "count": rng.randint(1, 4)},
            {"operation": call, "error": "SlowResponse", "delay_seconds": 5, "count": rng.randint(1, 3)},
            {"operation": call, "error": "SlowResponse", "delay_seconds": 1, "seconds": 20},
        ]
    )
    return Event(at_seconds=_moment(rng, 25), what="fault", details=details)


def _draw_market(rng: random.Random, size: int) -> Event:
    slot = rng.randrange(size)
    match rng.choice(["interrupt", "flap", "every minute"]):
        case "interrupt":
            details: dict[str, Any] = {"slot": slot, "notice_seconds": rng.choice([0, 120])}
            what = "interrupt"
        case "flap":
            details, what = {"slot": slot, "times": rng.randint(1, 6)}, "flap"
        case _:
            details, what = {"slot": slot, "notice_seconds": 120, "times": 10}, "interrupt"
    return Event(at_seconds=_moment(rng, 25), what=what, details=details)


def run_batch(lab: Lab, schedule: Schedule, name: str) -> list[Run]:
    """Play a schedule and judge each of its runs; their `problems` say where the promise was broken."""
    began = time.monotonic()
    runs = [lab.start(case, f"{name}-{slot}") for slot, case in enumerate(schedule.cases)]
    acted: dict[Run, Action] = {}
    for event in schedule.events:
        _sleep_until(began + event.at_seconds)
        if event.what == "act":
            run, action = runs[event.details["slot"]], Action(event.details["action"])
            acted[run] = action
            _try_to_act(lab, run, action)
        else:
            _happen(lab, event, runs)
    lab.watch(runs, timeout_seconds=BATCH_SECONDS)
    lab.forgive()
    ended = [run for run in runs if not run.problems]
    cut_off = {run for run in ended if _is_cut_off(lab, run, acted.get(run), schedule)}
    _note_what_is_left_to_the_sweeper(lab, [run for run in ended if run not in cut_off])
    _sweep_until_all_is_over(lab, runs)
    for run in ended:
        if not run.problems and run in cut_off:
            lab.judge_gone(run)
        elif not run.problems:
            lab.judge(run, state=_fair_end(lab, run))
    return runs


def _fair_end(lab: Lab, run: Run) -> str:
    """How a run has to end that nothing cut off. Interruptions may use up its `MaxRuntimeInSeconds`."""
    last = max(lab.jobs_of(run), key=lambda job: job.created_at, default=None)
    is_out_of_time = last is not None and last.visited[-1] == "MaxRuntimeExceeded"
    return "failed" if is_out_of_time else "success"


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _try_to_act(lab: Lab, run: Run, action: Action) -> None:
    """A person's action fails while the API server is away."""
    with contextlib.suppress(AirflowApiError, httpx.TransportError):
        act(lab, run, action)


def _happen(lab: Lab, event: Event, runs: Sequence[Run]) -> None:
    details = event.details
    match event.what:
        case "fault":
            lab.fail(**details)
        case "lose":
            lose(lab, details["component"])
        case "flap":
            instance_type = runs[details["slot"]].instance_type
            for n in range(2 * details["times"]):
                lab.set_capacity(instance_type, available=bool(n % 2))
                time.sleep(0.1)
        case "interrupt":
            for _ in range(details.get("times", 1)):
                lab.interrupt(runs[details["slot"]], notice_seconds=details["notice_seconds"])
                time.sleep(0.1)


def lose(lab: Lab, component: str) -> None:
    """Kill a component and start it again; `connections` and `database` are those of Postgres."""
    match component:
        case "connections" if lab.postgres:
            lab.postgres.drop_connections()
        case "database" if lab.postgres:
            lab.postgres.kill()
            lab.postgres.start()
        case "connections" | "database":
            return  # SQLite has neither
        case _:
            lab.stack.kill(component)
            lab.stack.restart(component)
    lab.revive()


def _is_cut_off(lab: Lab, run: Run, action: Action | None, schedule: Schedule) -> bool:
    """Whether a person ended the task, or Airflow for want of another try: the sweeper does the rest.

    Without another try a task may fail by what kills its process, takes Airflow's services away or outlasts
    the calls' own patience; by nothing else.
    """
    if action is not None and not action.goes_on:
        return True
    match lab.run_state(run):
        case "gone":
            return action is Action.REMAKE  # the API server went away before the run could be made again
        case "failed" if not run.case.has_retries:
            has_died = any((lab.graves / run.run_id).glob(f"{TASK}-*"))
            return has_died or any(event.is_loss or event.is_outage for event in schedule.events)
        case _:
            return False


def _note_what_is_left_to_the_sweeper(lab: Lab, runs: Sequence[Run]) -> None:
    """A task that came to its end by itself left none of its jobs alive."""
    for run in runs:
        if alive := lab.own_alive(run):
            run.problems.append(f"over, and left to the sweeper: {alive}")


def _sweep_until_all_is_over(lab: Lab, runs: Sequence[Run]) -> None:
    """The sweeper's Dag runs every hour in truth; here until it finds nothing more."""

    def look() -> bool:
        alive = [name for run in runs for name in lab.alive(run)]
        if alive:
            lab.sweep()
        return not alive

    until(look, "no job of the batch to be alive", timeout_seconds=120)
    lab.sweep()
