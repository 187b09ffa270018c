"""The answers about what an interruption costs: the work that is lost, and the time of a restart. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .facts import Facts, skip
from .verdict import Check, Question, Result

if TYPE_CHECKING:
    from .observe import Run

#: If one interruption loses more than this share of the run, that is a warning.
_MUCH_LOST = 0.25


def judge_work_lost(facts: Facts) -> Check:
    question = Question.WORK_LOST
    if facts.why_not:
        return skip(question, facts.why_not)
    disturbed = [run for run in facts.disturbed if run.was_interrupted]
    if not disturbed:
        return skip(question, "The script ended before each interruption.")
    lost = {run.label: facts.lost_seconds(run) for run in disturbed}
    most = max(lost.values())
    share = most / facts.whole_seconds
    each = "; ".join(
        f"{run.label}: {lost[run.label]:.1f} s ({lost[run.label] / facts.whole_seconds:.0%}"
        f"{'' if facts.saves(run.stretches[0]) else ', before the first checkpoint'})"
        for run in disturbed
    )
    return Check(
        question=question,
        result=Result.WARN if share > _MUCH_LOST else Result.PASS,
        seen=f"Work done again, {each}.",
        change=_advise_on_loss(disturbed, lost, facts) if share > _MUCH_LOST else "",
        numbers={"most_lost_seconds": round(most, 3), "most_lost_share": round(share, 4)},
    )


def _advise_on_loss(disturbed: list[Run], lost: Mapping[str, float], facts: Facts) -> str:
    worst = max(disturbed, key=lambda run: lost[run.label])
    if facts.saves(worst.stretches[0]):
        return "Save checkpoints more often, and make sure that a restart uses them."
    return "Save the first checkpoint earlier. If most of this run is start-up, drill a longer one."


def judge_restart(facts: Facts) -> Check:
    question = Question.RESTART
    if facts.why_not:
        return skip(question, facts.why_not)
    starts = [run.stretches[1] for run in facts.disturbed if run.was_interrupted and run.is_completed]
    if not starts:
        return skip(question, "No run was interrupted and completed.")
    lines = [at for start in starts if (at := start.first_line_at()) is not None]
    saves = [found[0].at for start in starts if (found := facts.saves(start))]
    times = [
        f"{max(times):.1f} s to the first {what}"
        for times, what in ((lines, "line of log"), (saves, "new checkpoint"))
        if times
    ]
    if not times:
        return skip(question, "After the restart the script logged and saved nothing.")
    slow = bool(saves) and max(saves) > 0.5 * facts.whole_seconds and max(saves) > 2 * facts.first_saves[0].at
    return Check(
        question=question,
        result=Result.WARN if slow else Result.PASS,
        seen=f"A restart takes at most {' and '.join(times)}.",
        change="Do less before the first step: cache prepared data, skip data by index." if slow else "",
        numbers={"first_checkpoint_seconds": round(max(saves), 3)} if saves else {},
    )
