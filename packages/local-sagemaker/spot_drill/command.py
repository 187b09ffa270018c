"""`spot-drill`, or `python -m spot_drill`.

The exit status is 0 without failures, 1 with failures, 2 if the drill cannot run, and 3 if a core question
has no answer.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from local_sagemaker import PYTHON_VARIABLE, find_interpreter, forget_account

from . import plan as plans
from .judge import judge
from .plan import BadPlanError, Moment, Plan

_DEFAULT_MOMENTS = ("30%", "60%")


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        plan = make_plan(options)
        report = _check_report_file(options.json)
    except BadPlanError as exc:
        parser.error(str(exc))
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    signal.signal(signal.SIGTERM, _end)
    forget_account(os.environ)
    # moto and botocore take half a second to import: wrong options are refused first.
    from .run import carry_out

    try:
        runs = carry_out(plan, _Progress(is_quiet=options.quiet))
    except KeyboardInterrupt:
        print("interrupted: nothing is left running", file=sys.stderr)
        return 130
    every = plan.checkpoint_every
    verdict = judge(
        plan.entry_point,
        runs,
        checkpoint_every_seconds=every.of if every else None,
        accept_not_shown=options.accept_not_shown,
    )
    print(verdict)
    status = verdict.exit_status(strict=options.strict)
    if report:
        content = {"strict": options.strict, "exit_status": status, **verdict.as_json()}
        report.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return status


def make_plan(options: argparse.Namespace) -> Plan:
    """The options as one checked value. Raises `BadPlanError`."""
    source, entry_point = plans.find_script(options.script, options.entry_point)
    return Plan(
        source=source,
        entry_point=entry_point,
        channels=plans.find_channels(options.data),
        hyperparameters=plans.read_hyperparameters(options.hyperparameter),
        interrupt_at=tuple(
            plans.read_moment(text, "--interrupt-at") for text in options.interrupt_at or _DEFAULT_MOMENTS
        ),
        checkpoint_every=_read(plans.read_moment, options.checkpoint_every, "--checkpoint-every"),
        grace=_read(plans.read_moment, options.grace, "--grace"),
        image=options.image,
        compare=options.compare,
        timeout_seconds=plans.read_seconds(options.timeout, "--timeout"),
        python=plans.check_python(options.python.absolute() if options.python else find_interpreter()),
    )


def _read(read: Callable[[str, str], Moment], text: str | None, option: str) -> Moment | None:
    return None if text is None else read(text, option)


def _check_report_file(path: Path | None) -> Path | None:
    if path is not None and not path.absolute().parent.is_dir():
        raise BadPlanError(f"--json {path}: there is no folder {path.absolute().parent}.")
    return path


class _Progress:
    """Prints a line for each step to stderr, with the time since the start."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        if not self._is_quiet:
            print(f"[drill {time.monotonic() - self._began:6.1f} s] {text}", file=sys.stderr, flush=True)


def _end(number: int, _frame: Any) -> NoReturn:
    """Raise an exception on SIGTERM, so that everything is cleaned up."""
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spot-drill",
        description="Run a training script on a local SageMaker: undisturbed, interrupted, killed and with a "
        "torn checkpoint. Report whether it can run on managed spot training.",
        epilog="Exit status: 0 no failures, 1 failures (with --strict also warnings), 2 the drill cannot "
        "run, 3 no failures, but no answer to resume, torn checkpoint or sigkill.",
    )
    _add_what_to_run(parser.add_argument)
    _add_what_to_expect(parser.add_argument)
    return parser


def _add_what_to_run(add: Callable[..., Any]) -> None:
    add("script", type=Path, help="the training script, or its folder")
    add("--entry-point", metavar="NAME", help="the script in the folder (default: train.py)")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="each folder in it is a channel; without folders it is the channel `train`",
    )
    add("--hyperparameter", action="append", default=[], metavar="NAME=VALUE", help="can be repeated")
    add(
        "--interrupt-at",
        action="append",
        metavar="WHEN",
        help="a share of the undisturbed training time (30%%) or a time (20s); can be repeated, one run each "
        f"(default: {' and '.join(_DEFAULT_MOMENTS).replace('%', '%%')})",
    )
    add(
        "--grace",
        metavar="TIME",
        help="time from SIGTERM to SIGKILL, or a share of the run (default: AWS's 2m, or 10%% if less)",
    )
    add(
        "--python",
        type=Path,
        metavar="INTERPRETER",
        help="interpreter of an environment with sagemaker-training and what the script imports (default: "
        f"${PYTHON_VARIABLE}, or .venv-training in the current folder)",
    )
    add("--image", default=plans.DEFAULT_IMAGE, help="TrainingImage of the jobs (default: %(default)s)")
    add("--timeout", default="1h", metavar="TIME", help="for one run (default: %(default)s)")


def _add_what_to_expect(add: Callable[..., Any]) -> None:
    add(
        "--checkpoint-every",
        metavar="HOW_OFTEN",
        help="how often the script is meant to save, as a time (30s) or a share of the run (10%%): if it "
        "once takes more than twice as long, that is a failure (default: not judged)",
    )
    add(
        "--compare",
        metavar="COMMAND",
        help="compares two models, instead of their bytes: gets two folders, the undisturbed model first, "
        "and exits with 0 if the models are the same",
    )
    add("--json", type=Path, metavar="FILE", help="write the verdict as JSON")
    add("--strict", action="store_true", help="warnings are failures too")
    add(
        "--accept-not-shown",
        action="store_true",
        help="exit with 0 instead of 3 if there is no answer to resume, torn checkpoint or sigkill",
    )
    add("--quiet", action="store_true", help="no progress lines")
