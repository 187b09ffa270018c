"""A sweep from this machine: `spot-training sweep --aws`, or `python -m spot_training.sweep`.

Lists running training jobs of that Airflow whose task is over or gone. `--stop` stops them, if the Airflow's
setting `[spot_training] sweeper_stops` allows it. `--ledger URL` also settles the ledger there: records whose
task is over, and jobs that are in no record. The command reaches AWS with boto3's own credential chain, and
Airflow with its REST API (token in AIRFLOW_API_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD).
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from spot_training.domain.errors import SpotTrainingError

from .airflow_rest import AirflowRest, Identified
from .everywhere import (
    check_may_stop,
    settle_all,
    settle_this_airflow,
    stops_orphans,
    sweep_all,
    sweep_this_airflow,
)
from .places import accesses_from, configured_places, reached_by_boto3

if TYPE_CHECKING:
    from spot_training.ledger import Ledger
    from spot_training.ledger.prices import PriceBook

__all__ = [
    "AirflowRest",
    "Identified",
    "accesses_from",
    "configured_places",
    "main",
    "settle_all",
    "settle_this_airflow",
    "stops_orphans",
    "sweep_all",
    "sweep_this_airflow",
]


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status: 1 if anything failed, or was not allowed."""
    from botocore.exceptions import BotoCoreError

    options = _parse(arguments)
    try:
        _sweep_and_settle(options)
    except (SpotTrainingError, BotoCoreError, OSError) as error:
        print(f"The sweep failed: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spot_training.sweep", description=__doc__)
    parser.add_argument(
        "--airflow-url",
        default=os.environ.get("AIRFLOW_API_URL", ""),
        help="Airflow's address (default: AIRFLOW_API_URL)",
    )
    parser.add_argument(
        "--installation",
        default=os.environ.get("AIRFLOW__SPOT_TRAINING__INSTALLATION", "").partition(",")[0].strip() or None,
        help="the installation that the Airflow must be (default: any)",
    )
    parser.add_argument(
        "--region",
        action="append",
        help="AWS region to sweep (default: boto3's own); may be repeated",
    )
    parser.add_argument(
        "--stop",
        action="store_true",
        help="stop the orphans, if [spot_training] sweeper_stops is set (default: only report them)",
    )
    parser.add_argument("--ledger", help="folder or s3:// URL of the ledger to settle (default: none)")
    options = parser.parse_args(arguments)
    if not options.airflow_url.startswith(("http://", "https://")):
        parser.error(f"--airflow-url is {options.airflow_url!r}: give an http or https address.")
    return options


def _sweep_and_settle(options: argparse.Namespace) -> None:
    airflow = AirflowRest(options.airflow_url)
    found = airflow.identify(options.installation)
    regions = options.region or [None]
    places = {region or "boto3's own region": reached_by_boto3(region) for region in regions}
    ledger = _ledger_at(options.ledger) if options.ledger else None
    sweep_all(
        places,
        installation=found.name,
        earlier=found.earlier,
        task_state_of=airflow.state_of,
        stop=options.stop and found.sweeper_stops,
        say=print,
        ledger=ledger,
    )
    if ledger is not None:
        settle_all(
            places,
            ledger=ledger,
            installation=found.name,
            earlier=found.earlier,
            task_state_of=airflow.state_of,
            say=print,
            price_of=_prices_by_boto3(ledger).price_of,
        )
    check_may_stop(asked=options.stop, allowed=found.sweeper_stops)


def _ledger_at(url: str) -> Ledger:
    from spot_training.ledger import Ledger

    return Ledger.at(url)


def _prices_by_boto3(ledger: Ledger) -> PriceBook:
    import boto3

    from spot_training.ledger.prices import PriceBook
    from spot_training.sagemaker.prices import PriceList, home_of

    return PriceBook(
        ledger=ledger,
        open_price_list=lambda region: PriceList(boto3.client("pricing", region_name=home_of(region))),
    )


if __name__ == "__main__":
    sys.exit(main())
