"""AWS's time, from its answers.

A deadline is measured on AWS's clock: the machine's own may be off by minutes, and the local SageMaker's runs
faster. Every answer, errors too, carries `Date`; the local SageMaker adds `x-clock-speed`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

DATE = "date"
SPEED = "x-clock-speed"


@dataclass(frozen=True, slots=True)
class _Reading:
    moment: datetime
    taken_at: float
    speed: float


class ServiceClock:
    """AWS's time to the second: the newest answer's `Date`, plus the time since on the monotonic clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._reading: _Reading | None = None

    def listen_to(self, client: Any) -> None:
        """Read the time from every answer to this boto3 client."""
        client.meta.events.register("after-call", self._read, unique_id=f"spot-training-clock-{id(self)}")

    @property
    def is_set(self) -> bool:
        return self._reading is not None

    def now(self) -> datetime:
        """AWS's time, aware UTC; the machine's own before the first answer."""
        reading = self._reading
        if reading is None:
            return datetime.now(UTC)
        return reading.moment + timedelta(seconds=(self._monotonic() - reading.taken_at) * reading.speed)

    def real_seconds(self, seconds: float) -> float:
        """How long `seconds` of AWS's time take here."""
        return seconds / (self._reading.speed if self._reading else 1.0)

    def _read(self, http_response: Any, **_: Any) -> None:
        headers = getattr(http_response, "headers", {})
        try:
            moment = parsedate_to_datetime(headers[DATE])
            speed = float(headers.get(SPEED, 1.0))
        except (KeyError, TypeError, ValueError):
            return
        self._reading = _Reading(moment.astimezone(UTC), self._monotonic(), max(speed, 1e-6))
