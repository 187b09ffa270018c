"""The whole local cloud in one process: makes its parts, starts them and stops them."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from local_sagemaker.api.faults import Faults
from local_sagemaker.api.protocol import SageMakerProtocol
from local_sagemaker.containers.context import ContainerContext
from local_sagemaker.containers.images import Images, load_images
from local_sagemaker.containers.inputs import check_inputs
from local_sagemaker.containers.observer import ContainerObserver, NoObserver
from local_sagemaker.containers.script import ScriptWork
from local_sagemaker.containers.simulated import SimulatedWork
from local_sagemaker.containers.written import remove
from local_sagemaker.control import Control
from local_sagemaker.http import moto_bridge
from local_sagemaker.http.access import Access
from local_sagemaker.http.moto_bridge import WsgiApp
from local_sagemaker.http.request import BadRequestError
from local_sagemaker.http.server import SPEED_HEADER, HttpServer
from local_sagemaker.jobs.engine import Engine
from local_sagemaker.jobs.store import Store
from local_sagemaker.jobs.work import Site, Work, work_seconds
from local_sagemaker.market import Market, MarketSpec
from local_sagemaker.services.events import StateChangeEvents
from local_sagemaker.services.logs import MotoLogs
from local_sagemaker.services.objects import MotoObjects

from .account import REGION
from .clock import Clock, FixedSpeedError, SimulatedClock

if TYPE_CHECKING:
    from local_sagemaker.jobs.job import TrainingJob

# Three of these are the HTTP server's, and were defined here before.
__all__ = [
    "PRIVATE_MOUNTS_VARIABLE",
    "SPEED_HEADER",
    "BadRequestError",
    "LocalSageMaker",
    "WsgiApp",
    "is_loopback",
    "log_transition",
    "make_root",
]

log = logging.getLogger(__name__)

#: Set to 0, script jobs run without private mounts even where the system allows them.
PRIVATE_MOUNTS_VARIABLE = "LOCAL_SAGEMAKER_PRIVATE_MOUNTS"

_ROOT_PREFIX = "local-sagemaker-"
#: `--host` values that are no name of the server.
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104


class LocalSageMaker:
    """The whole local cloud. `start` it, use `url`, `close` it.

    It answers to loopback names, `host` and `allowed_hosts` (as `access.parse_host_name` returns them). Each
    of the `other_regions` has its own training jobs, market and services; S3 has one namespace for all, and
    `/_local/` is about us-east-1. A job with a channel that has no objects is refused
    (`refuses_missing_inputs`), or fails while it downloads. With `allows_stand_ins`, moto answers operations
    that claim work was done.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        allowed_hosts: Sequence[str] = (),
        clock: Clock | None = None,
        market: MarketSpec | None = None,
        images: Images | None = None,
        observer: ContainerObserver | None = None,
        marks_uploads: Callable[[str], bool] = lambda job_name: True,  # noqa: ARG005
        other_regions: Sequence[str] = (),
        refuses_missing_inputs: bool = True,
        allows_stand_ins: bool = False,
    ) -> None:
        self._clock = clock or SimulatedClock()
        self._http = HttpServer((host, port))
        self._root = make_root()
        self.url = f"http://{'127.0.0.1' if host in _WILDCARDS else host}:{self._http.server_address[1]}"
        self._objects = MotoObjects(self._clock.now)
        context = ContainerContext(
            objects=self._objects,
            logs=MotoLogs(self._clock.now, REGION),
            images=images or load_images(),
            now=self._clock.now,
            endpoint_url=self.url,
            root=self._root,
            isolate=False if os.environ.get(PRIVATE_MOUNTS_VARIABLE) == "0" else None,
            observer=observer or NoObserver(),
            marks_uploads=marks_uploads,
        )
        self._contexts = {REGION: context} | {
            name: replace(context, logs=MotoLogs(self._clock.now, name)) for name in other_regions
        }
        self._refuses_missing_inputs = refuses_missing_inputs
        self._events: list[StateChangeEvents] = []
        spec = market or MarketSpec()
        self.engine, *self._elsewhere = (self._make_engine(name, spec) for name in self._contexts)
        faults = Faults()
        self._http.sagemaker, *elsewhere = (
            SageMakerProtocol(engine, faults, allows_stand_ins=allows_stand_ins)
            for engine in (self.engine, *self._elsewhere)
        )
        self._http.elsewhere = {
            engine.region: protocol for engine, protocol in zip(self._elsewhere, elsewhere, strict=True)
        }
        self._http.allows_stand_ins = allows_stand_ins
        self._http.control = Control(
            self.engine, faults, objects=self._objects, forget=self._forget, set_speed=self._set_speed
        )
        self._http.moto = moto_bridge.answer
        own = () if host in _WILDCARDS else (host.lower().removesuffix("."),)
        self._http.access = Access((*own, *allowed_hosts))
        self._http.clock = self._clock

    def _make_engine(self, region: str, spec: MarketSpec) -> Engine:
        store = Store()
        events = StateChangeEvents(store, region)
        self._events.append(events)
        return Engine(
            clock=self._clock,
            market=Market(spec, started_at=self._clock.now()),
            store=store,
            work_for=self._work_for,
            listeners=(log_transition, events.publish),
            region=region,
            check_inputs=partial(check_inputs, self._objects, region)
            if self._refuses_missing_inputs
            else lambda _request: None,
        )

    @property
    def has_private_mounts(self) -> bool:
        """Whether scripts find SageMaker's mounts at /opt/ml. If not, what fails on AWS can succeed here."""
        return self._contexts[REGION].can_isolate

    def start(self) -> None:
        for engine in (self.engine, *self._elsewhere):
            engine.start()
        self._http.start()

    def close(self) -> None:
        """Stop serving, kill the processes of all jobs, and remove their files."""
        self._http.close()
        for engine in (self.engine, *self._elsewhere):
            engine.close()
        for thread in threading.enumerate():
            if thread.name.startswith("job "):
                thread.join(timeout=3)
        remove(self._root)

    def _set_speed(self, speed: float, announced: float | None) -> None:
        """Raises `FixedSpeedError`."""
        if not isinstance(self._clock, SimulatedClock):
            raise FixedSpeedError(f"The clock is a {type(self._clock).__name__}, which has no speed to set.")
        self._clock.set_speed(speed, announced)
        for engine in (self.engine, *self._elsewhere):
            engine.wake()

    def _forget(self) -> None:
        for engine in self._elsewhere:
            engine.reset()
        for events in self._events:
            events.forget()
        moto_bridge.forget_everything()

    def _work_for(self, site: Site, job: TrainingJob) -> Work:
        if work_seconds(job) is not None:
            return SimulatedWork(site, job, self._objects, lambda text: log.warning("%s", text))
        return ScriptWork(site, job, self._contexts[job.region])


def make_root() -> Path:
    """Make a folder for the jobs' files, named after this process, and remove those of killed servers."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_ROOT_PREFIX}[0-9]*-*"):
        owner = folder.name.removeprefix(_ROOT_PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            remove(folder)
    return Path(tempfile.mkdtemp(prefix=f"{_ROOT_PREFIX}{os.getpid()}-"))


def log_transition(job: TrainingJob) -> None:
    """Log one line for each transition and each message of a job."""
    current = job.transitions[-1]
    if job.is_over != (current.ended_at is not None):
        return  # the last transition is saved twice: one line is enough
    log.info(
        "job=%s at=%s status=%s secondary=%s type=%s message=%r%s",
        job.name,
        job.last_modified_at.isoformat(timespec="seconds"),
        job.status,
        current.status,
        job.instance_type,
        current.message,
        f" failure={job.failure_reason!r}" if job.failure_reason else "",
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return all(info[4][0] in ("127.0.0.1", "::1") for info in socket.getaddrinfo(host, None))
    except OSError:
        return False
