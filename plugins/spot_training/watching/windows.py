"""Which part of the list of jobs to read next: what was modified since the last look, in AWS's time.

AWS may report a change late, so what changed shortly before the last look is read again, and from time to
time what changed well before it. Pure: every moment is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: What changed shortly before the last look is listed again, ...
OVERLAP = timedelta(seconds=30)
#: ... less of it while looks follow each other quickly, until the first one after them, ...
FLOOD_OVERLAP = timedelta(seconds=3)
#: ... and from time to time what changed well before it.
LONG_OVERLAP = timedelta(minutes=10)
LONG_OVERLAP_EVERY_SECONDS = 300.0


@dataclass(slots=True)
class Windows:
    """What changed at or after `listed_until` has not been listed; `sure_until`: with the whole overlap."""

    listed_until: datetime | None = None
    sure_until: datetime | None = None
    long_look_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self.listed_until is not None

    def open(self, moment: datetime) -> None:
        """Nothing before `moment` is of interest: jobs are described, or looked up, from now on."""
        self.listed_until = self.sure_until = moment

    def since(self, now: float, *, is_flood: bool = False) -> datetime:
        """From when on to list, at `now` of the monotonic clock."""
        assert self.listed_until is not None  # noqa: S101 - opened first
        assert self.sure_until is not None  # noqa: S101
        if is_flood:
            return self.listed_until - FLOOD_OVERLAP
        if self.long_look_at is None:
            self.long_look_at = now + LONG_OVERLAP_EVERY_SECONDS
        return self.sure_until - (LONG_OVERLAP if now >= self.long_look_at else OVERLAP)

    def done(self, until: datetime, now: float, *, is_flood: bool = False) -> None:
        """What `since` said was listed; it began at `until`, AWS's time."""
        self.listed_until = until
        if is_flood:
            return
        self.sure_until = until
        if self.long_look_at is not None and now >= self.long_look_at:
            self.long_look_at = now + LONG_OVERLAP_EVERY_SECONDS
