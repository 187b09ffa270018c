"""The Airflow plugin: only the declaration."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from .installation import InstallationListener


class SpotTrainingPlugin(AirflowPlugin):
    """Managed spot training on Amazon SageMaker."""

    name = "spot_training"

    listeners = [InstallationListener()]  # noqa: RUF012 - Airflow reads plain attributes

    #: Relative to Airflow's address, so that they work under any base path.
    external_views = [  # noqa: RUF012 - Airflow reads plain attributes
        {
            "name": "Spot",  # the navigation has room for one short word
            "href": "spot-training/",
            "destination": "nav",
            "url_route": "spot-training",
            "icon": "spot-training/icon.svg",
            "icon_dark_mode": "spot-training/icon-dark.svg",
            "nav_top_level": True,
        },
        {
            "name": "Spot training",
            "href": "spot-training/training?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}"
            "&map_index={MAP_INDEX}&within=task",
            "destination": "task_instance",
            "url_route": "spot-training-task",
            "icon": "spot-training/icon.svg",
            "icon_dark_mode": "spot-training/icon-dark.svg",
        },
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Created when the API server reads it. No other component needs the page."""
        from .dashboard.app import NAME, URL_PREFIX, create_app

        return [{"app": create_app(), "url_prefix": URL_PREFIX, "name": NAME}]
