"""What was seen of the runs, and what the events of a checkpoint folder mean. Pure.

A *checkpoint* is a file the script read back after an interruption, or would have: names that differ in their
digits only are one kind. Where it never read any, every file that was not renamed away counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .watch import FileEvent, Happening

_TOOLKIT, _TOOLKIT_STARTS_SCRIPT = "sagemaker-training-toolkit", "Invoking script with the following command"
_CHANGES = frozenset(Happening) - {Happening.READ}
_TELLS_OF_RESUMING = re.compile(r"resum|restor|continu|checkpoint|start(ing|ed)? from", re.IGNORECASE)


class RunKind(StrEnum):
    """What is done to a run."""

    UNINTERRUPTED = "uninterrupted"
    INTERRUPTED = "interrupted"
    KILLED = "killed"
    TORN = "torn"


class Arrival(StrEnum):
    """How a checkpoint came to be whole under its name."""

    RENAMED = "renamed"
    NEW_IN_PLACE = "new in place"
    OVERWRITTEN = "overwritten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One start of the script: times in real seconds since that start; no exit code when it was killed."""

    seconds: float
    exit_code: int | None = 0
    restored: tuple[str, ...] = ()
    events: tuple[FileEvent, ...] = ()
    lines: tuple[tuple[float, str], ...] = ()

    def files_read(self) -> frozenset[str]:
        """The restored files the script read before anything changed them: a changed one is read by the
        upload too.
        """
        changed: set[str] = set()
        read: set[str] = set()
        for event in self.events:
            if event.what in _CHANGES:
                changed.add(event.name)
            elif event.name in self.restored and event.name not in changed:
                read.add(event.name)
        return frozenset(read)

    def script_lines(self) -> tuple[tuple[float, str], ...]:
        """The log without what AWS's toolkit says of itself; all of it if the script never began."""
        starts = [at for at, (_, line) in enumerate(self.lines) if line.startswith(_TOOLKIT_STARTS_SCRIPT)]
        if not starts:
            return self.lines
        said = [each for each in self.lines[starts[-1] + 1 :] if each[1].strip()]
        return tuple(each for each in said[1:] if _TOOLKIT not in each[1])  # the first is the command

    def first_line_at(self) -> float | None:
        """When the script first said something."""
        return next((at for at, _ in self.script_lines()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training job of the drill."""

    kind: RunKind
    label: str
    status: str
    failure: str | None = None
    stretches: tuple[Stretch, ...] = ()
    model: Mapping[str, str] = field(default_factory=dict)
    """digests of the files in the model"""
    truncated: str | None = None
    """the checkpoint that was cut in half before the run"""
    compared: tuple[bool, str] | None = None
    """whether the command of the user found the models alike, and what it said"""

    @property
    def is_completed(self) -> bool:
        return self.status == "Completed"

    @property
    def was_interrupted(self) -> bool:
        return len(self.stretches) > 1

    @property
    def training_seconds(self) -> float:
        return sum(stretch.seconds for stretch in self.stretches)

    def differs_from(self, other: Run) -> bool:
        """Whether both made a model, and not the same bytes."""
        return self.is_completed and other.is_completed and self.model != other.model

    def line_about_resuming(self) -> str | None:
        """The first line the script said after the interruption and not before, that sounds like it."""
        if not self.was_interrupted:
            return None
        before = {line for _, line in self.stretches[0].script_lines()}
        lines = (line for _, line in self.stretches[1].script_lines() if line not in before)
        return next((line for line in lines if _TELLS_OF_RESUMING.search(line)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """A checkpoint file became whole."""

    at: float
    name: str
    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """No checkpoint of a kind was there, though there had been one. Without an end: until the kill."""

    kind: str
    began_at: float
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What one stretch did to the checkpoints."""

    saves: tuple[Save, ...]
    gaps: tuple[Gap, ...]
    unfinished: tuple[str, ...]
    """being written when the stretch ended"""


def kind_of(name: str) -> str:
    """Names that differ in digits only are the same kind."""
    return re.sub(r"\d+", "#", name)


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
    seen = {kind_of(event.name) for event in happened if event.what in (Happening.CLOSED, Happening.ARRIVED)}
    return frozenset(seen - {kind_of(event.name) for event in happened if event.what is Happening.LEFT})


def tell_story(stretch: Stretch, kinds: frozenset[str]) -> Story:
    """Follow the events of one stretch."""
    teller = _Teller(stretch, kinds)
    for event in stretch.events:
        if kind_of(event.name) in kinds:
            teller.meet(event)
    return teller.story()


class _Teller:
    def __init__(self, stretch: Stretch, kinds: frozenset[str]) -> None:
        self._stretch = stretch
        self._there = {name for name in stretch.restored if kind_of(name) in kinds}
        self._dirty: dict[str, Arrival] = {}
        self._saves: list[Save] = []
        self._gaps: list[Gap] = []
        self._gone: dict[str, float] = {}

    def meet(self, event: FileEvent) -> None:
        name = event.name
        match event.what:
            case Happening.CREATED:
                self._dirty[name] = Arrival.NEW_IN_PLACE
            case Happening.WRITTEN:
                arrival = Arrival.OVERWRITTEN if name in self._there else Arrival.NEW_IN_PLACE
                self._dirty.setdefault(name, arrival)
            case Happening.CLOSED:
                arrived = self._dirty.pop(name, None)
                if arrived:
                    self._save(event, arrived)
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

    def _save(self, event: FileEvent, arrival: Arrival) -> None:
        self._there.add(event.name)
        self._saves.append(Save(at=event.at, name=event.name, arrival=arrival))
        kind = kind_of(event.name)
        if kind in self._gone:
            self._gaps.append(Gap(kind=kind, began_at=self._gone.pop(kind), ended_at=event.at))

    def _lose(self, event: FileEvent) -> None:
        kind = kind_of(event.name)
        if event.name in self._there:
            self._there.discard(event.name)
            if kind not in {kind_of(name) for name in self._there}:
                self._gone[kind] = event.at

    def story(self) -> Story:
        gaps = list(self._gaps)
        if self._stretch.exit_code is None and not self._there:
            gaps += [Gap(kind=kind, began_at=at) for kind, at in self._gone.items()]
        return Story(saves=tuple(self._saves), gaps=tuple(gaps), unfinished=tuple(sorted(self._dirty)))
