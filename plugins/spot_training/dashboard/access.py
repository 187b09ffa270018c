"""Who may read what: Airflow's own login and its auth manager decide, nothing is decided here.

FastAPI apps of plugins are served without authentication: every route of the page depends on `get_user`.
"""

from __future__ import annotations

from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import Depends

from spot_training.installation import Installation, this_installation
from spot_training.ledger import Selection

#: The person who asks, by Airflow's cookie or a bearer token; 401 without.
User = Annotated[Any, Depends(get_user)]


def readable_trainings(user: User) -> Selection:
    """The trainings the user may see: of the Dags Airflow itself lets them read, and of this Airflow.

    Several installations may share a ledger, and have Dags of the same name.
    """
    dag_ids = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    return Selection(dag_ids=tuple(sorted(dag_ids)), installations=this_airflow().names)


def this_airflow() -> Installation:
    """Which Airflow this is; the API server makes its identity where no other component has yet."""
    return this_installation(make=True)


Readable = Annotated[Selection, Depends(readable_trainings)]

#: Lets a request through that may read the task instances of the Dag it names; 403 otherwise.
MAY_READ_TASK = Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))


def login_url(next_url: str) -> str:
    """Where Airflow lets a person log in and come back from."""
    return get_auth_manager().get_url_login(next_url=next_url)
