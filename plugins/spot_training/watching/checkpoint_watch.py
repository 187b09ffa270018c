"""Looks at the checkpoint prefix of one running job: when, at what, and what it shows.

The rules are in `domain.checkpoints_seen`. A thread of the process makes the looks (`checkpoint_looks`);
whoever waits for the job calls `update` with each report, and gets a `CheckpointNews` when something changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from spot_training.domain.checkpoint_looks import Look, LookReader
from spot_training.domain.checkpoint_pattern import CheckpointPattern
from spot_training.domain.checkpoints_seen import (
    ASSUMED_INTERVAL_SECONDS,
    CheckpointsToWatch,
    download_seconds_before,
    last_visit,
    visit_under_way,
)
from spot_training.domain.errors import RequestRefused

from .checkpoint_looks import shared_looks
from .gauges import Age
from .reports import CheckpointNews

if TYPE_CHECKING:
    from spot_training.domain.lifecycle import JobSnapshot, Transition
    from spot_training.sagemaker.checkpoints import CheckpointPrefix
    from spot_training.sagemaker.clock import ServiceClock

#: There are so many looks in an expected interval, but not more often, and not less often, than this.
LOOKS_AN_INTERVAL = 4
MOST_OFTEN_SECONDS = 60.0
LEAST_OFTEN_SECONDS = 900.0
#: The first look of a launch comes before anybody assumes that some of it is saved, and not later than this.
FIRST_LOOK_SECONDS = 300.0
#: Before the job would be stopped for its deadline, a checkpoint may just have arrived: looks are so close
#: then, from so long before on.
HURRY_SECONDS = 20.0
HURRY_BEFORE_SECONDS = 90.0
#: With more folders than this below the prefix, new ones are found by full looks only.
MOST_FOLDERS = 10_000

DENIED = (
    "Checkpoints cannot be seen: %s Until that changes, all but the last checkpoint_every of each launch "
    "counts as saved. The docs have the permission: s3:ListBucket on the prefix."
)


class CheckpointWatch:
    """One job's checkpoints. `prefix` lists them, `clock` is AWS's, `task` its Dag's and its task's id.

    A listing of one page is a full look. A longer one is made once in an expected interval: in between, only
    new folders, and those that may just be written, are listed.
    """

    def __init__(
        self,
        what: CheckpointsToWatch,
        clock: Callable[[], ServiceClock],
        prefix: CheckpointPrefix,
        *,
        task: tuple[str, str] | None = None,
    ) -> None:
        self.what = what
        self.seen = what.seen
        self.is_denied = False
        self._clock = clock
        self._task = task
        self._prefix = prefix
        self._pattern = CheckpointPattern.of(what.pattern)
        #: When the job will be stopped for its deadline, unless a checkpoint arrives.
        self.stop_at: datetime | None = None
        self._job: JobSnapshot | None = None
        self._before: Look | None = None
        self._before_of: datetime | None = None
        self._final_of: datetime | None = None
        self._full_at: datetime | None = None
        self._is_long = False
        self._folders: set[str] = set()

    # What is known -----------------------------------------------------------------------------------

    def update(self, job: JobSnapshot) -> None:
        """Take in how AWS describes the job now. From any thread."""
        self._job = job
        shared_looks().reconsider(self)

    def expect_stop(self, at: datetime | None) -> None:
        """Take in when the job will be stopped for its deadline if no checkpoint arrives."""
        if at != self.stop_at:
            self.stop_at = at
            shared_looks().reconsider(self)

    @property
    def job(self) -> JobSnapshot | None:
        """The job as it was described last."""
        return self._job

    @property
    def newest_saved_at(self) -> datetime | None:
        """What the newest complete checkpoint holds was done by then, on AWS's clock."""
        return self.seen.newest_saved_at

    def age(self) -> Age | None:
        """How old the newest checkpoint of a training job is, counted in this launch; for metrics."""
        visit = visit_under_way(self._job) if self._job is not None and not self.is_denied else None
        if visit is None or self._task is None:
            return None
        since = max(visit.started_at, self.newest_saved_at or visit.started_at)
        return Age(*self._task, max(0.0, (self._clock().now() - since).total_seconds()))

    def is_saved_since(self, moment: datetime) -> bool:
        """Whether a checkpoint that began to arrive after `moment` is complete."""
        return self.seen.is_saved_since(moment)

    def saved_training_seconds(self, *, lost_per_launch: float) -> float:
        """Seconds of the job's work that are saved. What nobody looked at loses `lost_per_launch`."""
        job = self._job
        if job is None:
            return 0.0
        return self.seen.saved_training_seconds(
            job.transitions, self._clock().now(), lost_per_launch=lost_per_launch
        )

    # When to look ------------------------------------------------------------------------------------

    @property
    def expected_seconds(self) -> float:
        """The interval between checkpoints that looks go by."""
        known = self.seen.pace(self.what.given_seconds).expected_seconds
        return known or ASSUMED_INTERVAL_SECONDS

    @property
    def next_look_at(self) -> datetime | None:
        """On AWS's clock; None while there is nothing to look for."""
        job = self._job
        visit = last_visit(job) if job is not None and not self.is_denied else None
        if job is None or visit is None:
            return None
        if visit_under_way(job) is None:  # what was saved last is complete now
            ended_at = visit.ended_at or job.last_modified_at
            looked_at = self.seen.looked_at
            is_known = self._final_of == visit.started_at or (looked_at and looked_at >= ended_at)
            return None if is_known else ended_at
        gap = min(LEAST_OFTEN_SECONDS, max(MOST_OFTEN_SECONDS, self.expected_seconds / LOOKS_AN_INTERVAL))
        if self._has_candidates or self.what.wake_after is not None:
            gap = MOST_OFTEN_SECONDS
        if self.seen.saved_of(visit) is None:
            first = min(FIRST_LOOK_SECONDS, self.what.given_seconds or FIRST_LOOK_SECONDS)
            gap = min(gap, max(MOST_OFTEN_SECONDS, first))
        before = max(visit.started_at, self.seen.looked_at or visit.started_at)
        if self.stop_at is not None:
            until_hurry = (self.stop_at - before).total_seconds() - HURRY_BEFORE_SECONDS
            gap = min(gap, max(HURRY_SECONDS, until_hurry))
        return before + timedelta(seconds=gap)

    def seconds_until_due(self) -> float | None:
        """Until the next look, in real seconds; None while there is nothing to look for."""
        moment = self.next_look_at
        if moment is None:
            return None
        clock = self._clock()
        return max(0.0, clock.real_seconds((moment - clock.now()).total_seconds()))

    @property
    def _has_candidates(self) -> bool:
        """Whether something has arrived that is not counted yet."""
        return bool(self._before and any(True for _ in self._uncounted(self._before)))

    def _uncounted(self, look: Look) -> Iterable[str]:
        newest = self.seen.newest
        return (
            name
            for name, found in look.candidates.items()
            if newest is None or found.checkpoint.began_at > newest.began_at
        )

    # Looking -----------------------------------------------------------------------------------------

    def look(self) -> CheckpointNews | None:
        """List the prefix, in a thread that may block. Returns what is new.

        Raises `SpotTrainingError` if there was no answer.
        """
        job = self._job
        visit = last_visit(job) if job is not None else None
        if job is None or visit is None:
            return None
        was = self.seen
        try:
            look = self._listed(visit)
        except RequestRefused as error:
            self.is_denied = True
            return CheckpointNews(name=job.name, seen=was, must_wake=False, warning=DENIED % error)
        is_written = visit_under_way(job) is not None
        self._take_in(look, job, visit, is_written=is_written)
        if not is_written:
            self._final_of = visit.started_at
        if replace(self.seen, looked_at=None, missing="") == replace(was, looked_at=None, missing=""):
            return None
        return CheckpointNews(name=job.name, seen=self.seen, must_wake=self.what.must_wake(self.seen))

    def _take_in(self, look: Look, job: JobSnapshot, visit: Transition, *, is_written: bool) -> None:
        before = self._before if self._before_of == visit.started_at else None
        given = self.what.given_seconds
        seen, self._before = self.seen.after(
            look,
            before,
            visit,
            is_written=is_written,
            given_seconds=given,
            download_seconds=download_seconds_before(job, visit),
        )
        self._before_of = visit.started_at
        self.seen = seen.judged(job, self._before, given) if is_written else seen

    def _listed(self, visit: Transition) -> Look:
        now = self._clock().now()
        reader = LookReader(self._pattern, self.seen.saved, visit.started_at)
        if self._is_long and not self._is_full_due(now):
            return self._light_look(reader, now)
        folders: set[str] = set()
        for number, page in enumerate(self._prefix.pages(), start=1):
            reader.add(page.objects)
            if len(folders) <= MOST_FOLDERS:
                folders.update(_folder(item.key) for item in page.objects)
            self._is_long = number > 1
        self._full_at, self._folders = now, folders
        return reader.look(now)

    def _is_full_due(self, now: datetime) -> bool:
        if self._full_at is None or len(self._folders) > MOST_FOLDERS:
            return True
        return (now - self._full_at).total_seconds() >= self.expected_seconds

    def _light_look(self, reader: LookReader, now: datetime) -> Look:
        """At files of the prefix itself, at new folders, and at those that may just be written."""
        found: set[str] = set()
        for page in self._prefix.pages(only_top=True):
            reader.add(page.objects)
            found.update(page.folders)
        for folder in sorted((found - self._folders) | (found & self._written())):
            for page in self._prefix.pages(folder):
                reader.add(page.objects)
        self._folders |= found
        return reader.look(now, is_full=False)

    def _written(self) -> set[str]:
        """The folders of checkpoints that are not counted, and of the newest one: scripts write it again."""
        names = set(self._uncounted(self._before)) if self._before else set()
        if self.seen.newest is not None:
            names.add(self.seen.newest.name)
        return {_folder(f"{name}/") for name in names}


def _folder(key: str) -> str:
    folder, slash, _ = key.partition("/")
    return f"{folder}/" if slash else ""
