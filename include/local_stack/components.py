"""The processes that a local stack can run, and how each shows that it is up."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL_SAGEMAKER = "local-sagemaker"
API_SERVER = "api-server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A command of Airflow that keeps running.

    `health` is its name in /monitor/health, `job_type` the type of its jobs in Airflow's API. `ready_text` is
    the text in its log when it is up.
    """

    arguments: tuple[str, ...]
    health: str | None = None
    job_type: str | None = None
    ready_text: str | None = None


COMPONENTS = {
    API_SERVER: Component(arguments=("api-server",)),
    "scheduler": Component(
        arguments=("scheduler", "--skip-serve-logs"), health="scheduler", job_type="SchedulerJob"
    ),
    "dag-processor": Component(
        arguments=("dag-processor",), health="dag_processor", job_type="DagProcessorJob"
    ),
    "triggerer": Component(
        arguments=("triggerer", "--skip-serve-logs"), health="triggerer", job_type="TriggererJob"
    ),
    "worker": Component(arguments=("celery", "worker", "--skip-serve-logs"), ready_text="ready."),
}
DEFAULT_COMPONENTS = (LOCAL_SAGEMAKER, API_SERVER, "scheduler", "dag-processor", "triggerer")


def kind_of(name: str) -> str:
    """The component of a process: "triggerer:2" is a second triggerer."""
    return name.partition(":")[0]
