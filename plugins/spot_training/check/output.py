"""The result as text for people, and as JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .classes import Kind, Source
from .codes import CODES, NOT_CHECKED

if TYPE_CHECKING:
    from .checked import Checked
    from .tasks import Task

_HEAD = ("line", "task", "code", "what it is exposed to")

_BEFORE = (
    "Trainings that ask for spot now fall back to on-demand; policy='spot_only' prevents that. Before the "
    "first run, see docs/migration.md: quotas, permissions, checkpoints."
)


def as_text(checked: Checked, *, changed: Mapping[Path, int], is_fix: bool) -> str:
    """A table for each file, what its codes mean, and what was not looked at or not changed."""
    parts = [f"{path}: {_number(count, 'task')} changed." for path, count in changed.items()]
    if not is_fix:
        parts += list(_tables(checked))
        if used := sorted({finding.code for _, finding in checked.findings}):
            parts.append("\n\n".join(map(_explained, used)))
    parts += list(_not_looked_at(checked))
    if not changed:
        parts += list(_not_changed(checked))
    if changed or (checked.diff and is_fix):
        parts.append(_BEFORE)
    parts.append(_summary(checked))
    return "\n\n".join(parts)


def _tables(checked: Checked) -> Iterator[str]:
    for path, found in groupby(checked.findings, key=lambda pair: pair[0].path):
        rows = [
            (str(finding.at_line), finding.task.called, finding.code, finding.message) for _, finding in found
        ]
        yield f"{path}\n{_table([_HEAD, *_without_repeats(rows)])}"


def _without_repeats(rows: list[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """Name a task once."""
    earlier = ("", "")
    for line, task, code, message in rows:
        yield ("", "", code, message) if (line, task) == earlier else (line, task, code, message)
        earlier = (line, task)


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"  {row[0]:>{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]}".rstrip()
        for row in rows
    )


def _explained(code: str) -> str:
    meaning = CODES[code]
    return f"{code}  {meaning.title}\n         Seen in: {meaning.source}\n         Way out: {meaning.way_out}"


def _not_looked_at(checked: Checked) -> Iterator[str]:
    if checked.found.not_parsed:
        lines = (f"  {item.path}:{item.line}  {item.reason}" for item in checked.found.not_parsed)
        yield "\n".join(["Not parsed:", *lines])
    if checked.found.packed:
        lines = (f"  {path}  packed Dags: unpack the file to check them" for path in checked.found.packed)
        yield "\n".join(["Not looked at:", *lines])
    if checked.found.ignored:
        lines = (f"  {path}" for path in checked.found.ignored)
        yield "\n".join(["Left out by .airflowignore:", *lines])


def _not_changed(checked: Checked) -> Iterator[str]:
    lines = [
        f"  {source.path}:{task.line}  {task.called}: {reason}"
        for source, plan in checked.plans
        for task, reason in plan.left.items()
    ]
    if lines:
        yield "\n".join(["What --fix does not change:", *lines])


def _summary(checked: Checked) -> str:
    tasks = [task for _, task in checked.tasks if task.kind is not Kind.OURS]
    ours = len(checked.tasks) - len(tasks)
    unclear = sum(finding.code == NOT_CHECKED for _, finding in checked.findings)
    parts = [
        f"{_number(len(checked.found.paths), 'file')}, {_number(len(tasks), 'training')}"
        + (f" and {ours} with this package" if ours else ""),
        f"{_number(len(checked.findings) - unclear, 'finding')}, {unclear} not checked"
        if checked.findings
        else "no finding",
    ]
    if can := sum(len(plan.fixed) for _, plan in checked.plans):
        parts.append(f"--fix can change {can}")
    return "; ".join(parts) + "."


def as_json(checked: Checked, *, diff: str, changed: Mapping[Path, int]) -> str:
    """The same as JSON. Names are only added to it."""
    data = {
        "files": len(checked.found.paths),
        "tasks": [_task(source, task, checked) for source, task in checked.tasks],
        "findings": [
            {
                "file": str(source.path),
                "line": finding.at_line,
                "dag_id": finding.task.surroundings.dag_id,
                "task_id": finding.task.full_id,
                "task": finding.task.called,
                "code": finding.code,
                "message": finding.message,
                "meaning": CODES[finding.code].title,
                "source": finding.seen_in,
                "way_out": CODES[finding.code].way_out,
            }
            for source, finding in checked.findings
        ],
        "not_parsed": [
            {"file": str(item.path), "line": item.line, "reason": item.reason}
            for item in checked.found.not_parsed
        ],
        "not_looked_at": list(map(str, checked.found.packed)),
        "ignored": list(map(str, checked.found.ignored)),
        "changed": {str(path): count for path, count in changed.items()},
        "diff": diff,
        "status": checked.status,
    }
    return json.dumps(data, indent=2)


def _task(source: Source, task: Task, checked: Checked) -> dict[str, Any]:
    left = next((plan.left for other, plan in checked.plans if other is source), {})
    is_ours = task.kind is Kind.OURS
    return {
        "file": str(source.path),
        "line": task.line,
        "dag_id": task.surroundings.dag_id,
        "task_id": task.full_id,
        "task": task.called,
        "kind": str(task.kind),
        "name": task.name,
        "can_be_changed": not is_ours and task not in left,
        "not_changed_because": left.get(task),
    }


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
