"""A component that is lost and comes back costs nothing, whatever the jobs are doing meanwhile."""

from __future__ import annotations

import itertools

import pytest

from . import phases
from .support import Lab, check

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    "component",
    [
        "triggerer",
        pytest.param("scheduler", marks=pytest.mark.long),
        pytest.param("api-server", marks=pytest.mark.long),
    ],
)
def test_a_component_may_be_lost_in_every_phase_of_a_job(lab: Lab, component: str) -> None:
    modes = (True,) if component == "triggerer" else (True, False)
    runs = phases.bring_about(lab, component, modes=modes)
    lab.lose(component)
    phases.finish(lab, runs)
    check(itertools.chain(*runs.values()))
