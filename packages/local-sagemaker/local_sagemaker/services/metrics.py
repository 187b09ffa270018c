"""CloudWatch metrics of script jobs, put directly into moto's CloudWatch, with simulated time.

Algorithm metrics: the regexes of MetricDefinitions over each line of the log (dimension TrainingJobName).
Instance metrics (`containers.usage`): what the processes of a container really use (dimension
Host=`<job>/<host>`).

Choices, where AWS's behaviour is unknown: a regex that does not compile, or is too slow on a line, is skipped
with a warning in the server's log, and the job continues; the value is the first group.
"""

from __future__ import annotations

import logging
import math
import threading
from datetime import UTC
from typing import TYPE_CHECKING, Any

import regex  # type: ignore[import-untyped]  # unlike re: has a time limit, and releases the interpreter lock

from local_sagemaker.account import ACCOUNT
from local_sagemaker.jobs.job import FinalMetric, TrainingJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

log = logging.getLogger(__name__)

NAMESPACE = "/aws/sagemaker/TrainingJobs"
_MATCH_LIMIT_SECONDS = 0.5
_lock = threading.Lock()


def put_metrics(
    dimension: tuple[str, str], values: dict[str, float], at: datetime, *, unit: str, region: str
) -> None:
    """Put data points of one instant into CloudWatch."""
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
        cloudwatch_backends[ACCOUNT][region].put_metric_data(NAMESPACE, data)


class AlgorithmMetrics:
    """Reads a job's log; used from one thread per container."""

    def __init__(self, job: TrainingJob, now: Callable[[], datetime]) -> None:
        self._job = job
        self._now = now
        self._regexes = dict(_compiled(job))

    def read(self, line: str) -> None:
        """Put every metric in a line of the log, and keep its value as the last one."""
        for name, pattern in list(self._regexes.items()):
            value = self._value(name, pattern, line)
            if value is not None:
                at = self._now()
                self._job.final_metrics[name] = FinalMetric(value=value, at=at)
                put_metrics(
                    ("TrainingJobName", self._job.name),
                    {name: value},
                    at,
                    unit="None",
                    region=self._job.region,
                )

    def _value(self, name: str, pattern: Any, line: str) -> float | None:
        try:
            found = pattern.search(line, timeout=_MATCH_LIMIT_SECONDS, concurrent=True)
            value = float(found[1]) if found else math.nan
        except TimeoutError:
            self._regexes.pop(name, None)
            log.warning("%s: the regex of the metric %s is too slow and is skipped", self._job.name, name)
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
                "%s: the regex of the metric %s is skipped: %s (%r)",
                job.name,
                definition["Name"],
                exc,
                definition["Regex"],
            )
