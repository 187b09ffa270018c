"""Advice from plain values to plain values: for a task, and behind the command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spot_training.advise.moves import BackToSpot, Spells
from spot_training.domain.deadline import LAUNCH_HIGH_SECONDS, LAUNCH_SECONDS, Reserve, runtime_from
from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import is_left_out, parse_seconds
from spot_training.domain.stopping import DEFAULT_MAX_RUNTIME_SECONDS
from spot_training.installation import this_installation
from spot_training.task.deadline import RESUME_SECONDS
from spot_training.task.past_runs import Learned, Teachers, learn

from .advice import Question, advise
from .history import recent_spells
from .markets import file_at, market_of, spells_from
from .plot import draw
from .text import as_text

if TYPE_CHECKING:
    from spot_training.connections import AwsAccess

#: Spot : on-demand, where nobody gives prices: what p3.2xlarge cost in the published comparisons.
PRICE_RATIO = 0.318
#: As the operator's own default.
CHECK_INTERVAL_SECONDS = 30


def advise_on(
    *,
    deadline: object,
    work: object = None,
    model: str | None = None,
    dag_id: str | None = None,
    instance_type: str | None = None,
    instance_count: int = 1,
    region: str | None = None,
    spells: Spells | None = None,
    scenario: str | None = None,
    trace: str | Path | Sequence[str | Path] | None = None,
    own_history: bool = False,
    overhead: object = None,
    max_runtime: object = None,
    check_interval: object = CHECK_INTERVAL_SECONDS,
    deadline_reserve: object = 0,
    on_demand_price: float | None = None,
    spot_price: float | None = None,
    price_ratio: float = PRICE_RATIO,
    back_to_spot: str = BackToSpot.NEVER,
    plot: str | Path | None = None,
    aws_conn_id: str | None = "aws_default",
) -> dict[str, Any]:
    """Advice from plain values to plain values: for a task, and behind the command.

    Durations are seconds or text. `work` is what the operator takes as `expected_runtime`; without it, it is
    learned from the past runs of `model` on `instance_count` of `instance_type`, in this Airflow's Dag
    `dag_id` (None: in all of its Dags). The market is one of
    `spells` (has_spot, seconds), `scenario` ("3h/40m"), `trace` (paths or storage URLs), or `own_history`.
    `overhead`, `max_runtime`, `check_interval` and `deadline_reserve` default to what the operator takes.
    Without `on_demand_price` (dollars per instance hour), it is looked up for `instance_type` in `region`
    (None: the connection's). `plot`: where cost against deadline is drawn, as .svg, .png or .pdf.

    Returns the fields of `advise.advice.Advice` (`outcomes` and `curve` as lists of mappings), `basis`
    (where the run time comes from), `text` (the table and the advice) and `plot`. Raises `InvalidInput`, and
    `InvalidTrace` for a trace that cannot be read.
    """
    place = _Place(region=region, instance_type=instance_type, aws_conn_id=aws_conn_id, dag_id=dag_id)
    learned = place.learned(model, instance_count)
    runtime = runtime_from(work, field_name="work") or (learned.runtime if learned else None)
    if runtime is None:
        way_out = "give the run time, or a model that has completed runs on the instance type."
        raise InvalidInput("model" if model else "work", model, way_out)
    price = _number(on_demand_price, field="on_demand_price") or place.on_demand_price
    spot = _number(spot_price, field="spot_price")
    question = Question(
        runtime=runtime,
        deadline_seconds=parse_seconds(deadline, field="deadline"),
        on_demand_price=price,
        spot_price=price * price_ratio if spot is None else spot,
        reserve=_reserve(overhead, learned, check_interval, deadline_reserve),
        max_runtime_seconds=_seconds(max_runtime, DEFAULT_MAX_RUNTIME_SECONDS, field="max_runtime"),
        back_to_spot=_way_back(back_to_spot),
    )
    if own_history:
        spells = place.spells()
    history = None if spells is None else spells_from(spells, source="history")
    advice = advise(question, market_of(history, scenario, trace, seconds=2.5 * question.deadline_seconds))
    if plot:
        draw(advice, question, file_at(plot))
    return {
        **advice.to_json(),
        "basis": runtime.basis,
        "text": as_text(advice, question),
        "plot": str(plot) if plot else None,
    }


class _Place:
    """Where a training is to run: what the installation knows of it."""

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
            way_out = "give it, or an instance_type whose price is known."
            raise InvalidInput("on_demand_price", None, way_out)
        try:
            price = configured_prices(self._access).price_of(self._region, self._instance_type)
        except (BotoCoreError, ClientError, PricesFileError) as exc:
            way_out = (
                f"the price of {self._instance_type} in {self._region} was not to be had ({exc}): give it."
            )
            raise InvalidInput("on_demand_price", None, way_out) from exc
        if price is None:
            way_out = f"the price of {self._instance_type} in {self._region} is not known: give it."
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

    def spells(self) -> Spells:
        spells = recent_spells(
            region=self._region,
            instance_type=self._instance_type,
            installations=this_installation().names,
        )
        if not spells:
            way_out = f"no spot job of {self._region} is on record of late: give a scenario or a trace."
            raise InvalidInput("instance_type", self._instance_type, way_out)
        return spells

    @property
    def _instance_type(self) -> str:
        if is_left_out(self._given_type):
            raise InvalidInput(
                "instance_type", None, "say which: the installation's history is kept by type."
            )
        return str(self._given_type)

    @property
    def _region(self) -> str:
        return self._given_region or self._access.jobs().region

    @property
    def _access(self) -> AwsAccess:
        from spot_training.connections import AwsAccess

        return AwsAccess(aws_conn_id=self._aws_conn_id, region_name=self._given_region)


def _reserve(overhead: object, learned: Learned | None, check_interval: object, extra: object) -> Reserve:
    """What the operator would keep free (`deadline_terms`)."""
    launch = _seconds(overhead, learned.launch_seconds if learned else LAUNCH_SECONDS, field="overhead")
    launch_high = learned.launch_high_seconds if learned else LAUNCH_HIGH_SECONDS
    interval = _seconds(check_interval, CHECK_INTERVAL_SECONDS, field="check_interval")
    return Reserve(
        launch_seconds=launch,
        launch_high_seconds=max(launch, launch_high),
        notice_seconds=interval + RESUME_SECONDS,
        extra_seconds=_seconds(extra, 0, field="deadline_reserve"),
    )


def _seconds(value: object, default: float, *, field: str) -> Any:
    return default if is_left_out(value) else parse_seconds(value, field=field)


def _number(value: object, *, field: str) -> float | None:
    if is_left_out(value):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as exc:
        raise InvalidInput(field, value, "give dollars per instance hour.") from exc


def _way_back(value: str) -> BackToSpot:
    try:
        return BackToSpot(value)
    except ValueError as exc:
        raise InvalidInput("back_to_spot", value, f"give one of {', '.join(BackToSpot)}.") from exc
