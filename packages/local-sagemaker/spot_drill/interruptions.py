"""Accounts for every interruption that a drill intended. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .evidence import RESUMED, Evidence
from .verdict import Interruption, Outcome

if TYPE_CHECKING:
    from .facts import Facts
    from .observe import Run


def account(facts: Facts) -> tuple[Interruption, ...]:
    """What became of each, in the order in which they were made."""
    if facts.why_not:
        return ()
    return tuple(_account(run, facts) for run in facts.disturbed)


def _account(run: Run, facts: Facts) -> Interruption:
    evidence = facts.weigh(run)
    at = run.stretches[0].seconds if run.was_interrupted else None
    return Interruption(
        label=run.label,
        outcome=_outcome(evidence),
        at_seconds=None if at is None else round(at, 3),
        lost_seconds=round(facts.lost_seconds(run), 3),
        attempts=run.attempts,
        seen=_describe(run, evidence, facts),
    )


def _outcome(evidence: Evidence) -> Outcome:
    if evidence is Evidence.NEVER_CAME:
        return Outcome.NEVER_CAME
    return Outcome.RESUMED if evidence in RESUMED else Outcome.WORK_LOST


def _describe(run: Run, evidence: Evidence, facts: Facts) -> str:
    """Without what the outcome says already."""
    tries = f", at attempt {run.attempts}" if run.attempts > 1 else ""
    if evidence is Evidence.NEVER_CAME:
        tries = f", in each of {run.attempts} attempts" if run.attempts > 1 else ""
        return f"the script ended first, {run.status} after {run.training_seconds:.1f} s{tries}"
    what = "" if evidence is Evidence.RESUMED else f", {evidence}"
    lost = f"{facts.lost_seconds(run):.1f} s done again"
    return f"after {run.stretches[0].seconds:.1f} s{tries}{what}, {lost}"
