"""Advice as a table and sentences, for a terminal and a task log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spot_training.advise.moves import BackToSpot
from spot_training.domain.parsing import in_words
from spot_training.domain.type_history import WITHIN_DAYS

if TYPE_CHECKING:
    from spot_training.domain.type_history import TypeHistory

    from .advice import Advice, Outcome, Question
    from .with_scouts import WithScouts


def as_text(
    advice: Advice, question: Question, scouts: WithScouts, types_seen: Sequence[TypeHistory] = ()
) -> str:
    """The table and the advice in sentences, and what happened lately on each type."""
    head = _cells("policy", "cost", "19 of 20", "saved", "done after", "19 of 20", "missed")
    rows = (_row(outcome, advice) for outcome in (*advice.outcomes, *scouts.outcomes))
    parts = [
        head,
        *rows,
        "",
        *_sentences(advice, question),
        *_about_scouts(scouts),
        *_about_types(types_seen),
    ]
    return "\n".join(parts)


_OUTLOOK = (
    "This is an outlook only: the operator returns to spot in another way (back_to_spot in the policy)."
)


def _sentences(advice: Advice, question: Question) -> list[str]:
    chosen, reserve = advice.chosen, question.reserve
    beyond_mean = question.runtime.high_seconds - question.runtime.mean_seconds
    parts = {
        "a slow on-demand launch": reserve.launch_high_seconds,
        "stopping the spot job": reserve.stop_seconds,
        "polling and resuming the task": reserve.notice_seconds,
        "a refused on-demand launch": reserve.refusal_seconds,
        "a slow run": beyond_mean,
        "your own reserve": reserve.extra_seconds,
    }
    reasons = ", ".join(f"{in_words(seconds)} for {what}" for what, seconds in parts.items() if seconds)
    cost, done = _dollars(chosen.mean_dollars), in_words(chosen.typical_finish_seconds)
    return [
        f"Use {advice.policy}: about {cost} per instance, typically complete after {done}.",
        *([] if question.back_to_spot is BackToSpot.NEVER else [_OUTLOOK]),
        _about_waiting(advice),
        f"The operator keeps {in_words(advice.kept_free_seconds)} free before the deadline: {reasons}.",
    ]


_EXPERIMENTAL = "The way back (back_to_spot in the policy) is experimental: it was never measured on AWS."
_SAME = "The other types are assumed to have the price and speed of the first."


def _about_scouts(scouts: WithScouts) -> list[str]:
    saved = "; ".join(f"{outcome.policy} {scouts.saved(outcome):.0%}" for outcome in scouts.outcomes)
    has_others = len(scouts.outcomes) > 1
    return [
        f"Saved compared with deadline on one type, scouts included: {saved}.",
        *([_SAME] if has_others else []),
        _EXPERIMENTAL,
    ]


def _about_types(types_seen: Sequence[TypeHistory]) -> list[str]:
    """The table of what spot jobs met lately on each type and region; nothing without any."""
    if not types_seen:
        return []
    head = ("type", "region", "interrupted", "scouts with capacity", "found after", "failed moves")
    table = [head, *map(_type_row, types_seen)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    last = [f"{each.instance_type} is asked last: {each.objection}." for each in types_seen if each.objection]
    return ["", f"Spot jobs of the last {WITHIN_DAYS} days:", *map(str.rstrip, lines), *last]


def _type_row(seen: TypeHistory) -> tuple[str, ...]:
    after = seen.found_after_seconds
    return (
        seen.instance_type,
        seen.region,
        _share(seen.interrupted, seen.attempts),
        _share(seen.scouts_with_capacity, seen.scouts),
        "" if after is None else in_words(after),
        _share(seen.failed_moves, seen.moves),
    )


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else ""


def _about_waiting(advice: Advice) -> str:
    if advice.max_wait_seconds is None:
        return "Max wait: none. On-demand starts at once, because spot would save nothing or be too late."
    return (
        f"Max wait: {in_words(advice.wait_for_spot_seconds)}. If the first spot job has no capacity by then, "
        "the operator starts on-demand. In a request for `widen` or `spot_only`, use "
        f"MaxWaitTimeInSeconds {advice.max_wait_seconds}, which covers waiting and running."
    )


def _cells(policy: str, *others: str) -> str:
    widths = (10, 10, 8, 13, 13, 10)
    return f"{policy:<28}" + "".join(f"{cell:>{width}}" for cell, width in zip(others, widths, strict=True))


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
