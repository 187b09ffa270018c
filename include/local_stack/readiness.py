"""When the processes of a local stack are up."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from include.local_stack.components import API_SERVER, COMPONENTS, LOCAL_SAGEMAKER, Component, kind_of
from include.local_stack.errors import AirflowApiError
from include.local_stack.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from include.local_stack.api import AirflowApi
    from include.local_stack.process import KeptProcess


class Readiness:
    """Asks the api-server and the logs whether the processes are up."""

    def __init__(self, processes: Mapping[str, KeptProcess], api: AirflowApi, sagemaker_url: str) -> None:
        self._processes = processes
        self._api = api
        self._sagemaker_url = sagemaker_url

    def wait_until_up(self, names: Sequence[str], timeout_seconds: float, say: Callable[[str], None]) -> None:
        """Wait for these processes, and say when each is up. Raises `LocalStackError` if one has ended."""
        waiting = list(names)
        started = time.monotonic()

        def look() -> bool:
            for process in self._processes.values():
                if process.name in names:
                    process.check_runs()
            health = self._read_health() if any(map(self._is_seen_in_health, waiting)) else {}
            for name in list(waiting):
                if self._is_up(name, health):
                    waiting.remove(name)
                    say(f"{name} is up ({time.monotonic() - started:.1f} s)")
            return not waiting

        wait_until(
            look,
            f"{', '.join(names)} to be up",
            timeout_seconds=timeout_seconds,
            explain=lambda: "".join(
                f"\n{name} is not up; the last lines of {self._processes[name].log}:\n"
                f"{self._processes[name].read_last_lines()}"
                for name in waiting
            ),
        )

    @staticmethod
    def _is_seen_in_health(name: str) -> bool:
        return name == API_SERVER or (name != LOCAL_SAGEMAKER and bool(COMPONENTS[kind_of(name)].health))

    def _read_health(self) -> dict[str, Any]:
        """Empty while the api-server does not answer. The login fails if another program has its port."""
        with contextlib.suppress(httpx.HTTPError, AirflowApiError):
            if not self._api.is_logged_in:
                self._api.login()
                self._api.warm_up()
            return self._api.get_health()
        return {}

    def _is_up(self, name: str, health: Mapping[str, Any]) -> bool:
        process = self._processes[name]
        if name == LOCAL_SAGEMAKER:
            return f"ready: {self._sagemaker_url}" in process.read_log()
        component = COMPONENTS[kind_of(name)]
        if component.ready_text:
            return component.ready_text in process.read_log()
        if not component.health:
            return bool(health)
        seen = health.get(component.health) or {}
        beat: str | None = seen.get(f"latest_{component.health}_heartbeat")
        # An earlier heartbeat is that of a process that ran before.
        return (
            seen.get("status") == "healthy"
            and beat is not None
            and datetime.fromisoformat(beat).timestamp() >= process.started_at
            and self._have_all_begun(name, component)
        )

    def _have_all_begun(self, name: str, component: Component) -> bool:
        """Whether all processes of this component have started: each has its own job, but one heartbeat."""
        since = self._processes[name].started_at
        several = [each for each in self._processes.values() if kind_of(each.name) == kind_of(name)]
        started = [each for each in several if each.started_at >= since]
        if len(several) == 1 or component.job_type is None:
            return True
        begun = {
            "job_type": component.job_type,
            "start_date_gte": datetime.fromtimestamp(since, UTC).isoformat(),
        }
        with contextlib.suppress(httpx.HTTPError, AirflowApiError):
            return bool(self._api.request("GET", "jobs", params=begun)["total_entries"] >= len(started))
        return False
