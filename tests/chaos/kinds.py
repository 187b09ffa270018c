"""The kinds of trouble that a campaign plays, each by its name, and how often it has to play each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: In 300 schedules each kind is drawn at least so often.
AT_LEAST = 20
SCHEDULES = 300


class Kind(StrEnum):
    # What happens to one run: each schedule has one of these ...
    UNTOUCHED = "nobody acts"
    CLEAR = "clear, retries unchanged"
    CLEAR_RAISED = "clear, retries raised"
    CLEAR_LOWERED = "clear, retries lowered"
    CLEAR_ON_SUCCESS = "clear after clear_on_success"
    MARK = "marked failed or success"
    DELETE = "run deleted"
    REMAKE = "run deleted and made again"
    STOP = "a person stops the job"
    TIME_LIMIT = "execution_timeout while deferred"
    CONNECTION = "the connection's region changes"
    DELETED_JOB = "earlier job deleted, state lost"
    OLD_STATE = "state and job of 0.1.0"
    # ... and beside it any of these.
    OTHER_INSTALLATION = "another installation, same run"
    WORKER_DIES = "the worker dies"
    TRIGGER_FAILS = "the trigger fails"
    SEVERAL_TYPES = "several types, with scouts"
    GOES_BACK = "a way back to spot, with scouts"
    # What happens to all runs of a batch.
    FREEZE_ALONE = "one component frozen"
    FREEZE_PAIR = "two components frozen at once"
    FREEZE_TRIGGERER = "frozen: a triggerer"
    FREEZE_SCHEDULER = "frozen: a scheduler"
    FREEZE_TASKS = "frozen: the tasks' processes"
    FREEZE_API_SERVER = "frozen: the API server"
    FREEZE_DAG_PROCESSOR = "frozen: the dag-processor"
    FREEZE_DATABASE = "frozen: Postgres"
    LOSS = "a component killed"
    CALLS_FAIL = "calls to AWS fail, late or lost"
    NOT_FOUND = "wrong answer: not found"
    NO_TAGS = "wrong answer: no tags"
    LEFT_OUT = "wrong answer: not in the list"
    UNKNOWN_STATUS = "wrong answer: unknown status"
    MARKET = "interruptions and flapping capacity"


#: One schedule has exactly one of these.
OF_A_RUN = tuple(Kind)[: tuple(Kind).index(Kind.OTHER_INSTALLATION)]
#: Not a kind of fault: what is not counted as often as the others.
NOT_COUNTED = frozenset({Kind.UNTOUCHED, Kind.GOES_BACK})


class Trouble(StrEnum):
    """What happens to a hand-over at one of its points (`points`), or in one of its phases."""

    WORKER_DIES = "the worker dies"
    THROTTLED = "the next calls are throttled"
    LOST_REPLY = "the next replies are lost"
    PERSON = "a person acts"
    TRIGGERER_DIES = "a triggerer dies"
    BOTH_TRIGGERERS_DIE = "both triggerers die"


class Phase(StrEnum):
    """Where a hand-over is while its task is deferred."""

    SCOUTS_OUT = "scouts wait"
    SCOUT_RUNS = "a scout runs"
    STOPPING = "the job is being stopped"
    NEXT_JOB = "the next job is alive"


@dataclass(frozen=True, slots=True, order=True)
class Cut:
    """A trouble at one place of a hand-over: a point or a phase."""

    where: str
    trouble: Trouble

    def __str__(self) -> str:
        return f"{self.where}: {self.trouble}"


#: In 200 schedules with hand-overs each cut is met at least so often.
CUTS_AT_LEAST = 5
HAND_OVERS = 200

Counts = Mapping[str, Mapping[str, int]]


def add_up(pieces: Iterable[Counts]) -> dict[str, dict[str, int]]:
    """The counts of several batches, or of several pieces of a campaign, as one."""
    total = {str(kind): {"drawn": 0, "schedules": 0, "broken": 0} for kind in Kind}
    for counts in pieces:
        for kind, numbers in counts.items():
            for name, number in numbers.items():
                total[kind][name] += number
    return total


def count(drawn: Counter[Kind], by_run: Iterable[tuple[frozenset[Kind], bool]]) -> dict[str, dict[str, int]]:
    """How often each kind was drawn, how many schedules it reached, and how many of these broke the promise.

    `by_run` has the kinds that reached each schedule, and whether that is broken.
    """
    reached, broken = Counter[Kind](), Counter[Kind]()
    for kinds, is_broken in by_run:
        reached.update(kinds)
        broken.update(kinds if is_broken else ())
    return {
        str(kind): {"drawn": drawn[kind], "schedules": reached[kind], "broken": broken[kind]}
        for kind in drawn
    }


def add_up_cuts(pieces: Iterable[Counts]) -> dict[str, dict[str, int]]:
    """The same for the cuts of hand-overs."""
    total: dict[str, Counter[str]] = {}
    for cuts in pieces:
        for cut, numbers in cuts.items():
            total.setdefault(cut, Counter()).update(numbers)
    return {cut: {"met": total[cut]["met"], "broken": total[cut]["broken"]} for cut in sorted(total)}


def table_of_cuts(cuts: Counts) -> str:
    """The cuts for people."""
    width = max(map(len, cuts))
    rows = [f"{'cut':<{width}}  met  broken"]
    rows += [f"{cut:<{width}}  {numbers['met']:>3}  {numbers['broken']:>6}" for cut, numbers in cuts.items()]
    return "\n".join(rows)


def table(counts: Counts) -> str:
    """The counts for people."""
    width = max(map(len, counts))
    rows = [f"{'kind':<{width}}  drawn  schedules  broken"]
    rows += [
        f"{kind:<{width}}  {numbers['drawn']:>5}  {numbers['schedules']:>9}  {numbers['broken']:>6}"
        for kind, numbers in counts.items()
    ]
    return "\n".join(rows)


def as_json(value: Any) -> str:
    """One line."""
    return json.dumps(value, default=str, sort_keys=True)
