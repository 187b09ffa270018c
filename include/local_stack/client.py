"""Plain calls to Airflow's public REST API, with a login."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from include.local_stack.errors import AirflowApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]

#: SQLite has one writer. A second one may be refused, and nothing is written.
DATABASE_BUSY_RETRIES = 5


def _is_database_busy(response: httpx.Response) -> bool:
    """Whether Airflow answers that SQLite is busy: a plain 500, or a 503 for a backfill."""
    return response.is_server_error and any(
        words in response.text for words in ("Database error", "Database is locked")
    )


class AirflowClient:
    """Calls Airflow's REST API, and logs in when that is needed. Answers are the JSON of the API.

    Args:
        url: the address of the api-server, without a path.
        username, password: of the simple auth manager.
    """

    def __init__(self, url: str, username: str, password: str, *, timeout_seconds: float = 90.0) -> None:
        self._login = {"username": username, "password": password}
        # trust_env: do not use a proxy for a server on this machine.
        self._client = httpx.Client(base_url=url, timeout=timeout_seconds, trust_env=False)

    def close(self) -> None:
        self._client.close()

    @property
    def is_logged_in(self) -> bool:
        return "Authorization" in self._client.headers

    def login(self) -> str:
        """Get a token for this user and use it from now on."""
        response = self._client.post("/auth/token", json=self._login)
        self._raise_for_status(response)
        token = str(response.json()["access_token"])
        self._client.headers["Authorization"] = f"Bearer {token}"
        return token

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Call `/api/v2/<path>` and return its JSON.

        Raises:
            AirflowApiError: for any answer of 400 and above, with the detail of the API.
        """
        response = self._send(method, f"/api/v2/{path}", params, body, headers)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self.login()
            response = self._send(method, f"/api/v2/{path}", params, body, headers)
        for _ in range(DATABASE_BUSY_RETRIES):
            if not _is_database_busy(response):
                break
            time.sleep(0.5)
            response = self._send(method, f"/api/v2/{path}", params, body, headers)
        self._raise_for_status(response)
        return response.json() if response.content else None

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        call = partial(
            self._client.request, method, path, params=given, json=body, headers=dict(headers or {})
        )
        try:
            return call()
        except (httpx.RemoteProtocolError, httpx.ReadError):
            # The server closes a connection after an error of its own, and this call still met the old one.
            if method != "GET":
                raise
            return call()

    @staticmethod
    def _raise_for_status(response: httpx.Response) -> None:
        if response.status_code < httpx.codes.BAD_REQUEST:
            return
        try:
            detail = json.dumps(response.json().get("detail", response.json()))
        except (ValueError, AttributeError):
            detail = response.text[:2000]
        request = response.request
        raise AirflowApiError(
            f"{request.method} {request.url.path}: {response.status_code} {response.reason_phrase}: {detail}",
            response.status_code,
        )

    def warm_up(self) -> None:
        """Let the api-server build the API for tasks, so that the first task does not wait for it."""
        self._raise_for_status(self._client.get("/execution/health"))

    def get_health(self) -> Json:
        """The state of each component, from /monitor/health. Needs no login."""
        response = self._client.get("/api/v2/monitor/health")
        self._raise_for_status(response)
        health: Json = response.json()
        return health
