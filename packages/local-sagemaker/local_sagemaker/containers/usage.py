"""The machine's resources that the processes of a container use, as CloudWatch metrics."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import psutil

from local_sagemaker.services.metrics import put_metrics

from .processes import processes_of
from .written import walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from local_sagemaker.jobs.job import TrainingJob

_SIMULATED_SECONDS_PER_POINT = 60.0
#: However fast the clock runs: measuring takes time.
_LEAST_REAL_SECONDS_PER_POINT = 0.5
_GB = 1024**3


class InstanceMetrics:
    """Measures the processes of one container, once per simulated minute at most."""

    def __init__(
        self, job: TrainingJob, host: str, folder: Path, *, speed: float, now: Callable[[], datetime]
    ) -> None:
        self._region = job.region
        self._host = f"{job.name}/{host}"
        self._folder = folder
        self._volume_bytes = int(job.resources.get("VolumeSizeInGB") or 30) * _GB
        self._period = max(_LEAST_REAL_SECONDS_PER_POINT, _SIMULATED_SECONDS_PER_POINT / speed)
        self._now = now
        self._measured_at = time.monotonic()
        self._cpu_seconds = 0.0

    def measure(self, pid: int) -> None:
        """Put a data point for the process `pid` and its children, if one is due."""
        elapsed = time.monotonic() - self._measured_at
        if elapsed < self._period:
            return
        cpu_seconds, resident_bytes = _usage(processes_of(pid))
        percents = {
            # Of one core: two busy cores are 200, as on AWS.
            "CPUUtilization": max(0.0, cpu_seconds - self._cpu_seconds) / elapsed * 100,
            "MemoryUtilization": resident_bytes / psutil.virtual_memory().total * 100,
            "DiskUtilization": _size_of(self._folder) / self._volume_bytes * 100,
        }
        self._measured_at = time.monotonic()
        self._cpu_seconds = cpu_seconds
        put_metrics(("Host", self._host), percents, self._now(), unit="Percent", region=self._region)


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
    for entry in walk(folder):
        with contextlib.suppress(OSError):
            total += 0 if entry.is_dir(follow_symlinks=False) else entry.stat(follow_symlinks=False).st_size
    return total
