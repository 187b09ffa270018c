"""What one interrupted run shows about resuming. Pure.

A run is evidence only if it was interrupted after it had saved a checkpoint. If it then restored nothing, it
did not resume. If it restored something, its checkpoints are counted: a run that starts over saves all of
them again. With fewer than two checkpoints, the time of the restart decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from .history import find_file_kinds, kind_of, read_history
from .observe import Run, Stretch

if TYPE_CHECKING:
    from .watch import FileEvent

#: If resuming can save less time than this, it cannot be separated from noise.
_LEAST_CLEAR_SECONDS, _LEAST_CLEAR_SHARE = 1.0, 0.2
#: Fewer checkpoints than this before the kill are not counted.
_LEAST_COUNTED = 2
#: SIGKILL does not wait for files that come later than this: the script could end first.
_LAST_AWAITED_SHARE = 0.9


class Evidence(StrEnum):
    """What one run shows that was to be interrupted."""

    NEVER_CAME = "the run was over before the interruption"
    ENDED_BADLY = "the restarted run did not complete"
    NOTHING_SAVED = "interrupted before the first checkpoint"
    NOTHING_LEFT = "saved, but no checkpoint was in the folder at the restart"
    NEVER_READ = "no restored file was read"
    STARTED_OVER = "read, but all the work was done again"
    RESUMED = "resumed"


#: These show nothing about the script, good or bad. A question with only these is not shown.
SHOWS_NOTHING = frozenset({Evidence.NEVER_CAME, Evidence.NOTHING_SAVED})
#: The run saved before the interruption and did not use it afterwards: a failure.
DID_NOT_RESUME = frozenset({Evidence.NOTHING_LEFT, Evidence.NEVER_READ, Evidence.STARTED_OVER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Enough:
    """What a run must have saved before its interruption shows anything."""

    saves: int
    of_kinds: frozenset[str]
    each_of: frozenset[str]

    def is_there(self, events: Iterable[FileEvent]) -> bool:
        """Whether it is saved after these events of the run."""
        saved = [
            kind_of(save.name)
            for save in read_history(Stretch(seconds=0.0, events=tuple(events)), self.of_kinds).saves
        ]
        return len(saved) >= self.saves and self.each_of <= set(saved)


def find_enough(first: Run, kinds: frozenset[str]) -> Enough:
    """Half of what the undisturbed run saves, and one file of each kind.

    Until the script reads a file, it is not known which kind is the checkpoint and which is a log.
    """
    saves = read_history(first.stretches[0], kinds).saves
    last_at = _LAST_AWAITED_SHARE * first.training_seconds
    each_of = frozenset(kind_of(save.name) for save in saves if save.at <= last_at)
    return Enough(saves=max(1, len(saves) // 2), of_kinds=kinds, each_of=each_of)


def weigh(run: Run, first: Run, kinds: frozenset[str]) -> Evidence:
    """What the run shows, compared with the undisturbed one. `kinds` are the kinds of checkpoints."""
    if not run.was_interrupted:
        return Evidence.NEVER_CAME
    if not run.is_completed:
        return Evidence.ENDED_BADLY
    before, after = run.stretches[0], run.stretches[-1]
    saved = read_history(before, kinds).saves
    if not saved:
        return Evidence.NOTHING_SAVED
    if not any(kind_of(name) in kinds for name in after.restored):
        return Evidence.NOTHING_LEFT
    is_faster = _is_faster(run, first, saved[-1].at)
    if not after.files_read():
        # A script may need only the names of its files, but only the time of the restart can show that.
        return Evidence.RESUMED if is_faster else Evidence.NEVER_READ
    redoes_its_work = (
        _redoes_checkpoints(run, first, kinds)
        if len(saved) >= _LEAST_COUNTED
        else _redoes_its_only_checkpoint(run, first, kinds, is_faster=is_faster)
    )
    return Evidence.STARTED_OVER if redoes_its_work else Evidence.RESUMED


def _is_faster(run: Run, first: Run, saved_at: float) -> bool | None:
    """Whether the restart took clearly less time than a whole run; None if there is too little to gain.

    If all stretches write a log line, the time until the first line does not count: start-up times vary by
    chance.
    """
    stretches = (first.stretches[0], run.stretches[0], run.stretches[-1])
    starts = [at for stretch in stretches if (at := stretch.first_line_at()) is not None]
    first_at, before_at, after_at = starts if len(starts) == len(stretches) else (0.0, 0.0, 0.0)
    whole = first.training_seconds - first_at
    worth = saved_at - before_at
    if worth < max(_LEAST_CLEAR_SECONDS, _LEAST_CLEAR_SHARE * whole):
        return None
    return whole - (run.stretches[-1].seconds - after_at) > worth / 2


def _redoes_checkpoints(run: Run, first: Run, kinds: frozenset[str]) -> bool:
    """Whether it saved most checkpoints again: a run that starts over saves all of them again."""
    return _count_redone(run, first, kinds) > len(read_history(run.stretches[0], kinds).saves) / 2


def _redoes_its_only_checkpoint(
    run: Run, first: Run, kinds: frozenset[str], *, is_faster: bool | None
) -> bool:
    if is_faster:
        return False
    if _redoes_other_files(run, first):
        return True
    return _count_redone(run, first, kinds) > 0 and is_faster is False


def _redoes_other_files(run: Run, first: Run) -> bool:
    """Whether all files of a series are saved again. Then what was read does not contain the work, such as a
    file of settings next to the weights.
    """
    everything = find_file_kinds((*run.stretches, *first.stretches))
    saved = Counter(kind_of(save.name) for save in read_history(run.stretches[0], everything).saves)
    series = frozenset(kind for kind, count in saved.items() if count >= _LEAST_COUNTED)
    return bool(series) and _count_redone(run, first, series) >= sum(saved[kind] for kind in series)


def _count_redone(run: Run, first: Run, kinds: frozenset[str]) -> int:
    """How many files both starts together saved in addition to those of an undisturbed run."""
    both = sum(len(read_history(stretch, kinds).saves) for stretch in (run.stretches[0], run.stretches[-1]))
    return both - len(read_history(first.stretches[0], kinds).saves)
