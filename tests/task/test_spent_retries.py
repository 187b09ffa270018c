"""Airflow's `retries` are for real failures: what spot caused has been tried by the policy already."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException

from spot_training.domain.errors import OnDemandRefused, OutOfSteps
from tests.cloud import Cloud, answer_with, make_config

from .support import Run, make_operator


def test_spot_that_never_came_spends_no_retry(drought: Cloud) -> None:
    task = make_operator(config=make_config(), policy="spot_only", deferrable=False)
    with pytest.raises(AirflowFailException, match="no step is left") as raised:
        task.execute(Run(max_tries=3).context())
    assert type(raised.value.__cause__) is OutOfSteps


@pytest.mark.parametrize("code", ["ResourceLimitExceeded", "CapacityError"])
def test_on_demand_that_was_refused_is_left_to_retries(
    drought: Cloud,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    jobs = drought.jobs()
    answer_with(jobs, "CreateTrainingJob", 400, code, "No more of this instance.")
    monkeypatch.setattr("spot_training.connections.AwsAccess.jobs", lambda _self: jobs)
    task = make_operator(config=make_config(), policy="on_demand", deferrable=False)
    with pytest.raises(OnDemandRefused, match="No more of this instance"):
        task.execute(Run(max_tries=3).context())
