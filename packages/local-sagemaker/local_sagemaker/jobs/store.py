"""The training jobs by name and by creation, and their tags."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .job import TrainingJob


class Store:
    """All jobs by name, in the order of creation, and the tags by ARN. Guarded by the engine's lock."""

    def __init__(self) -> None:
        self._jobs: dict[str, TrainingJob] = {}
        self._by_creation: list[tuple[float, str]] = []
        self._tags: dict[str, dict[str, str]] = {}
        self._names_by_arn: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._jobs

    def get(self, name: str) -> TrainingJob | None:
        return self._jobs.get(name)

    def find_by_arn(self, arn: str) -> TrainingJob | None:
        return self._jobs.get(self._names_by_arn.get(arn, ""))

    def put(self, job: TrainingJob) -> None:
        if job.name not in self._jobs:
            bisect.insort(self._by_creation, (job.created_at.timestamp(), job.name))
            self._names_by_arn[job.arn] = job.name
        self._jobs[job.name] = job

    def remove(self, name: str) -> None:
        job = self._jobs.pop(name)
        del self._by_creation[bisect.bisect_left(self._by_creation, (job.created_at.timestamp(), name))]
        self._names_by_arn.pop(job.arn, None)
        self._tags.pop(job.arn, None)

    def jobs(self) -> Iterable[TrainingJob]:
        """All jobs, oldest first."""
        return self._jobs.values()

    def jobs_by_creation(
        self, *, after: tuple[float, str] | None = None, is_descending: bool = False
    ) -> Iterator[TrainingJob]:
        """Jobs by (epoch seconds of creation, name), from the first beyond `after` on."""
        order = self._by_creation
        if is_descending:
            end = len(order) if after is None else bisect.bisect_left(order, after)
            return (self._jobs[order[at][1]] for at in range(end - 1, -1, -1))
        start = 0 if after is None else bisect.bisect_right(order, after)
        return (self._jobs[order[at][1]] for at in range(start, len(order)))

    def tags(self, arn: str) -> dict[str, str]:
        return self._tags.setdefault(arn, {})

    def clear(self) -> None:
        self._jobs.clear()
        self._by_creation.clear()
        self._tags.clear()
        self._names_by_arn.clear()
