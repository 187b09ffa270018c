"""The advisor: which policy, what max wait, what will it cost, and when will it be done?

    spot-training advise --work 6h --deadline 14h --trace us-east-1a.json --plot cost.svg

How long the training takes is `--work`, or learned from the past runs of `--model` on `--instance-type`.
The market is one of: `--trace FILE` (again and again for several), `--scenario UP/DOWN` (mean spells with
capacity and without, like 3h/40m), `--history FILE` (JSON of spells, `[[true, 7200], [false, 1800], ...]`,
oldest first), or `--own-history`, what this Airflow's jobs of `--instance-type` saw in `--region`.
Prices are dollars per instance hour: `--on-demand-price` and `--spot-price`, or the on-demand price of
`--instance-type` and `--price-ratio`. What the operator keeps free before a deadline is kept free here.

In a Dag: `task(advise_on)(work="6h", deadline="14h", ...)`, or the Dag `advise_on_spot`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .deadline_terms import RESUME_SECONDS
from .domain.casting import is_left_out
from .domain.deadline import LAUNCH_HIGH_SECONDS, LAUNCH_SECONDS, Reserve, runtime_from
from .domain.durations import in_words, parse_seconds
from .domain.errors import InvalidInput, SpotTrainingError
from .domain.moves import BackToSpot, Spells
from .domain.packages import needed_by
from .domain.stopping import DEFAULT_MAX_RUNTIME_SECONDS
from .domain.traces import Trace, parse_trace
from .installation import this_installation
from .past_runs import Learned, Teachers, learn, recent_spells

if TYPE_CHECKING:
    from .hooks import AwsAccess
    from .planner.advice import Advice, Outcome, Question

#: Spot : on-demand, where nobody gives prices: what p3.2xlarge cost in the published comparisons.
PRICE_RATIO = 0.318
PICTURES = ("svg", "png", "pdf")
#: As the operator's own default.
CHECK_INTERVAL_SECONDS = 30
COLOURS = {
    "on_demand": "#c05621",
    "widen": "#b7791f",
    "greedy": "#718096",
    "uniform_progress": "#6b46c1",
    "rule": "#2b6cb0",
    "planner": "#2f855a",
}


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

    Returns the fields of `planner.advice.Advice` (`outcomes` and `curve` as lists of mappings), `basis`
    (where the run time comes from), `text` (the table and the advice) and `plot`. Raises `InvalidInput`, and
    `InvalidTrace` for a trace that cannot be read.
    """
    with needed_by("the advisor"):
        from .planner.advice import Question, advise

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
    history = None if spells is None else _spells(spells, source="history")
    traces = _market(history, scenario, trace, seconds=2.5 * question.deadline_seconds)
    advice = advise(question, traces, history=history or ())
    if plot:
        draw(advice, question, _file(plot))
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

        from .ledger.prices import PricesFileError, configured_prices

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
        from .hooks import AwsAccess

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


def _market(
    spells: Spells | None,
    scenario: str | None,
    trace: str | Path | Sequence[str | Path] | None,
    *,
    seconds: float,
) -> Sequence[Trace]:
    from .planner.advice import traces_like, traces_of_scenario

    given = {"history": spells is not None, "scenario": bool(scenario), "trace": bool(trace)}
    if sum(given.values()) != 1:
        way_out = "give one of spells (or own_history), scenario and trace."
        raise InvalidInput("market", [name for name, is_given in given.items() if is_given], way_out)
    if trace:
        files = [_file(place) for place in ([trace] if isinstance(trace, str | Path) else trace)]
        return [parse_trace(file.read_text(), source=str(file)) for file in files]
    if scenario:
        up, slash, down = scenario.partition("/")
        if not slash:
            raise InvalidInput("scenario", scenario, "give two durations, like 3h/40m.")
        lengths = (parse_seconds(part, field="scenario") for part in (up, down))
        return traces_of_scenario(*lengths, seconds=seconds)
    return traces_like(spells or (), seconds=seconds)


def _file(place: str | Path) -> Any:
    """A path, or a file of any object storage by its URL."""
    if "://" not in str(place):
        return Path(place)
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(str(place))


def read_spells(text: str, *, source: str) -> Spells:
    """Spells from JSON, `[[has_spot, seconds], ...]`. Raises `InvalidInput`."""
    try:
        return _spells(json.loads(text), source=source)
    except json.JSONDecodeError as exc:
        raise InvalidInput(source, text[:60], _SPELLS) from exc


_SPELLS = "give spells, oldest first: [[true, 7200], [false, 1800], ...]."


def _spells(values: Any, *, source: str) -> Spells:
    try:
        return tuple((bool(has_spot), float(seconds)) for has_spot, seconds in values)
    except (ValueError, TypeError) as exc:
        raise InvalidInput(source, str(values)[:60], _SPELLS) from exc


def as_text(advice: Advice, question: Question) -> str:
    """The table for a terminal, and the advice in sentences."""
    head = _cells("policy", "cost", "19 of 20", "saved", "done after", "19 of 20", "missed")
    rows = (_row(outcome, advice) for outcome in advice.outcomes)
    return "\n".join([head, *rows, "", *_sentences(advice, question)])


#: Where there is no way back, waiting for spot to the last moment is never dearer (docs/policies.md).
_ALIKE = (
    "With the operator, rule, planner and greedy decide alike and uniform_progress costs more: once "
    "on-demand runs, the task does not go back to spot."
)


def _sentences(advice: Advice, question: Question) -> list[str]:
    chosen, reserve = advice.chosen, question.reserve
    beyond_mean = question.runtime.high_seconds - question.runtime.mean_seconds
    parts = {
        "a slow launch on demand": reserve.launch_high_seconds,
        "stopping the spot job": reserve.stop_seconds,
        "noticing": reserve.notice_seconds,
        "a refused launch": reserve.refusal_seconds,
        "a slow run": beyond_mean,
        "your own reserve": reserve.extra_seconds,
    }
    told = ", ".join(f"{in_words(seconds)} for {what}" for what, seconds in parts.items() if seconds)
    cost, done = _dollars(chosen.mean_dollars), in_words(chosen.typical_finish_seconds)
    return [
        f"Take {advice.policy}: about {cost} an instance, typically done after {done}.",
        *([_ALIKE] if question.back_to_spot is BackToSpot.NEVER else []),
        _about_waiting(advice),
        f"The operator keeps {in_words(advice.kept_free_seconds)} free before the deadline: {told}.",
    ]


def _about_waiting(advice: Advice) -> str:
    if advice.max_wait_seconds is None:
        return "Max wait: none. On-demand starts at once: spot would save nothing, or come too late."
    return (
        f"Max wait: {in_words(advice.wait_for_spot_seconds)}. If the first spot job has no capacity by then, "
        "the operator goes on demand. A request written by hand (`widen`, `spot_only`) takes "
        f"MaxWaitTimeInSeconds {advice.max_wait_seconds}, which covers waiting and running."
    )


def _cells(policy: str, *others: str) -> str:
    widths = (10, 10, 8, 13, 13, 10)
    return f"{policy:<18}" + "".join(f"{cell:>{width}}" for cell, width in zip(others, widths, strict=True))


def _row(outcome: Outcome, advice: Advice) -> str:
    return _cells(
        outcome.policy,
        _dollars(outcome.mean_dollars),
        _dollars(outcome.high_dollars),
        f"{1 - outcome.mean_dollars / advice.on_demand_dollars:.0%}",
        in_words(outcome.typical_finish_seconds),
        in_words(outcome.high_finish_seconds),
        f"{outcome.missed} of {outcome.runs}",
    )


def _dollars(value: float) -> str:
    return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"


def draw(advice: Advice, question: Question, file: Any) -> None:
    """Cost against deadline for each policy, with the runs that missed; the suffix says the format.

    `file`: a `Path` or an `ObjectStoragePath`. Raises `InvalidInput` for a suffix that is no picture's.
    """
    with needed_by("the picture of cost against deadline"):
        from matplotlib.figure import Figure

    kind = file.suffix.removeprefix(".").lower()
    if kind not in PICTURES:
        raise InvalidInput("plot", str(file), f"end it in {' or '.join(f'.{kind}' for kind in PICTURES)}.")
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for width, (name, colour) in zip((1.5, 7, 5, 1.5, 3, 1.2), COLOURS.items(), strict=True):
        # thin over thick: policies that cost the same stay visible
        points = [outcome for outcome in advice.curve if outcome.policy == name]
        hours = [outcome.deadline_seconds / 3600 for outcome in points]
        axes.plot(hours, [o.mean_dollars for o in points], lw=width, color=colour, label=name)
        for outcome in points:
            if outcome.missed:
                at = (outcome.deadline_seconds / 3600, outcome.mean_dollars)
                axes.annotate(f"{outcome.missed} missed", at, color=colour, fontsize=8)
    axes.axvline(question.deadline_seconds / 3600, color="#a0aec0", linestyle=":", label="your deadline")
    axes.set(xlabel="deadline, hours after submission", ylabel="mean cost of an instance, dollars")
    axes.set_ylim(bottom=0)
    missed = sum(outcome.missed for outcome in advice.curve)
    axes.set_title(f"Cost against deadline; missed deadlines: {missed}", fontsize=10)
    axes.legend(fontsize=8)
    with file.open("wb") as stream:
        figure.savefig(stream, format=kind)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spot-training advise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", help="run time on demand, like 6h")
    parser.add_argument("--work-high", help="what it takes at most, as a rule, like 7h (--work)")
    parser.add_argument("--model", help="learn the run time from this model's runs on --instance-type")
    parser.add_argument("--dag-id", help="learn it from the runs of this Dag alone (all of this Airflow's)")
    parser.add_argument("--deadline", required=True, help="after submission, like 14h")
    parser.add_argument("--overhead", help="start-up, download and checkpoint load, per launch (5m)")
    parser.add_argument("--max-runtime", help="the request's MaxRuntimeInSeconds (24h, SageMaker's default)")
    parser.add_argument("--check-interval", default=CHECK_INTERVAL_SECONDS, help="the operator's (30 s)")
    parser.add_argument("--deadline-reserve", default=0, help="the operator's: more to keep free (0)")
    market = parser.add_mutually_exclusive_group(required=True)
    market.add_argument("--trace", type=Path, action="append", help="a capacity trace (JSON)")
    market.add_argument("--scenario", help="mean spells with and without capacity, like 3h/40m")
    market.add_argument("--history", type=Path, help="a JSON file of spells")
    market.add_argument("--own-history", action="store_true", help="what this Airflow's jobs saw")
    parser.add_argument("--instance-type", help="for its price, and for --own-history")
    parser.add_argument("--instance-count", type=int, default=1, help="for --model (1)")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--on-demand-price", type=float, help="dollars per instance hour")
    price = parser.add_mutually_exclusive_group()
    price.add_argument("--spot-price", type=float, help="dollars per instance hour")
    price.add_argument(
        "--price-ratio", type=float, default=PRICE_RATIO, help=f"spot : on-demand ({PRICE_RATIO})"
    )
    parser.add_argument(
        "--back-to-spot",
        choices=list(BackToSpot),
        default=BackToSpot.NEVER,
        help="may on-demand be left for spot again? (never: what the operator does)",
    )
    parser.add_argument("--plot", type=Path, help="cost against deadline, as .svg or .png")
    parser.add_argument("--json", action="store_true", help="print the advice as JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = vars(_parser().parse_args(arguments))
    history, as_json, high = given.pop("history"), given.pop("json"), given.pop("work_high")
    try:
        if history:
            given["spells"] = read_spells(history.read_text(), source=str(history))
        if high:
            given["work"] = {"mean": given["work"], "high": high}
        told = advise_on(**given)
    except (SpotTrainingError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 2
    print(json.dumps(told, indent=2) if as_json else told["text"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
