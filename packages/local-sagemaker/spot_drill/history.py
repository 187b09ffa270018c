"""What the events in a checkpoint folder mean: what was saved, and how, and what was lost. Pure.

A *checkpoint* is a file of a kind that the script read after an interruption. Names that differ only in
digits are one kind. If the script read no file, every file that was not renamed to another name counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from .watch import FileEvent, Happening

if TYPE_CHECKING:
    from .observe import Run, Stretch

#: Digits, or a hexadecimal word with digits, such as the parts of a UUID.
_NUMBER = re.compile(r"(?<![0-9A-Za-z])(?=[a-f]*\d)[0-9a-f]{8,}(?![0-9A-Za-z])|\d+")
_COMPLETED = frozenset({Happening.CLOSED, Happening.APPENDED, Happening.ARRIVED})


class Arrival(StrEnum):
    """How a checkpoint got its final name."""

    RENAMED = "renamed"
    NEW_IN_PLACE = "new in place"
    APPENDED = "appended"
    OVERWRITTEN = "overwritten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """A checkpoint file was completed."""

    at: float
    name: str
    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time without any checkpoint of a kind, after the first one. Without an end: until the kill."""

    kind: str
    began_at: float
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened to the checkpoints in one stretch."""

    saves: tuple[Save, ...]
    gaps: tuple[Gap, ...]
    unfinished: tuple[str, ...]
    """being written when the stretch ended"""
    lost: tuple[str, ...] = ()
    """the kinds of the checkpoints, if all were deleted until the end"""
    left: tuple[int, ...] = ()
    """how many files were left each time that the script had deleted some"""


def kind_of(name: str) -> str:
    """The name without its numbers and digests: names of the same kind differ only in these."""
    return _NUMBER.sub("#", name)


def find_checkpoint_kinds(runs: Iterable[Run]) -> frozenset[str]:
    """The kinds of files that are checkpoints (see the module)."""
    stretches = [stretch for run in runs for stretch in run.stretches]
    read = frozenset(kind_of(name) for stretch in stretches for name in stretch.files_read())
    if read:
        return read
    return find_file_kinds(stretches)


def find_file_kinds(stretches: Iterable[Stretch]) -> frozenset[str]:
    """The kinds of all files that were saved and not renamed away."""
    happened = [event for stretch in stretches for event in stretch.events]
    seen = {kind_of(event.name) for event in happened if event.what in _COMPLETED}
    return frozenset(seen - {kind_of(event.name) for event in happened if event.what is Happening.LEFT})


def read_history(stretch: Stretch, kinds: frozenset[str]) -> History:
    """Follow the events of one stretch."""
    reader = _HistoryReader(stretch, kinds)
    for event in stretch.events:
        if kind_of(event.name) in kinds:
            reader.meet(event)
    return reader.history()


class _HistoryReader:
    def __init__(self, stretch: Stretch, kinds: frozenset[str]) -> None:
        self._stretch = stretch
        self._there = {name for name in stretch.restored if kind_of(name) in kinds}
        self._dirty: dict[str, Arrival] = {}
        self._saves: list[Save] = []
        self._gaps: list[Gap] = []
        self._gone: dict[str, float] = {}
        self._may_grow: str | None = None
        self._left: list[int] = []
        self._has_deleted = False

    def meet(self, event: FileEvent) -> None:
        name = event.name
        match event.what:
            case Happening.CREATED:
                self._dirty[name] = Arrival.NEW_IN_PLACE
            case Happening.WRITTEN:
                arrival = Arrival.OVERWRITTEN if name in self._there else Arrival.NEW_IN_PLACE
                self._dirty.setdefault(name, arrival)
            case Happening.CLOSED | Happening.APPENDED:
                arrived = self._dirty.pop(name, None)
                if arrived:
                    self._complete(event, arrived)
            case Happening.ARRIVED:
                self._dirty.pop(name, None)
                self._save(event, Arrival.RENAMED)
            case Happening.LEFT:  # it is still there, under another name
                self._dirty.pop(name, None)
                self._there.discard(name)
            case Happening.DELETED:
                self._dirty.pop(name, None)
                self._lose(event)
            case Happening.READ:
                pass

    def _complete(self, event: FileEvent, arrival: Arrival) -> None:
        """Some libraries write a file, close it, and open it again to append: that is one save."""
        is_append = event.what is Happening.APPENDED and arrival is Arrival.OVERWRITTEN
        if is_append and self._may_grow == event.name:
            self._saves[-1] = replace(self._saves[-1], at=event.at)
            self._may_grow = None
        else:
            self._save(event, Arrival.APPENDED if is_append else arrival)

    def _save(self, event: FileEvent, arrival: Arrival) -> None:
        self._count_left()
        self._there.add(event.name)
        self._saves.append(Save(at=event.at, name=event.name, arrival=arrival))
        is_whole = arrival in (Arrival.NEW_IN_PLACE, Arrival.OVERWRITTEN)
        self._may_grow = event.name if is_whole else None
        kind = kind_of(event.name)
        if kind in self._gone:
            self._gaps.append(Gap(kind=kind, began_at=self._gone.pop(kind), ended_at=event.at))

    def _lose(self, event: FileEvent) -> None:
        kind = kind_of(event.name)
        if event.name in self._there:
            self._there.discard(event.name)
            self._has_deleted = True
            if kind not in {kind_of(name) for name in self._there}:
                self._gone[kind] = event.at

    def _count_left(self) -> None:
        if self._has_deleted:
            self._left.append(len(self._there))
            self._has_deleted = False

    def history(self) -> History:
        self._count_left()
        gaps = list(self._gaps)
        if self._stretch.exit_code is None and not self._there:
            gaps += [Gap(kind=kind, began_at=at) for kind, at in self._gone.items()]
        return History(
            saves=tuple(self._saves),
            gaps=tuple(gaps),
            unfinished=tuple(sorted(self._dirty)),
            lost=() if self._there else tuple(sorted(self._gone)),
            left=tuple(self._left),
        )
