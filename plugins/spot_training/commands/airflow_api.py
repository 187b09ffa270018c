"""Airflow's API for the commands: where it is, who asks, and what its refusals mean."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from spot_training.domain.errors import SpotTrainingError

TIMEOUT_SECONDS = 30.0
_NO_ANSWER = (OSError, http.client.HTTPException)


class ApiFailed(SpotTrainingError, RuntimeError):
    """Airflow did not do what a command asked. `status` is the HTTP status, None without an answer."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def path(self) -> str:
        """Its address in Airflow's API, without the map index."""
        dag, run, task = (quote(name, safe="") for name in (self.dag_id, self.run_id, self.task_id))
        return f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}"

    @property
    def mapped_path(self) -> str:
        return f"{self.path}/{self.map_index}" if self.map_index >= 0 else self.path

    def __str__(self) -> str:
        index = f", map index {self.map_index}" if self.map_index >= 0 else ""
        return f"task {self.task_id} of {self.dag_id} / {self.run_id}{index}"


@dataclass(slots=True, kw_only=True)
class AirflowApi:
    """Airflow's API at an address, with a token, or a user's name and password for one."""

    url: str
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)

    def get(self, path: str, **parameters: Any) -> Any:
        """The answer to a GET. Raises `ApiFailed`."""
        asked = {name: value for name, value in parameters.items() if value is not None}
        return self.call("GET", f"{path}?{urlencode(asked, doseq=True)}" if asked else path)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer as JSON. Raises `ApiFailed`."""
        self.token = self.token or self._log_in()
        return self._send(method, path, body, {"Authorization": f"Bearer {self.token}"})

    def _log_in(self) -> str:
        if not self.username:
            raise ApiFailed(
                "Airflow needs a login: set AIRFLOW_API_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD."
            )
        who = {"username": self.username, "password": self.password}
        try:
            return str(self._send("POST", "/auth/token", who, {})["access_token"])
        except (KeyError, TypeError) as error:
            raise ApiFailed(f"The answer of {self.url}/auth/token has no token.") from error

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked in `api_of`
            self.url + path,
            method=method,
            headers={"Content-Type": "application/json", "Accept": "application/json", **headers},
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._refused(path, error) from error
        except ValueError as error:
            raise ApiFailed(
                f"What {self.url} answers to {path} is not JSON. Check that it is Airflow's address, with "
                "its base path if it has one."
            ) from error
        except _NO_ANSWER as error:
            reason = getattr(error, "reason", error)
            raise ApiFailed(
                f"Airflow at {self.url} cannot be reached: {reason}. Check --airflow-url or AIRFLOW_API_URL."
            ) from error

    def _refused(self, path: str, error: urllib.error.HTTPError) -> ApiFailed:
        said = _detail(error)
        match error.code:
            case 401:
                why = "does not accept the login. Check AIRFLOW_API_TOKEN (it expires), or name and password."
            case 403:
                why = "does not allow this user to do that."
            case 404 if path.startswith("/spot-training/"):
                why = (
                    "does not have it. Check that this is Airflow's address, with its base path, and that "
                    "its API server has this package in this version."
                )
            case 404:
                why = "does not have it."
            case _:
                why = f"answers {error.code}."
        more = f" It says: {said}" if said else ""
        return ApiFailed(f"Airflow at {self.url} {why}{more}", status=error.code)


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        detail = json.load(error)["detail"]
    except (ValueError, KeyError, TypeError, OSError):
        return ""
    return detail if isinstance(detail, str) else json.dumps(detail)


def add_connection(parser: argparse.ArgumentParser) -> None:
    """The options of every command: where Airflow is, and who asks."""
    parser.add_argument("--airflow-url", metavar="URL", help="Airflow's address (default: AIRFLOW_API_URL)")
    parser.add_argument(
        "--token",
        help="a token of its API; other users of this machine can see it (default: AIRFLOW_API_TOKEN)",
    )
    parser.add_argument(
        "--username",
        metavar="NAME",
        help="a user, with the password in AIRFLOW_PASSWORD (default: AIRFLOW_USERNAME)",
    )


def api_of(options: argparse.Namespace) -> AirflowApi:
    """The API that the options and the environment name. Raises `ApiFailed`."""
    url = options.airflow_url or os.environ.get("AIRFLOW_API_URL", "")
    if not url.startswith(("http://", "https://")):
        given = f"Airflow's address is {url!r}" if url else "Airflow's address is not known"
        raise ApiFailed(f"{given}: give an http or https address with --airflow-url or in AIRFLOW_API_URL.")
    token = options.token or ("" if options.username else os.environ.get("AIRFLOW_API_TOKEN", ""))
    return AirflowApi(
        url=url.rstrip("/"),
        token=token,
        username=options.username or os.environ.get("AIRFLOW_USERNAME", ""),
        password=os.environ.get("AIRFLOW_PASSWORD", ""),
    )
