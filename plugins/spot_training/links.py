"""Buttons on a task instance: this training on the page, its newest job in SageMaker's console, its log.

Airflow asks for them in the process of the task, each time the task ends or defers, and keeps them as XCom.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import BaseOperatorLink

from . import settings
from .compat import conf, leads_into_framed_pages
from .sagemaker.local_cloud import is_aws
from .sagemaker.logs import LOG_GROUP

if TYPE_CHECKING:
    from .sagemaker.jobs import TrainingJobs
    from .task.training import TrainingTask

#: The console's address by AWS partition, without the isolated ones, as in the Amazon provider.
CONSOLES = {
    "aws": "https://console.aws.amazon.com",
    "aws-cn": "https://console.amazonaws.cn",
    "aws-us-gov": "https://console.amazonaws-us-gov.com",
}


class PageLink(BaseOperatorLink):
    """This training in *Spot training*: its timeline, decisions and costs."""

    name: ClassVar[str] = "Training timeline"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - ti_key is enough
        """The address in Airflow's UI. It ends with the page's own path, including Airflow's base path.

        Where Airflow's UI cannot lead there, it is the page's own address.
        """
        base = str(conf.get("api", "base_url", fallback="")).rstrip("/")
        map_index = -1 if ti_key.map_index is None else ti_key.map_index
        task = {
            "dag_id": ti_key.dag_id,
            "run_id": ti_key.run_id,
            "task_id": ti_key.task_id,
            "map_index": map_index,
        }
        framed = f"/plugin/spot-training{urlsplit(base).path}" if leads_into_framed_pages() else ""
        return f"{base}{framed}/spot-training/training?{urlencode(task)}"


class JobLink(BaseOperatorLink):
    """The newest training job in SageMaker's console, or on the page of a local cloud."""

    name: ClassVar[str] = "SageMaker training job"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        return _link_to_job(operator, console=job_in_console, local="#job-{job}")


class LogLink(BaseOperatorLink):
    """The newest training job's log streams in CloudWatch, or its log on a local cloud."""

    name: ClassVar[str] = "CloudWatch log"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        return _link_to_job(operator, console=logs_in_console, local="logs/{job}")


def job_in_console(job: str, region: str) -> str:
    """A job's page, without the console's address."""
    return f"/sagemaker/home?region={region}#/jobs/{quote(job, safe='')}"


def logs_in_console(job: str, region: str) -> str:
    """The streams of a job's instances, `<job>/algo-<n>-<time>`, without the console's address."""
    group, stream = (_quote_twice(text) for text in (LOG_GROUP, f"{job}/"))
    view = f"#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{stream}"
    return f"/cloudwatch/home?region={region}{view}"


def _quote_twice(text: str) -> str:
    """As the console does it, with `$` for `%`."""
    return quote(quote(text, safe=""), safe="").replace("%", "$")


def _link_to_job(operator: Any, *, console: Callable[[str, str], str], local: str) -> str:
    training: TrainingTask | None = getattr(operator, "_training", None)
    job = None if training is None else _newest_job(training)
    if training is None or job is None:
        return ""
    jobs: TrainingJobs = training.driver.jobs
    if address := CONSOLES.get(jobs.partition) if is_aws(jobs.endpoint_url) else None:
        return address + console(job, jobs.region)
    address = settings.text("local_sagemaker_url") if not is_aws(jobs.endpoint_url) else ""
    if not address and _is_this_machine(jobs.endpoint_url):
        address = jobs.endpoint_url
    return f"{address.rstrip('/')}/_local/{local.format(job=quote(job, safe=''))}" if address else ""


def _newest_job(training: TrainingTask) -> str | None:
    attempts = training.driver.attempts
    return training.driver.live_job or next((a.job_name for a in reversed(attempts) if a.job_name), None)


def _is_this_machine(endpoint_url: str) -> bool:
    host = urlsplit(endpoint_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


#: What operator and sensor offer on their task instances.
LINKS = (PageLink(), JobLink(), LogLink())
