"""Gauges of what a process waits for, in Airflow's metrics: sent every `GAUGE_SECONDS`, if metrics are on."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spot_training import metrics

from .periodic import NEVER, NOW, Failing, PeriodicTask

if TYPE_CHECKING:
    from .connection import Connection


@dataclass(frozen=True, slots=True)
class Load:
    """What a watcher waits for: jobs, those of them that wait for instances, and how late it saw changes."""

    jobs: int = 0
    waiting: int = 0
    lag_seconds: float = 0.0


class LoadGauges:
    """The load of all watchers of a process, as one: a process has one for each access to AWS."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._sent_at = NOW

    def send(self, loads: Callable[[], Iterable[Load]], *, at_once: bool = False) -> None:
        """Send them, unless that was done just now."""
        now = self._monotonic()
        if not at_once and now - self._sent_at < metrics.GAUGE_SECONDS / 2:
            return
        self._sent_at = now
        found, here = list(loads()), {"hostname": socket.gethostname()}
        metrics.WATCHED_JOBS.set(sum(load.jobs for load in found), **here)
        metrics.WAITING_JOBS.set(sum(load.waiting for load in found), **here)
        metrics.WATCHER_LAG.set(round(max((load.lag_seconds for load in found), default=0.0), 3), **here)


class SendGauges(PeriodicTask):
    """A watcher's turn to send the gauges."""

    def __init__(self, client: Connection, send: Callable[[], None], monotonic: Callable[[], float]) -> None:
        super().__init__(client, monotonic=monotonic)
        self._send = send
        self._at = NOW

    def due_at(self) -> float:
        return self._at if metrics.are_on() else NEVER

    def do(self) -> None:
        self._at = self._monotonic() + metrics.GAUGE_SECONDS
        self._send()

    def report_trouble(self, failing: Failing, error: Exception) -> None:
        """Nothing: no job depends on it."""


@dataclass(frozen=True, slots=True)
class Age:
    """How old the newest checkpoint of a task's job is."""

    dag_id: str
    task_id: str
    seconds: float


class AgeGauges:
    """The age of the newest checkpoint: for each task that of its job which has waited longest for one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._at = NOW
        self._sent: set[tuple[str, str]] = set()

    def seconds_left(self) -> float | None:
        """Until they are due; None if metrics are off."""
        return max(0.0, self._at - self._monotonic()) if metrics.are_on() else None

    def send(self, ages: Callable[[], Iterable[Age]], *, at_once: bool = False) -> None:
        """Send those that are due: 0 for a task that no job runs for any longer."""
        left = self.seconds_left()
        if left is None or (left and not at_once):
            return
        self._at = self._monotonic() + metrics.GAUGE_SECONDS
        longest = dict.fromkeys(self._sent, 0.0)
        self._sent = set()
        for age in ages():
            task = (age.dag_id, age.task_id)
            self._sent.add(task)
            longest[task] = max(longest.get(task, 0.0), age.seconds)
        for (dag_id, task_id), seconds in longest.items():
            metrics.CHECKPOINT_AGE.set(round(seconds, 3), dag_id=dag_id, task_id=task_id)
