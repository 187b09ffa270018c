"""What one interrupted run shows about resuming. Pure.

A run is evidence only if it was interrupted after it had saved a checkpoint. If it restored nothing then, it
has not resumed. If it did, the checkpoints are counted: a run that starts over saves them all again. With
fewer than two of them the clock decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from .observe import Run, Stretch, find_file_kinds, kind_of, tell_story

if TYPE_CHECKING:
    from .watch import FileEvent

#: If resuming can save less than this, the clock cannot separate it from noise.
_LEAST_TELLING_SECONDS, _LEAST_TELLING_SHARE = 1.0, 0.2
#: Fewer checkpoints than this before the kill are not counted.
_LEAST_COUNTED = 2
#: Files that come later than this are not waited for: the script could be over.
_LAST_AWAITED_SHARE = 0.9


class Evidence(StrEnum):
    """What was seen of one run that was to be interrupted."""

    NEVER_CAME = "the run was over before the interruption"
    ENDED_BADLY = "the restarted run did not complete"
    NOTHING_SAVED = "interrupted before the first checkpoint"
    NOTHING_LEFT = "saved, but no checkpoint was in the folder at the restart"
    NEVER_READ = "no restored file was read"
    STARTED_OVER = "read, but all the work was done again"
    RESUMED = "resumed"


#: Says nothing about the script, good or bad: a question that has only these is not shown.
SHOWS_NOTHING = frozenset({Evidence.NEVER_CAME, Evidence.NOTHING_SAVED})
#: Saved before the interruption and did not use it afterwards: a failure.
DID_NOT_RESUME = frozenset({Evidence.NOTHING_LEFT, Evidence.NEVER_READ, Evidence.STARTED_OVER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Enough:
    """What a run has to have saved before an interruption of it shows something."""

    saves: int
    of_kinds: frozenset[str]
    each_of: frozenset[str]

    def is_there(self, events: Iterable[FileEvent]) -> bool:
        """Whether it is, after these events of the run."""
        saved = [
            kind_of(save.name)
            for save in tell_story(Stretch(seconds=0.0, events=tuple(events)), self.of_kinds).saves
        ]
        return len(saved) >= self.saves and self.each_of <= set(saved)


def find_enough(first: Run, kinds: frozenset[str]) -> Enough:
    """Half of what the undisturbed run saves, and one file of each kind.

    Until a script was seen to read one, nobody knows which kind is the checkpoint and which a log.
    """
    saves = tell_story(first.stretches[0], kinds).saves
    last_at = _LAST_AWAITED_SHARE * first.training_seconds
    each_of = frozenset(kind_of(save.name) for save in saves if save.at <= last_at)
    return Enough(saves=max(1, len(saves) // 2), of_kinds=kinds, each_of=each_of)


def weigh(run: Run, first: Run, kinds: frozenset[str]) -> Evidence:
    """What the run shows, next to the undisturbed one; `kinds` are those of checkpoints."""
    if not run.was_interrupted:
        return Evidence.NEVER_CAME
    if not run.is_completed:
        return Evidence.ENDED_BADLY
    before, after = run.stretches[0], run.stretches[-1]
    saved = tell_story(before, kinds).saves
    if not saved:
        return Evidence.NOTHING_SAVED
    if not any(kind_of(name) in kinds for name in after.restored):
        return Evidence.NOTHING_LEFT
    is_faster = _is_faster(run, first, saved[-1].at)
    if not after.files_read():
        # The names of files may be all a script needs, but only the clock can show that.
        return Evidence.RESUMED if is_faster else Evidence.NEVER_READ
    redoes_its_work = (
        _redoes_checkpoints(run, first, kinds)
        if len(saved) >= _LEAST_COUNTED
        else _redoes_its_only_checkpoint(run, first, kinds, is_faster=is_faster)
    )
    return Evidence.STARTED_OVER if redoes_its_work else Evidence.RESUMED


def _is_faster(run: Run, first: Run, saved_at: float) -> bool | None:
    """Whether the restart took clearly less time than a whole run; None if there is too little to gain.

    Without the time until each says something, where all do: starting up takes as long as chance has it.
    """
    stretches = (first.stretches[0], run.stretches[0], run.stretches[-1])
    starts = [at for stretch in stretches if (at := stretch.first_line_at()) is not None]
    first_at, before_at, after_at = starts if len(starts) == len(stretches) else (0.0, 0.0, 0.0)
    whole = first.training_seconds - first_at
    worth = saved_at - before_at
    if worth < max(_LEAST_TELLING_SECONDS, _LEAST_TELLING_SHARE * whole):
        return None
    return whole - (run.stretches[-1].seconds - after_at) > worth / 2


def _redoes_checkpoints(run: Run, first: Run, kinds: frozenset[str]) -> bool:
    """By counting: a run that starts over saves them all again."""
    return _count_redone(run, first, kinds) > len(tell_story(run.stretches[0], kinds).saves) / 2


def _redoes_its_only_checkpoint(
    run: Run, first: Run, kinds: frozenset[str], *, is_faster: bool | None
) -> bool:
    if is_faster:
        return False
    if _redoes_other_files(run, first):
        return True
    return _count_redone(run, first, kinds) > 0 and is_faster is False


def _redoes_other_files(run: Run, first: Run) -> bool:
    """Whether every file that came in a series comes again: what was read did not hold the work, such as a
    file of settings next to the weights.
    """
    everything = find_file_kinds((*run.stretches, *first.stretches))
    saved = Counter(kind_of(save.name) for save in tell_story(run.stretches[0], everything).saves)
    series = frozenset(kind for kind, count in saved.items() if count >= _LEAST_COUNTED)
    return bool(series) and _count_redone(run, first, series) >= sum(saved[kind] for kind in series)


def _count_redone(run: Run, first: Run, kinds: frozenset[str]) -> int:
    """How many files both starts saved together, beyond what an undisturbed run saves."""
    both = sum(len(tell_story(stretch, kinds).saves) for stretch in (run.stretches[0], run.stretches[-1]))
    return both - len(tell_story(first.stretches[0], kinds).saves)
