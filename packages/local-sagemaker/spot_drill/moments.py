"""When a run is interrupted, from the times of an undisturbed run and what earlier attempts showed. Pure.

Runs differ in speed. So an interruption is tied to what the run has saved, where that is known: it comes at
its time, but not before the run has saved what the undisturbed run had saved by then, and at once when the
run has saved more. An attempt that shows nothing is repeated at another moment.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .evidence import SHOWS_NOTHING, Evidence
from .history import find_file_kinds, kind_of, read_history
from .observe import Run, RunKind, Stretch
from .watch import FileEvent, Happening

if TYPE_CHECKING:
    from .plan import Moment, Plan

#: Files that come later than this share of the run are not awaited: the script could end first.
_LAST_AWAITED_SHARE = 0.9
#: SIGKILL comes in the middle of the run, or later, if fewer than half of the checkpoints are saved by then.
_KILL_SHARE, _LAST_KILL_SHARE = 0.5, 1.5
#: An attempt that came too late is repeated at this share of its time.
_EARLIER_SHARE = 0.7
#: A run is interrupted between the last checkpoint and the end if there is this much time (or share).
_LEAST_TAIL_SECONDS, _LEAST_TAIL_SHARE = 0.3, 0.05
#: If the script deletes checkpoints at its end, every moment after that counts.
_LEAST_EMPTY_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Enough:
    """What a run must have saved, and deleted, for an interruption."""

    saves: int
    of_kinds: frozenset[str] | None = None
    """files of which kinds count; None: all"""
    each_of: frozenset[str] = frozenset()
    deletions: int = 0

    def is_there(self, events: Iterable[FileEvent]) -> bool:
        """Whether it is saved after these events of the run."""
        happened = tuple(events)
        stretch = Stretch(seconds=0.0, events=happened)
        kinds = find_file_kinds([stretch]) if self.of_kinds is None else self.of_kinds
        saved = [kind_of(save.name) for save in read_history(stretch, kinds).saves]
        return (
            len(saved) >= self.saves
            and self.each_of <= set(saved)
            and len(find_deletions(happened, kinds)) >= self.deletions
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedInterruption:
    """When the instance is taken away, in seconds since the start of the script.

    With `after`, it waits until the run has saved that much, but not longer than `latest_seconds`. With
    `before`, it does not wait for its time once that much is saved.
    """

    at_seconds: float = 0.0
    notice_seconds: float = 0.0
    after: Enough | None = None
    before: Enough | None = None
    latest_seconds: float = math.inf

    def is_due(self, seconds: float, events: Iterable[FileEvent]) -> bool:
        """Whether it comes after this time and these events."""
        if self.before is not None and self.before.is_there(events):
            return True
        if seconds < self.at_seconds:
            return False
        return self.after is None or seconds >= self.latest_seconds or self.after.is_there(events)

    def __str__(self) -> str:
        parts = [f"at {self.at_seconds:.1f} s"] if self.at_seconds else []
        if self.after and self.after.saves:
            parts.append(f"after {self.after.saves} saved file{'s' if self.after.saves > 1 else ''}")
        end = (
            f", SIGKILL {self.notice_seconds:.1f} s after SIGTERM" if self.notice_seconds else ", by SIGKILL"
        )
        return f"{' and '.join(parts) or 'at once'}{end}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is known when an interruption is planned."""

    number: int
    reference: Run
    """an undisturbed run, the latest"""
    kinds: frozenset[str]
    """of checkpoints"""
    previous: Evidence | None = None
    """what the attempt before this showed"""

    @property
    def whole_seconds(self) -> float:
        return self.reference.training_seconds

    def enough(self) -> Enough:
        """Half of the checkpoints and one of each kind; the first checkpoint at the last attempt."""
        if self.number > 2:
            return Enough(saves=1, of_kinds=self.kinds)
        return find_enough(self.reference, self.kinds)


class Intended(ABC):
    """One interruption that a drill intends."""

    kind: ClassVar[RunKind] = RunKind.INTERRUPTED

    @property
    @abstractmethod
    def label(self) -> str: ...

    @abstractmethod
    def plan(self, attempt: Attempt) -> PlannedInterruption: ...

    def is_to_be_repeated(self, evidence: Evidence, _attempt: Attempt) -> bool:
        """Whether this is not what the interruption is for."""
        return evidence in SHOWS_NOTHING


@dataclass(frozen=True, kw_only=True)
class AtMoment(Intended):
    """At a time that the plan names, with a warning."""

    moment: Moment
    plan_of_drill: Plan

    @property
    def label(self) -> str:
        return f"interrupted at {self.moment}"

    def plan(self, attempt: Attempt) -> PlannedInterruption:
        at = self.moment.of(attempt.whole_seconds)
        grace = self.plan_of_drill.grace_seconds(attempt.whole_seconds)
        if attempt.number == 1 and self.moment.share is None:
            return PlannedInterruption(at_seconds=at, notice_seconds=grace)
        if attempt.number > 1:
            if attempt.previous is not Evidence.NEVER_CAME or attempt.number > 2:
                return PlannedInterruption(after=attempt.enough())
            at, grace = _EARLIER_SHARE * min(at, attempt.whole_seconds), grace / 2
        # Which files are checkpoints may not be known yet.
        stretch = attempt.reference.stretches[0]
        saved = sum(save.at <= at for save in read_history(stretch, find_file_kinds([stretch])).saves)
        return PlannedInterruption(
            at_seconds=at,
            notice_seconds=grace,
            after=Enough(saves=saved),
            before=Enough(saves=saved + 1),
        )

    def is_to_be_repeated(self, evidence: Evidence, attempt: Attempt) -> bool:
        """If the script saves nothing before this moment, that is what the moment shows."""
        if evidence is Evidence.NOTHING_SAVED:
            saves = read_history(attempt.reference.stretches[0], attempt.kinds).saves
            at = self.moment.of(attempt.whole_seconds)
            return bool(saves) and saves[0].at < at + self.plan_of_drill.grace_seconds(attempt.whole_seconds)
        return evidence in SHOWS_NOTHING


class Kill(Intended):
    """By SIGKILL without a warning, in the middle of the run."""

    kind = RunKind.KILLED
    label = "killed without a warning"

    def plan(self, attempt: Attempt) -> PlannedInterruption:
        if attempt.number > 1:
            return PlannedInterruption(after=attempt.enough())
        return PlannedInterruption(
            at_seconds=_KILL_SHARE * attempt.whole_seconds,
            after=attempt.enough(),
            latest_seconds=_LAST_KILL_SHARE * attempt.whole_seconds,
        )


class AfterCheckpoint(Intended):
    """As soon as there are checkpoints, if no other interruption came between the first and the end."""

    label = "interrupted after a checkpoint"

    def plan(self, attempt: Attempt) -> PlannedInterruption:
        return PlannedInterruption(after=attempt.enough())


class AfterLastCheckpoint(Intended):
    """Between the last checkpoint and the end: during an evaluation or an export."""

    label = "interrupted after the last checkpoint"

    def plan(self, attempt: Attempt) -> PlannedInterruption:
        stretch = attempt.reference.stretches[0]
        if attempt.number > 2:
            last_at = find_last_change(stretch, attempt.kinds)
            return PlannedInterruption(at_seconds=(last_at + attempt.whole_seconds) / 2)
        return PlannedInterruption(
            after=Enough(
                saves=len(read_history(stretch, attempt.kinds).saves),
                of_kinds=attempt.kinds,
                deletions=len(find_deletions(stretch.events, attempt.kinds)),
            )
        )


def has_time_after_last_checkpoint(reference: Run, kinds: frozenset[str]) -> bool:
    """Whether the script works on after its last checkpoint, so that an interruption can come then."""
    stretch = reference.stretches[0]
    history = read_history(stretch, kinds)
    if not history.saves:
        return False
    least = max(_LEAST_TAIL_SECONDS, _LEAST_TAIL_SHARE * reference.training_seconds)
    if history.lost:
        least = _LEAST_EMPTY_SECONDS
    return stretch.seconds - find_last_change(stretch, kinds) >= least


def find_enough(reference: Run, kinds: frozenset[str]) -> Enough:
    """Half of what the undisturbed run saves, and one file of each kind.

    Until the script reads a file, it is not known which kind is the checkpoint and which is a log.
    """
    saves = read_history(reference.stretches[0], kinds).saves
    last_at = _LAST_AWAITED_SHARE * reference.training_seconds
    each_of = frozenset(kind_of(save.name) for save in saves if save.at <= last_at)
    return Enough(saves=max(1, len(saves) // 2), of_kinds=kinds, each_of=each_of)


def find_deletions(events: Iterable[FileEvent], kinds: frozenset[str]) -> list[float]:
    """When files of these kinds were deleted."""
    return [e.at for e in events if e.what is Happening.DELETED and kind_of(e.name) in kinds]


def find_last_change(stretch: Stretch, kinds: frozenset[str]) -> float:
    """When the last checkpoint was saved or deleted."""
    saves = [save.at for save in read_history(stretch, kinds).saves]
    return max([*saves, *find_deletions(stretch.events, kinds)], default=0.0)
