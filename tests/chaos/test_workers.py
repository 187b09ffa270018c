"""A worker may be lost at any line: the next one finds the one job and goes on."""

from __future__ import annotations

import pytest

from include.local_stack.environment import airflow_version

from .support import DAG, KILL_POINTS, TASK, Case, Lab, Run, check, until

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


def test_a_worker_may_die_at_any_point(lab: Lab) -> None:
    """Every point once, with capacity that never comes, so that there are several attempts to lose."""
    runs = [
        lab.start(Case(kill_at=(point,), has_capacity=False, seconds=300), f"dies-{point}")
        for point in KILL_POINTS
    ]
    several = ("during-create", "before-record", "while-pushing")
    waits = Case(kill_at=several, deferrable=False, has_capacity=False, seconds=300)
    runs.append(lab.start(waits, "dies-three-times"))
    lab.finish(runs)
    died = {path.parent.name: path.name for path in lab.graves.glob(f"dies-*/{TASK}-*")}
    expected = {f"dies-{point}": f"{TASK}-{point}" for point in KILL_POINTS}
    assert {name: died[name] for name in expected} == expected, (
        "every worker must have died where it was told to"
    )


def test_a_worker_may_die_before_it_stops_what_it_gave_up(lab: Lab) -> None:
    case = Case(kill_at=("before-stop",), has_capacity=False, first_wait=86400, training_timeout=8)
    runs = [lab.start(case, "gives-up")]
    lab.finish(runs, state="failed")
    task = lab.api.task_instance(DAG, "gives-up", TASK)
    assert task["try_number"] == 2, "the try after the one that died is the last: no time is left"
    assert "time limit of 8 s passed" in lab.api.task_log(DAG, "gives-up", TASK)


def test_a_process_that_dies_alone_leaves_no_job_alive(lab: Lab) -> None:
    """As one that the system kills for want of memory. The next try goes on with its job.

    Airflow before 3.1 fails the task at once, whatever its `retries`: there the sweeper stops the job, unless
    a person clears the task before that.
    """
    case = Case(kill_at=("after-create",), dies_alone=True, has_capacity=False, first_wait=24 * 3600)
    goes_on, left = (lab.start(case, f"dies-alone-{name}") for name in ("goes-on", "left"))
    if airflow_version() < (3, 1):
        lab.watch([goes_on, left], timeout_seconds=120)
        assert [(lab.run_state(run), lab.tries(run)) for run in (goes_on, left)] == [("failed", 1)] * 2
        lab.api.clear(goes_on.dag_id, goes_on.run_id, [TASK])
    until(lambda: lab.tries(goes_on) > 1, "a second try")
    lab.set_capacity(goes_on.instance_type, available=True)
    lab.finish([goes_on])
    assert len(lab.jobs_of(goes_on)) == 1
    if airflow_version() < (3, 1):
        _check_swept(lab, left)
    else:
        lab.set_capacity(left.instance_type, available=True)
        lab.finish([left])


def _check_swept(lab: Lab, run: Run) -> None:
    (job,) = lab.jobs_of(run)
    assert f"Stopped {job.name}" in lab.sweep()
    until(lambda: not lab.alive(run), "its job to be over")
    lab.sweep()
    lab.judge_gone(run)
    check([run])


def test_state_of_a_later_version_is_refused_at_once(lab: Lab) -> None:
    """Not misread, not retried, and with the way out. The campaign plays state of 0.1.0, which goes on."""
    run = lab.start(Case(found_state={"version": 99, "job": "model-7"}), "found-later-state")
    lab.watch([run], timeout_seconds=60)
    check([run])
    task = lab.api.task_instance(DAG, run.run_id, TASK)
    assert (task["state"], task["try_number"]) == ("failed", 1)
    log = lab.api.task_log(DAG, run.run_id, TASK)
    assert "written by a later version of this package" in log
    assert "Finish the run with the version that started it" in log
    assert lab.jobs_of(run) == []
