"""How many calls a second this process makes to AWS while it waits, over all its watchers.

A token bucket for every attempt of a call, botocore's own retries included. When AWS throttles, the rate is
halved; answers let it grow back. It slows calls down and refuses none.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from spot_training.domain.errors import InvalidInput
from spot_training.process import PerProcess
from spot_training.sagemaker.calls import is_throttled

#: AWS publishes no rate for describing and listing training jobs; thirty a second were throttled.
DEFAULT_CALLS_PER_SECOND = 5.0
#: So many calls may come at once after a quiet while.
BURST = 10
#: However hard AWS throttles, a call is made so often: that is how the end of the throttling is noticed.
SLOWEST_CALLS_PER_SECOND = 0.2
#: What one answer gives back of the full rate.
RECOVERY = 0.02
#: Answers to calls that were under way together are one sign of throttling, not many.
SLOW_DOWN_EVERY_SECONDS = 1.0


class RateLimit:
    """Calls per second, shared by threads in the order in which they come. Raises `InvalidInput`."""

    def __init__(
        self,
        calls_per_second: float = DEFAULT_CALLS_PER_SECOND,
        *,
        burst: int = BURST,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < calls_per_second < math.inf:
            raise InvalidInput(
                "[spot_training] calls_per_second", calls_per_second, "give a number of calls above zero."
            )
        self._full_rate = calls_per_second
        self._rate = calls_per_second
        self._burst = burst
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._slowed_down_at = float("-inf")
        self.calls = 0

    @property
    def calls_per_second(self) -> float:
        """The rate now: below the full one while AWS throttles."""
        return self._rate

    def take(self) -> None:
        """Wait until one more call is allowed."""
        with self._lock:
            now = self._monotonic()
            seconds = 1 / self._rate
            # Calls that were not made are kept for a burst, and no more than that.
            slot = max(self._next_at, now - (self._burst - 1) * seconds)
            self._next_at = slot + seconds
            self.calls += 1
        if slot > now:
            self._sleep(slot - now)

    def slow_down(self) -> None:
        """AWS said that it was too fast."""
        with self._lock:
            now = self._monotonic()
            if now - self._slowed_down_at < SLOW_DOWN_EVERY_SECONDS:
                return
            self._slowed_down_at = now
            self._rate = max(self._rate / 2, min(SLOWEST_CALLS_PER_SECOND, self._full_rate))
            self._next_at = max(self._next_at, now + 1 / self._rate)

    def recover(self) -> None:
        """AWS answered."""
        with self._lock:
            self._rate = min(self._full_rate, self._rate + RECOVERY * self._full_rate)

    def govern(self, client: Any) -> None:
        """Delay every attempt of this boto3 client's calls to the rate, which its answers set."""
        self.ration(client)
        client.meta.events.register(
            "response-received", self._response_received, unique_id=f"{self._own_id}-after"
        )

    def ration(self, client: Any) -> None:
        """Only delay its calls: the throttling of another service says nothing about SageMaker's rate."""
        client.meta.events.register("before-send", self._before_send, unique_id=f"{self._own_id}-before")

    @property
    def _own_id(self) -> str:
        return f"spot-training-rate-limit-{id(self)}"

    def _before_send(self, **_: Any) -> None:
        self.take()

    def _response_received(self, parsed_response: Any = None, **_: Any) -> None:
        if is_throttled(parsed_response):
            self.slow_down()
        elif parsed_response is not None:
            self.recover()


_shared: PerProcess[RateLimit] = PerProcess()


def shared_rate_limit(calls_per_second: float = DEFAULT_CALLS_PER_SECOND) -> RateLimit:
    """The process's one rate limit, made with the first rate that is asked for."""
    return _shared.get(lambda: RateLimit(calls_per_second))
