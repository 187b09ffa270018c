"""What the answers of a drill share: the runs, what they show, and texts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .evidence import Evidence, lost_seconds, weigh
from .history import Arrival, Save, find_checkpoint_kinds, kind_of, read_history
from .observe import Run, RunKind, Stretch
from .verdict import CORE_QUESTIONS, Check, Question, Result

#: A time this many times longer than expected is not chance.
LATE_FACTOR = 2.0


class Facts:
    """The runs of a drill."""

    def __init__(self, runs: tuple[Run, ...]) -> None:
        self.runs = runs
        self.first = runs[0]
        self.kinds = find_checkpoint_kinds(runs)
        self.whole_seconds = self.first.training_seconds
        self.first_saves = self.saves(self.first.stretches[0]) if self.first.stretches else ()

    def saves(self, stretch: Stretch) -> tuple[Save, ...]:
        return read_history(stretch, self.kinds).saves

    def whole_saves(self) -> tuple[Save, ...]:
        """Those of the runs that did not start with a torn checkpoint, which a run may overwrite."""
        whole = (run for run in self.runs if run.kind is not RunKind.TORN)
        return tuple(save for run in whole for stretch in run.stretches for save in self.saves(stretch))

    @property
    def overwritten(self) -> frozenset[str]:
        """The checkpoints that got new content in place: a kill leaves neither the old nor the new."""
        return frozenset(save.name for save in self.whole_saves() if save.arrival is Arrival.OVERWRITTEN)

    def checkpoints_read(self, stretch: Stretch) -> frozenset[str]:
        """The restored checkpoints that the script read."""
        return frozenset(name for name in stretch.files_read() if kind_of(name) in self.kinds)

    def weigh(self, run: Run) -> Evidence:
        return weigh(run, self.first, self.kinds)

    def lost_seconds(self, run: Run) -> float:
        """How much work the interruption of a run cost; none if it never came."""
        return lost_seconds(run, self.first, self.kinds) if run.was_interrupted else 0.0

    def of(self, *kinds: RunKind) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.kind in kinds)

    @property
    def disturbed(self) -> tuple[Run, ...]:
        return self.of(RunKind.INTERRUPTED, RunKind.KILLED)

    @property
    def why_not(self) -> str | None:
        """Why only the first run can be judged."""
        if not self.first.is_completed:
            return "The undisturbed run did not complete."
        if not self.first_saves:
            return "There is no checkpoint."
        return None

    @property
    def warm_up(self) -> Run | None:
        return next(iter(self.of(RunKind.WARM_UP)), None)

    @property
    def killed(self) -> Run | None:
        return next(iter(self.of(RunKind.KILLED)), None)


def skip(question: Question, why: str, change: str = "") -> Check:
    """A question without an answer. For a core question, `change` says how the next drill can answer it."""
    head = "Not shown" if question in CORE_QUESTIONS else "Not judged"
    if question in CORE_QUESTIONS and not change:
        change = "Fix the failures first."
    return Check(
        question=question, result=Result.SKIP, seen=f"{head}: {why[0].lower()}{why[1:]}", change=change
    )


# --- words ---


def describe_failure(run: Run) -> str:
    first = (run.failure or "").strip().splitlines()
    return f": {first[0][:300].rstrip('.:')}" if first else ""


def count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def name_some(names: Iterable[str]) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{listed[0]} (and {len(listed) - 1} more)"


def describe_difference(first: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Which files differ, as a sentence."""
    missing, added = sorted(set(first) - set(other)), sorted(set(other) - set(first))
    differing = sorted(name for name in set(first) & set(other) if first[name] != other[name])
    parts = [
        f"{', '.join(names[:5])}{' and more' if len(names) > 5 else ''} {verb}"
        for names, verb in (
            (missing, _verb(missing, "is missing", "are missing")),
            (added, _verb(added, "is additional", "are additional")),
            (differing, _verb(differing, "differs", "differ")),
        )
        if names
    ]
    return f"{'; '.join(parts)}."


def _verb(names: list[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many


# --- what a run could not show ---


def describe_no_evidence(run: Run | None, facts: Facts) -> str:
    if run is None:
        return "no run was interrupted"
    if facts.weigh(run) is Evidence.NOTHING_SAVED:
        return f"{run.label}: no checkpoint was saved yet, after {run.stretches[0].seconds:.1f} s"
    tries = f", in each of {run.attempts} attempts" if run.attempts > 1 else ""
    return f"{run.label}: the script ended first ({run.status} after {run.training_seconds:.1f} s){tries}"


def advise_on_kill(facts: Facts) -> str:
    return (
        "SIGKILL comes at half of the undisturbed time, or later, when half of the checkpoints are saved; "
        "further attempts, as soon as there are checkpoints. "
        f"The first checkpoint came after {facts.first_saves[0].at:.1f} s of {facts.whole_seconds:.1f} s. "
        "Save earlier and evenly over the run, or train longer."
    )
