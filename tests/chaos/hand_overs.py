"""Random schedules of hand-overs: a training that is cut off on its way from one job to the next one.

Half of them have several instance types and move from one to another. The others have a deadline, start on
demand early, and go back to spot. No type has capacity when the training begins. Once its scouts are out, one
gets it, at a moment that the seed draws. Each schedule has a cut, dealt from a deck for each `HAND_OVERS`:
what happens at which point of the hand-over. What happens to a whole batch comes on top of that.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .actions import DAY, Action
from .drawing import (
    BATCH_SIZE,
    SCOUT_SECONDS,
    Event,
    Schedule,
    Slot,
    capacity,
    draw_fault,
    draw_freeze,
    draw_wrong_answers,
    moment,
    seeded,
)
from .kinds import HAND_OVERS, Cut, Kind, Phase, Trouble
from .points import POINTS
from .support import SPEED, Case, Regime

HOUR = 3600
#: Every so many batches one of these is killed, and one of these stands still.
BATCHES_PER_LOSS = 4
LOSSES = ("scheduler", "api-server", "triggerer", "connections", "database")
FROZEN = (Kind.FREEZE_TRIGGERER, Kind.FREEZE_TASKS, Kind.FREEZE_TRIGGERER, Kind.FREEZE_API_SERVER)

#: The calls that follow a point.
_CALLS = {
    "after-scout-intent": "CreateTrainingJob",
    "before-stop-job": "AddTags",
    "tagged-stop-job": "StopTrainingJob",
    "after-stop-job": "DescribeTrainingJob",
    "tagged-stop-scout": "StopTrainingJob",
    "after-next-intent": "CreateTrainingJob",
}
_FAULTS: dict[Trouble, tuple[str, tuple[int, ...]]] = {
    Trouble.THROTTLED: ("ThrottlingException", (2, 4, 8)),
    Trouble.LOST_REPLY: ("LoseResponse", (1, 2, 4)),
}
#: Where a person may act on the task, the job or a scout, while a process of the task is held there.
_FOR_PEOPLE = (
    "after-scout-intent",
    "after-scout-created",
    "after-found",
    "after-stop-job",
    "after-job-record",
    "after-next-intent",
    "after-next-created",
)
STOP_SCOUT = "stop scout"
STOP_JOB = "stop job"
_DEEDS = (
    (Kind.MARK, Action.MARK_FAILED),
    (Kind.STOP, STOP_JOB),
    (Kind.CLEAR, Action.CLEAR),
    (Kind.DELETE, Action.DELETE),
    (Kind.UNTOUCHED, STOP_SCOUT),
    (Kind.MARK, Action.MARK_SUCCESS),
    (Kind.REMAKE, Action.REMAKE),
)
#: Where there is a live job of the training for a person to stop, of which the task has not said it stops it.
_HAS_JOB = frozenset({"after-scout-intent", "after-scout-created", "after-found", "after-next-created"})
#: Where a scout has to be running.
_SCOUT_RUNS = frozenset({Phase.SCOUT_RUNS, "before-stop-scout", "tagged-stop-scout", "after-stop-scout"})


def deck(seed: int, number: int) -> list[tuple[Cut, str | None]]:
    """The cuts of `HAND_OVERS` schedules, in the order in which they are dealt.

    With every second one comes a point at which the worker dies, too.
    """
    cuts = [Cut(point, Trouble.WORKER_DIES) for point in POINTS for _ in range(5)]
    cuts += [
        Cut(phase, trouble)
        for phase in Phase
        for trouble in (Trouble.TRIGGERER_DIES, Trouble.BOTH_TRIGGERERS_DIE)
        for _ in range(3)
    ]
    cuts += [Cut(point, trouble) for point in _CALLS for trouble in _FAULTS for _ in range(3)]
    cuts += [Cut(point, Trouble.PERSON) for point in _FOR_PEOPLE for _ in range(3)]
    rng = seeded(f"{seed}/hand-overs {number}")
    cuts += rng.choices(cuts, k=HAND_OVERS - len(cuts))
    rng.shuffle(cuts)
    also = [point for point in POINTS for _ in range(HAND_OVERS // 2 // len(POINTS))]
    rng.shuffle(also)
    return [(cut, also[n // 2] if n % 2 else None) for n, cut in enumerate(cuts)]


def draw(seed: int, batch: int, *, size: int = BATCH_SIZE) -> Schedule:
    """The schedule of one batch."""
    per_deck = HAND_OVERS // BATCH_SIZE
    place = batch % per_deck
    cuts = deck(seed, batch // per_deck)[place * BATCH_SIZE : (place + 1) * BATCH_SIZE][:size]
    rng = seeded(f"{seed}/hand-overs/{batch}")
    slots, events = _draw_slots(rng, cuts)
    events += [draw_fault(rng) for _ in range(rng.randint(0, 2))]
    events += draw_wrong_answers(rng, batch)[: rng.randint(0, 2)]
    if batch % BATCHES_PER_LOSS == 1:
        details = {"component": LOSSES[batch // BATCHES_PER_LOSS % len(LOSSES)], "kinds": [Kind.LOSS]}
        events.append(Event(at_seconds=moment(rng, 40), what="lose", details=details))
    if batch % BATCHES_PER_LOSS == 3:
        kind = FROZEN[batch // BATCHES_PER_LOSS % len(FROZEN)]
        events.append(draw_freeze(rng, kind, Regime.PATIENT, latest=40))
    in_order = tuple(sorted(events, key=lambda event: event.at_seconds))
    return Schedule(slots=slots, events=in_order, regime=Regime.PATIENT)


def sample(seed: int) -> Schedule:
    """Moves that are soon over and delay nobody else: what is played every time."""
    rng = seeded(f"sample of hand-overs {seed}")
    cuts = [
        Cut("after-found", Trouble.WORKER_DIES),
        Cut("before-next-created", Trouble.WORKER_DIES),
        Cut("after-scout-intent", Trouble.LOST_REPLY),
    ]
    case = Case(deferrable=False, types=2, seconds=600, first_wait=10 * DAY, scout_seconds=SCOUT_SECONDS[-1])
    slots = tuple(
        Slot(
            case=replace(case, kill_at=_where_it_dies(cut, None), fault_at=_draw_fault_at(rng, cut)),
            kind=Kind.UNTOUCHED,
            cut=cut,
        )
        for cut in cuts
    )
    events = tuple(
        capacity(number, 1, after="scouts out", seconds=moment(rng, 5), available=True)
        for number in range(len(slots))
    )
    return Schedule(slots=slots, events=events)


def _draw_slots(
    rng: random.Random, cuts: Sequence[tuple[Cut, str | None]]
) -> tuple[tuple[Slot, ...], list[Event]]:
    """A run for each cut, and what happens to it."""
    slots = tuple(_draw_slot(rng, cut, also) for cut, also in cuts)
    events = [event for number, slot in enumerate(slots) for event in _draw_events(rng, number, slot)]
    return slots, events


def _draw_slot(rng: random.Random, cut: Cut, dies_also_at: str | None) -> Slot:
    kind, how = _draw_deed(rng, cut) if cut.trouble is Trouble.PERSON else (Kind.UNTOUCHED, "")
    case = Case(
        deferrable=cut.where in set(Phase) or rng.random() < 0.7,
        kill_at=_where_it_dies(cut, dies_also_at),
        hold_at=(cut.where,) if cut.trouble is Trouble.PERSON else (),
        fault_at=_draw_fault_at(rng, cut),
    )
    draw_way = rng.choice([_moving, _going_back])
    return Slot(case=draw_way(rng, cut, case), kind=kind, cut=cut, how=how)


def _moving(rng: random.Random, cut: Cut, case: Case) -> Case:
    """Between instance types, while its job waits for the first."""
    seconds = rng.choice([600, 3000, 9000])
    return replace(
        case,
        types=rng.choice([2, 2, 3]),
        scout_seconds=SCOUT_SECONDS[-1] if cut.where in _SCOUT_RUNS else rng.choice(SCOUT_SECONDS),
        seconds=seconds,
        max_run=6 * seconds,
        first_wait=10 * DAY,
    )


def _going_back(rng: random.Random, _cut: Cut, case: Case) -> Case:
    """From on-demand to spot. Its scout has to run until Airflow has started a process that looks at it."""
    return replace(
        case,
        goes_back=True,
        scout_seconds=SPEED * 60,
        seconds=SPEED * rng.choice([60, 90]),
        expected=300 * HOUR,
        max_run=400 * HOUR,
    )


def _where_it_dies(cut: Cut, also: str | None) -> tuple[str, ...]:
    """A person acts on a process that is held, and not on one that dies."""
    if cut.trouble is Trouble.PERSON:
        return ()
    first = cut.where if cut.trouble is Trouble.WORKER_DIES else None
    return tuple(dict.fromkeys(point for point in (first, also) if point is not None))


def _draw_deed(rng: random.Random, cut: Cut) -> tuple[Kind, str]:
    kind, how = rng.choice([each for each in _DEEDS if each[1] != STOP_JOB or cut.where in _HAS_JOB])
    return kind, str(how)


def _draw_fault_at(rng: random.Random, cut: Cut) -> dict[str, dict[str, Any]]:
    if cut.trouble not in _FAULTS:
        return {}
    error, counts = _FAULTS[cut.trouble]
    return {cut.where: {"operation": _CALLS[cut.where], "error": error, "count": rng.choice(counts)}}


def _draw_events(rng: random.Random, number: int, slot: Slot) -> list[Event]:
    """What the market does to a training, and what happens to it in a phase or through a person."""
    found = 0 if slot.case.goes_back else rng.randrange(1, slot.case.types)
    others = [n for n in range(slot.case.types) if n != found]
    events = [capacity(number, found, after="scouts out", seconds=moment(rng, 10), available=True)]
    if others and rng.random() < 0.1:  # the waiting job's type gets it, too: perhaps it need not move
        events.append(capacity(number, 0, after="scouts out", seconds=moment(rng, 12), available=True))
    if rng.random() < 0.3:  # and back, or on to the third
        other, gone, back = rng.choice(others or [found]), moment(rng, 3), moment(rng, 12)
        events.append(capacity(number, found, after="next job", seconds=gone, available=False))
        events.append(capacity(number, other, after="next job", seconds=back, available=True))
    cut = slot.cut
    assert cut is not None
    match cut.trouble:
        case Trouble.PERSON:
            details = {"slot": number, "how": slot.how, "held_seconds": rng.choice([0, 0, 4])}
            events.append(Event(at_seconds=0.5, what="act when held", details=details))
        case Trouble.TRIGGERER_DIES | Trouble.BOTH_TRIGGERERS_DIE:
            both = ["triggerer", "triggerer:2"]
            lost = both if cut.trouble is Trouble.BOTH_TRIGGERERS_DIE else [rng.choice(both)]
            details = {"slot": number, "phase": cut.where, "components": lost}
            events.append(Event(at_seconds=0.5, what="lose in phase", details=details))
    return events
