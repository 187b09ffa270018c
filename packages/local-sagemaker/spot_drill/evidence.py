"""What one interrupted run shows about resuming. Pure.

A run is evidence only if it was interrupted after it had saved a checkpoint. If it then restored nothing, it
did not resume. If it restored something, its checkpoints are counted: a run that starts over saves all of
them again. With fewer than two checkpoints, the time of the restart decides.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from .history import kind_of, read_history
from .progress import LEAST_COUNTED, count_again, find_older, redoes_checkpoints, redoes_its_only_checkpoint

if TYPE_CHECKING:
    from .observe import Run

#: If resuming can save less time than this, it cannot be separated from noise.
_LEAST_CLEAR_SECONDS, _LEAST_CLEAR_SHARE = 1.0, 0.2


class Evidence(StrEnum):
    """What one run shows that was to be interrupted."""

    NEVER_CAME = "the run was over before the interruption"
    ENDED_BADLY = "the restarted run did not complete"
    NOTHING_SAVED = "interrupted before the first checkpoint"
    NOTHING_LEFT = "saved, but no checkpoint was in the folder at the restart"
    NEVER_READ = "no restored file was read"
    STARTED_OVER = "read, but all the work was done again"
    RESUMED_OLDER = "resumed from an older checkpoint than the newest"
    RESUMED = "resumed"


#: These show nothing about the script, good or bad. A question with only these is not shown.
SHOWS_NOTHING = frozenset({Evidence.NEVER_CAME, Evidence.NOTHING_SAVED})
#: The run saved before the interruption and did not use it afterwards: a failure.
DID_NOT_RESUME = frozenset({Evidence.NOTHING_LEFT, Evidence.NEVER_READ, Evidence.STARTED_OVER})
RESUMED = frozenset({Evidence.RESUMED, Evidence.RESUMED_OLDER})


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
        redoes_checkpoints(run, first, kinds)
        if len(saved) >= LEAST_COUNTED
        else redoes_its_only_checkpoint(run, first, kinds, is_faster=is_faster)
    )
    older = find_older(run, first, kinds)
    if redoes_its_work and (older is None or older.is_first):
        return Evidence.STARTED_OVER
    return Evidence.RESUMED_OLDER if older else Evidence.RESUMED


def lost_seconds(run: Run, first: Run, kinds: frozenset[str]) -> float:
    """How much of the first start's work the second start did again, in the time of the first start.

    That is the time from the checkpoint from which it resumed to the kill: the last one, less those that it
    saved again. It is all the time if nothing was saved or used.
    """
    before = run.stretches[0]
    saves = read_history(before, kinds).saves
    if weigh(run, first, kinds) not in RESUMED:
        return before.seconds
    used = len(saves) - count_again(run, first, kinds)
    return before.seconds - (saves[used - 1].at if used > 0 else 0.0)


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
