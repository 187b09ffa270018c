"""The sweeper as a command: `python -m spot_training.sweep --airflow-url http://localhost:8080`.

Lists live training jobs of this installation whose task is over or gone; `--stop` stops them. `--ledger URL`
settles the ledger there, too: records whose task is over, and jobs that are on no record. Reaches AWS by
boto3's own credential chain and Airflow by its REST API (token in AIRFLOW_API_TOKEN, or AIRFLOW_USERNAME and
AIRFLOW_PASSWORD).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .aws.jobs import TrainingJobs
from .aws.sweeper import NO_SUCH_TASK, sweep
from .domain.errors import SpotTrainingError
from .hooks import DEFAULT_BOTOCORE_CONFIG

if TYPE_CHECKING:
    from .aws.identity import RunIdentity
    from .aws.sweeper import TaskStateOf

_NOT_FOUND = 404


class AirflowRest:
    """Task states by Airflow's REST API."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._token = os.environ.get("AIRFLOW_API_TOKEN") or self._log_in()

    def state_of(self, identity: RunIdentity) -> str | None:
        dag, run, task = (
            quote(part, safe="") for part in (identity.dag_id, identity.run_id, identity.task_id)
        )
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}"
        if identity.map_index >= 0:
            path += f"/{identity.map_index}"
        try:
            state: str | None = self._call("GET", path)["state"]
        except urllib.error.HTTPError as error:
            if error.code == _NOT_FOUND:
                return NO_SUCH_TASK
            raise
        return state

    def _log_in(self) -> str:
        body = {name: os.environ.get(f"AIRFLOW_{name.upper()}", "") for name in ("username", "password")}
        return str(self._call("POST", "/auth/token", body)["access_token"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if body is None:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked in main
            self._url + path,
            method=method,
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spot_training.sweep", description=__doc__)
    parser.add_argument("--airflow-url", required=True, help="Airflow's address")
    parser.add_argument(
        "--installation", default="airflow", help="[spot_training] installation of that Airflow"
    )
    parser.add_argument("--region", help="AWS region (default: boto3's own)")
    parser.add_argument("--stop", action="store_true", help="stop the orphans (default: only report them)")
    parser.add_argument("--ledger", help="folder or s3:// URL of the ledger to settle (default: none)")
    options = parser.parse_args(arguments)
    if not options.airflow_url.startswith(("http://", "https://")):
        parser.error(f"--airflow-url is {options.airflow_url!r}: give an http or https address.")
    import boto3
    from botocore.config import Config

    config = Config(**DEFAULT_BOTOCORE_CONFIG)
    jobs = TrainingJobs(boto3.client("sagemaker", region_name=options.region, config=config))
    try:
        state_of = AirflowRest(options.airflow_url).state_of
        sweep(jobs, installation=options.installation, task_state_of=state_of, stop=options.stop, say=print)
        if options.ledger:
            _settle(options.ledger, jobs, options.installation, state_of)
    except (SpotTrainingError, urllib.error.URLError) as error:
        print(f"The sweep failed; nothing more was stopped: {error}", file=sys.stderr)
        return 1
    return 0


def _settle(url: str, jobs: TrainingJobs, installation: str, state_of: TaskStateOf) -> None:
    import boto3

    from .aws.prices import PriceList, home_of
    from .ledger import Ledger
    from .ledger.prices import PriceBook
    from .ledger.settling import Settling

    ledger = Ledger.at(url)
    prices = PriceBook(
        ledger=ledger,
        open_price_list=lambda region: PriceList(boto3.client("pricing", region_name=home_of(region))),
    )
    Settling(
        ledger=ledger,
        jobs=jobs,
        installation=installation,
        task_state_of=state_of,
        say=print,
        price_of=prices.price_of,
    ).settle()
    print(f"{ledger.compact()}.")


if __name__ == "__main__":
    sys.exit(main())
