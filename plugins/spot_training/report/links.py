"""Where the report's links lead: Airflow, SageMaker's console or the pages of a local SageMaker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from spot_training.addresses import dag_page, run_page, task_page, training_page
from spot_training.sagemaker.console import Console, console_of

if TYPE_CHECKING:
    from spot_training.domain.records import TrainingRecord
    from spot_training.ledger import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The addresses that people open. Without an address there is no link.

    `local_sagemaker_url` is where they open a local SageMaker in a container.
    """

    airflow_url: str = ""
    local_sagemaker_url: str = ""

    @classmethod
    def configured(cls) -> Links:
        """From `[api] base_url` and `[spot_training] local_sagemaker_url`."""
        from spot_training import settings
        from spot_training.compat import conf

        return cls(
            airflow_url=str(conf.get("api", "base_url", fallback="") or ""),
            local_sagemaker_url=settings.text("local_sagemaker_url"),
        )

    def dag(self, record: TrainingRecord) -> str:
        return self._in_airflow(dag_page(record.dag_id))

    def run(self, record: TrainingRecord) -> str:
        return self._in_airflow(run_page(record.dag_id, record.run_id))

    def task(self, record: TrainingRecord) -> str:
        """The task instance with its log."""
        return self._in_airflow(task_page(record.dag_id, record.run_id, record.task_id, record.map_index))

    def timeline(self, record: TrainingRecord) -> str:
        """The training on the page."""
        page = training_page(record.dag_id, record.run_id, record.task_id, record.map_index)
        return self._in_airflow(f"spot-training/{page}")

    def console(self, record: TrainingRecord) -> Console:
        """The pages of the training's jobs and files."""
        return console_of(record.endpoint_url, region=record.region, local_url=self.local_sagemaker_url)

    def page(self, selection: Selection) -> str:
        """The page with the trainings of a report. It shows whole days, both included."""
        only = {
            "dag_id": selection.dag_ids,
            "model": selection.models,
            "instance_type": selection.instance_types,
            "team": selection.teams,
        }
        asked: dict[str, Any] = {name: values[0] for name, values in only.items() if values}
        if selection.since:
            asked["since"] = selection.since.date()
        if selection.until:
            asked["until"] = (selection.until - timedelta(days=1)).date()
        if not selection.since and not selection.until:
            asked["window"] = "all"
        return self._in_airflow(f"spot-training/?{urlencode(asked)}")

    def run_of(self, context: Mapping[str, Any]) -> str:
        """The Dag run of a task."""
        run = context.get("dag_run")
        return "" if run is None else self._in_airflow(run_page(run.dag_id, run.run_id))

    def _in_airflow(self, page: str) -> str:
        return f"{self.airflow_url.rstrip('/')}/{page}" if self.airflow_url else ""
