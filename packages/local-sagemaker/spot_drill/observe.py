"""What was recorded of the runs, and what the events in a checkpoint folder mean. Pure.

A *checkpoint* is a file of a kind that the script read after an interruption. Names that differ only in
digits are one kind. If the script read no file, every file that was not renamed to another name counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from local_sagemaker import MARKER_SUFFIXES

from .watch import FileEvent, Happening

_TOOLKIT, _TOOLKIT_STARTS_SCRIPT = "sagemaker-training-toolkit", "Invoking script with the following command"
_CHANGES = frozenset(Happening) - {Happening.READ}
_SOUNDS_LIKE_RESUMING = re.compile(r"resum|restor|continu|checkpoint|start(ing|ed)? from", re.IGNORECASE)


class RunKind(StrEnum):
    """What is done to a run."""

    UNINTERRUPTED = "uninterrupted"
    INTERRUPTED = "interrupted"
    KILLED = "killed"
    TORN = "torn"


class Arrival(StrEnum):
    """How a checkpoint got its final name."""

    RENAMED = "renamed"
    NEW_IN_PLACE = "new in place"
    OVERWRITTEN = "overwritten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One start of the script, with times in real seconds since then. A killed script has no exit code."""

    seconds: float
    exit_code: int | None = 0
    restored: tuple[str, ...] = ()
    events: tuple[FileEvent, ...] = ()
    lines: tuple[tuple[float, str], ...] = ()

    def files_read(self) -> frozenset[str]:
        """The restored files that the script read unchanged. The upload reads changed files, too."""
        changed: set[str] = set()
        read: set[str] = set()
        for event in self.events:
            if event.what in _CHANGES:
                changed.add(event.name)
            elif event.name in self.restored and event.name not in changed:
                read.add(event.name)
        return frozenset(read)

    def markers_read(self) -> tuple[str, ...]:
        """The markers of SageMaker that the script opened. They are empty."""
        opened = (event.name for event in self.events if event.what is Happening.READ)
        return tuple(dict.fromkeys(name for name in opened if name.endswith(MARKER_SUFFIXES)))

    def script_lines(self) -> tuple[tuple[float, str], ...]:
        """The log without the lines of AWS's toolkit; the whole log if the script never started."""
        starts = [at for at, (_, line) in enumerate(self.lines) if line.startswith(_TOOLKIT_STARTS_SCRIPT)]
        if not starts:
            return self.lines
        said = [each for each in self.lines[starts[-1] + 1 :] if each[1].strip()]
        return tuple(each for each in said[1:] if _TOOLKIT not in each[1])  # the first is the command

    def first_line_at(self) -> float | None:
        """When the script wrote its first line."""
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
    """whether the --compare command accepted the model, and its last line"""

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
        """Whether both made a model, with different bytes."""
        return self.is_completed and other.is_completed and self.model != other.model

    def line_about_resuming(self) -> str | None:
        """The first line about resuming that the script wrote after the interruption and not before."""
        if not self.was_interrupted:
            return None
        before = {line for _, line in self.stretches[0].script_lines()}
        lines = (line for _, line in self.stretches[1].script_lines() if line not in before)
        return next((line for line in lines if _SOUNDS_LIKE_RESUMING.search(line)), None)


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


def kind_of(name: str) -> str:
    """The name without its digits: names of the same kind differ only in digits."""
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

    def history(self) -> History:
        gaps = list(self._gaps)
        if self._stretch.exit_code is None and not self._there:
            gaps += [Gap(kind=kind, began_at=at) for kind, at in self._gone.items()]
        return History(saves=tuple(self._saves), gaps=tuple(gaps), unfinished=tuple(sorted(self._dirty)))
