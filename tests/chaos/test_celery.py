"""A sample of the suite with Celery workers, Redis and Postgres, as in docker-compose.yaml.

AWS's clock is days behind ours here; everywhere else in the suite it runs ahead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from include.local_stack import describe_missing_programs
from include.local_stack.environment import airflow_version

from . import actions, phases
from .actions import ON_ONE_RUN, Phase
from .support import KILL_POINTS, Case, Lab, chaos_lab, check

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(describe_missing_programs()), reason=describe_missing_programs()),
]

THREE_DAYS = 3 * 24 * 3600


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with chaos_lab(tmp_path_factory.mktemp("celery"), has_celery=True, clock_offset=-THREE_DAYS) as running:
        yield running


def test_a_task_of_a_celery_worker_may_die(lab: Lab) -> None:
    lab.fail("CreateTrainingJob", "LoseResponse", count=2)
    lab.fail("DescribeTrainingJob", "ThrottlingException", count=4)
    points = ("after-intent", "during-create", "between-attempts")
    assert set(points) <= set(KILL_POINTS)
    case = Case(has_capacity=False, seconds=300)
    lab.finish([lab.start(replace(case, kill_at=(point,)), f"dies-{point}") for point in points])


def test_the_database_and_the_workers_may_be_lost_in_every_phase_of_a_job(lab: Lab) -> None:
    if airflow_version() < (3, 1):
        pytest.skip("Airflow 3.0 does not queue a task again of which its executor lost the result")
    postgres = lab.postgres
    assert postgres is not None
    runs = phases.bring_about(lab, "celery")
    assert postgres.drop_connections() > 0
    postgres.stop()
    lab.stack.kill("worker")
    postgres.start()
    lab.stack.restart("worker")
    lab.revive()
    phases.finish(lab, runs)
    check(itertools.chain(*runs.values()))


def test_an_action_in_each_phase(lab: Lab) -> None:
    actions.check_cells(lab, list(zip(Phase, itertools.cycle(ON_ONE_RUN), strict=False)))
