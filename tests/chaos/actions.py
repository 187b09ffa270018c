"""What a person may do to a training, and the phases it may be in at that moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from .support import TASK, Case, Lab, Run, check, until

DAY = 24 * 3600
WAITS_FOR_SLOT = frozenset({"scheduled", "queued"})


class Action(StrEnum):
    CLEAR = "clear"
    CLEAR_DOWNSTREAM = "clear-with-downstream"
    MARK_FAILED = "mark-failed"
    MARK_SUCCESS = "mark-success"
    DELETE = "delete"
    REMAKE = "remake"  # delete the run, and trigger it again with its old run_id and conf

    @property
    def goes_on(self) -> bool:
        """Whether a training follows, which is to come to its end."""
        return self in {Action.CLEAR, Action.CLEAR_DOWNSTREAM, Action.REMAKE}


#: What leaves the run what it is; runs that are made again have a test of their own.
ON_ONE_RUN = tuple(action for action in Action if action is not Action.REMAKE)


class Phase(StrEnum):
    """Where a training is. Where it has a job, some of it is billed."""

    QUEUED = "queued"  # its first try waits for a slot
    QUEUED_AGAIN = "queued-again"  # its worker died; the next try waits for a slot, its job goes on
    RUNNING = "running"  # its worker waits for the job
    DEFERRING = "deferring"  # its job is there, and the task is about to defer
    DEFERRED = "deferred"
    RESUMING = "resuming"  # its job is over, the trigger has fired, the task waits for a slot
    BETWEEN = "between"  # an attempt without capacity is on record, the next is not asked for yet


#: When the task is marked or deleted nobody may be there to stop its job, or Airflow refuses the deferral and
#: ends the process: the sweeper stops it.
MAY_NEED_SWEEPER = frozenset({Phase.QUEUED_AGAIN, Phase.DEFERRING})

_CASES = {
    Phase.QUEUED: Case(),
    Phase.QUEUED_AGAIN: Case(
        hold_at=("after-create",), kill_at=("after-create",), stumbles=True, seconds=1200, first_wait=DAY
    ),
    Phase.RUNNING: Case(deferrable=False, stumbles=True, seconds=1200, first_wait=DAY),
    Phase.DEFERRING: Case(hold_at=("before-defer",), stumbles=True, seconds=1200, first_wait=DAY),
    Phase.DEFERRED: Case(stumbles=True, seconds=1200, first_wait=DAY),
    Phase.RESUMING: Case(stumbles=True, seconds=1200, first_wait=DAY),
    Phase.BETWEEN: Case(hold_at=("between-attempts",), has_capacity=False, max_run=1800, first_wait=1800),
}


def name_of(phase: Phase, action: Action) -> str:
    return f"{phase}.{action}"


def bring_about(lab: Lab, cells: Sequence[tuple[Phase, Action]]) -> dict[tuple[Phase, Action], Run]:
    """Start a run for each cell and bring it into its phase; no slot is free at the end."""
    runs: dict[tuple[Phase, Action], Run] = {}

    def of(*phases: Phase) -> list[Run]:
        return [run for (phase, _), run in runs.items() if phase in phases]

    def start(wanted: Sequence[tuple[Phase, Action]]) -> None:
        for phase, action in wanted:
            runs[phase, action] = lab.start(_CASES[phase], name_of(phase, action))

    start([cell for cell in cells if cell[0] is not Phase.QUEUED])
    _wait_for_jobs(lab, runs)
    lab.open_pool(0)
    start([cell for cell in cells if cell[0] is Phase.QUEUED])
    for run in of(Phase.QUEUED_AGAIN):
        lab.release(run)
    for run in of(Phase.RESUMING):
        lab.set_capacity(run.instance_type, available=True)
    for run in of(Phase.QUEUED, Phase.QUEUED_AGAIN, Phase.RESUMING):
        lab.api.wait_for_task(run.dag_id, run.run_id, TASK, states=WAITS_FOR_SLOT, timeout_seconds=60)
    return runs


def _wait_for_jobs(lab: Lab, runs: Mapping[tuple[Phase, Action], Run]) -> None:
    for (phase, _), run in runs.items():
        if run.case.stumbles:
            until(lambda run=run: lab.has_been(run, "Interrupted"), f"the job of {run.run_id} to stumble")
        if run.case.hold_at:
            until(lambda run=run: lab.is_held(run), f"{run.run_id} to be held")
        if phase in {Phase.DEFERRED, Phase.RESUMING}:
            lab.wait_until_watched(run)


def act(lab: Lab, run: Run, action: Action) -> None:
    """Do to the training task, or to its run, what a person does in the UI."""
    match action:
        case Action.CLEAR:
            lab.api.clear(run.dag_id, run.run_id, [TASK], include_downstream=False)
        case Action.CLEAR_DOWNSTREAM:
            lab.api.clear(run.dag_id, run.run_id, [TASK], include_downstream=True)
        case Action.MARK_FAILED:
            lab.api.set_task_state(run.dag_id, run.run_id, TASK, "failed")
        case Action.MARK_SUCCESS:
            lab.api.set_task_state(run.dag_id, run.run_id, TASK, "success")
        case Action.DELETE:
            _delete(lab, run)
        case Action.REMAKE:
            run.is_remade = True  # also where the API server goes away before it can say so
            _delete(lab, run)
            lab.trigger(run)


def _delete(lab: Lab, run: Run) -> None:
    """A run that is running cannot be deleted: a person fails it first."""
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}"
    lab.api.request("PATCH", path, body={"state": "failed"})
    lab.api.request("DELETE", path)


def let_go(lab: Lab, runs: Mapping[tuple[Phase, Action], Run]) -> None:
    """Slots for all, nobody held any more, and capacity where a training is to go on."""
    for (_, action), run in runs.items():
        if action.goes_on:
            lab.set_capacity(run.instance_type, available=True)
        if lab.is_held(run):
            lab.release(run)
    lab.open_pool()


def judge_cell(lab: Lab, run: Run, phase: Phase, action: Action) -> None:
    """Note where the run broke the promise, once all is swept."""
    if action.goes_on:
        lab.judge(run)
        return
    found = lab.task_state(run)
    expected = {Action.MARK_FAILED: "failed", Action.MARK_SUCCESS: "success", Action.DELETE: "gone"}[action]
    if found != expected:
        run.problems.append(f"the task is {found}, not {expected}")
    lab.judge_gone(run)
    if phase is Phase.QUEUED and (jobs := lab.jobs_of(run)):
        run.problems.append(f"created all the same: {[job.name for job in jobs]}")


def is_settled(lab: Lab, run: Run, phase: Phase, action: Action) -> bool:
    """Whether the run is where the action leads, but for what the sweeper has to do."""
    if action.goes_on:
        return lab.run_state(run) in {"success", "failed"}
    return phase in MAY_NEED_SWEEPER or not lab.alive(run)


def check_cells(lab: Lab, cells: Sequence[tuple[Phase, Action]]) -> None:
    """Do each action in its phase, all at once on runs of their own, and see that each kept the promise."""
    runs = bring_about(lab, cells)
    for (_, action), run in runs.items():
        act(lab, run, action)
    let_go(lab, runs)
    for cell, run in runs.items():
        until(lambda run=run, cell=cell: is_settled(lab, run, *cell), f"{run.run_id} to be settled")
    swept = lab.sweep()
    for run in runs.values():
        until(lambda run=run: not lab.alive(run), f"no job of {run.run_id} to be alive")
    lab.sweep()
    for (phase, action), run in runs.items():
        judge_cell(lab, run, phase, action)
        is_swept = any(f"Stopped {job.name}" in swept for job in lab.jobs_of(run))
        if is_swept and phase not in MAY_NEED_SWEEPER:
            run.problems.append("the sweeper had to stop its job")
    check(runs.values())
