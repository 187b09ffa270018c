"""What a person is asked before on-demand is bought, without Airflow around it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from spot_training.approval import _attempts, _question, _Waiting, ask_before_on_demand
from spot_training.domain.budget import OnDemandCost
from spot_training.domain.errors import InvalidInput
from spot_training.domain.lifecycle import Ending
from spot_training.operators import SpotTrainingOperator
from spot_training.sagemaker.identity import RunIdentity
from spot_training.task.specification import WatchedJob
from spot_training.watching.watcher import JobWatcher, follow
from tests.cloud import Cloud, make_config
from tests.records import make_attempt

WAITING = _Waiting(answer_within=timedelta(hours=4), more_waits=2)
NO_CAPACITY = make_attempt(ending=Ending.NO_CAPACITY, wait_seconds=7200, max_wait_seconds=7200)


def _cost(usd_per_hour: float | None) -> OnDemandCost:
    return OnDemandCost(
        instances="1 x ml.m5.xlarge", seconds=4 * 3600, basis="given", usd_per_hour=usd_per_hour
    )


def test_the_question_has_the_price_the_limit_and_what_silence_means() -> None:
    question = _question((NO_CAPACITY,), _cost(0.23), 0.5, WAITING)
    assert question.startswith("No spot capacity for ml.m5.xlarge in 2 h; 1 attempt so far.")
    assert "about 4 h on 1 x ml.m5.xlarge at $0.23 an hour, $0.92 (given)" in question
    assert "The limit without a question is $0.50" in question
    assert "**Keep waiting for spot**: up to 12 h more" in question
    assert question.endswith("This also happens without an answer within 4 h.")


def test_a_price_that_is_not_known_is_said_to_be_unknown() -> None:
    assert "at an unknown price" in _question((NO_CAPACITY,), _cost(None), 0.5, WAITING)


def test_nobody_is_asked_where_more_capacity_would_not_help() -> None:
    failed = make_attempt(ending=Ending.ALGORITHM_ERROR).to_json()
    with pytest.raises(AirflowFailException, match="more capacity would not help"):
        _attempts([NO_CAPACITY.to_json(), failed], "train")
    with pytest.raises(AirflowFailException, match="train made no attempt"):
        _attempts(None, "train")
    refused = make_attempt(ending=Ending.CAPACITY_ERROR, job_name="").to_json()
    with pytest.raises(AirflowFailException, match="refused every attempt of train"):
        _attempts([refused], "train")


def test_the_tasks_run_only_behind_a_training_that_failed() -> None:
    with DAG("asking", schedule=None) as dag:
        train = SpotTrainingOperator(
            task_id="train", config=make_config(), deferrable=True, region_name="eu-west-1"
        )
        went_on = ask_before_on_demand(train, limit_usd=25, answer_within=timedelta(hours=1))
    price, ask = dag.get_task("on_demand.price"), dag.get_task("on_demand.ask")
    assert price.trigger_rule == "all_failed"
    assert ask.upstream_task_ids == {"on_demand.price"}
    assert went_on.upstream_task_ids == {"on_demand.price", "on_demand.ask"}
    assert (went_on.deferrable, went_on.region_name) == (True, "eu-west-1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("more_waits", 0),
        ("more_waits", 11),
        ("answer_within", timedelta(0)),
        ("answer_within", "4h"),
        ("limit_usd", -1),
        ("limit_usd", None),
        ("limit_usd", "a little"),
    ],
)
def test_what_cannot_be_asked_is_told_when_the_dag_is_read(name: str, value: Any) -> None:
    terms: dict[str, Any] = {"limit_usd": 25, "answer_within": timedelta(hours=1), name: value}
    with DAG("asking", schedule=None):
        train = SpotTrainingOperator(task_id="train", config=make_config())
        with pytest.raises(InvalidInput, match=name):
            ask_before_on_demand(train, **terms)


@pytest.mark.parametrize("limit", ["{{ params.limit_usd }}", "$25", 0, 2.5])
def test_the_limit_may_be_a_number_its_text_or_a_template(limit: Any) -> None:
    with DAG("asking", schedule=None):
        train = SpotTrainingOperator(task_id="train", config=make_config())
        ask_before_on_demand(train, limit_usd=limit, answer_within=timedelta(hours=1))


def test_a_job_that_is_carried_on_keeps_its_own_tags_and_its_checkpoints(cloud: Cloud) -> None:
    jobs = cloud.jobs()
    who = RunIdentity(dag_id="d", run_id="r", task_id="t")
    own = [{"Key": "team", "Value": "ads"}]
    jobs.create_or_adopt(
        {
            **make_config(),
            "TrainingJobName": "mine",
            "EnableManagedSpotTraining": True,
            "Tags": [*own, *who.tags(1)],
        },
        key=who.key,
        nonce="",
    )
    for _ in follow(JobWatcher(lambda: jobs), "mine", interval_seconds=0.1):
        pass
    plan = WatchedJob(jobs, "mine").plan(RunIdentity(dag_id="d", run_id="r", task_id="watch"))
    assert plan.request["Tags"] == own
    assert plan.checkpoint_uri == "s3://bucket/checkpoints"


def test_what_goes_on_keeps_to_the_trainings_caps() -> None:
    """The sensor's policy is templated; what the Dag's author allows is not."""
    caps = {"instance_types": ["ml.m5.*"]}
    with DAG("capped", schedule=None):
        train = SpotTrainingOperator(task_id="train", config={}, caps=caps)
        went_on = ask_before_on_demand(train, limit_usd=25, answer_within=timedelta(hours=1))
    assert went_on.caps == caps
