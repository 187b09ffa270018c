"""What the second start of an interrupted run did again. Pure.

Saves are compared by name if each has its own name, as `epoch-7.pt` has. Otherwise they are counted: a run
that starts over saves everything again, and one that resumes saves as much in both starts together as an
undisturbed run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .history import find_file_kinds, kind_of, read_history

if TYPE_CHECKING:
    from .observe import Run, Stretch

#: Fewer checkpoints than this before the kill are not counted.
LEAST_COUNTED = 2
#: So many checkpoints that were there and are saved again are no chance: an older one was used.
_LEAST_OLDER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Older:
    """The second start resumed from an older checkpoint: the first that it saved again although it was there,
    the newest that was there, and how many were saved again.
    """

    again: str
    newest: str
    count: int
    is_first: bool
    """whether it began with the very first"""


def find_older(run: Run, first: Run, kinds: frozenset[str]) -> Older | None:
    """Whether the second start resumed from an older checkpoint than the newest, by the names of the files.

    Every kind that has its own name for each checkpoint must show it: a script may save the weights more
    often than the optimizer.
    """
    ordered = {kind: names for kind in sorted(kinds) if (names := _names_in_order(run, first, kind))}
    found = [_find_older(run, kind, names) for kind, names in ordered.items()]
    return next((older for older in found if None not in found), None)


def _find_older(run: Run, kind: str, names: list[str]) -> Older | None:
    order = {name: number for number, name in enumerate(names)}
    again = [name for name in _saved_names(run.stretches[-1], kind) if name in order]
    there = [name for name in run.stretches[-1].restored if name in order]
    if not again or not there:
        return None
    newest = max(there, key=order.__getitem__)
    count = order[newest] - order[again[0]] + 1
    if count < _LEAST_OLDER:
        return None
    return Older(again=again[0], newest=newest, count=count, is_first=order[again[0]] == 0)


def _names_in_order(run: Run, first: Run, kind: str) -> list[str]:
    """The names of a kind as an undisturbed run saves them; none if several saves have one name."""
    names = _saved_names(first.stretches[0], kind)
    before = _saved_names(run.stretches[0], kind)
    is_series = len(set(names)) == len(names) >= LEAST_COUNTED and set(before) <= set(names)
    return names if is_series and before else []


def _saved_names(stretch: Stretch, kind: str) -> list[str]:
    return [save.name for save in read_history(stretch, frozenset({kind})).saves]


def count_again(run: Run, first: Run, kinds: frozenset[str]) -> int:
    """How many of the saves before the kill were made again: by their names, or else by their number."""
    if kinds and all(_names_in_order(run, first, kind) for kind in kinds):
        before, after = (
            {name for kind in kinds for name in _saved_names(stretch, kind)}
            for stretch in (run.stretches[0], run.stretches[-1])
        )
        return len(before & after)
    saved = len(read_history(run.stretches[0], kinds).saves)
    return min(saved, max(0, _count_more(run, first, kinds)))


def redoes_checkpoints(run: Run, first: Run, kinds: frozenset[str]) -> bool:
    """Whether it saved most checkpoints again."""
    return _count_more(run, first, kinds) > len(read_history(run.stretches[0], kinds).saves) / 2


def redoes_its_only_checkpoint(
    run: Run, first: Run, kinds: frozenset[str], *, is_faster: bool | None
) -> bool:
    """The time of the restart decides, if it can."""
    if is_faster:
        return False
    if _redoes_other_files(run, first):
        return True
    return _count_more(run, first, kinds) > 0 and is_faster is False


def _redoes_other_files(run: Run, first: Run) -> bool:
    """Whether all files of a series are saved again. Then what was read does not contain the work, such as a
    file of settings next to the weights.
    """
    everything = find_file_kinds((*run.stretches, *first.stretches))
    saved = Counter(kind_of(save.name) for save in read_history(run.stretches[0], everything).saves)
    series = frozenset(kind for kind, count in saved.items() if count >= LEAST_COUNTED)
    return bool(series) and _count_more(run, first, series) >= sum(saved[kind] for kind in series)


def _count_more(run: Run, first: Run, kinds: frozenset[str]) -> int:
    """How many files both starts together saved in addition to those of an undisturbed run."""
    both = sum(len(read_history(stretch, kinds).saves) for stretch in (run.stretches[0], run.stretches[-1]))
    return both - len(read_history(first.stretches[0], kinds).saves)
