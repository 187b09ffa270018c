"""The sweeper as a command: `spot-training sweep --airflow-url http://localhost:8080`.

Lists live training jobs of that Airflow whose task is over or gone; `--stop` stops them, if its setting
`[spot_training] sweeper_stops` allows it. `--ledger URL` settles the ledger there, too: records whose task is
over, and jobs that are on no record. Reaches AWS by boto3's own credential chain and Airflow by its REST API
(token in AIRFLOW_API_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from spot_training import settings
from spot_training.connections import DEFAULT_BOTOCORE_CONFIG, AwsAccess
from spot_training.domain.errors import EmptyValue, ServiceFailed, SpotTrainingError, SweepRefused
from spot_training.domain.parsing import as_region, is_left_out
from spot_training.domain.stopping import MAX_RUNTIME_SECONDS
from spot_training.sagemaker.jobs import TrainingJobs

from .orphans import NO_SUCH_TASK, sweep

if TYPE_CHECKING:
    from spot_training.domain.records import TrainingRecord
    from spot_training.ledger import Ledger
    from spot_training.ledger.prices import PriceBook
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.training.recorder import PriceOf

    from .orphans import Finding, RecordOf, TaskStateOf

Places = Mapping[str, Callable[[], TrainingJobs]]
"""Connections and regions by name, and how the training jobs of each are reached."""

#: SageMaker ends a job after so long: none of an older training is alive.
LONGEST_JOB = timedelta(seconds=MAX_RUNTIME_SECONDS)
_NOT_FOUND = 404
#: What asking an address that is not Airflow's may end in: refused, no JSON, JSON of another shape.
_NO_ANSWER = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError)
#: How Airflow's `taskInstances` routes word their 404.
_NO_SUCH_TASK = re.compile(r"The (Mapped )?Task Instance with dag_id: .+ was not found", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What an Airflow says of itself: its name, names it had before, whether its sweeper may stop jobs."""

    name: str
    earlier: tuple[str, ...] = ()
    sweeper_stops: bool = False

    @classmethod
    def from_json(cls, answer: Any) -> Identified:
        return cls(
            name=answer["installation"],
            earlier=tuple(answer.get("earlier") or ()),
            sweeper_stops=answer.get("sweeper_stops") is True,
        )


class AirflowRest:
    """Task states by Airflow's REST API. What it cannot answer for sure is an error, never "no such task"."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._token = os.environ.get("AIRFLOW_API_TOKEN")

    def identify(self, installation: str | None = None) -> Identified:
        """Which Airflow is at the address. Raises `SweepRefused` if none is, or not the one of this name.

        Any other server, or another Airflow, knows none of our tasks: all of our jobs would be orphans.
        """
        try:
            self._call("GET", "/api/v2/version")["version"]
        except _NO_ANSWER as error:
            raise SweepRefused(
                f"Nothing at {self._url} answers as Airflow's REST API does ({error}). Nothing was looked at "
                "or stopped. Give --airflow-url Airflow's own address, with its base path if it has one."
            ) from error
        try:
            found = Identified.from_json(self._call("GET", "/spot-training/api/installation"))
        except _NO_ANSWER as error:
            raise SweepRefused(
                f"The Airflow at {self._url} does not say which installation it is ({error}). Nothing was "
                "looked at or stopped. Check the token or login, and that its API server has this plugin."
            ) from error
        if installation not in {None, found.name}:
            raise SweepRefused(
                f"The Airflow at {self._url} is installation {found.name!r}, --installation is "
                f"{installation!r}: it does not know that one's tasks. Nothing was looked at or stopped."
            )
        return found

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
            if error.code == _NOT_FOUND and _says_no_such_task(error):
                return NO_SUCH_TASK
            raise
        return state

    def _log_in(self) -> str:
        body = {name: os.environ.get(f"AIRFLOW_{name.upper()}", "") for name in ("username", "password")}
        return str(self._call("POST", "/auth/token", body)["access_token"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if body is None and path != "/api/v2/version":
            self._token = self._token or self._log_in()
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked in main
            self._url + path,
            method=method,
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)


def _says_no_such_task(error: urllib.error.HTTPError) -> bool:
    """Whether a 404 is Airflow's word on the task, and not a proxy's or another route's on the address."""
    try:
        detail = json.load(error)["detail"]
    except _NO_ANSWER:
        return False
    return isinstance(detail, str) and _NO_SUCH_TASK.match(detail) is not None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="spot-training sweep", description=__doc__)
    parser.add_argument("--airflow-url", required=True, help="Airflow's address")
    parser.add_argument(
        "--installation",
        default=os.environ.get("AIRFLOW__SPOT_TRAINING__INSTALLATION", "").partition(",")[0].strip() or None,
        help="the installation that Airflow has to be (default: whichever it is)",
    )
    parser.add_argument(
        "--region",
        action="append",
        help="AWS region (default: boto3's own); give it once for each region that is to be swept",
    )
    parser.add_argument(
        "--stop",
        action="store_true",
        help="stop the orphans, where [spot_training] sweeper_stops is set (default: only report them)",
    )
    parser.add_argument("--ledger", help="folder or s3:// URL of the ledger to settle (default: none)")
    options = parser.parse_args(arguments)
    if not options.airflow_url.startswith(("http://", "https://")):
        parser.error(f"--airflow-url is {options.airflow_url!r}: give an http or https address.")
    from botocore.exceptions import BotoCoreError

    airflow = AirflowRest(options.airflow_url)
    try:
        found = airflow.identify(options.installation)
        places = {region or "boto3's own region": _reach(region) for region in options.region or [None]}
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
        _check_may_stop(asked=options.stop, allowed=found.sweeper_stops)
    except (SpotTrainingError, BotoCoreError, OSError) as error:
        print(f"The sweep failed: {error}", file=sys.stderr)
        return 1
    return 0


def stops_orphans() -> bool:
    """`[spot_training] sweeper_stops`: without it the sweeper only reports, whoever asks it to stop."""
    return settings.flag("sweeper_stops")


def _check_may_stop(*, asked: bool, allowed: bool) -> None:
    """Raise `SweepRefused` where somebody wants orphans stopped, and the Airflow does not allow it."""
    if asked and not allowed:
        raise SweepRefused(
            "[spot_training] sweeper_stops is not set, so nothing was stopped: the orphans are only "
            "reported, with the command that stops each by hand. Once you have seen that they are this "
            "Airflow's own, set it (AIRFLOW__SPOT_TRAINING__SWEEPER_STOPS=True) and sweep again."
        )


def sweep_this_airflow(
    *, task_state_of: TaskStateOf, ledger: Ledger, stop: bool, say: Callable[[str], None]
) -> list[Finding]:
    """`sweep_all` as a task of this Airflow does it, wherever its trainings may run.

    Stops orphans if `stop`, and only where `[spot_training] sweeper_stops` is set. Raises as `sweep_all`
    does, and `InstallationUnknown`.
    """
    from spot_training.installation import this_installation

    own, *earlier = this_installation().names
    allowed = stops_orphans()
    findings = sweep_all(
        configured_places(own, ledger, say, earlier=earlier),
        installation=own,
        earlier=earlier,
        task_state_of=task_state_of,
        stop=stop and allowed,
        say=say,
        ledger=ledger,
    )
    _check_may_stop(asked=stop, allowed=allowed)
    return findings


def settle_this_airflow(
    *, task_state_of: TaskStateOf, ledger: Ledger, say: Callable[[str], None], price_of: PriceOf
) -> list[TrainingRecord]:
    """`settle_all` as a task of this Airflow does it. Raises as it does, and `InstallationUnknown`."""
    from spot_training.installation import this_installation

    own, *earlier = this_installation().names
    return settle_all(
        configured_places(own, ledger, say, earlier=earlier),
        ledger=ledger,
        installation=own,
        earlier=earlier,
        task_state_of=task_state_of,
        say=say,
        price_of=price_of,
    )


def sweep_all(
    places: Places,
    *,
    installation: str,
    task_state_of: TaskStateOf,
    stop: bool,
    say: Callable[[str], None],
    ledger: Ledger | None = None,
    earlier: Sequence[str] = (),
) -> list[Finding]:
    """`sweep` in each place (its name, and how it is reached); trouble in one keeps no orphan of another.

    With a `ledger`, jobs that a living task has left behind are told from its current one. Raises
    `ServiceFailed` or `SweepRefused` once all was looked at.
    """
    from spot_training.ledger.stop_reasons import LedgerStops

    findings: list[Finding] = []
    troubles: dict[str, Exception] = {}
    with contextlib.ExitStack() as stack:
        record_of = _records_in(ledger, say, stack)
        stops = LedgerStops() if ledger is None else LedgerStops(lambda: ledger)
        for place, reach in places.items():
            say(f"In {place}:")
            try:
                findings += sweep(
                    reach(),
                    installation=installation,
                    task_state_of=task_state_of,
                    stop=stop,
                    say=say,
                    record_of=record_of,
                    earlier=earlier,
                    keep_reason=stops.keep,
                )
            except Exception as error:  # noqa: BLE001 - raised below, once all was looked at
                troubles[place] = error
    if troubles:
        told = " ".join(f"{place}: {error}" for place, error in troubles.items())
        is_refused = all(isinstance(error, SweepRefused) for error in troubles.values())
        raise (SweepRefused if is_refused else ServiceFailed)(told)
    return _each_job_once(findings)


def _each_job_once(findings: Sequence[Finding]) -> list[Finding]:
    """Two connections may lead to the same account and region."""
    return list({finding.job.arn if finding.job else finding.name: finding for finding in findings}.values())


def _records_in(ledger: Ledger | None, say: Callable[[str], None], stack: contextlib.ExitStack) -> RecordOf:
    """What the ledger has of a task, as it is now: older books only know less."""
    if ledger is None:
        return lambda _identity: None
    try:
        reader = stack.enter_context(ledger.read())
    except Exception as error:  # noqa: BLE001 - without it jobs are judged by their tasks' states alone
        say(f"The ledger could not be read, so jobs are judged by their tasks' states alone: {error}")
        return lambda _identity: None
    return lambda identity: reader.record(identity.record_key)


def settle_all(
    places: Places,
    *,
    ledger: Ledger,
    installation: str,
    task_state_of: TaskStateOf,
    say: Callable[[str], None],
    price_of: PriceOf,
    earlier: Sequence[str] = (),
) -> list[TrainingRecord]:
    """Settle the ledger from what SageMaker says in each place, and merge it. Returns what changed.

    A job is deleted when no place of its region has it: nothing is settled unless all can be reached.
    """
    from .settling import Settling

    reached = [reach() for reach in places.values()]
    settled: list[TrainingRecord] = []
    for jobs in reached:
        settled += Settling(
            ledger=ledger,
            jobs=jobs,
            elsewhere=tuple(other for other in reached if other is not jobs and other.region == jobs.region),
            installation=installation,
            task_state_of=task_state_of,
            say=say,
            price_of=price_of,
            earlier=tuple(earlier),
        ).settle()
    say(f"{ledger.compact()}.")
    return settled


def configured_places(
    installation: str, ledger: Ledger, say: Callable[[str], None], *, earlier: Sequence[str] = ()
) -> Places:
    """Where this Airflow's trainings may run: `[spot_training] sweeper_connections`, and its books' regions.

    The setting lists connections, each with a region if it is not the connection's own: `aws_default,
    research@eu-west-1`. A region that only the ledger knows is reached by the first connection.
    """
    accesses = accesses_from(settings.text("sweeper_connections") or "aws_default")
    first = next(iter(accesses.values()))
    own_region = _own_region(first)
    for region in _regions_on_record([installation, *earlier], ledger, say):
        access = first if region == own_region else replace(first, region_name=region)
        accesses.setdefault(_name_of(access), access)
    return {name: access.jobs for name, access in accesses.items()}


def accesses_from(setting: str) -> dict[str, AwsAccess]:
    """`sweeper_connections` as it is written, by the name of each entry. Raises `InvalidInput`."""
    field = "[spot_training] sweeper_connections"
    accesses = {}
    for entry in filter(None, map(str.strip, setting.split(","))):
        connection, _, region = entry.partition("@")
        access = AwsAccess(
            aws_conn_id=None if is_left_out(connection) else connection.strip(),
            region_name=as_region(region, field=field),
        )
        accesses[_name_of(access)] = access
    if not accesses:
        raise EmptyValue(field, setting, 'give connections, like "aws_default, research@eu-west-1".')
    return accesses


def _own_region(access: AwsAccess) -> str | None:
    """Where a connection leads by itself; None where it leads nowhere, which the sweep will say."""
    try:
        return access.region_name or access.jobs().region
    except Exception:  # noqa: BLE001 - told where the place itself is swept
        return None


def _name_of(access: AwsAccess) -> str:
    connection = access.aws_conn_id or "none"
    return f"{connection}@{access.region_name}" if access.region_name else connection


def _regions_on_record(installations: list[str], ledger: Ledger, say: Callable[[str], None]) -> list[str]:
    try:
        with ledger.read() as reader:
            rows = reader.query(
                "SELECT DISTINCT region FROM trainings WHERE region IS NOT NULL "
                "AND list_contains(?::VARCHAR[], installation) "
                "AND (state = 'running' OR began_at >= ?) ORDER BY region",
                [installations, datetime.now(UTC) - LONGEST_JOB],
            )
    except Exception as error:  # noqa: BLE001 - the configured connections are swept all the same
        say(f"The ledger could not be asked for the regions of its trainings: {error}")
        return []
    return [row["region"] for row in rows]


def _reach(region: str | None) -> Callable[[], TrainingJobs]:
    def reach() -> TrainingJobs:
        import boto3
        from botocore.config import Config

        config = Config(**DEFAULT_BOTOCORE_CONFIG)
        return TrainingJobs(boto3.client("sagemaker", region_name=region, config=config))

    return reach


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
