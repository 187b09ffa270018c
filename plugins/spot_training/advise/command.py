"""Advise on a training: which policy, which max wait, what it will cost, and when it will be complete.

    spot-training advise --work 6h --deadline 14h --trace us-east-1a.json --plot cost.svg

`--work` is how long the training takes. Without it, it is learned from past runs of `--model` on
`--instance-type`. The market is one of `--trace FILE` (repeat it for several traces), `--scenario UP/DOWN`
(mean length of the intervals with and without capacity, like 3h/40m), `--history FILE` (availability
intervals as JSON, `[[true, 7200], [false, 1800], ...]`, oldest first) and `--own-history` (what this
Airflow's jobs on `--instance-type` saw in `--region`). Prices are dollars per instance hour: give
`--on-demand-price` and `--spot-price`, or use the on-demand price of `--instance-type` and `--price-ratio`.

For a training that may run on any of several instance types, add `--also-trace FILE` or `--also-scenario
UP/DOWN` for each further type, or repeat `--instance-type` with `--own-history`. Single traces begin at the
same moment. The last lines of the table say what another type and a way back to spot would cost.

The advice keeps the same time free before the deadline as the operator.

In a Dag: `task(advise_on)(work="6h", deadline="14h", ...)`, or the Dag `advise_on_spot`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spot_training.advise.moves import BY_TICK, BackToSpot
from spot_training.domain.errors import SpotTrainingError

from .answer import CHECK_INTERVAL_SECONDS, PRICE_RATIO, advise_on
from .markets import read_intervals

if TYPE_CHECKING:
    from .place import Place

#: The options that are arguments of `advise_on`.
_QUESTION = inspect.signature(advise_on).parameters.keys() - {"place"}


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="spot-training advise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", help="run time of the training, like 6h")
    parser.add_argument("--work-high", help="run time of a slow run, like 7h (default: --work)")
    parser.add_argument("--model", help="learn the run time from this model's runs on --instance-type")
    parser.add_argument("--dag-id", help="learn it from runs of this Dag only (default: all Dags)")
    parser.add_argument("--deadline", required=True, help="time from submission to the deadline, like 14h")
    parser.add_argument("--overhead", help="start-up, download and checkpoint load of a launch (default: 5m)")
    parser.add_argument("--max-runtime", help="MaxRuntimeInSeconds of the request (default: 24h)")
    parser.add_argument(
        "--check-interval",
        default=CHECK_INTERVAL_SECONDS,
        help="the operator's check_interval (default: 30 s)",
    )
    parser.add_argument("--deadline-reserve", default=0, help="the operator's deadline_reserve (default: 0)")
    market = parser.add_mutually_exclusive_group(required=True)
    market.add_argument("--trace", type=Path, action="append", help="a file with a capacity trace (JSON)")
    market.add_argument("--scenario", help="mean intervals with/without capacity, like 3h/40m")
    market.add_argument("--history", type=Path, help="a file with availability intervals (JSON)")
    market.add_argument("--own-history", action="store_true", help="use what this Airflow's jobs saw")
    parser.add_argument(
        "--also-trace", type=Path, action="append", help="the trace of a further instance type; repeatable"
    )
    parser.add_argument(
        "--also-scenario", action="append", help="the scenario of a further instance type; repeatable"
    )
    parser.add_argument(
        "--instance-type",
        action="append",
        help="for its price, --model and --own-history; repeat it with --own-history for any of several",
    )
    parser.add_argument("--instance-count", type=int, default=1, help="for --model (default: 1)")
    parser.add_argument("--region", default="us-east-1", help="for --own-history and the price (us-east-1)")
    parser.add_argument("--on-demand-price", type=float, help="dollars per instance hour")
    price = parser.add_mutually_exclusive_group()
    price.add_argument("--spot-price", type=float, help="dollars per instance hour")
    price.add_argument(
        "--price-ratio", type=float, default=PRICE_RATIO, help=f"spot to on-demand (default: {PRICE_RATIO})"
    )
    parser.add_argument(
        "--back-to-spot",
        choices=BY_TICK,
        default=BackToSpot.NEVER,
        help="whether a training may return from on-demand to spot (default: never)",
    )
    parser.add_argument("--plot", type=Path, help="a file for the plot of cost against deadline (.svg, .png)")
    parser.add_argument("--json", action="store_true", help="print the advice as JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Advise with this machine's ledger, settings and credentials. Returns the exit status."""
    options = make_parser().parse_args(arguments)
    try:
        print_advice(options)
    except (SpotTrainingError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


def print_advice(options: argparse.Namespace, *, place: Place | None = None) -> None:
    """Print the advice for the options. `place` as in `advise_on`. Raises as that does, and OSError."""
    given = {name: value for name, value in vars(options).items() if name in _QUESTION}
    if options.history:
        given["intervals"] = read_intervals(options.history.read_text(), source=str(options.history))
    if options.work_high:
        given["work"] = {"mean": given["work"], "high": options.work_high}
    advice = advise_on(**given, place=place)
    print(json.dumps(advice, indent=2) if options.json else advice["text"])
