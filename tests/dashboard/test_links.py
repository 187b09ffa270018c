"""The buttons on a task instance lead to the page, the console and the log, or nowhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from spot_training.links import JobLink, LogLink, PageLink

from .hostile import NAMES
from .trainings import training


def _operator(
    endpoint_url: str, *, partition: str = "aws", live: str | None = "churn-0a1b-2", **facts: Any
) -> Any:
    jobs = SimpleNamespace(endpoint_url=endpoint_url, partition=partition, region="eu-central-1")
    attempts = facts.get("attempts", training().attempts)
    driver = SimpleNamespace(jobs=jobs, live_job=live, attempts=attempts)
    return SimpleNamespace(_training=SimpleNamespace(driver=driver))


def _task(**overrides: Any) -> Any:
    return SimpleNamespace(**{"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, **overrides})


AWS = "https://api.sagemaker.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("endpoint", "partition", "begins"),
    [
        (AWS, "aws", "https://console.aws.amazon.com/sagemaker/home?region=eu-central-1#/jobs/churn-0a1b-2"),
        (
            "https://vpce-1.sagemaker.eu-central-1.vpce.amazonaws.com",
            "aws",
            "https://console.aws.amazon.com/",
        ),
        (
            "https://api.sagemaker.cn-north-1.amazonaws.com.cn",
            "aws-cn",
            "https://console.amazonaws.cn/sagemaker",
        ),
        ("http://127.0.0.1:4566", "aws", "http://127.0.0.1:4566/_local/#job-churn-0a1b-2"),
        ("http://localhost:4566/", "aws", "http://localhost:4566/_local/#job-churn-0a1b-2"),
    ],
)
def test_the_newest_job_is_shown_where_it_runs(endpoint: str, partition: str, begins: str) -> None:
    link = JobLink().get_link(_operator(endpoint, partition=partition), ti_key=_task())
    assert link.startswith(begins)


@pytest.mark.parametrize(
    ("endpoint", "partition"), [("http://local-sagemaker:4566", "aws"), (AWS, "aws-iso"), ("nonsense", "aws")]
)
def test_there_is_no_link_to_a_place_nobody_can_open(endpoint: str, partition: str) -> None:
    operator = _operator(endpoint, partition=partition)
    assert JobLink().get_link(operator, ti_key=_task()) == ""
    assert LogLink().get_link(operator, ti_key=_task()) == ""


def test_a_local_sagemaker_in_a_container_is_opened_at_its_public_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LOCAL_SAGEMAKER_URL", "http://localhost:4566/")
    operator = _operator("http://local-sagemaker:4566")
    job, log = (link.get_link(operator, ti_key=_task()) for link in (JobLink(), LogLink()))
    assert job == "http://localhost:4566/_local/#job-churn-0a1b-2"
    assert log == "http://localhost:4566/_local/logs/churn-0a1b-2"
    assert JobLink().get_link(_operator(AWS), ti_key=_task()).startswith("https://console.aws.amazon.com/")


def test_a_job_that_is_over_is_the_newest_where_none_is_alive() -> None:
    link = JobLink().get_link(_operator(AWS, live=None), ti_key=_task())
    assert link.endswith(f"#/jobs/{training().attempts[-1].job_name}")


def test_before_the_first_job_there_is_only_the_page() -> None:
    for operator in (
        _operator(AWS, live=None, attempts=()),
        SimpleNamespace(_training=None),
        SimpleNamespace(),
    ):
        assert (
            JobLink().get_link(operator, ti_key=_task()) == LogLink().get_link(operator, ti_key=_task()) == ""
        )
        assert PageLink().get_link(operator, ti_key=_task())


def test_the_log_link_lists_the_streams_of_all_instances() -> None:
    assert LogLink().get_link(_operator(AWS), ti_key=_task()) == (
        "https://console.aws.amazon.com/cloudwatch/home?region=eu-central-1#logsV2:log-groups/log-group/"
        "$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3Dchurn-0a1b-2$252F"
    )
    local = LogLink().get_link(_operator("http://127.0.0.1:4566"), ti_key=_task())
    assert local == "http://127.0.0.1:4566/_local/logs/churn-0a1b-2"


@pytest.mark.parametrize("base", ["", "https://airflow.example.com", "https://example.com/deep/airflow/"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_page_link_holds_any_name_under_any_base_path(
    monkeypatch: pytest.MonkeyPatch, base: str, name: str
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    task = _task(dag_id=name, run_id=name, task_id=name, map_index=3)
    link = urlsplit(PageLink().get_link(None, ti_key=task))
    path = urlsplit(base).path.rstrip("/")
    assert link.path == f"{path}/plugin/spot-training{path}/spot-training/training"
    assert link.fragment == ""
    shown = parse_qs(link.query)
    assert shown == {"dag_id": [name], "run_id": [name], "task_id": [name], "map_index": ["3"]}


@pytest.mark.parametrize("base", ["", "https://airflow.example.com", "https://example.com/deep/airflow/"])
def test_where_airflows_ui_cannot_lead_into_the_frame_the_link_is_the_pages_own_address(
    monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    monkeypatch.setattr("spot_training.links.leads_into_framed_pages", lambda: False)
    link = PageLink().get_link(None, ti_key=_task())
    own = f"{base.rstrip('/')}/spot-training/training?"
    assert link == f"{own}dag_id=d&run_id=r&task_id=t&map_index=-1"
