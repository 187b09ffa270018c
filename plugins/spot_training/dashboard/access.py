"""Who may read what. Airflow's login and its auth manager decide, not this package.

Airflow serves the FastAPI apps of plugins without authentication, so every route of the page depends on
`get_user`.
"""

from __future__ import annotations

from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import Depends

from spot_training.installation import Installation, this_installation
from spot_training.ledger import Selection

#: The user, from Airflow's cookie or a bearer token. 401 without one.
User = Annotated[Any, Depends(get_user)]


def readable_trainings(user: User) -> Selection:
    """The trainings that the user may see: those of this Airflow, in Dags that Airflow lets the user read.

    Several installations may share a ledger and have Dags with the same name.
    """
    dag_ids = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    return Selection(dag_ids=tuple(sorted(dag_ids)), installations=this_airflow().names)


def this_airflow() -> Installation:
    """Which Airflow this is. The API server creates its identity if no other component has done so."""
    return this_installation(make=True)


Readable = Annotated[Selection, Depends(readable_trainings)]

#: Allows a request if the user may read the task instances of its Dag. 403 otherwise.
MAY_READ_TASK = Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))


def login_url(next_url: str) -> str:
    """The address of Airflow's login, which leads back to `next_url`."""
    return get_auth_manager().get_url_login(next_url=next_url)
