"""Buttons on a task instance: this training on the page, its newest job in SageMaker's console, its log.

Airflow asks for them in the process of the task, each time the task ends or defers, and keeps them as XCom.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink

from . import settings
from .addresses import training_page
from .compat import conf, leads_into_framed_pages
from .sagemaker.console import CONSOLES, Console, console_of, job_in_console, logs_in_console

if TYPE_CHECKING:
    from .sagemaker.jobs import TrainingJobs
    from .task.training import TrainingTask

__all__ = ["CONSOLES", "LINKS", "JobLink", "LogLink", "PageLink", "job_in_console", "logs_in_console"]


class PageLink(BaseOperatorLink):
    """This training in *Spot training*: its timeline, decisions and costs."""

    name: ClassVar[str] = "Training timeline"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - ti_key is enough
        """The address in Airflow's UI. It ends with the page's own path, including Airflow's base path.

        Where Airflow's UI cannot lead there, it is the page's own address.
        """
        base = str(conf.get("api", "base_url", fallback="")).rstrip("/")
        map_index = -1 if ti_key.map_index is None else ti_key.map_index
        page = training_page(ti_key.dag_id, ti_key.run_id, ti_key.task_id, map_index)
        framed = f"/plugin/spot-training{urlsplit(base).path}" if leads_into_framed_pages() else ""
        return f"{base}{framed}/spot-training/{page}"


class JobLink(BaseOperatorLink):
    """The newest training job in SageMaker's console, or on the page of a local cloud."""

    name: ClassVar[str] = "SageMaker training job"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        return _link_to_job(operator, Console.job)


class LogLink(BaseOperatorLink):
    """The newest training job's log streams in CloudWatch, or its log on a local cloud."""

    name: ClassVar[str] = "CloudWatch log"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        return _link_to_job(operator, Console.log)


def _link_to_job(operator: Any, page: Callable[[Console, str], str]) -> str:
    training: TrainingTask | None = getattr(operator, "_training", None)
    job = None if training is None else _newest_job(training)
    if training is None or job is None:
        return ""
    jobs: TrainingJobs = training.driver.jobs
    console = console_of(
        jobs.endpoint_url,
        region=jobs.region,
        partition=jobs.partition,
        local_url=settings.text("local_sagemaker_url"),
    )
    return page(console, job)


def _newest_job(training: TrainingTask) -> str | None:
    attempts = training.driver.attempts
    return training.driver.live_job or next((a.job_name for a in reversed(attempts) if a.job_name), None)


#: What operator and sensor offer on their task instances.
LINKS = (PageLink(), JobLink(), LogLink())
