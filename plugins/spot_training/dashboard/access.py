"""Who may read what. Airflow's login and its auth manager decide, not this package.

Airflow serves the FastAPI apps of plugins without authentication, so every route of the page depends on
`get_user`. Before Airflow 3.1.1, `get_user` reads a header only, which a browser does not send when a person
opens an address. Airflow's UI keeps the login in the browser's storage there, and the script login.js hands
it to the page: in a cookie for the page's own path, which lives for a minute.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import Depends, Request

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

_requires_task = requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE)


def _may_read_task(request: Request, user: User) -> None:
    """403 unless the user may read the task instances of the Dag in the request."""
    # Airflow 3.0 looks for the Dag in the path alone, and would otherwise ask for no Dag in particular.
    request.scope["path_params"] = {**request.path_params, "dag_id": request.query_params.get("dag_id")}
    _requires_task(request, user)


MAY_READ_TASK = Depends(_may_read_task)

#: What login.js sets, and what Airflow's login sets for its UI, which moves it to the browser's storage.
LOGIN_COOKIES = ("spot_training_login", COOKIE_NAME_JWT_TOKEN)


def use_login_of_cookie(request: Request) -> None:
    """Treat the login in a cookie as one in the header. For an Airflow that does not read its own cookie."""
    if "authorization" in request.headers:
        return
    token = next(filter(None, map(request.cookies.get, LOGIN_COOKIES)), None)
    if token is not None:
        request.scope["headers"].append((b"authorization", f"Bearer {token}".encode()))


def login_url(next_url: str) -> str:
    """The address of Airflow's login, which leads back to `next_url`."""
    address = get_auth_manager().get_url_login(next_url=next_url)
    # Not every version and auth manager adds it. Airflow's own redirect to the login appends it like this.
    return address if "next=" in address else f"{address}?{urlencode({'next': next_url})}"
