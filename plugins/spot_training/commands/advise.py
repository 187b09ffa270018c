"""`spot-training advise`: what the advisor has to know of past trainings comes from Airflow's API.

A market and a price that are given need nobody's answer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from spot_training.advise.command import make_parser, print_advice
from spot_training.advise.place import no_recent_job, required
from spot_training.domain.errors import InvalidInput, SpotTrainingError
from spot_training.domain.parsing import is_left_out
from spot_training.domain.runtime import Runtime
from spot_training.domain.type_history import TypeHistory
from spot_training.task.past_runs import Learned

from .airflow_api import ApiFailed, add_connection, api_of

if TYPE_CHECKING:
    from spot_training.advise.moves import Intervals

EXPERIENCE = "/spot-training/api/experience"
#: What else there is.
WITHOUT_AIRFLOW = (
    "Or give --work, a market and --on-demand-price, which need no Airflow; or --aws, which reads the ledger "
    "and AWS's prices from here."
)
T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 1 if Airflow does not answer, 2 for a wrong question."""
    parser = make_parser()
    add_connection(parser)
    parser.add_argument(
        "--aws",
        action="store_true",
        help="read the ledger and AWS's price list from here, with this machine's settings and credentials",
    )
    options = parser.parse_args(arguments)
    try:
        print_advice(options, place=None if options.aws else ThroughAirflow(options))
    except (SpotTrainingError, OSError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, ApiFailed) else 2
    return 0


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
                f"no training on {self._types[0]} in {self._options.region} has a price in dollars on "
                "record: give it, or --aws to ask AWS from here."
            )
            raise InvalidInput("on_demand_price", None, way_out)
        return float(price)

    def learned(self, model: str | None, instance_count: int) -> Learned | None:  # noqa: ARG002 - in the question
        if is_left_out(model):
            return None
        required(self._types[0] if self._types else None)
        learned = self._experience["learned"]
        return _made(Learned, {**learned, "runtime": _made(Runtime, learned["runtime"])}) if learned else None

    def intervals(self, *, of: str | None = None) -> Intervals:
        instance_type = of or required(self._types[0] if self._types else None)
        intervals = [(bool(has), float(seconds)) for has, seconds in self._seen(instance_type)["intervals"]]
        if not intervals:
            raise no_recent_job(instance_type, self._options.region)
        return intervals

    def types_seen(self) -> Sequence[TypeHistory]:
        return [_made(TypeHistory, history) for history in self._experience["types_seen"]]

    def _seen(self, instance_type: str) -> dict[str, Any]:
        found = (one for one in self._experience["types"] if one["instance_type"] == instance_type)
        return dict(next(found))

    @cached_property
    def _experience(self) -> dict[str, Any]:
        options = self._options
        try:
            answer: dict[str, Any] = api_of(options).get(
                EXPERIENCE,
                region=options.region,
                instance_type=self._types or None,
                model=options.model,
                dag_id=options.dag_id,
                instance_count=options.instance_count,
            )
        except ApiFailed as error:
            raise ApiFailed(f"{error} {WITHOUT_AIRFLOW}", status=error.status) from error
        return answer


def _made(kind: type[T], facts: Mapping[str, Any]) -> T:
    """From what the API server says of it, which may be of a later version."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in facts.items() if name in names})
