"""CloudWatch metrics of script jobs, straight into moto's CloudWatch, with simulated time.

Algorithm metrics: the regexes of MetricDefinitions over each line of the log (dimension TrainingJobName).
Instance metrics: what the processes of a container really use (dimension Host=`<job>/<host>`).

Choices, where AWS's behaviour is unknown: a regex that does not compile, or is too slow on a line, is left
out with a warning in the server's log and the job goes on; the value is the first group.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import regex  # type: ignore[import-untyped]  # unlike re: has a limit of time, and lets others work meanwhile

from .checkpoints import processes_of
from .store import ACCOUNT, REGION, FinalMetric, TrainingJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

NAMESPACE = "/aws/sagemaker/TrainingJobs"
_MATCH_LIMIT_SECONDS = 0.5
_SIMULATED_SECONDS_PER_POINT = 60.0
#: However fast the clock runs, looking at the processes costs something.
_LEAST_REAL_SECONDS_PER_POINT = 0.5
_GB = 1024**3

_lock = threading.Lock()


def put_metrics(dimension: tuple[str, str], values: dict[str, float], at: datetime, *, unit: str) -> None:
    """Put points of one instant into CloudWatch."""
    from moto.cloudwatch.models import cloudwatch_backends

    data = [
        {
            "MetricName": name,
            "Value": value,
            "Unit": unit,
            "Timestamp": at.astimezone(UTC).replace(tzinfo=None),
            "Dimensions": [{"Name": dimension[0], "Value": dimension[1]}],
        }
        for name, value in values.items()
    ]
    with _lock:
        cloudwatch_backends[ACCOUNT][REGION].put_metric_data(NAMESPACE, data)


class AlgorithmMetrics:
    """Reads a job's log; used from one thread per container."""

    def __init__(self, job: TrainingJob, now: Callable[[], datetime]) -> None:
        self._job = job
        self._now = now
        self._regexes = dict(_compiled(job))

    def read(self, line: str) -> None:
        """Put every metric a line of the log has, and keep it as the last one."""
        for name, pattern in list(self._regexes.items()):
            value = self._value(name, pattern, line)
            if value is not None:
                at = self._now()
                self._job.final_metrics[name] = FinalMetric(value=value, at=at)
                put_metrics(("TrainingJobName", self._job.name), {name: value}, at, unit="None")

    def _value(self, name: str, pattern: Any, line: str) -> float | None:
        try:
            found = pattern.search(line, timeout=_MATCH_LIMIT_SECONDS, concurrent=True)
            value = float(found[1]) if found else math.nan
        except TimeoutError:
            self._regexes.pop(name, None)
            log.warning("%s: the regex of the metric %s is too slow and left out", self._job.name, name)
            return None
        except (IndexError, TypeError, ValueError):
            return None
        return value if math.isfinite(value) else None


def _compiled(job: TrainingJob) -> Iterable[tuple[str, Any]]:
    definitions = (job.request.get("AlgorithmSpecification") or {}).get("MetricDefinitions") or ()
    for definition in definitions:
        try:
            yield definition["Name"], regex.compile(definition["Regex"])
        except regex.error as exc:
            log.warning(
                "%s: the regex of the metric %s is left out: %s (%r)",
                job.name,
                definition["Name"],
                exc,
                definition["Regex"],
            )


class InstanceMetrics:
    """Looks at the processes of one container, once a simulated minute at most."""

    def __init__(
        self, job: TrainingJob, host: str, folder: Path, *, speed: float, now: Callable[[], datetime]
    ) -> None:
        self._host = f"{job.name}/{host}"
        self._folder = folder
        self._volume_bytes = int(job.resources.get("VolumeSizeInGB") or 30) * _GB
        self._period = max(_LEAST_REAL_SECONDS_PER_POINT, _SIMULATED_SECONDS_PER_POINT / speed)
        self._now = now
        self._looked_at = time.monotonic()
        self._cpu_seconds = 0.0

    def look(self, pid: int) -> None:
        """Put a point for the processes below `pid`, if it is time for one."""
        elapsed = time.monotonic() - self._looked_at
        if elapsed < self._period:
            return
        cpu_seconds, resident_bytes = _usage(processes_of(pid))
        percents = {
            # Of one core: two busy cores are 200, as on AWS.
            "CPUUtilization": max(0.0, cpu_seconds - self._cpu_seconds) / elapsed * 100,
            "MemoryUtilization": resident_bytes / psutil.virtual_memory().total * 100,
            "DiskUtilization": _size_of(self._folder) / self._volume_bytes * 100,
        }
        self._looked_at = time.monotonic()
        self._cpu_seconds = cpu_seconds
        put_metrics(("Host", self._host), percents, self._now(), unit="Percent")


def _usage(processes: list[psutil.Process]) -> tuple[float, int]:
    """CPU seconds so far and bytes of memory, of all processes together."""
    cpu_seconds, resident_bytes = 0.0, 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            cpu_seconds += times.user + times.system + times.children_user + times.children_system
            resident_bytes += process.memory_info().rss
    return cpu_seconds, resident_bytes


def _size_of(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return total
