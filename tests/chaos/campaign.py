"""Plays the drawn schedules: starts a batch's runs, lets everything happen to them, and has them judged."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
from botocore.exceptions import ClientError

from include.local_stack import AirflowApiError, StackTimeoutError

from . import earlier, hand_overs, verdict
from .actions import Action, act
from .drawing import Event, Schedule, Slot, When
from .kinds import Cut, Kind, Phase, Trouble, count
from .points import POINTS, REASONS
from .support import AWAY, HOME, RETRIES, TASK, Deed, Job, Lab, Regime, Run, until

#: A batch has so long after its last freeze to come to its end.
BATCH_SECONDS = 400
#: For whatever has to come before somebody acts; after that he acts all the same.
PATIENCE_SECONDS = 60
#: Whoever waits for what a run may come to asks whether it is over at every so many looks.
LOOKS_PER_QUESTION = 10
#: An action that took longer than this may have met the task in another state than the one that was seen.
AT_ONCE_SECONDS = 2.0


@dataclass(slots=True)
class Batch:
    """A schedule as it is played."""

    lab: Lab
    schedule: Schedule
    runs: list[Run]
    began: float
    new_retries: dict[str, threading.Event] = field(default_factory=lambda: defaultdict(threading.Event))
    locks: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))
    #: Where hand-overs were cut off, and in which runs.
    met: list[tuple[Run, Cut]] = field(default_factory=list)

    def slot_of(self, run: Run) -> Slot:
        return self.schedule.slots[self.runs.index(run)]

    def note_what_met_hand_overs(self) -> None:
        """What a process of the task left behind where it died, or where it made the service fail."""
        for run, slot in zip(self.runs, self.schedule.slots, strict=True):
            graves = self.lab.graves / run.run_id
            dead = [
                Cut(point, Trouble.WORKER_DIES) for point in POINTS if (graves / f"{TASK}-{point}").exists()
            ]
            self.met += [(run, cut) for cut in dead]
            if slot.cut is not None and (graves / f"fault-{slot.cut.where}").exists():
                self.met.append((run, slot.cut))

    def cuts(self) -> dict[str, dict[str, int]]:
        """How often each cut was met, and in how many runs that broke the promise."""
        met = Counter(str(cut) for _, cut in self.met)
        broken = Counter(str(cut) for run, cut in self.met if run.problems)
        return {cut: {"met": met[cut], "broken": broken[cut]} for cut in sorted(met)}

    def counts(self) -> dict[str, dict[str, int]]:
        """How often each kind was drawn here, and how many schedules it reached and broke."""
        of_all = frozenset(self.schedule.of_all())
        by_run = [(self.slot_of(run).kinds | of_all, bool(run.problems)) for run in self.runs]
        return count(self.schedule.drawn(), by_run)


def play(lab: Lab, schedule: Schedule, name: str) -> Batch:
    """Play a schedule and judge each of its runs; their `problems` say where the promise was broken."""
    lab.enter(schedule.regime)
    lab.forgive()
    lab.since = lab.aws_now() - timedelta(minutes=1)
    dags = {slot.case.dag for slot in schedule.slots} & set(RETRIES)
    for dag_id in sorted(dag for dag in dags if dag):
        lab.set_retries(dag_id, RETRIES[dag_id])
    batch = Batch(lab, schedule, runs=[], began=time.monotonic())
    batch.runs = [_start(lab, slot, f"{name}-{number}") for number, slot in enumerate(schedule.slots)]
    _let_everything_happen(batch)
    for run in batch.runs:
        for instance_type in run.instance_types:
            lab.set_capacity(instance_type, available=True)  # each training is to come to its end
    lab.watch(batch.runs, timeout_seconds=BATCH_SECONDS)
    lab.forgive()
    batch.note_what_met_hand_overs()
    _set_connections_right(batch)
    verdict.judge_batch(batch)
    return batch


def _start(lab: Lab, slot: Slot, run_id: str) -> Run:
    case = slot.case
    if slot.kind is Kind.CONNECTION:
        case = replace(case, connection=f"chaos_{run_id.rpartition('-')[2]}")
        lab.lay_connection(case.connection, HOME)
    is_old = slot.kind is Kind.OLD_STATE
    run = earlier.start_as_0_1_0(lab, case, run_id) if is_old else lab.start(case, run_id)
    if slot.neighbour is not None:
        run.neighbour = earlier.start_for_another_installation(lab, run, slot.neighbour)
    return run


# What happens --------------------------------------------------------------------------------------------


def _let_everything_happen(batch: Batch) -> None:
    """Each event in a thread of its own, so that none is late because another one waits."""
    events = batch.schedule.events
    with ThreadPoolExecutor(max(1, len(events)), thread_name_prefix="chaos") as pool:
        happening = [pool.submit(_happen_in_time, batch, event) for event in events]
        while wait(happening, timeout=1).not_done:
            batch.lab.revive()
    for each in happening:
        each.result()


def _happen_in_time(batch: Batch, event: Event) -> None:
    time.sleep(max(0.0, batch.began + event.at_seconds - time.monotonic()))
    run = batch.runs[event.details["slot"]] if "slot" in event.details else None
    if run is None:
        _happen_to_all(batch, event)
    else:
        _happen_to_one(batch, event, run)


def _happen_to_all(batch: Batch, event: Event) -> None:
    lab, details = batch.lab, {name: value for name, value in event.details.items() if name != "kinds"}
    match event.what:
        case "fault":
            lab.fail(**details)
        case "lose":
            with batch.locks[details["component"]]:
                lab.lose(details["component"])
        case "freeze":
            _freeze(batch, details["components"], details["seconds"])
        case "new retries":
            with contextlib.suppress(StackTimeoutError):  # then it is cleared with the old ones
                lab.set_retries(details["dag"], details["retries"])
            batch.new_retries[details["dag"]].set()
        case _:
            raise ValueError(f"nobody knows how to play {event.what!r}")


def _happen_to_one(batch: Batch, event: Event, run: Run) -> None:
    _TO_ONE[event.what](batch, run, event.details)


def _act_when_due(batch: Batch, run: Run, details: Mapping[str, Any]) -> None:
    if details.get("needs_new_retries"):
        batch.new_retries[run.dag_id].wait(timeout=3 * PATIENCE_SECONDS)
    action = Action(details["action"])
    has_failed = batch.lab.task_state(run) == "failed"  # what comes after the task has then failed, too
    _act(batch.lab, run, Action.CLEAR_DOWNSTREAM if has_failed and action is Action.CLEAR else action)


def _clear_when_over(batch: Batch, run: Run, _details: Mapping[str, Any]) -> None:
    lab = batch.lab
    _wait(lambda: lab.run_state(run) in {"success", "failed"}, seconds=3 * PATIENCE_SECONDS)
    if batch.schedule.regime is Regime.QUICK:  # Airflow is not told to clear the state: by hand, then
        _wait(lambda: _is_state_gone(lab, run))
    _act(lab, run, Action.CLEAR)


def _flap(batch: Batch, run: Run, details: Mapping[str, Any]) -> None:
    for n in range(2 * details["times"]):
        batch.lab.set_capacity(run.instance_type, available=bool(n % 2))
        time.sleep(0.1)


def _interrupt(batch: Batch, run: Run, details: Mapping[str, Any]) -> None:
    for _ in range(details.get("times", 1)):
        batch.lab.interrupt(run, notice_seconds=details["notice_seconds"])
        time.sleep(0.1)


def _freeze(batch: Batch, components: Sequence[str], seconds: float) -> None:
    """A component that is just being killed and restarted is frozen after that."""
    with contextlib.ExitStack() as held:
        for component in sorted(components):
            held.enter_context(batch.locks[component.partition(" ")[0]])
        frozen = [batch.lab.freeze(component) for component in components]
        try:
            time.sleep(seconds)
        finally:
            for each in frozen:
                each.thaw()


def _wait(
    look: Callable[[], object], *, seconds: float = PATIENCE_SECONDS, poll_seconds: float = 0.2
) -> bool:
    """Wait for a condition as long as patience lasts; whether it came."""
    try:
        until(look, "what has to come first", timeout_seconds=seconds, poll_seconds=poll_seconds)
    except StackTimeoutError:
        return False
    return True


@contextlib.contextmanager
def _on_record(lab: Lab, run: Run, what: str) -> Iterator[None]:
    """Note what a person does. While the API server is away it fails, and may happen all the same."""
    before = Deed(
        what=what,
        at=lab.aws_now(),
        task_state=lab.task_state(run),
        alive=tuple(lab.own_alive(run)),
        is_sure=False,
    )
    run.deeds.append(before)
    began = time.monotonic()
    with contextlib.suppress(AirflowApiError, httpx.TransportError):
        yield
        is_sure = time.monotonic() - began < AT_ONCE_SECONDS
        run.deeds[run.deeds.index(before)] = replace(before, is_sure=is_sure)


def _act(lab: Lab, run: Run, action: Action) -> None:
    with _on_record(lab, run, str(action)):
        act(lab, run, action)


# A person stops the job ----------------------------------------------------------------------------------


def _stop_job(batch: Batch, run: Run, _details: Mapping[str, Any]) -> None:
    """StopTrainingJob in the phase that was drawn, without a tag, as the console does it."""
    lab, when = batch.lab, batch.slot_of(run).when
    assert when is not None
    _wait(lambda: lab.own_alive(run), seconds=3 * PATIENCE_SECONDS)
    _wait(lambda: _is_time_to_stop(lab, run, when))
    _stop_newest(lab, run, lab.jobs_of(run), verdict.STOPPED)
    if lab.is_held(run):
        lab.release(run)
    lab.set_capacity(run.instance_type, available=True)  # what nobody could stop is to come to its end


def _stop_newest(lab: Lab, run: Run, jobs: Sequence[Job], what: str) -> None:
    for job in [job for job in jobs if not job.is_over][:1]:
        deed = Deed(
            what=what,
            at=lab.aws_now(),
            task_state=lab.task_state(run),
            alive=(job.name,),
            is_sure=False,
        )
        with contextlib.suppress(ClientError):  # it came to its end meanwhile
            lab.clients[job.region].stop_training_job(TrainingJobName=job.name)
            deed = replace(deed, is_sure=True)
        run.deeds.append(deed)


def _is_time_to_stop(lab: Lab, run: Run, when: When) -> bool:
    alive = [job for job in lab.jobs_of(run) if not job.is_over]
    if not alive:
        return False
    match when:
        case When.WAITING:
            return lab.task_state(run) == "deferred" or not run.case.deferrable
        case When.TRAINING:
            return alive[0].visited[-1] == "Training"
        case When.INTERRUPTED:
            return alive[0].visited[-1] == "Interrupted"
        case When.DEFERRING:
            return lab.is_held(run)
        case When.WORKER_DEAD:
            return verdict.has_died(lab, run)
        case When.RETRIED:
            return verdict.has_died(lab, run) and lab.tries(run) > 1


# Hand-overs ----------------------------------------------------------------------------------------------


def _wait_while_it_runs(lab: Lab, run: Run, look: Callable[[], bool]) -> bool:
    """Wait for something that a run may come to; whether it did, before its end and while patience lasts.

    Airflow's API server is asked for the run's end now and then only: many wait at once.
    """
    is_there = False
    looks = itertools.count(1)

    def look_or_leave() -> bool:
        nonlocal is_there
        is_there = look()
        is_asked = next(looks) % LOOKS_PER_QUESTION == 0
        return is_there or (is_asked and lab.run_state(run) in {"success", "failed", "gone"})

    _wait(look_or_leave, seconds=3 * PATIENCE_SECONDS, poll_seconds=0.5)
    return is_there


def _change_capacity(batch: Batch, run: Run, details: Mapping[str, Any]) -> None:
    lab = batch.lab
    is_there = {
        "scouts out": lambda: any(job.is_scout for job in lab.everything_of(run)),
        "next job": lambda: _has_handed_over(lab, run),
    }[details["after"]]
    _wait_while_it_runs(lab, run, is_there)
    time.sleep(details["seconds"])
    lab.set_capacity(run.instance_types[details["type"]], available=details["available"])


def _has_handed_over(lab: Lab, run: Run) -> bool:
    newest = next(iter(lab.jobs_of(run)), None)
    return newest is not None and any(job.stopped_for in REASONS for job in lab.jobs_of(run) if job != newest)


def _lose_in_phase(batch: Batch, run: Run, details: Mapping[str, Any]) -> None:
    lab, components, phase = batch.lab, details["components"], Phase(details["phase"])
    is_met = _wait_while_it_runs(lab, run, lambda: _is_in_phase(lab, run, phase))
    with contextlib.ExitStack() as held:
        for component in sorted(components):
            held.enter_context(batch.locks[component])
        lab.lose(*components)
    cut = batch.slot_of(run).cut
    if is_met and cut is not None:
        batch.met.append((run, cut))


def _is_in_phase(lab: Lab, run: Run, phase: Phase) -> bool:
    everything = lab.everything_of(run)
    scouts = [job for job in everything if job.is_scout and not job.is_over]
    newest = next((job for job in everything if not job.is_scout), None)
    match phase:
        case Phase.SCOUTS_OUT:
            is_there = any(job.visited[-1] == "Starting" for job in scouts)
        case Phase.SCOUT_RUNS:
            is_there = any(job.visited[-1] in {"Downloading", "Training"} for job in scouts)
        case Phase.STOPPING:
            is_there = newest is not None and newest.stopped_for in REASONS
        case Phase.NEXT_JOB:
            is_there = newest is not None and not newest.is_over and _has_handed_over(lab, run)
    return is_there and lab.task_state(run) == "deferred"


def _act_when_held(batch: Batch, run: Run, details: Mapping[str, Any]) -> None:
    """A person acts while a process of the task is held at a point of the hand-over."""
    lab, how, cut = batch.lab, details["how"], batch.slot_of(run).cut
    if _wait_while_it_runs(lab, run, lambda: lab.is_held(run)) and cut is not None:
        batch.met.append((run, cut))
        match how:
            case hand_overs.STOP_JOB:
                _stop_newest(lab, run, lab.jobs_of(run), verdict.STOPPED)
            case hand_overs.STOP_SCOUT:
                _stop_newest(lab, run, lab.scouts_of(run), verdict.STOPPED_SCOUT)
            case _:
                _act(lab, run, Action(how))
        time.sleep(details["held_seconds"])
    lab.release(run)


# The connection ------------------------------------------------------------------------------------------


def _move_connection(batch: Batch, run: Run, details: Mapping[str, Any]) -> None:
    """Somebody changes the region, between two tries if the worker dies, and puts it back a while later."""
    lab = batch.lab
    if run.case.kill_at:
        _wait(lambda: verdict.has_died(lab, run))
    for region in (AWAY, HOME):
        _wait(partial(_has_laid, lab, run, region))
        time.sleep(details["away_seconds"] if region == AWAY else 0)


def _has_laid(lab: Lab, run: Run, region: str) -> bool:
    with contextlib.suppress(AirflowApiError, httpx.TransportError):
        lab.lay_connection(run.case.connection, region)
        return True
    return False


def _set_connections_right(batch: Batch) -> None:
    """What the error tells a person to do: lead the connection to where the job is, and clear the task."""
    lab = batch.lab
    failed = [
        run
        for run in batch.runs
        if batch.slot_of(run).kind is Kind.CONNECTION and lab.run_state(run) == "failed"
    ]
    for run in failed:
        jobs = lab.jobs_of(run)
        verdict.judge_refusal(lab, run)
        lab.lay_connection(run.case.connection, jobs[0].region if jobs else HOME)
        _act(lab, run, Action.CLEAR_DOWNSTREAM)
    lab.watch(failed, timeout_seconds=BATCH_SECONDS)


# A lost state --------------------------------------------------------------------------------------------


def _delete_job_and_state(batch: Batch, run: Run, _details: Mapping[str, Any]) -> None:
    """Attempt 1 is over, attempt 2 runs; somebody deletes job 1 and the state, and then the worker dies."""
    lab = batch.lab
    _wait(lambda: lab.has_been(run, "Training"))
    _act(lab, run, Action.CLEAR)
    _wait(lambda: lab.is_held(run), seconds=2 * PATIENCE_SECONDS)
    if lab.is_held(run):
        for job in _over(lab, run):
            lab.delete_job(run, job)
        _wait(lambda: _is_state_gone(lab, run))
    lab.release(run)


def _over(lab: Lab, run: Run) -> list[Job]:
    return [job for job in lab.jobs_of(run) if job.is_over]


def _is_state_gone(lab: Lab, run: Run) -> bool:
    with contextlib.suppress(AirflowApiError, httpx.TransportError):
        lab.delete_state(run)
        return True
    return False


_TO_ONE: Mapping[str, Callable[[Batch, Run, Mapping[str, Any]], None]] = {
    "act": _act_when_due,
    "clear when over": _clear_when_over,
    "stop job": _stop_job,
    "move connection": _move_connection,
    "delete job and state": _delete_job_and_state,
    "flap": _flap,
    "interrupt": _interrupt,
    "capacity": _change_capacity,
    "lose in phase": _lose_in_phase,
    "act when held": _act_when_held,
}


def summary_of(batch: Batch) -> dict[str, Any]:
    """What a campaign keeps of a batch."""
    outlasting = [f for f in batch.schedule.freezes if f.details["seconds"] > f.details["threshold_seconds"]]
    return {
        "schedules": len(batch.runs),
        "broken": sum(bool(run.problems) for run in batch.runs),
        "problems": {run.run_id: run.problems for run in batch.runs if run.problems},
        "regime": str(batch.schedule.regime),
        "freezes": len(batch.schedule.freezes),
        "freezes_outlasting_threshold": len(outlasting),
        "counts": batch.counts(),
        "cuts": batch.cuts(),
        "hand_overs": sum(verdict.hand_overs_of(batch.lab, run) for run in batch.runs),
        "stopped_by_lost_workers": sum(len(run.stopped_by_workers) for run in batch.runs),
        "deeds": Counter(deed.what for run in batch.runs for deed in run.deeds),
    }
