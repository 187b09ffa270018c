"""What a campaign holds a batch to, once everything has happened.

Beyond the promise itself: a trigger stops its job only if its task has ended or is gone; a clear of a
deferred task leaves the job to the next try; every stop of ours left its reason; what a person stopped stays
stopped; and where nobody acted, whatever stood still or got lost, no healthy job was stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.local_stack import AirflowApiError, StackTimeoutError
from include.local_stack.environment import airflow_version
from spot_training.domain.lifecycle import Ending
from spot_training.domain.stop_reasons import StopNote, StopReason, ending_of_stop

from .actions import Action
from .earlier import is_left_alone
from .kinds import Kind
from .points import REASONS
from .scouts import hand_overs_of, judge_prefixes, judge_scouts
from .support import TASK, Job, Lab, Run, until, without_number

if TYPE_CHECKING:
    from .campaign import Batch

__all__ = ["evidence_of", "hand_overs_of", "judge_batch", "judge_refusal"]

#: The name of what a person does with StopTrainingJob.
STOPPED = "stop the job"
STOPPED_SCOUT = "stop a scout"
CLEARS = frozenset({str(Action.CLEAR), str(Action.CLEAR_DOWNSTREAM)})
#: What a task's log says when Airflow ends its process.
ENDED_BY_AIRFLOW = (
    "Server indicated the task shouldn't be running anymore",
    "Too many failed heartbeats; terminating process",
)
#: Nobody means these tasks any harm: none of their jobs may be stopped.
UNHARMED = frozenset({Kind.UNTOUCHED, Kind.OLD_STATE, Kind.CONNECTION})


def judge_batch(batch: Batch) -> None:
    """Note where the runs of a batch broke the promise."""
    lab = batch.lab
    ended = [run for run in batch.runs if not run.problems]
    cut_off = {run for run in ended if _is_cut_off(batch, run)}
    for run in ended:
        if run not in cut_off and (alive := lab.own_alive(run)):
            run.problems.append(f"over, and left to the sweeper: {alive}")
    _sweep_until_all_is_over(lab, ended)
    judge_prefixes(lab, batch.runs)
    for run in batch.runs:
        _judge_neighbour(lab, run)
        _end_what_goes_on(lab, run)
    for run in ended:
        if run.problems:
            continue
        try:
            _judge(batch, run, is_cut_off=run in cut_off)
        except AirflowApiError as error:
            run.problems.append(f"Airflow does not have what it should: {error}")


def _is_cut_off(batch: Batch, run: Run) -> bool:
    """Whether a person ended the task, or Airflow for want of another try: the sweeper does the rest.

    Without another try a task may fail by what kills its process, keeps it from Airflow's services or
    outlasts the calls' own patience; by nothing else. Airflow 3.0 never tries again when it finds the process
    of a task killed.
    """
    kind = batch.slot_of(run).kind
    if kind in {Kind.MARK, Kind.DELETE}:
        return True
    match batch.lab.run_state(run):
        case "gone":
            return kind is Kind.REMAKE  # the API server went away before the run could be made again
        case "failed" if airflow_version() < (3, 1) and has_died(batch.lab, run):
            return True
        case "failed" if kind is Kind.CLEAR_LOWERED or not run.case.has_retries:
            events = batch.schedule.events
            return has_died(batch.lab, run) or any(
                event.is_loss or event.is_outage or event.what == "freeze" for event in events
            )
        case _:
            return False


def has_died(lab: Lab, run: Run) -> bool:
    """Whether a worker of the run died where it was told to."""
    return any((lab.graves / run.run_id).glob(f"{TASK}-*"))


def _sweep_until_all_is_over(lab: Lab, runs: Sequence[Run]) -> None:
    """The sweeper's Dag runs every hour in truth; here until it finds nothing more."""
    alive: dict[Run, list[str]] = {}

    def look() -> bool:
        nonlocal alive
        alive = {run: names for run in runs if (names := lab.alive(run))}
        if alive:
            lab.sweep()
        return not alive

    try:
        until(look, "no job of the batch to be alive", timeout_seconds=120)
    except StackTimeoutError:
        for run, names in alive.items():
            run.problems.append(f"left alive by the sweeper, too: {names}")
    lab.sweep()


def _end_what_goes_on(lab: Lab, run: Run) -> None:
    """A run that did not come to its end has a problem already; the next batch is to have none with it."""
    if lab.run_state(run) in {"running", "queued"}:
        path = f"dags/{run.dag_id}/dagRuns/{run.run_id}"
        lab.api.request("PATCH", path, body={"state": "failed"})
    for job in lab.jobs_of(run):
        if not job.is_over:
            with contextlib.suppress(ClientError):
                lab.clients[job.region].stop_training_job(TrainingJobName=job.name)


def _judge_neighbour(lab: Lab, run: Run) -> None:
    if run.neighbour is None:
        return
    if not is_left_alone(lab, run.neighbour):
        run.problems.append(f"touched a job of another installation: {run.neighbour}")
    with contextlib.suppress(ClientError):
        lab.sagemaker.stop_training_job(TrainingJobName=run.neighbour)


def _judge(batch: Batch, run: Run, *, is_cut_off: bool) -> None:
    lab, kind = batch.lab, batch.slot_of(run).kind
    stopped = _stopped_by_person(lab, run)
    if is_cut_off:
        lab.judge_gone(run)
    elif stopped:
        _judge_stopped(lab, run, stopped)
    elif kind is Kind.TIME_LIMIT:
        _judge_time_limit(lab, run)
    else:
        lab.judge(run, state=_fair_end(lab, run))
    _judge_stops(lab, run, kind, stopped, is_cut_off=is_cut_off)
    _judge_clears(lab, run)
    judge_scouts(lab, run, by_person=_names_of_deeds(run, STOPPED_SCOUT))


def _fair_end(lab: Lab, run: Run) -> str:
    """How a run has to end that nothing cut off. Interruptions may use up its `MaxRuntimeInSeconds`."""
    last = max(lab.jobs_of(run), key=lambda job: job.created_at, default=None)
    is_out_of_time = last is not None and last.visited[-1] == "MaxRuntimeExceeded"
    return "failed" if is_out_of_time else "success"


# Stops ---------------------------------------------------------------------------------------------------


def _stopped_by_person(lab: Lab, run: Run) -> list[Job]:
    names = _names_of_deeds(run, STOPPED)
    return [job for job in lab.jobs_of(run) if job.name in names and job.was_stopped]


def _names_of_deeds(run: Run, what: str) -> set[str]:
    return {name for deed in run.deeds if deed.what == what and deed.is_sure for name in deed.alive}


def _judge_stopped(lab: Lab, run: Run, stopped: Sequence[Job]) -> None:
    """A person's stop is respected: the task fails, says so, and no job follows."""
    lab.judge(run, state="failed")
    for job in stopped:
        later = [
            other.name
            for other in lab.jobs_of(run)
            if without_number(other.name) == without_number(job.name) and other.created_at > job.created_at
        ]
        if later:
            run.problems.append(f"a person stopped {job.name}, and then came {later}")
        if job.stopped_for is not None:
            run.problems.append(f"a person stopped {job.name}, and its tag says {job.stopped_for}")
        if _ending_in_ledger(lab, run, job) != Ending.STOPPED_BY_USER:
            ending = _ending_in_ledger(lab, run, job)
            run.problems.append(f"a person stopped {job.name}; the ledger says: {ending}")


def _judge_time_limit(lab: Lab, run: Run) -> None:
    """The limit of the task is ours, and neither job nor record name a person."""
    if _timed_out_on_worker(lab, run, lab.tries(run)):
        lab.judge_gone(run)  # Airflow ended its last process, and with it its job
        return
    lab.judge(run, state="failed")
    jobs = lab.jobs_of(run)
    if not jobs or run.problems:
        return  # the time was up before there was a job
    reason, ending = jobs[0].stopped_for, _ending_in_ledger(lab, run, jobs[0])
    if (reason, ending) != (StopReason.TIME_LIMIT, Ending.STOPPED_AT_TIME_LIMIT):
        run.problems.append(f"its time was up; {jobs[0].name} is tagged {reason}, the ledger says: {ending}")


def _timed_out_on_worker(lab: Lab, run: Run, *tries: int) -> bool:
    """Whether Airflow's own `execution_timeout`, which it keeps on workers, ended a process of these."""
    return any("Process timed out" in lab.task_log(run, number) for number in tries)


def _judge_stops(lab: Lab, run: Run, kind: Kind, by_person: Sequence[Job], *, is_cut_off: bool) -> None:
    """Each stop of ours left its reason, and none came where nobody acted."""
    by_others = {job.name for job in by_person}
    ours = [job for job in lab.jobs_of(run) if job.was_stopped and job.name not in by_others | {run.watched}]
    for job in ours:
        if reason_of(lab, run, job) is None and not (lab.ledger / "stops" / f"{job.name}.json").exists():
            tries = range(1, lab.tries(run) + 1)
            lines = [line for number in tries for line in lab.task_log(run, number).splitlines()]
            said = [line for line in lines if job.name in line and "could not" in line]
            run.problems.append(f"stopped without a reason on record: {job.name}; its tasks said: {said}")
        if _ending_in_ledger(lab, run, job) == Ending.STOPPED_BY_USER:
            run.problems.append(f"no person stopped {job.name} ({job.stopped_for}), but the ledger says so")
    tries = range(1, lab.tries(run) + 1)
    if is_cut_off or (kind is Kind.TIME_LIMIT and _timed_out_on_worker(lab, run, *tries)):
        return
    expected = {StopReason.TIME_LIMIT, *REASONS} | ({StopReason.DEADLINE} if run.case.goes_back else set())
    unexplained = [job for job in ours if reason_of(lab, run, job) not in expected]
    run.stopped_by_workers = _stopped_by_workers(lab, run, unexplained)
    told = [f"{job.name} ({job.stopped_for})" for job in unexplained if job not in run.stopped_by_workers]
    if kind in UNHARMED | {Kind.TIME_LIMIT, Kind.STOP} and told:
        run.problems.append(f"a healthy job was stopped although nobody acted: {told}")
    elif len(told) > len(run.deeds):
        run.problems.append(f"more jobs were stopped than people acted ({len(run.deeds)}): {told}")


def _stopped_by_workers(lab: Lab, run: Run, stopped: Sequence[Job]) -> list[Job]:
    """Which jobs were stopped by a process of the task that Airflow ended on its worker.

    It does so, although nobody acts, when the process stood still for longer than
    `task_instance_heartbeat_timeout`, or could not reach the API server, and Airflow does not say within a
    second that a later try looks after the job. The process cannot tell that from a person's act: it stops
    the job, and the next try starts another. One job for each process at most.
    """
    logs = "".join(lab.task_log(run, number) for number in range(1, lab.tries(run) + 1))
    ended = sum(logs.count(words) for words in ENDED_BY_AIRFLOW)
    # Where the tag could not be written, state or ledger have the reason.
    return [job for job in stopped if job.stopped_for in {StopReason.TASK_KILLED, None}][:ended]


def reason_of(lab: Lab, run: Run, job: Job) -> str | None:
    """Why we stopped a job: its tag says so, or, if that could not be written, its ending in the ledger.

    A stop without a reason is a person's in the ledger.
    """
    if job.stopped_for is not None:
        return job.stopped_for
    kept = {str(ending_of_stop(StopNote(why=why))): why for why in StopReason}
    kept[str(Ending.STOPPED_WITH_TASK)] = StopReason.TASK_KILLED  # of the three that end so
    return kept.get(_ending_in_ledger(lab, run, job) or "")


def _ending_in_ledger(lab: Lab, run: Run, job: Job) -> str | None:
    """What the newest record of the run says of a job; None where it does not know it by name any more."""
    attempts = [attempt for record in lab.records_of(run) for attempt in record.attempts]
    return next((str(attempt.ending) for attempt in attempts if attempt.job_name == job.name), None)


# Clears and the connection -------------------------------------------------------------------------------


def _judge_clears(lab: Lab, run: Run) -> None:
    """A deferred task's job outlives the clear; a training that was over is done again."""
    jobs = {job.name: job for job in lab.jobs_of(run)}
    for deed in run.deeds:
        if deed.what not in CLEARS or not deed.is_sure or run.case.watches:
            continue
        if deed.task_state == "deferred" and run.case.trigger_fails_after is None:
            run.problems += [
                f"cleared while deferred, and its job was stopped: {name} ({jobs[name].stopped_for})"
                for name in deed.alive
                if name in jobs and jobs[name].was_stopped and jobs[name].stopped_for not in REASONS
            ]
        later = [job for job in jobs.values() if job.created_at > deed.at]
        if deed.task_state == "success" and not later:
            run.problems.append("cleared when its training was over, and nothing was trained anew")


def judge_refusal(lab: Lab, run: Run) -> None:
    """A connection that leads elsewhere is refused by name, with the way out."""
    log = lab.api.task_log(run.dag_id, run.run_id, TASK)
    if "the connection now leads to" not in log or "region back" not in log:
        run.problems.append("failed, and does not say that its connection leads elsewhere now")


# Evidence ------------------------------------------------------------------------------------------------


def evidence_of(lab: Lab, run: Run) -> dict[str, Any]:
    """What a person needs to know of a broken run."""
    evidence: dict[str, Any] = {
        "jobs": [
            {
                "name": job.name,
                "region": job.region,
                "visited": job.visited,
                "created_at": job.created_at,
                "ended_at": job.ended_at,
                "billed": job.billed_seconds,
                "stopped_for": job.stopped_for,
                "type": job.instance_type,
                "is_spot": job.is_spot,
            }
            for job in lab.everything_of(run)
        ],
        "deeds": [str(deed) for deed in run.deeds],
        "task": lab.task_state(run),
        "tries": lab.tries(run),
    }
    evidence["ledger"] = [
        [
            f"{each.job_name}: {each.ending}, {each.billable_seconds} s"
            for each in (*record.attempts, *record.scouts)
        ]
        for record in lab.records_of(run)
    ]
    return evidence
