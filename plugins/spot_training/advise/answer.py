"""`advise_on`: advice for plain values, as a task or the command passes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spot_training.advise.moves import BY_TICK, BackToSpot, Intervals
from spot_training.domain.deadline import LAUNCH_HIGH_SECONDS, LAUNCH_SECONDS, Reserve, runtime_from
from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import is_left_out, parse_seconds
from spot_training.domain.stopping import DEFAULT_MAX_RUNTIME_SECONDS
from spot_training.installation import this_installation
from spot_training.task.deadline import RESUME_SECONDS
from spot_training.task.past_runs import Learned, Teachers, learn
from spot_training.task.type_history import known_histories

from .advice import Question, advise
from .history import recent_intervals
from .markets import file_at, intervals_from, market_of, other_markets
from .plot import draw
from .text import as_text
from .with_scouts import advise_with_scouts

if TYPE_CHECKING:
    from spot_training.connections import AwsAccess

#: The default ratio of spot to on-demand price: that of p3.2xlarge in the published comparisons.
PRICE_RATIO = 0.318
#: The operator's default.
CHECK_INTERVAL_SECONDS = 30


def advise_on(
    *,
    deadline: object,
    work: object = None,
    model: str | None = None,
    dag_id: str | None = None,
    instance_type: str | Sequence[str] | None = None,
    instance_count: int = 1,
    region: str | None = None,
    intervals: Intervals | None = None,
    spells: Intervals | None = None,
    scenario: str | None = None,
    trace: str | Path | Sequence[str | Path] | None = None,
    own_history: bool = False,
    also_trace: str | Path | Sequence[str | Path] | None = None,
    also_scenario: str | Sequence[str] | None = None,
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
    """Advise on a training, with plain values as arguments and result.

    Durations are seconds or text. `work` is the operator's `expected_runtime`. Without it, it is learned from
    past runs of `model` on `instance_count` of `instance_type`, in this Airflow's Dag `dag_id` (None: in all
    its Dags). The market is one of `intervals` (has_spot, seconds; `spells` in 0.1.0), `scenario` ("3h/40m"),
    `trace` (paths or storage URLs) and `own_history`. `overhead`, `max_runtime`, `check_interval` and
    `deadline_reserve` have the operator's defaults. Without `on_demand_price` (dollars per instance hour),
    the price of `instance_type` in `region` (None: the connection's) is used. `plot`: a file for the plot of
    cost against deadline, as .svg, .png or .pdf.

    Further instance types, to run on any of several: `also_trace`, `also_scenario` (one or several of each)
    and, with `own_history`, the other types in `instance_type`. They are assumed to have the first
    type's price and speed.

    Returns the fields of `advise.advice.Advice` (`outcomes` and `curve` as lists of mappings), `with_scouts`
    (what another type and a way back to spot would cost), `basis` (where the run time comes from),
    `types_seen` (with `own_history`: what happened lately on each type and region), `text` (the tables and
    the advice) and `plot`. Raises `InvalidInput`, and `InvalidTrace` for a trace that cannot
    be read.
    """
    types = _types(instance_type, own_history=own_history)
    place = _Place(
        region=region, instance_type=types[0] if types else None, aws_conn_id=aws_conn_id, dag_id=dag_id
    )
    learned = place.learned(model, instance_count)
    runtime = runtime_from(work, field_name="work") or (learned.runtime if learned else None)
    if runtime is None:
        way_out = "give the run time, or a model with completed runs on the instance type."
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
    seen = place.intervals() if own_history else spells if intervals is None else intervals
    history = None if seen is None else intervals_from(seen, source="history")
    length = 2.5 * question.deadline_seconds
    market = market_of(history, scenario, trace, seconds=length)
    others = other_markets(
        [place.intervals(of=each) for each in types[1:]], also_scenario, also_trace, seconds=length
    )
    advice, scouts = advise(question, market), advise_with_scouts(question, market, others)
    types_seen = known_histories(this_installation().names) if own_history else ()
    if plot:
        draw(advice, question, file_at(plot))
    return {
        **advice.to_json(),
        "with_scouts": scouts.to_json(),
        "basis": runtime.basis,
        "types_seen": [asdict(history) for history in types_seen],
        "text": as_text(advice, question, scouts, types_seen),
        "plot": str(plot) if plot else None,
    }


class _Place:
    """Where a training will run, and what this installation knows about it."""

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
        try:
            price = configured_prices(self._access).price_of(self._region, self._instance_type)
        except (BotoCoreError, ClientError, PricesFileError) as exc:
            way_out = (
                f"the price of {self._instance_type} in {self._region} could not be read ({exc}): give it."
            )
            raise InvalidInput("on_demand_price", None, way_out) from exc
        if price is None:
            way_out = f"the price of {self._instance_type} in {self._region} is not known: give it."
            raise InvalidInput("on_demand_price", None, way_out)
        if not price.is_usd:
            way_out = (
                f"the price of {self._instance_type} is in {price.currency}, advice is in dollars: give it."
            )
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
        """What this Airflow's jobs saw of an instance type (None: of the first)."""
        instance_type = of or self._instance_type
        intervals = recent_intervals(
            region=self._region,
            instance_type=instance_type,
            installations=this_installation().names,
        )
        if not intervals:
            way_out = f"the ledger has no recent spot job in {self._region}: give a scenario or a trace."
            raise InvalidInput("instance_type", instance_type, way_out)
        return intervals

    @property
    def _instance_type(self) -> str:
        if is_left_out(self._given_type):
            raise InvalidInput(
                "instance_type", None, "give it: prices and history are kept by instance type."
            )
        return str(self._given_type)

    @property
    def _region(self) -> str:
        return self._given_region or self._access.jobs().region

    @property
    def _access(self) -> AwsAccess:
        from spot_training.connections import AwsAccess

        return AwsAccess(aws_conn_id=self._aws_conn_id, region_name=self._given_region)


def _types(given: str | Sequence[str] | None, *, own_history: bool) -> Sequence[str]:
    """The instance types, the preferred one first. Raises `InvalidInput`."""
    types = [given] if isinstance(given, str) else list(given or ())
    if len(types) > 1 and not own_history:
        way_out = "several types need own_history. For another market, use also_trace or also_scenario."
        raise InvalidInput("instance_type", types, way_out)
    return types


def _reserve(overhead: object, learned: Learned | None, check_interval: object, extra: object) -> Reserve:
    """The time that the operator would keep free."""
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
    if value not in BY_TICK:
        raise InvalidInput("back_to_spot", value, f"give one of {', '.join(BY_TICK)}.")
    return BackToSpot(value)
