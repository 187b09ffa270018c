"""The advisor: which policy, what max wait, what will it cost, and when will it be done?

    python -m spot_training.advise --work 6h --deadline 14h --trace us-east-1a.json --plot cost.svg

The market is one of: `--trace FILE` (again and again for several), `--scenario UP/DOWN` (mean spells with
capacity and without, like 3h/40m), `--history FILE` (JSON of spells, `[[true, 7200], [false, 1800], ...]`,
oldest first), or `--own-history`, what this installation's ledger saw of `--instance-type` in `--region`.
Prices are dollars per instance hour: `--on-demand-price` and `--spot-price`, or the on-demand price of
`--instance-type` and `--price-ratio`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .domain.durations import in_words, parse_seconds
from .domain.errors import InvalidInput, SpotTrainingError
from .domain.moves import BackToSpot, Spells, Workload
from .domain.traces import Trace, parse_trace

if TYPE_CHECKING:
    from .planner.advice import Advice, Outcome

#: Spot : on-demand, where nobody gives prices: what p3.2xlarge cost in the published comparisons.
PRICE_RATIO = 0.318
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
    work: object,
    deadline: object,
    overhead: object = "6m",
    spells: Spells = (),
    on_demand_price: float = 1.0,
    price_ratio: float = PRICE_RATIO,
    back_to_spot: str = BackToSpot.NEVER,
) -> dict[str, Any]:
    """Advice from plain values to plain values, for a task: durations as seconds or text, past spells.

    Returns `policy`, `max_wait_seconds`, `on_demand_dollars`, `outcomes` and `curve` (lists of mappings).
    """
    from .planner.advice import advise, traces_like

    workload = Workload(
        work_seconds=parse_seconds(work, field="work"),
        deadline_seconds=parse_seconds(deadline, field="deadline"),
        overhead_seconds=parse_seconds(overhead, field="overhead"),
        on_demand_price=on_demand_price,
        spot_price=on_demand_price * price_ratio,
        back_to_spot=BackToSpot(back_to_spot),
    )
    traces = traces_like(spells, seconds=2.5 * workload.deadline_seconds)
    return advise(workload, traces, history=spells).to_json()


def read_spells(text: str, *, source: str) -> list[tuple[bool, float]]:
    """Spells from JSON, `[[has_spot, seconds], ...]`. Raises `InvalidInput`."""
    way_out = "give JSON of spells, oldest first: [[true, 7200], [false, 1800], ...]."
    try:
        return [(bool(has_spot), float(seconds)) for has_spot, seconds in json.loads(text)]
    except (ValueError, TypeError) as exc:
        raise InvalidInput(source, text[:60], way_out) from exc


def as_text(advice: Advice, workload: Workload) -> str:
    """The table for a terminal, and the advice in a sentence."""
    head = _cells("policy", "cost", "19 of 20", "saved", "done after", "19 of 20", "missed")
    chosen = advice.chosen
    sentence = (
        f"Take {advice.policy}: about {_dollars(chosen.mean_dollars)} an instance, done after "
        f"{in_words(chosen.typical_finish_seconds)} as a rule; without any spot, on-demand starts after "
        f"{in_words(advice.max_wait_seconds)} of waiting. Let the spot job's MaxWaitTimeInSeconds be "
        f"{round(workload.deadline_seconds)}: the guard ends the wait sooner."
    )
    return "\n".join([head, *(_row(outcome, advice) for outcome in advice.outcomes), "", sentence])


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


def draw(advice: Advice, workload: Workload, path: Path) -> None:
    """Cost against deadline for each policy, with the runs that missed; the file's suffix says the format."""
    from matplotlib.figure import Figure

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
    axes.axvline(workload.deadline_seconds / 3600, color="#a0aec0", linestyle=":", label="your deadline")
    axes.set(xlabel="deadline, hours after submission", ylabel="mean cost of an instance, dollars")
    axes.set_ylim(bottom=0)
    missed = sum(outcome.missed for outcome in advice.curve)
    axes.set_title(f"Cost against deadline; missed deadlines: {missed}", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m spot_training.advise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", required=True, help="run time on demand, like 6h")
    parser.add_argument("--deadline", required=True, help="after submission, like 14h")
    parser.add_argument("--overhead", default="6m", help="start-up, download and checkpoint load, per launch")
    market = parser.add_mutually_exclusive_group(required=True)
    market.add_argument("--trace", type=Path, action="append", help="a capacity trace (JSON)")
    market.add_argument("--scenario", help="mean spells with and without capacity, like 3h/40m")
    market.add_argument("--history", type=Path, help="a JSON file of spells")
    market.add_argument("--own-history", action="store_true", help="what this installation's ledger saw")
    parser.add_argument("--instance-type", help="for its price, and for --own-history")
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


def _market(given: argparse.Namespace, seconds: float) -> tuple[Sequence[Trace], Spells]:
    from .planner.advice import traces_like, traces_of_scenario

    if given.trace:
        return [parse_trace(path.read_text(), source=str(path)) for path in given.trace], ()
    if given.scenario:
        up, slash, down = given.scenario.partition("/")
        if not slash:
            raise InvalidInput("--scenario", given.scenario, "give two durations, like 3h/40m.")
        spells = (parse_seconds(part, field="--scenario") for part in (up, down))
        return traces_of_scenario(*spells, seconds=seconds), ()
    history = _own_spells(given) if given.own_history else _spells_in(given.history)
    return traces_like(history, seconds=seconds), history


def _spells_in(path: Path) -> Spells:
    return read_spells(path.read_text(), source=str(path))


def _own_spells(given: argparse.Namespace) -> Spells:
    from .past_runs import recent_spells

    if not given.instance_type:
        raise InvalidInput("--instance-type", None, "--own-history needs the type to look for.")
    return recent_spells(region=given.region, instance_type=given.instance_type)


def _prices(given: argparse.Namespace) -> Mapping[str, float]:
    price = given.on_demand_price
    if price is None and given.instance_type:
        from .hooks import AwsAccess
        from .ledger.prices import configured_prices

        known = configured_prices(AwsAccess(region_name=given.region)).price_of(
            given.region, given.instance_type
        )
        price = known.usd_per_hour if known else None
    if price is None:
        raise InvalidInput("--on-demand-price", None, "give it, or an --instance-type whose price is known.")
    spot = given.spot_price if given.spot_price is not None else price * given.price_ratio
    return {"on_demand_price": price, "spot_price": spot}


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        workload = Workload(
            work_seconds=parse_seconds(given.work, field="--work"),
            deadline_seconds=parse_seconds(given.deadline, field="--deadline"),
            overhead_seconds=parse_seconds(given.overhead, field="--overhead"),
            back_to_spot=BackToSpot(given.back_to_spot),
            **_prices(given),
        )
        from .planner.advice import advise

        traces, history = _market(given, 2.5 * workload.deadline_seconds)
        advice = advise(workload, traces, history=history)
        if given.plot:
            draw(advice, workload, given.plot)
    except (SpotTrainingError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 2
    print(json.dumps(advice.to_json(), indent=2) if given.json else as_text(advice, workload))
    return 0


if __name__ == "__main__":
    sys.exit(main())
