"""What was recorded of the runs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    WARM_UP = "warm-up"


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
    job: str = ""
    """its name"""
    attempts: int = 1
    """how many runs the drill made until one was interrupted at a moment that shows something"""
    failure: str | None = None
    stretches: tuple[Stretch, ...] = ()
    model: Mapping[str, str] = field(default_factory=dict)
    """digests of the files in the model"""
    truncated: str | None = None
    """the checkpoint that was cut in half before the run"""
    torn_from: str = ""
    """the label of the interrupted run that left this checkpoint"""
    has_mounts: bool = True
    """whether the script found SageMaker's mounts, on which some calls fail"""
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
