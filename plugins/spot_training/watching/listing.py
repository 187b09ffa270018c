"""What a watcher reads of `ListTrainingJobs`, as three periodic tasks.

- `LookForChanges`: what changed since the last look. With few jobs each is described instead.
- `LookUpNewJobs`: many jobs that register together (a triggerer that starts), 100 a call.
- `GoRound`: the whole list, a page now and then. It finds what the windows and the events missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .periodic import NEVER, NOW, Failing, PeriodicTask
from .windows import Windows

if TYPE_CHECKING:
    from spot_training.sagemaker.descriptions import Summary
    from spot_training.sagemaker.jobs import TrainingJobs

    from .connection import Connection
    from .registry import WatchedJobs
    from .watched import Watched

#: Up to so many jobs, describing each costs no more calls than listing.
DESCRIBE_EACH_UP_TO = 3
#: Up to so many jobs that come together are described; more are looked up in the list.
LOOK_UP_FROM = 20
#: The round through the whole list: three calls a minute, and a rest.
ROUND_STEP_SECONDS = 20.0
ROUND_REST_SECONDS = 600.0
#: While the queue of events is flooded, the list is read so often, until no event about a job of ours has
#: come for as long as a storm lasts.
FLOOD_SECONDS = 1.0


class _ListTask(PeriodicTask):
    """Reads the list of an account's jobs. What it says of the watcher's jobs goes into the registry."""

    client: Connection

    def __init__(self, client: Connection, watched: WatchedJobs) -> None:
        super().__init__(client, monotonic=watched.monotonic)
        self._watched = watched

    def report_trouble(self, failing: Failing, error: Exception) -> None:
        self._watched.report_trouble(failing, error)

    @property
    def _is_worth_it(self) -> bool:
        return len(self._watched.by_name) > DESCRIBE_EACH_UP_TO

    def _find(self, jobs: TrainingJobs, wanted: set[str]) -> Iterator[None]:
        """Search the whole list, newest first, a page a step. Leaves in `wanted` what is not found.

        Ends early when to continue would cost more calls than to describe the rest.
        """
        pages_in_vain = 0
        for page in jobs.pages():
            found = {job.name for job in page} & wanted
            self._take_in(page)
            wanted -= found
            pages_in_vain = 0 if found else pages_in_vain + 1
            yield
            if pages_in_vain >= len(wanted):
                return

    def _take_in(self, page: Iterable[Summary]) -> None:
        self.client.answered()
        for job in page:
            self._watched.update(job, is_event=False)


class LookForChanges(_ListTask):
    """Reads what changed since the last look; with few jobs, it has each described."""

    def __init__(self, client: Connection, watched: WatchedJobs) -> None:
        super().__init__(client, watched)
        self.windows = Windows()
        self._looked_at = self._look_at = NOW

    def due_at(self) -> float:
        return self._look_at

    def do(self) -> None:
        jobs = self.client.get()
        self._looked_at = now = self._monotonic()
        if self._is_worth_it:
            try:
                self._read_window(jobs, now)
            except Exception:
                if self.lasts_failing:
                    self._watched.describe_all_soon()
                raise
        else:
            # All that changed before is about to be described.
            self.windows.done(jobs.now(), now)
            self._watched.describe_all_soon()
        with self._watched.lock:  # an event of a flood may come meanwhile, and hurry the next look
            now = self._monotonic()
            self._look_at = now + self.seconds_to_next(now)

    def hurry(self) -> None:
        """In a flood of events, the list reports more quickly what changed. Under the registry's lock."""
        self._look_at = min(self._look_at, self._looked_at + FLOOD_SECONDS)

    def seconds_to_next(self, now: float) -> float:
        limits, pace = self._watched.limits, self._watched.pace
        if limits.pass_due(now):
            pace.stir(now)
        seconds = pace.seconds(now, has_events=self._watched.feed.is_reliable)
        if now < self._watched.feed.flooded_until:
            seconds = min(seconds, FLOOD_SECONDS)
        return max(0.0, min(seconds, limits.next_at() - now))

    def _read_window(self, jobs: TrainingJobs, now: float) -> None:
        is_flood, until = self._watched.feed.is_flood, jobs.now()
        for page in jobs.pages(modified_since=self.windows.since(now, is_flood=is_flood)):
            until = min(until, jobs.now())  # the answer has AWS's time: before it, the clock may be ahead
            self._take_in(page)
        self.windows.done(until, now, is_flood=is_flood)


class LookUpNewJobs(_ListTask):
    """Searches the list for many jobs that came together, and has those described that are not there.

    It pauses between two pages when `changes` are due.
    """

    def __init__(self, client: Connection, watched: WatchedJobs, changes: LookForChanges) -> None:
        super().__init__(client, watched)
        self._changes = changes
        self._wanted: dict[str, Watched] | None = None
        #: Those of them that the list has not shown so far.
        self._missing: set[str] = set()
        self._pages: Iterator[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self._wanted is not None

    def begin(self, wanted: dict[str, Watched]) -> None:
        self._wanted, self._missing = wanted, set(wanted)

    def due_at(self) -> float:
        return NOW if self.is_busy else NEVER

    def do(self) -> None:
        jobs = self.client.get()
        self._pages = self._pages or self._find(jobs, self._missing)
        try:
            for _ in self._pages:
                if self._changes.is_due:
                    return
        except Exception:
            self._pages = None
            if self.lasts_failing:
                self._end()
            raise
        self._end()

    def _end(self) -> None:
        wanted, missing = self._wanted or {}, self._missing
        self._wanted = self._pages = None
        # One by one: an event loop that registers jobs must not wait for the lock until thousands are queued.
        for name, watched in wanted.items():
            if name in missing or watched.must_describe:
                self._watched.describe_soon((watched,))


class TakeInNewJobs(_ListTask):
    """Has the few jobs described that have just registered. Many are looked up in the list."""

    def __init__(self, client: Connection, watched: WatchedJobs, look_up: LookUpNewJobs) -> None:
        super().__init__(client, watched)
        self._look_up = look_up

    def due_at(self) -> float:
        # Many that come while others are looked up wait for their turn.
        can_go = not self._look_up.is_busy or len(self._watched.new) < LOOK_UP_FROM
        return NOW if self._watched.new and can_go else NEVER

    def do(self) -> None:
        self.client.get()
        with self._watched.lock:
            new, self._watched.new = self._watched.new, {}
            if len(new) < LOOK_UP_FROM:
                self._watched.describe_soon(new.values())
            else:
                self._look_up.begin(new)


class GoRound(_ListTask):
    """Goes through the whole list, a page a step."""

    _at = NOW
    _round: Iterator[None] | None = None

    def due_at(self) -> float:
        return self._at if self._is_worth_it else NEVER

    def do(self) -> None:
        jobs, now = self.client.get(), self._monotonic()
        if self._round is None:
            self._round = self._walk(jobs)
            # The jobs that are here now were looked up just now.
            self._at = now + ROUND_REST_SECONDS
            return
        self._at = now + ROUND_STEP_SECONDS
        try:
            next(self._round)
        except StopIteration:
            self._round = None
        except Exception:
            self._round = None
            raise

    def report_trouble(self, failing: Failing, error: Exception) -> None:
        """Nothing: the round is a safety net and begins again, and `LookForChanges` reports its failures."""

    def _walk(self, jobs: TrainingJobs) -> Iterator[None]:
        with self._watched.lock:
            wanted = set(self._watched.by_name)
        yield from self._find(jobs, wanted)
        for name in wanted:
            with self._watched.lock:
                if (watched := self._watched.by_name.get(name)) is not None:
                    self._watched.describe_soon((watched,))
            yield
