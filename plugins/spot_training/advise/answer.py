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
from spot_training.task.deadline import RESUME_SECONDS

from .advice import Question, advise
from .markets import file_at, intervals_from, market_of, other_markets
from .place import Place, ThisMachine
from .plot import draw
from .text import as_text
from .with_scouts import advise_with_scouts

if TYPE_CHECKING:
    from spot_training.task.past_runs import Learned

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
    place: Place | None = None,
) -> dict[str, Any]:
    """Advise on a training, with plain values as arguments and result.

    Durations are seconds or text. `work` is the operator's `expected_runtime`. Without it, it is learned from
    past runs of `model` on `instance_count` of `instance_type`, in this Airflow's Dag `dag_id` (None: in all
    its Dags). The market is one of `intervals` (has_spot, seconds; `spells` in 0.1.0), `scenario` ("3h/40m"),
    `trace` (paths or storage URLs) and `own_history`. `overhead`, `max_runtime`, `check_interval` and
    `deadline_reserve` have the operator's defaults. Without `on_demand_price` (dollars per instance hour),
    the price of `instance_type` in `region` (None: the connection's) is used. `plot`: a file for the plot of
    cost against deadline, as .svg, .png or .pdf. `place` answers instead of the configured ledger and AWS.

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
    place = place or ThisMachine(
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
    types_seen = place.types_seen() if own_history else ()
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
