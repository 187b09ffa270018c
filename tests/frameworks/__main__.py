"""Drills the scripts of real frameworks and prints a table: `scripts/test-frameworks` runs this in .venv."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cases import CASES, FRAMEWORKS, ROOT, Case, Outcome, drill


def main() -> int:
    """0 if every verdict is the true one."""
    options, rest = _read_options()
    cases = [case for case in CASES if case.framework in options.only]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(max_workers=options.jobs) as pool:

        def run(case: Case) -> Outcome:
            outcome = drill(case, options.python, Path(folder), *rest)
            print(f"[frameworks {time.monotonic() - started:6.0f} s] {_sum_up(outcome)}", file=sys.stderr)
            return outcome

        outcomes = list(pool.map(run, cases))
    for outcome in outcomes:
        if options.verbose or not outcome.is_true:
            print(f"\n--- {outcome.case}\n\n{outcome.text}")
    print(_tabulate(outcomes))
    wrong = [str(outcome.case) for outcome in outcomes if not outcome.is_true]
    seconds = time.monotonic() - started
    print(f"\n{len(outcomes) - len(wrong)} true verdicts, {len(wrong)} false ones, in {seconds:.0f} s.")
    return 1 if wrong else 0


def _read_options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="scripts/test-frameworks", description=__doc__)
    parser.add_argument("--only", default=",".join(FRAMEWORKS), help="such as lightgbm,sklearn")
    parser.add_argument("--jobs", type=int, default=2, help="drills at the same time (default: 2)")
    parser.add_argument("--python", default=str(ROOT / ".venv-frameworks" / "bin" / "python"))
    parser.add_argument("--verbose", action="store_true", help="print true verdicts as well")
    options, rest = parser.parse_known_args()
    options.only = options.only.split(",")
    unknown = sorted(set(options.only) - set(FRAMEWORKS))
    if unknown:
        parser.error(f"no scripts of {', '.join(unknown)}. There are: {', '.join(FRAMEWORKS)}")
    return options, rest


def _sum_up(outcome: Outcome) -> str:
    return f"{outcome.case}: {_describe(outcome)}{'' if outcome.is_true else '  <- NOT TRUE'}"


def _describe(outcome: Outcome) -> str:
    if not outcome.results:
        return f"the drill did not run (exit status {outcome.status})"
    failed = outcome.list("fail")
    if failed:
        return f"fails: {', '.join(failed)}"
    return {0: "passes", 3: f"not shown: {', '.join(outcome.list('skip'))}"}[outcome.status]


def _tabulate(outcomes: list[Outcome]) -> str:
    rows = [("script", "verdict", "true", "seconds")]
    rows += [
        (str(each.case), _describe(each), "yes" if each.is_true else "NO", f"{each.seconds:.0f}")
        for each in outcomes
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
