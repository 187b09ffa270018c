"""Whatever dies, at whatever moment: one job, always stopped, nothing lost. On real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.local_stack import LocalStack, wait_until

from .support import DAG, KILL_POINTS, OVER, TASK, Case, Run, chaos_stack, fail, jobs_of, judge, start, watch

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with chaos_stack(tmp_path_factory.mktemp("chaos")) as running:
        yield running


TYPES = ("ml.m5.large", "ml.m5.xlarge", "ml.m5.2xlarge", "ml.m5.4xlarge")


def _finish(stack: LocalStack, runs: list[Run], *, timeout_seconds: float = 240) -> None:
    watch(stack, runs, timeout_seconds=timeout_seconds)
    for run in runs:
        judge(stack, run)
    assert {run.run_id: run.problems for run in runs if run.problems} == {}


def _nothing_alive(stack: LocalStack, run: Run) -> None:
    def all_over() -> bool:
        return all(status in OVER for status in jobs_of(stack, run).values())

    wait_until(all_over, f"no job of {run.run_id} to be alive", timeout_seconds=60)


def _start_deferred(stack: LocalStack, name: str, *, seconds: int = 3000) -> Run:
    run = start(stack, Case(seconds=seconds), instance_type="ml.c5.xlarge", run_id=name)
    stack.api.wait_for_task(DAG, run.run_id, TASK, states={"deferred"}, timeout_seconds=60)
    return run


def test_a_worker_may_die_at_any_point(stack: LocalStack) -> None:
    """Every point once, with capacity that never comes, so that there are several attempts to lose."""
    runs = [
        start(
            stack,
            Case(kill_at=(point,), has_capacity=False, seconds=300),
            instance_type="ml.m4.xlarge",
            run_id=f"dies-{point}",
        )
        for point in KILL_POINTS
    ]
    _finish(stack, runs)
    graves = stack.state_dir / "graves"
    assert {p.parent.name: p.name for p in graves.glob("dies-*/*")} == {
        f"dies-{point}": f"{TASK}-{point}" for point in KILL_POINTS
    }, "every worker must have died where it was told to"


def test_a_worker_that_waits_may_die_several_times(stack: LocalStack) -> None:
    case = Case(kill_at=("during-create", "before-record", "while-pushing"), deferrable=False, seconds=300)
    _finish(stack, [start(stack, case, instance_type="ml.c4.xlarge", run_id="waits-and-dies")])


@pytest.mark.parametrize("component", ["triggerer", "scheduler", "api-server"])
def test_a_component_may_be_killed_and_restarted_while_a_training_waits(
    stack: LocalStack, component: str
) -> None:
    run = start(stack, Case(seconds=3600), instance_type="ml.c4.2xlarge", run_id=f"without-{component}")
    stack.api.wait_for_task(DAG, run.run_id, TASK, states={"deferred"}, timeout_seconds=60)
    stack.kill(component)
    stack.restart(component)
    _finish(stack, [run])


@pytest.mark.parametrize("state", ["failed", "success"])
def test_marking_a_deferred_training_stops_its_job(stack: LocalStack, state: str) -> None:
    run = _start_deferred(stack, f"marked-{state}")
    stack.api.set_task_state(DAG, run.run_id, TASK, state)
    _nothing_alive(stack, run)


def test_clearing_a_deferred_training_leads_to_one_that_completes(stack: LocalStack) -> None:
    run = _start_deferred(stack, "cleared")
    stack.api.clear(DAG, run.run_id, [TASK])
    _finish(stack, [run])


def test_failing_and_deleting_the_run_of_a_deferred_training_stops_its_job(stack: LocalStack) -> None:
    run = _start_deferred(stack, "deleted")
    jobs = set(jobs_of(stack, run))
    path = f"dags/{DAG}/dagRuns/{run.run_id}"
    stack.api.request("PATCH", path, body={"state": "failed"})
    stack.api.request("DELETE", path)
    _nothing_alive(stack, run)
    assert set(jobs_of(stack, run)) == jobs


def test_marking_a_training_failed_while_its_worker_waits_stops_its_job(stack: LocalStack) -> None:
    case = Case(deferrable=False, seconds=3000)
    run = start(stack, case, instance_type="ml.c4.4xlarge", run_id="marked-on-worker")

    def has_job() -> bool:
        return bool(jobs_of(stack, run))

    wait_until(has_job, "its job", timeout_seconds=60)
    stack.api.set_task_state(DAG, run.run_id, TASK, "failed")
    _nothing_alive(stack, run)


def test_faults_of_the_service_cost_nothing(stack: LocalStack) -> None:
    for operation in ("CreateTrainingJob", "DescribeTrainingJob", "ListTrainingJobs"):
        fail(stack, operation, "ThrottlingException", 4)
        fail(stack, operation, "InternalFailure", 2)
        fail(stack, operation, "DropConnection", 2)
    fail(stack, "CreateTrainingJob", "LoseResponse", 2)
    runs = [
        start(stack, Case(has_capacity=n % 2 == 0), instance_type=TYPES[n], run_id=f"faults-{n}")
        for n in range(4)
    ]
    _finish(stack, runs)
