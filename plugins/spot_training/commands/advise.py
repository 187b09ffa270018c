"""`spot-training advise`: what the advisor has to know of past trainings comes from Airflow's API.

A market and a price that are given need nobody's answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spot_training.advise.command import advise, make_parser
from spot_training.advise.place import no_recent_job, required
from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import is_left_out
from spot_training.domain.runtime import Runtime
from spot_training.domain.type_history import TypeHistory
from spot_training.task.past_runs import Learned

from .airflow_api import add_connection, api_of

if TYPE_CHECKING:
    from spot_training.advise.moves import Intervals

EXPERIENCE = "/spot-training/api/experience"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    parser = make_parser()
    add_connection(parser)
    parser.add_argument(
        "--aws",
        action="store_true",
        help="read the ledger and AWS's price list from here, with this machine's settings and credentials",
    )
    options = parser.parse_args(arguments)
    return advise(options, place=None if options.aws else ThroughAirflow(options))


class ThroughAirflow:
    """A `Place` that asks Airflow's API once, when the first answer is needed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._types: list[str] = options.instance_type or []

    @property
    def on_demand_price(self) -> float:
        if not self._types:
            raise InvalidInput("on_demand_price", None, "give it, or an instance_type with a known price.")
        price = self._seen(self._types[0])["on_demand_price"]
        if price is None:
            way_out = (
                f"no training on {self._types[0]} in {self._options.region} has a price on record: give it, "
                "or --aws to ask AWS from here."
            )
            raise InvalidInput("on_demand_price", None, way_out)
        return float(price)

    def learned(self, model: str | None, instance_count: int) -> Learned | None:  # noqa: ARG002 - in the question
        if is_left_out(model):
            return None
        required(self._types[0] if self._types else None)
        learned = self._experience["learned"]
        return Learned(**{**learned, "runtime": Runtime(**learned["runtime"])}) if learned else None

    def intervals(self, *, of: str | None = None) -> Intervals:
        instance_type = of or required(self._types[0] if self._types else None)
        intervals = [(bool(has), float(seconds)) for has, seconds in self._seen(instance_type)["intervals"]]
        if not intervals:
            raise no_recent_job(instance_type, self._options.region)
        return intervals

    def types_seen(self) -> Sequence[TypeHistory]:
        return [TypeHistory(**history) for history in self._experience["types_seen"]]

    def _seen(self, instance_type: str) -> dict[str, Any]:
        found = (one for one in self._experience["types"] if one["instance_type"] == instance_type)
        return dict(next(found))

    @cached_property
    def _experience(self) -> dict[str, Any]:
        options = self._options
        answer: dict[str, Any] = api_of(options).get(
            EXPERIENCE,
            region=options.region,
            instance_type=self._types or None,
            model=options.model,
            dag_id=options.dag_id,
            instance_count=options.instance_count,
        )
        return answer
