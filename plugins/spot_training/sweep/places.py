"""Where training jobs may be: Airflow connections and AWS regions, and how to reach each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from spot_training import settings
from spot_training.connections import DEFAULT_BOTOCORE_CONFIG, AwsAccess
from spot_training.domain.errors import EmptyValue
from spot_training.domain.parsing import as_region, is_left_out
from spot_training.domain.stopping import MAX_RUNTIME_SECONDS
from spot_training.sagemaker.jobs import TrainingJobs

if TYPE_CHECKING:
    from spot_training.ledger import Ledger

Places = Mapping[str, Callable[[], TrainingJobs]]
"""Connections and regions by name, and how to reach the training jobs of each."""

#: SageMaker ends a job after this long: no job of an older training runs.
LONGEST_JOB = timedelta(seconds=MAX_RUNTIME_SECONDS)


def configured_places(
    installation: str, ledger: Ledger, say: Callable[[str], None], *, earlier: Sequence[str] = ()
) -> Places:
    """Where this Airflow's trainings may run: `[spot_training] sweeper_connections` and the ledger's regions.

    The setting lists connections, each with a region if it is not the connection's own: `aws_default,
    research@eu-west-1`. For a region that only the ledger names, the first connection is used.
    """
    accesses = accesses_from(settings.text("sweeper_connections") or "aws_default")
    first = next(iter(accesses.values()))
    own_region = _own_region(first)
    for region in _regions_on_record([installation, *earlier], ledger, say):
        access = first if region == own_region else replace(first, region_name=region)
        accesses.setdefault(_name_of(access), access)
    return {name: access.jobs for name, access in accesses.items()}


def accesses_from(setting: str) -> dict[str, AwsAccess]:
    """The connections of `sweeper_connections`, by the name of each entry. Raises `InvalidInput`."""
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
    """The connection's own region. None if it has none: the sweep reports that."""
    try:
        return access.region_name or access.jobs().region
    except Exception:  # noqa: BLE001 - reported when the place itself is swept
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
        say(f"The ledger could not be read, so the regions of its trainings are not known: {error}")
        return []
    return [row["region"] for row in rows]


def reached_by_boto3(region: str | None) -> Callable[[], TrainingJobs]:
    """How to reach a region with boto3's own credential chain. None: its own region."""

    def reach() -> TrainingJobs:
        import boto3
        from botocore.config import Config

        config = Config(**DEFAULT_BOTOCORE_CONFIG)
        return TrainingJobs(boto3.client("sagemaker", region_name=region, config=config))

    return reach
