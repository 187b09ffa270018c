"""`spot-training check PATH`: what Dag files are exposed to, and the change that ends it.

Parses Dag files without running them; Airflow need not be configured. Exit status: 0 if everything was looked
at and nothing found, 1 if there are findings or something was not looked at, 2 if a file cannot be parsed or
an argument is wrong.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from . import output
from .classes import Source, subclasses_of
from .codes import CODES, NOT_CHECKED
from .exposure import Finding, findings_of
from .files import Found, find, write
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
    def diff(self) -> str:
        return "".join(_diff(source, change.text) for source, change in self.plans if change.fixed)


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    options = _parse(arguments)
    checked = check(
        options.path, ignore_syntax=options.ignore_syntax, ignored=options.ignore, spot=options.spot
    )
    diff = checked.diff if options.fix or options.write else ""
    changed = {source.path: len(change.fixed) for source, change in checked.plans if change.fixed}
    if options.write:
        for source, change in checked.plans:
            if change.fixed:
                write(source.path, change.text, source.encoding)
        checked = check(
            options.path, ignore_syntax=options.ignore_syntax, ignored=options.ignore, spot=options.spot
        )
    if options.json:
        print(output.as_json(checked, diff=diff, changed=changed if options.write else {}))
    else:
        if options.fix and diff:
            print(diff, end="")
        text = output.as_text(checked, changed=changed if options.write else {}, shows_codes=not options.fix)
        # A diff alone on standard output can be given to `patch`.
        print(text, file=sys.stderr if options.fix else sys.stdout)
    return checked.status


def check(paths: list[Path], *, ignore_syntax: str, ignored: frozenset[str], spot: bool) -> Checked:
    """Look at all files."""
    found = find(paths, ignore_syntax=ignore_syntax)
    checked = Checked(found, are_packed_ignored=NOT_CHECKED in ignored)
    subclasses = subclasses_of(found.sources)
    for source in found.sources:
        tasks = tasks_of(source, subclasses)
        checked.tasks += [(source, task) for task in tasks]
        checked.findings += [
            (source, finding)
            for task in tasks
            for finding in _once(findings_of(task, source, tasks))
            if finding.code not in ignored
        ]
        checked.plans.append((source, plan(source, tasks, spot=spot)))
    return checked


def _once(findings: list[Finding]) -> list[Finding]:
    """A mapped task has one finding for all its configs."""
    return list({(finding.code, finding.message): finding for finding in findings}.values())


def _diff(source: Source, new: str) -> str:
    name = source.path.as_posix()
    before, after = (name, name) if source.path.is_absolute() else (f"a/{name}", f"b/{name}")
    lines = difflib.unified_diff(_lines(source.text), _lines(new), before, after)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+$", text)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="spot-training check", description=__doc__)
    parser.add_argument("path", nargs="+", type=Path, metavar="PATH", help="a Dag file, or a folder")
    parser.add_argument(
        "--fix", action="store_true", help="print a diff to SpotTrainingOperator and SpotTrainingSensor"
    )
    parser.add_argument("--write", action="store_true", help="make this change in the files")
    parser.add_argument(
        "--spot",
        action="store_true",
        help="also change trainings that say nothing about spot, or not in the file: they train on spot then",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--ignore",
        type=_codes,
        default=frozenset(),
        metavar="CODES",
        help="codes to leave out: SPOT012,SPOT013",
    )
    parser.add_argument(
        "--ignore-syntax",
        choices=("glob", "regexp"),
        default=os.environ.get("AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX") or "glob",
        help="the syntax of .airflowignore (default: glob, as Airflow's)",
    )
    options = parser.parse_args(arguments)
    for path in options.path:
        if not path.exists():
            parser.error(f"there is no {path}")
        if path.is_file() and path.suffix not in {".py", ".zip"}:
            parser.error(f"{path} is not a Python file")
    return options


def _codes(text: str) -> frozenset[str]:
    codes = frozenset(code.strip().upper() for code in text.split(",") if code.strip())
    if strange := sorted(codes - CODES.keys()):
        raise argparse.ArgumentTypeError(f"there is no code {', '.join(strange)}")
    return codes
