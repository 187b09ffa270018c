"""`spot-training check PATH`: what Dag files are exposed to, and the change that ends it.

Parses Dag files without running them; Airflow need not be configured. Exit status: 0 if everything was looked
at and nothing found, 1 if there are findings or something was not looked at, 2 if a file cannot be parsed or
an argument is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import output
from .checked import Checked, check
from .codes import CODES
from .files import write


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    options = _parse(arguments)
    checked = _check(options)
    diff = checked.diff if options.fix or options.write else ""
    changed = {source.path: len(change.fixed) for source, change in checked.changes} if options.write else {}
    if options.write:
        for source, change in checked.changes:
            write(source.path, change.text, source.encoding)
        checked = _check(options)
    if options.json:
        print(output.as_json(checked, diff=diff, changed=changed))
        return checked.status
    if options.fix and diff:
        print(diff, end="")
    text = output.as_text(checked, changed=changed, is_fix=options.fix)
    # A diff alone on standard output can be given to `patch`.
    print(text, file=sys.stderr if options.fix else sys.stdout)
    return checked.status


def _check(options: argparse.Namespace) -> Checked:
    return check(
        options.path,
        ignore_syntax=options.ignore_syntax,
        ignored=frozenset().union(*options.ignore),
        defers=options.default_deferrable,
        spot=options.spot,
    )


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
    parser.add_argument(
        "--default-deferrable",
        action="store_true",
        default=_is_true(os.environ.get("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "")),
        help="tasks without deferrable defer, as with [operators] default_deferrable (default: that "
        "setting's environment variable)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--ignore",
        type=_codes,
        action="append",
        default=[],
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


def _is_true(text: str) -> bool:
    return text.strip().lower() in {"true", "t", "1"}
