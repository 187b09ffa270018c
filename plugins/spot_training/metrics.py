"""What the package counts in Airflow's metrics: each metric is a value of this module.

    metrics.FALLBACKS.add(dag_id="retrain", task_id="train")

`compat.metrics_backend` finds Airflow's `Stats`. If metrics are off, or Airflow is not loaded, nothing
happens. A metric never raises, and only the first one of a process can wait, `FIRST_SECONDS` at most: Airflow
looks up the host of the StatsD server then.

Names and tags follow Airflow's: `spot_training.attempts` with the tags `dag_id`, `task_id`, ... Tags have few
values, so there is none for a run or a job. A StatsD server without tags would lose them. There, as Airflow
does, the values are also part of a second name, in the order of the tags, with `__` for a dot:
`spot_training.attempts.retrain.train.spot.completed`.

`scripts/docs generate` makes the table of `docs/reference/metrics.md` from this module.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .process import within

log = logging.getLogger(__name__)

PREFIX = "spot_training"
#: How long the first metric of a process may take.
FIRST_SECONDS = 2.0
#: How often a process sends its gauges.
GAUGE_SECONDS = 15.0
#: What StatsD and OpenTelemetry take in names and in values of tags.
_INVALID = re.compile(r"[^A-Za-z0-9_./-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Airflow's `Stats`. `names_have_tags`: tags would be lost, and are part of a second name."""

    stats: Any
    names_have_tags: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its name without the prefix, its tags, its unit, who sends it, and what it says."""

    kind: ClassVar[str]
    name: str
    tags: tuple[str, ...]
    unit: str
    sender: str
    about: str

    @property
    def full_name(self) -> str:
        return f"{PREFIX}.{self.name}"

    def _send(self, method: str, value: float, tags: dict[str, object]) -> None:
        """Raises nothing: a training matters more than its metrics."""
        backend = _backend()
        if backend is None:
            return
        try:
            values = {name: _INVALID.sub("_", str(tags[name])) for name in self.tags}
            send = getattr(backend.stats, method)
            send(self.full_name, value, tags=values)
            if backend.names_have_tags and values:
                send(".".join((self.full_name, *(v.replace(".", "__") for v in values.values()))), value)
        except Exception as error:
            log.debug("The metric %s could not be sent", self.full_name, exc_info=error)


class Counter(Metric):
    """Only grows."""

    kind = "counter"

    def add(self, amount: float | None = 1, /, **tags: object) -> None:
        """Nothing for an amount that is not known."""
        if amount:
            self._send("incr", amount, tags)

    def begin(self, **tags: object) -> None:
        """Send a 0, some time before the first amount: Prometheus sees an increase only after that."""
        self._send("incr", 0, tags)


class Gauge(Metric):
    """What is true now."""

    kind = "gauge"

    def set(self, value: float, /, **tags: object) -> None:
        self._send("gauge", value, tags)


class Timer(Metric):
    """How long things took. Sent in milliseconds, as Airflow's own timers."""

    kind = "timer"

    def took(self, seconds: float | None, /, **tags: object) -> None:
        """Nothing for a time that is not known."""
        if seconds is not None:
            self._send("timing", seconds * 1000, tags)


# The process's backend --------------------------------------------------------------------------------

#: The process that has looked for its backend, and what it found. Without a lock: a signal handler may send
#: a metric, too, and two threads that look at the same time find the same.
_found: tuple[int, Backend | None] | None = None


def are_on() -> bool:
    """Whether this process sends metrics: to spare what only metrics need."""
    return _backend() is not None


def _backend() -> Backend | None:
    found = _found
    return found[1] if found is not None and found[0] == os.getpid() else _find_backend()


def _find_backend() -> Backend | None:
    if "airflow" not in sys.modules:
        return None  # a command that needs no Airflow; a later call may come after its import
    keep(None)  # until it is known; also if looking for it leads here again
    keep(_ask_for_backend())
    return _backend()


def _ask_for_backend() -> Backend | None:
    try:
        from .compat import metrics_backend

        return within(FIRST_SECONDS, lambda: _connected(metrics_backend))
    except Exception as error:  # noqa: BLE001
        log.warning("No metrics are sent: %s", error)
        return None


def _connected(find: Callable[[], tuple[Any, bool] | None]) -> Backend | None:
    found = find()
    if found is None:
        return None
    stats, names_have_tags = found
    stats.timer()  # sends nothing; Airflow makes its client now
    return Backend(stats=stats, names_have_tags=names_have_tags)


def keep(backend: Backend | None) -> None:
    """Use this backend in this process from now on."""
    global _found  # noqa: PLW0603 - one tuple, replaced as a whole
    _found = (os.getpid(), backend)


# The metrics ------------------------------------------------------------------------------------------

_TASK = ("dag_id", "task_id")
_BOUGHT = (*_TASK, "purchase")
_OF_TASK, _OF_TRIGGERER, _OF_SWEEPER, _OF_ALL = "task", "triggerer", "sweeper", "all"

ATTEMPTS = Counter(
    "attempts",
    (*_BOUGHT, "ending"),
    "attempts",
    _OF_TASK,
    "Training jobs that are over, or refused",
)
WAIT_DURATION = Timer("wait_duration", _BOUGHT, "ms", _OF_TASK, "How long an attempt waited for instances")
TRAINING_DURATION = Timer("training_duration", _BOUGHT, "ms", _OF_TASK, "How long an attempt held instances")
BILLED_SECONDS = Counter(
    "billed_seconds", _BOUGHT, "instance-seconds", _OF_TASK, "What attempts and scouts are billed"
)
BILLED_USD = Counter(
    "billed_usd",
    _BOUGHT,
    "US dollars",
    _OF_TASK,
    "The same in dollars; nothing for an instance type without a known price",
)
INTERRUPTIONS = Counter("interruptions", _TASK, "interruptions", _OF_TASK, "Spot interruptions of attempts")
FALLBACKS = Counter("fallbacks", _TASK, "jobs", _OF_TASK, "On-demand jobs after a spot attempt")
SCOUTS = Counter("scouts", (*_TASK, "ending"), "scouts", _OF_TASK, "Scouts that are over, or refused")
MOVES = Counter("moves", _TASK, "moves", _OF_TASK, "Waiting jobs left for another type that has capacity")
HAND_OVERS = Counter("hand_overs", _TASK, "hand-overs", _OF_TASK, "On-demand jobs left for spot")
UPLOADS_STALLED = Counter(
    "uploads_stalled", _TASK, "stalls", _OF_TASK, "Running jobs with no new checkpoint for far too long"
)
TRAININGS = Counter(
    "trainings", (*_TASK, "state"), "trainings", _OF_TASK, "Trainings that are over: `completed` or `failed`"
)
DEADLINES_MISSED = Counter(
    "deadlines_missed", _TASK, "trainings", _OF_TASK, "Trainings that were not complete at their deadline"
)
SAVED_USD = Counter(
    "saved_usd", _TASK, "US dollars", _OF_TASK, "Saved against a clean on-demand run, by trainings that saved"
)
LOST_USD = Counter(
    "lost_usd", _TASK, "US dollars", _OF_TASK, "Lost by the others. Net savings are `saved_usd` - `lost_usd`"
)
CHECKPOINT_AGE = Gauge(
    "checkpoint_age",
    _TASK,
    "seconds",
    "waiting process",
    "Work of a running job that no checkpoint holds; the longest of the task's jobs, 0 once none runs",
)
FAILED_STOPS = Counter(
    "failed_stops", ("reason",), "stops", _OF_ALL, "Stops that AWS did not take: the job is still billed"
)
AWS_CALLS = Counter(
    "aws_calls", ("service", "operation"), "calls", _OF_ALL, "Calls to AWS, each retry of botocore too"
)
AWS_THROTTLES = Counter(
    "aws_throttles", ("service", "operation"), "calls", _OF_ALL, "Of these, those that AWS throttled"
)
WATCHED_JOBS = Gauge("watched_jobs", ("hostname",), "jobs", _OF_TRIGGERER, "Jobs that the process waits for")
WAITING_JOBS = Gauge(
    "waiting_jobs", ("hostname",), "jobs", _OF_TRIGGERER, "Of these, those that wait for instances"
)
WATCHER_LAG = Gauge(
    "watcher_lag",
    ("hostname",),
    "seconds",
    _OF_TRIGGERER,
    "How late the watcher saw a change of a job, or how long AWS has not answered it; the longest since "
    "the value before",
)
ORPHANS = Counter(
    "orphans",
    ("outcome",),
    "jobs",
    _OF_SWEEPER,
    "Orphans that a sweep found, `stopped` or `left`; one that is left counts again at the next sweep",
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
