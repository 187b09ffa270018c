"""The advisor: which policy, what max wait, what will it cost, and when will it be done?

    spot-training advise --work 6h --deadline 14h --trace us-east-1a.json --plot cost.svg

How long the training takes is `--work`, or learned from the past runs of `--model` on `--instance-type`.
The market is one of: `--trace FILE` (again and again for several), `--scenario UP/DOWN` (mean spells with
capacity and without, like 3h/40m), `--history FILE` (JSON of spells, `[[true, 7200], [false, 1800], ...]`,
oldest first), or `--own-history`, what this Airflow's jobs of `--instance-type` saw in `--region`.
Prices are dollars per instance hour: `--on-demand-price` and `--spot-price`, or the on-demand price of
`--instance-type` and `--price-ratio`. What the operator keeps free before a deadline is kept free here.

In a Dag: `task(advise_on)(work="6h", deadline="14h", ...)`, or the Dag `advise_on_spot`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from spot_training.advise.moves import BackToSpot
from spot_training.domain.errors import SpotTrainingError

from .answer import CHECK_INTERVAL_SECONDS, PRICE_RATIO, advise_on
from .markets import read_spells


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spot-training advise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", help="run time on demand, like 6h")
    parser.add_argument("--work-high", help="what it takes at most, as a rule, like 7h (--work)")
    parser.add_argument("--model", help="learn the run time from this model's runs on --instance-type")
    parser.add_argument("--dag-id", help="learn it from the runs of this Dag alone (all of this Airflow's)")
    parser.add_argument("--deadline", required=True, help="after submission, like 14h")
    parser.add_argument("--overhead", help="start-up, download and checkpoint load, per launch (5m)")
    parser.add_argument("--max-runtime", help="the request's MaxRuntimeInSeconds (24h, SageMaker's default)")
    parser.add_argument("--check-interval", default=CHECK_INTERVAL_SECONDS, help="the operator's (30 s)")
    parser.add_argument("--deadline-reserve", default=0, help="the operator's: more to keep free (0)")
    market = parser.add_mutually_exclusive_group(required=True)
    market.add_argument("--trace", type=Path, action="append", help="a capacity trace (JSON)")
    market.add_argument("--scenario", help="mean spells with and without capacity, like 3h/40m")
    market.add_argument("--history", type=Path, help="a JSON file of spells")
    market.add_argument("--own-history", action="store_true", help="what this Airflow's jobs saw")
    parser.add_argument("--instance-type", help="for its price, and for --own-history")
    parser.add_argument("--instance-count", type=int, default=1, help="for --model (1)")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--on-demand-price", type=float, help="dollars per instance hour")
    price = parser.add_mutually_exclusive_group()
    price.add_argument("--spot-price", type=float, help="dollars per instance hour")
    price.add_argument(
        "--price-ratio", type=float, default=PRICE_RATIO, help=f"spot : on-demand ({PRICE_RATIO})"
    )
    parser.add_argument(
        "--back-to-spot",
        choices=list(BackToSpot),
        default=BackToSpot.NEVER,
        help="may on-demand be left for spot again? (never: what the operator does)",
    )
    parser.add_argument("--plot", type=Path, help="cost against deadline, as .svg or .png")
    parser.add_argument("--json", action="store_true", help="print the advice as JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = vars(_parser().parse_args(arguments))
    history, as_json, high = given.pop("history"), given.pop("json"), given.pop("work_high")
    try:
        if history:
            given["spells"] = read_spells(history.read_text(), source=str(history))
        if high:
            given["work"] = {"mean": given["work"], "high": high}
        advice = advise_on(**given)
    except (SpotTrainingError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 2
    print(json.dumps(advice, indent=2) if as_json else advice["text"])
    return 0
