"""`local-sagemaker conformance`.

The exit status is 0 if nothing failed, 1 if something did, 2 for wrong options, and 3 if nothing failed, but
an answer is missing, or something could not be removed.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .check import Check, Result, skipped
from .checks import CHECKS, GROUP_NAMES
from .cleanup import RUN_ID, clean_up, new_run_id
from .cost import highest_cost, known_price
from .evidence import Run
from .jobs import JobPlan, with_predecessors
from .report import Line, Outcome, as_json, exit_status, table
from .runner import Runner
from .target import LOCAL_IMAGE, LOCAL_ROLE, Kind, Target, TargetError, aws_target, local_target

PROGRAM = "local-sagemaker conformance"


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    say = _Progress(is_quiet=options.quiet)
    run_id = options.clean_up or new_run_id()
    try:
        _check(options)
        with contextlib.closing(_target(options, run_id)) as target:
            if options.clean_up:
                return _clean_up_only(target, run_id, say)
            checks = [check for check in CHECKS if not options.only or check.group in options.only]
            plans = with_predecessors(name for check in checks for name in (*check.needs, *check.wants))
            plans = [plan for plan in plans if not plan.is_local or target.control]
            if target.kind is Kind.AWS and not _is_confirmed(options, target, plans, checks):
                print("Nothing was done.", file=sys.stderr)
                return 2
            print(f"Run {run_id}. If it is killed: {_clean_up_command(options, run_id)}", flush=True)
            return _carry_out(options, Run(id=run_id, target=target), plans, checks, say)
    except TargetError as exc:
        parser.error(str(exc))


def _carry_out(
    options: argparse.Namespace,
    run: Run,
    plans: list[JobPlan],
    checks: list[Check],
    say: Callable[[str], None],
) -> int:
    outcome = Outcome(began=time.monotonic())
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        try:
            runner = Runner(run, parallel=options.parallel, seconds=60 * options.timeout, say=say)
            runner.carry_out(plans, with_events=any(check.group == "events" for check in checks))
            say(f"asking {len(checks)} questions")
            outcome.lines += [_ask(check, run, is_chosen=check in checks) for check in CHECKS]
        finally:
            _save(options, run, outcome)  # removing takes minutes on AWS, and can be interrupted
            outcome.left += clean_up(run.target, run.id, say)
        outcome.status = exit_status(outcome.lines, outcome.left)
        print(table(run, outcome.lines, outcome.left))
    except (KeyboardInterrupt, SystemExit) as exc:
        outcome.status = 128 + signal.SIGINT if isinstance(exc, KeyboardInterrupt) else int(exc.code or 0)
        _complain(outcome, f"interrupted. If anything is left: {_clean_up_command(options, run.id)}")
    except Exception:  # noqa: BLE001 - the evidence of a real run is kept, whatever happens
        _complain(outcome, traceback.format_exc())
    _save(options, run, outcome)
    return outcome.status


def _save(options: argparse.Namespace, run: Run, outcome: Outcome) -> None:
    if options.json:
        options.json.write_text(as_json(run, outcome) + "\n", encoding="utf-8")


def _complain(outcome: Outcome, text: str) -> None:
    print("\n".join([text, *(f"LEFT BEHIND: {what}" for what in outcome.left)]), file=sys.stderr)


def _ask(check: Check, run: Run, *, is_chosen: bool) -> Line:
    answer, seconds = check.answer(run) if is_chosen else (skipped("left out by --only"), 0.0)
    return Line(check=check, answer=answer, seconds=seconds)


def _clean_up_only(target: Target, run_id: str, say: Callable[[str], None]) -> int:
    left = clean_up(target, run_id, say)
    print("\n".join(f"LEFT BEHIND: {what}" for what in left) or f"Nothing is left of {run_id}.")
    return 3 if left else 0


def _clean_up_command(options: argparse.Namespace, run_id: str) -> str:
    where = f"--endpoint {options.endpoint}" if options.endpoint else "--aws"
    bucket = f" --bucket {options.bucket}" if options.bucket else ""
    return f"{PROGRAM} {where}{bucket} --clean-up {run_id}"


def _end(number: int, _frame: Any) -> NoReturn:
    """Raise an exception on a signal, so that everything is removed."""
    raise SystemExit(128 + number)


# --- options ---


def _check(options: argparse.Namespace) -> None:
    if options.aws:
        needed = ("bucket",) if options.clean_up else ("role", "bucket", "image")
        missing = [f"--{name}" for name in needed if not getattr(options, name)]
        if missing:
            raise TargetError(f"--aws needs {', '.join(missing)}.")
    if options.clean_up and not RUN_ID.fullmatch(options.clean_up):
        raise TargetError(f"--clean-up {options.clean_up}: give the id of a run, as it printed it.")
    if options.json and not options.json.absolute().parent.is_dir():
        raise TargetError(f"--json {options.json}: there is no folder {options.json.absolute().parent}.")


def _target(options: argparse.Namespace, run_id: str) -> Target:
    if options.aws:
        return aws_target(
            role=options.role or LOCAL_ROLE,
            image=options.image or LOCAL_IMAGE,
            instance_type=options.instance_type,
            bucket=options.bucket,
        )
    return local_target(
        options.endpoint,
        role=options.role,
        image=options.image,
        instance_type=options.instance_type,
        bucket=options.bucket or run_id,
    )


def _is_confirmed(
    options: argparse.Namespace, target: Target, plans: list[JobPlan], checks: list[Check]
) -> bool:
    """State the highest possible cost and the longest time, and ask."""
    price = options.usd_per_hour or known_price(target.region, target.instance_type)
    if price is None:
        raise TargetError(
            f"the price of {target.instance_type} in {target.region} is not known here: give --usd-per-hour, "
            "the on-demand price of a training instance."
        )
    risks = [check.risk_seconds for check in checks if check.risk_seconds]
    print(f"{target.url}, account {target.account}, region {target.region}, bucket {target.bucket}")
    print(highest_cost(plans, refusals=risks, usd_per_hour=price))
    print(
        f"The jobs end within {options.timeout} minutes, and removing everything takes up to 20 more. Jobs, "
        "objects, log streams, a queue and a rule are made, and removed in the end."
    )
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise TargetError("confirm with --yes.")
    return input("Continue? [y/N] ").strip().lower() in ("y", "yes")


class _Progress:
    """Prints a line for each step to stderr, with the time since the start."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        if not self._is_quiet:
            print(f"[{time.monotonic() - self._began:6.1f} s] {text}", file=sys.stderr, flush=True)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: give 1 or more")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Ask a SageMaker how it behaves, with small jobs and wrong requests, and compare "
        "the answers with what is known of AWS. Everything that it makes is removed.",
        epilog="Exit status: 0 nothing failed, 1 something failed, 2 wrong options, 3 nothing failed, but "
        "an answer is missing, or something could not be removed. What cannot be forced is skipped by name. "
        f"{Result.ANSWERED}: AWS's answer is not known, so what was seen is recorded.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--endpoint", metavar="URL", help="a local SageMaker, or another server with its API")
    where.add_argument(
        "--aws",
        action="store_true",
        help="the account and region of the environment's credentials; needs --role, --bucket and --image",
    )
    add = parser.add_argument
    add("--role", metavar="ARN", help="the role of the jobs: reads and writes the bucket, and writes logs")
    add("--bucket", help="for the jobs' files, below the id of the run (default with --endpoint: a new one)")
    add("--image", help="a training image that runs scripts, such as one of AWS's for PyTorch")
    add("--instance-type", default="ml.m5.large", metavar="TYPE", help="(default: %(default)s)")
    add("--usd-per-hour", type=_positive, metavar="USD", help="its price, where it is not known here")
    add("--only", action="append", choices=GROUP_NAMES, help="ask only this group; can be repeated")
    add("--parallel", type=_count, default=4, metavar="N", help="jobs at a time (default: %(default)s)")
    add(
        "--timeout",
        type=_positive,
        default=60,
        metavar="MINUTES",
        help="give up the jobs that are not over by then (default: %(default)s)",
    )
    add("--yes", action="store_true", help="do not ask before something that can cost")
    add("--json", type=Path, metavar="FILE", help="write all questions, answers and raw descriptions as JSON")
    add("--clean-up", metavar="RUN_ID", help="only remove what a run made that was killed")
    add("--quiet", action="store_true", help="no progress lines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
