"""One process in which triggers wait, as in a triggerer: `waiting.py` runs it, in two environments.

    python waiting_process.py ours|provider|nobody JOBS [--queue-url URL]

Reads names of jobs, then orders, a line each; answers with lines of JSON that begin with `@`. The triggers
are run as Airflow's TriggerRunner runs them: one asyncio task each, started one after the other. `nobody`
waits for nothing: what stalls its event loop is the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import psutil

TICK_SECONDS = 0.005


class Calls:
    """Every HTTP request this process makes of AWS, by operation; retries count."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def count(self, request: Any) -> None:
        target = request.headers.get("X-Amz-Target", b"")
        name = target.decode() if isinstance(target, bytes) else str(target)
        self.made[name.rpartition(".")[2] or "other"] += 1

    def listen(self) -> None:
        import botocore.httpsession

        session: Any = botocore.httpsession.URLLib3Session
        session.send = self._counting(session.send)
        try:
            import aiobotocore.httpsession
        except ImportError:
            return
        session = aiobotocore.httpsession.AIOHTTPSession
        session.send = self._counting(session.send)

    def _counting(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def counted(session: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            self.count(request)
            return send(session, request, *args, **kwargs)

        return counted


class Ours:
    """`TrainingJobTrigger`."""

    def __init__(self, queue_url: str | None) -> None:
        from spot_training.triggers import TrainingJobTrigger

        self._make = TrainingJobTrigger
        self._queue_url = queue_url
        self._watcher: Any = None

    def trigger(self, name: str) -> Any:
        trigger = self._make(training_job_name=name, aws_conn_id=None, events_queue_url=self._queue_url)
        self._watcher = self._watcher or trigger.access.watcher()
        return trigger

    def is_settled(self, calls: Calls, jobs: int) -> bool:  # noqa: ARG002
        return bool(self._watcher.is_settled)


class Provider:
    """The Amazon provider's `SageMakerTrigger`, with its own defaults: each describes every 30 seconds."""

    def __init__(self, queue_url: str | None) -> None:  # noqa: ARG002
        from airflow.providers.amazon.aws.triggers.sagemaker import SageMakerTrigger

        self._make = SageMakerTrigger

    def trigger(self, name: str) -> Any:
        return self._make(job_name=name, job_type="training", waiter_max_attempts=100_000, aws_conn_id=None)

    def is_settled(self, calls: Calls, jobs: int) -> bool:
        return calls.made["DescribeTrainingJob"] >= jobs


class Nobody:
    """No trigger at all."""

    def __init__(self, queue_url: str | None) -> None:
        pass

    def trigger(self, name: str) -> Any:
        raise NotImplementedError(name)

    def is_settled(self, calls: Calls, jobs: int) -> bool:  # noqa: ARG002
        return True


SIDES: dict[str, Callable[[str | None], Any]] = {"ours": Ours, "provider": Provider, "nobody": Nobody}


class Meter:
    """CPU, memory, calls and the longest stall of the event loop, since it was last read."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._process = psutil.Process()
        #: How late each tick came, and how much CPU this process used meanwhile.
        self.stalls: list[tuple[float, float]] = []
        self.collections: list[float] = []
        self._collecting_since = 0.0
        gc.callbacks.append(self._note_collection)
        self._started = (time.monotonic(), time.process_time(), Counter(calls.made))

    def _note_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.monotonic()
        else:
            self.collections.append(time.monotonic() - self._collecting_since)

    async def tick(self) -> None:
        while True:
            before, cpu_before = time.monotonic(), time.process_time()
            await asyncio.sleep(TICK_SECONDS)
            late = time.monotonic() - before - TICK_SECONDS
            self.stalls.append((late, min(late, time.process_time() - cpu_before)))

    async def forget(self) -> None:
        """Leave out what measuring itself took."""
        await asyncio.sleep(5 * TICK_SECONDS)
        self.read()

    def rss_mb(self) -> float:
        gc.collect()
        return float(self._process.memory_info().rss) / 2**20

    def read(self) -> dict[str, Any]:
        at, cpu, calls = self._started
        self._started = (time.monotonic(), time.process_time(), Counter(self._calls.made))
        stalls, self.stalls[:] = sorted(self.stalls), []
        collections, self.collections[:] = sorted(self.collections), []
        seconds = self._started[0] - at
        return {
            "seconds": seconds,
            "cpu_seconds": self._started[1] - cpu,
            "calls": dict(self._started[2] - calls),
            "longest_stall_seconds": stalls[-1][0] if stalls else 0.0,
            "longest_own_stall_seconds": max((own for _, own in stalls), default=0.0),
            "longest_collection_seconds": collections[-1] if collections else 0.0,
            "objects": len(gc.get_objects()),
            "threads": threading.active_count(),
        }


async def consume(events: AsyncIterator[Any], name: str, fired: dict[str, float]) -> None:
    async for _ in events:
        fired[name] = time.time()
        return


def say(**facts: Any) -> None:
    sys.stdout.write(f"@{json.dumps(facts)}\n")
    sys.stdout.flush()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=[*SIDES])
    parser.add_argument("jobs", type=int)
    parser.add_argument("--queue-url")
    options = parser.parse_args()
    names = [sys.stdin.readline().strip() for _ in range(options.jobs)]
    calls = Calls()
    meter = Meter(calls)
    # Airflow and its triggers are there in any triggerer: what is loaded to talk to AWS is not.
    import airflow.triggers.base  # noqa: F401

    rss_before = meter.rss_mb()
    side = SIDES[options.side](options.queue_url)
    calls.listen()
    ticker = asyncio.create_task(meter.tick())
    await asyncio.sleep(0.1)
    meter.read()
    fired: dict[str, float] = {}
    tasks = []
    for name in names:
        tasks.append(asyncio.create_task(consume(side.trigger(name).run(), name, fired)))
        await asyncio.sleep(0)
    while not side.is_settled(calls, options.jobs):
        await asyncio.sleep(0.05)
    say(registered=meter.read(), rss_before_mb=rss_before, rss_mb=meter.rss_mb())
    await meter.forget()
    while order := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if order == "measure":
            say(measured=meter.read(), rss_mb=meter.rss_mb())
            await meter.forget()
        elif order == "count":  # without what measuring costs, which would delay what is being counted
            say(fired=len(fired))
        elif order == "end":
            say(fired=fired)
            break
    for task in (ticker, *tasks):
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
