"""Where a training will run, and what is known about it there: its price, past runs, and the market.

`ThisMachine` asks the configured ledger and AWS. The command asks Airflow's API instead (`commands.advise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import is_left_out
from spot_training.installation import this_installation
from spot_training.task.past_runs import Learned, Teachers, learn
from spot_training.task.type_history import known_histories

from .history import recent_intervals

if TYPE_CHECKING:
    from spot_training.advise.moves import Intervals
    from spot_training.connections import AwsAccess
    from spot_training.domain.type_history import TypeHistory


class Place(Protocol):
    """What the advisor asks. Every method raises `InvalidInput` for what it would need and does not have."""

    @property
    def on_demand_price(self) -> float:
        """US dollars per instance-hour of the instance type."""

    def learned(self, model: str | None, instance_count: int) -> Learned | None:
        """What past runs of a model took. None without a model, and without past runs."""

    def intervals(self, *, of: str | None = None) -> Intervals:
        """What this Airflow's jobs saw of an instance type (None: of the first)."""

    def types_seen(self) -> Sequence[TypeHistory]:
        """What happened lately on each type and region."""


def no_recent_job(instance_type: str, region: str) -> InvalidInput:
    """The ledger has nothing to say about the market."""
    way_out = f"the ledger has no recent spot job in {region}: give a scenario or a trace."
    return InvalidInput("instance_type", instance_type, way_out)


def required(instance_type: str | None) -> str:
    """The instance type. Raises `InvalidInput` without one."""
    if is_left_out(instance_type):
        raise InvalidInput("instance_type", None, "give it: prices and history are kept by instance type.")
    return str(instance_type)


class ThisMachine:
    """The configured ledger, and prices from the prices file or AWS."""

    def __init__(
        self, *, region: str | None, instance_type: str | None, aws_conn_id: str | None, dag_id: str | None
    ) -> None:
        self._dag_id = dag_id
        self._given_region = region or None
        self._given_type = instance_type
        self._aws_conn_id = aws_conn_id

    @property
    def on_demand_price(self) -> float:
        from botocore.exceptions import BotoCoreError, ClientError

        from spot_training.ledger.prices import PricesFileError, configured_prices

        if is_left_out(self._given_type):
            way_out = "give it, or an instance_type with a known price."
            raise InvalidInput("on_demand_price", None, way_out)
        kind = self._instance_type
        try:
            price = configured_prices(self._access).price_of(self._region, kind)
        except (BotoCoreError, ClientError, PricesFileError) as exc:
            way_out = f"the price of {kind} in {self._region} could not be read ({exc}): give it."
            raise InvalidInput("on_demand_price", None, way_out) from exc
        if price is None:
            raise InvalidInput(
                "on_demand_price", None, f"the price of {kind} in {self._region} is not known: give it."
            )
        if not price.is_usd:
            way_out = f"the price of {kind} is in {price.currency}, advice is in dollars: give it."
            raise InvalidInput("on_demand_price", None, way_out)
        return price.usd_per_hour

    def learned(self, model: str | None, instance_count: int) -> Learned | None:
        if is_left_out(model):
            return None
        teachers = Teachers(
            installations=this_installation().names,
            dag_ids=None if is_left_out(self._dag_id) else (str(self._dag_id),),
        )
        return learn(
            model=str(model),
            instance_type=self._instance_type,
            instance_count=instance_count,
            teachers=teachers,
        )

    def intervals(self, *, of: str | None = None) -> Intervals:
        instance_type = of or self._instance_type
        intervals = recent_intervals(
            region=self._region,
            instance_type=instance_type,
            installations=this_installation().names,
        )
        if not intervals:
            raise no_recent_job(instance_type, self._region)
        return intervals

    def types_seen(self) -> Sequence[TypeHistory]:
        return known_histories(this_installation().names)

    @property
    def _instance_type(self) -> str:
        return required(self._given_type)

    @property
    def _region(self) -> str:
        return self._given_region or self._access.jobs().region

    @property
    def _access(self) -> AwsAccess:
        from spot_training.connections import AwsAccess

        return AwsAccess(aws_conn_id=self._aws_conn_id, region_name=self._given_region)
