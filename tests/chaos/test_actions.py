"""Whatever a person does to a training, whenever: its job is stopped or goes on under the task's next try."""

from __future__ import annotations

import itertools

import pytest

from .actions import ON_ONE_RUN, Action, Phase, check_cells
from .support import DAG, TASK, Case, Lab

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    "phases",
    [
        pytest.param((Phase.QUEUED, Phase.BETWEEN), marks=pytest.mark.long),
        pytest.param((Phase.QUEUED_AGAIN, Phase.RUNNING), marks=pytest.mark.long),
        (Phase.DEFERRED, Phase.RESUMING),
        pytest.param((Phase.DEFERRING,), marks=pytest.mark.long),
    ],
    ids=" and ".join,
)
def test_every_action_in_every_phase(lab: Lab, phases: tuple[Phase, ...]) -> None:
    """Two phases at a time: two cores cannot start more tasks without losing heartbeats."""
    check_cells(lab, list(itertools.product(phases, ON_ONE_RUN)))


def test_a_finished_training_that_is_cleared_starts_afresh(lab: Lab) -> None:
    run = lab.start(Case(), "cleared-when-over")
    lab.finish([run])
    (first,) = lab.jobs_of(run)
    lab.api.clear(DAG, run.run_id, [TASK])
    lab.finish([run])
    assert {job.name for job in lab.jobs_of(run)} > {first.name}
    assert first.name not in str(lab.api.xcom(DAG, run.run_id, TASK, "attempts"))


@pytest.mark.long
def test_a_run_may_be_deleted_and_made_again_in_every_phase(lab: Lab) -> None:
    check_cells(lab, [(phase, Action.REMAKE) for phase in Phase])


@pytest.mark.long
def test_a_run_that_is_deleted_and_made_again_trains_anew(lab: Lab) -> None:
    """Its state went with the first run, whose job still has the name that the second would give its own."""
    run = lab.start(Case(), "made-again")
    lab.finish([run])
    (first,) = lab.jobs_of(run)
    lab.api.request("DELETE", f"dags/{DAG}/dagRuns/{run.run_id}")
    again = lab.start(Case(), run.run_id)
    lab.finish([again])
    (second,) = [job for job in lab.jobs_of(again) if job.name != first.name]
    assert lab.api.xcom(DAG, again.run_id, TASK, "training_job_name") == second.name
