"""Airflow's REST API, as far as the sweeper's command asks it: which Airflow this is, and task states."""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from spot_training.domain.errors import SweepRefused

from .orphans import NO_SUCH_TASK

if TYPE_CHECKING:
    from spot_training.sagemaker.identity import RunIdentity

_NOT_FOUND = 404
#: What a request to an address that is not Airflow's may raise: refused, no JSON, JSON of another shape.
_NO_ANSWER = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError)
#: The words of Airflow's `taskInstances` routes for a 404.
_NO_SUCH_TASK = re.compile(r"The (Mapped )?Task Instance with dag_id: .+ was not found", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What an Airflow says of itself: its name, its earlier names, whether its sweeper may stop jobs."""

    name: str
    earlier: tuple[str, ...] = ()
    sweeper_stops: bool = False

    @classmethod
    def from_json(cls, answer: Any) -> Identified:
        return cls(
            name=answer["installation"],
            earlier=tuple(answer.get("earlier") or ()),
            sweeper_stops=answer.get("sweeper_stops") is True,
        )


class AirflowRest:
    """Task states from Airflow's REST API. An uncertain answer is an error, never "no such task"."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._token = os.environ.get("AIRFLOW_API_TOKEN")

    def identify(self, installation: str | None = None) -> Identified:
        """Which Airflow is at the address. Raises `SweepRefused` if it is none, or another one than named.

        Another server, or another Airflow, knows none of our tasks: all of our jobs would seem orphans.
        """
        try:
            self._call("GET", "/api/v2/version")["version"]
        except _NO_ANSWER as error:
            raise SweepRefused(
                f"Nothing at {self._url} answers as Airflow's REST API does ({error}). Nothing was looked at "
                "or stopped. Set --airflow-url to Airflow's own address, with its base path if it has one."
            ) from error
        try:
            found = Identified.from_json(self._call("GET", "/spot-training/api/installation"))
        except _NO_ANSWER as error:
            raise SweepRefused(
                f"The Airflow at {self._url} does not say which installation it is ({error}). Nothing was "
                "looked at or stopped. Check the token or login, and that its API server has this plugin."
            ) from error
        if installation not in {None, found.name}:
            raise SweepRefused(
                f"The Airflow at {self._url} is installation {found.name!r}, --installation is "
                f"{installation!r}: this Airflow does not know its tasks. Nothing was looked at or stopped."
            )
        return found

    def state_of(self, identity: RunIdentity) -> str | None:
        """The task's state; `NO_SUCH_TASK` if Airflow says that there is none."""
        dag, run, task = (
            quote(part, safe="") for part in (identity.dag_id, identity.run_id, identity.task_id)
        )
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}"
        if identity.map_index >= 0:
            path += f"/{identity.map_index}"
        try:
            state: str | None = self._call("GET", path)["state"]
        except urllib.error.HTTPError as error:
            if error.code == _NOT_FOUND and _says_no_such_task(error):
                return NO_SUCH_TASK
            raise
        return state

    def _log_in(self) -> str:
        body = {name: os.environ.get(f"AIRFLOW_{name.upper()}", "") for name in ("username", "password")}
        return str(self._call("POST", "/auth/token", body)["access_token"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if body is None and path != "/api/v2/version":
            self._token = self._token or self._log_in()
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked in main
            self._url + path,
            method=method,
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)


def _says_no_such_task(error: urllib.error.HTTPError) -> bool:
    """Whether a 404 is Airflow's answer about the task, not a proxy's or another route's."""
    try:
        detail = json.load(error)["detail"]
    except _NO_ANSWER:
        return False
    return isinstance(detail, str) and _NO_SUCH_TASK.match(detail) is not None
