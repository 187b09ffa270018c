"""All that was found below the paths: tasks, findings, and the changes of the files."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from .classes import Source, subclasses_of
from .codes import NOT_CHECKED
from .exposure import Finding, findings_of
from .files import Found, Problem, find
from .fixing import Plan, plan
from .tasks import Task, tasks_of


@dataclass(slots=True)
class Checked:
    """What was found in all files."""

    found: Found
    tasks: list[tuple[Source, Task]] = field(default_factory=list)
    findings: list[tuple[Source, Finding]] = field(default_factory=list)
    plans: list[tuple[Source, Plan]] = field(default_factory=list)
    are_packed_ignored: bool = False

    @property
    def status(self) -> int:
        if self.found.not_parsed:
            return 2
        has_packed = bool(self.found.packed) and not self.are_packed_ignored
        return 1 if self.findings or has_packed else 0

    @property
    def changes(self) -> list[tuple[Source, Plan]]:
        """The files that change."""
        return [(source, change) for source, change in self.plans if change.fixed]

    @property
    def diff(self) -> str:
        return "".join(_diff(source, change.text) for source, change in self.changes)


def check(
    paths: list[Path],
    *,
    ignore_syntax: str = "glob",
    ignored: frozenset[str] = frozenset(),
    defers: bool = False,
    spot: bool = False,
) -> Checked:
    """Look at all files."""
    found = find(paths, ignore_syntax=ignore_syntax)
    checked = Checked(found, are_packed_ignored=NOT_CHECKED in ignored)
    subclasses = subclasses_of(found.sources)
    for source in found.sources:
        try:
            tasks = tasks_of(source, subclasses)
            change = plan(source, tasks, spot=spot)
        except RecursionError:
            found.not_parsed.append(Problem(path=source.path, line=1, reason="is nested too deeply"))
            continue
        checked.tasks += [(source, task) for task in tasks]
        checked.findings += [
            (source, finding)
            for task in tasks
            for finding in _once(findings_of(task, source, tasks, defers=defers))
            if finding.code not in ignored
        ]
        checked.plans.append((source, change))
    return checked


def _once(findings: list[Finding]) -> list[Finding]:
    """A mapped task has one finding for all its configs."""
    once = {(finding.code, finding.message): finding for finding in findings}
    return sorted(once.values(), key=lambda finding: finding.code)


def _diff(source: Source, new: str) -> str:
    name = source.path.as_posix()
    before, after = (name, name) if source.path.is_absolute() else (f"a/{name}", f"b/{name}")
    lines = difflib.unified_diff(_lines(source.text), _lines(new), before, after)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+$", text)
