"""Where a hand-over from one job of a training to the next can be cut off: at each write and each call.

A process of the task passes these points in this order, some of them twice:

    scout-intent   the scout is written down, and then created
    scout-created  the scout exists, and the state says so
    found          a scout runs: the state has the type with capacity
    stop-job       the reason is written on the training's job (`tagged-`), and then StopTrainingJob is called
    stop-scout     the same for each scout
    scout-record   a scout is over: its bill is in the state
    job-record     the training's job is over
    next-intent    the next job is written down, and then created
    next-created   the next job exists, and the state says so

`before-` and `after-` are that of the write or of the stop. What is between `after-scout-intent` and
`before-scout-created` is the call to create the scout, and likewise for the next job.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

WRITES = (
    "scout-intent",
    "scout-created",
    "found",
    "scout-record",
    "job-record",
    "next-intent",
    "next-created",
)
STOPS = ("stop-job", "stop-scout")
POINTS = (
    *(f"{side}-{write}" for write in WRITES for side in ("before", "after")),
    *(f"{side}-{stop}" for stop in STOPS for side in ("before", "tagged", "after")),
)
#: Why a job is stopped so that the next one can continue its training, and how it ends then.
REASONS = frozenset({"move", "back-to-spot"})
ENDINGS = frozenset({"moved to another type", "left for spot"})
SCOUT_DONE = "scout-done"


def arm(pass_point: Callable[[str], None], *, scout_seconds: int) -> None:
    """Put the points into this process's copy of the code, and let scouts run for so long, on AWS's clock.

    A hand-over takes AWS minutes, and Airflow seconds. On a clock that runs 600 times faster, scouts have to
    last longer, or they are over before a process of the task can look at them.
    """
    for module in ("domain.scouting", "domain.back_to_spot", "sagemaker.scouts"):
        vars(importlib.import_module(f"spot_training.{module}"))["RUN_SECONDS"] = scout_seconds
    _arm_writes(pass_point)
    _arm_stops(pass_point)


def _arm_writes(pass_point: Callable[[str], None]) -> None:
    active: Any = importlib.import_module("spot_training.training.active").ActiveTraining
    save = active.save

    def save_at_points(self: Any, state: Any) -> None:
        written = tuple(_written(self._stored, state))
        for write in written:
            pass_point(f"before-{write}")
        save(self, state)
        for write in written:
            pass_point(f"after-{write}")

    active.save = save_at_points


def _written(before: Any, after: Any) -> Iterator[str]:
    """What of a hand-over a new state says that the one before did not."""
    known = {scout.job_name: scout.is_created for scout in before.scouts}
    for scout in after.scouts:
        if scout.job_name not in known:
            yield "scout-intent"
        elif scout.is_created and not known[scout.job_name]:
            yield "scout-created"
    if after.next_type and not before.next_type:
        yield "found"
    if len(after.scouts_over) > len(before.scouts_over):
        yield "scout-record"
    if not (after.attempts and after.attempts[-1].ending in ENDINGS):
        return
    if len(after.attempts) > len(before.attempts):
        yield "job-record"
    if after.current is not None and before.current is None:
        yield "next-intent"
    elif after.current is not None and after.current.is_created and not before.current.is_created:
        yield "next-created"


def _arm_stops(pass_point: Callable[[str], None]) -> None:
    jobs: Any = importlib.import_module("spot_training.sagemaker.jobs").TrainingJobs
    stop, call_stop = jobs.stop, jobs._stop
    of_thread = threading.local()

    def stop_at_points(self: Any, name: str, why: Any, **kwargs: Any) -> bool:
        what = "stop-job" if why in REASONS else "stop-scout" if why == SCOUT_DONE else None
        if what is None:
            return bool(stop(self, name, why, **kwargs))
        pass_point(f"before-{what}")
        of_thread.what = what
        try:
            is_stopped = bool(stop(self, name, why, **kwargs))
        finally:
            of_thread.what = None
        pass_point(f"after-{what}")
        return is_stopped

    def call_stop_at_point(self: Any, name: str) -> bool:
        if what := getattr(of_thread, "what", None):
            pass_point(f"tagged-{what}")
        return bool(call_stop(self, name))

    jobs.stop, jobs._stop = stop_at_points, call_stop_at_point
