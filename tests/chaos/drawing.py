"""Random schedules of faults, losses and people, drawn whole from a seed before anything is started.

A batch is some runs at once and what happens meanwhile to them and to all. The same seed and batch give the
same schedule; what a machine makes of it is up to its timing. Chance decides the details; that each kind
comes often enough is dealt like cards, from a deck for each `BATCHES_PER_DECK` batches.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from .actions import DAY, Action
from .earlier import SHARED_NAME
from .kinds import OF_A_RUN, Cut, Kind
from .support import KILL_POINTS, LIMITED, LOWERED, RAISED, SPEED, Case, Regime

BATCH_SIZE = 10
BATCHES_PER_DECK = 10
#: The last batches of each deck run with Airflow's own thresholds.
BATCHES_WITH_DEFAULTS = 3
#: Outages take time: a handful in 300 schedules is enough.
BATCHES_PER_OUTAGE = 5
OUTAGE_SECONDS = 120

CALLS = ("CreateTrainingJob", "DescribeTrainingJob", "ListTrainingJobs", "StopTrainingJob")
LOSSES = ("triggerer", "scheduler", "api-server", "connections", "database")
#: With Celery there is one more to lose.
LOSSES_WITH_CELERY = (*LOSSES, "worker")

#: How many schedules of a deck's hundred are of which kind. The others are `UNTOUCHED`.
OF_EACH_KIND = 7
_DEALT = (
    Kind.CLEAR,
    Kind.CLEAR_RAISED,
    Kind.CLEAR_LOWERED,
    Kind.MARK,
    Kind.DELETE,
    Kind.REMAKE,
    Kind.STOP,
    Kind.TIME_LIMIT,
    Kind.CONNECTION,
    Kind.OLD_STATE,
    Kind.DELETED_JOB,
    Kind.CLEAR_ON_SUCCESS,
)
#: Where another installation runs the same Dag, too: so many of a deck's hundred.
OTHER_INSTALLATIONS = 10
#: Five components are frozen in a batch: three alone, two together.
_FROZEN = {
    Kind.FREEZE_TRIGGERER: 13,
    Kind.FREEZE_SCHEDULER: 9,
    Kind.FREEZE_TASKS: 7,
    Kind.FREEZE_API_SERVER: 7,
    Kind.FREEZE_DAG_PROCESSOR: 7,
    Kind.FREEZE_DATABASE: 7,
}
FROZEN_IN_A_BATCH = 5
_COMPONENTS: dict[Kind, tuple[str, ...]] = {
    Kind.FREEZE_TRIGGERER: ("triggerer", "triggerer:2"),
    Kind.FREEZE_SCHEDULER: ("scheduler", "scheduler:2", "scheduler alone"),
    Kind.FREEZE_TASKS: ("tasks",),
    Kind.FREEZE_API_SERVER: ("api-server",),
    Kind.FREEZE_DAG_PROCESSOR: ("dag-processor",),
    Kind.FREEZE_DATABASE: ("database",),
}
#: Of these there are two.
_SEVERAL = frozenset({Kind.FREEZE_TRIGGERER, Kind.FREEZE_SCHEDULER})
#: Trainings of these kinds may have several instance types.
_MAY_HAVE_TYPES = frozenset({Kind.UNTOUCHED, Kind.CLEAR, Kind.MARK, Kind.DELETE, Kind.REMAKE})
#: AWS's seconds for which a scout runs: the shortest is over before anybody can look at it.
SCOUT_SECONDS = (600, 6000, 12000)
#: Real seconds.
SHORTEST_FREEZE, LONGEST_FREEZE = 5, 120
#: AWS's seconds for which an answer about a job is wrong: less than the minute after which it is believed.
LONGEST_WRONG = 55
_WRONG = {
    Kind.NOT_FOUND: (("DescribeTrainingJob",), "NotFound"),
    Kind.NO_TAGS: (("ListTags",), "NoTags"),
    Kind.LEFT_OUT: (("ListTrainingJobs",), "LeftOut"),
    Kind.UNKNOWN_STATUS: (("DescribeTrainingJob", "ListTrainingJobs"), "UnknownStatus"),
}


class When(StrEnum):
    """The phase of its training in which a person stops a job: they are dealt in this order."""

    RETRIED = "just after a retry"
    WORKER_DEAD = "its worker is dead"
    WAITING = "waiting for capacity"
    TRAINING = "training"
    INTERRUPTED = "interrupted"
    DEFERRING = "about to defer"


#: These need a worker that is lost, which Airflow's own thresholds notice after five minutes only.
_NEED_QUICK = frozenset({When.WORKER_DEAD, When.RETRIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens so many real seconds after the batch began."""

    at_seconds: float
    what: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_loss(self) -> bool:
        return self.what == "lose"

    @property
    def is_outage(self) -> bool:
        return self.details.get("operation") == "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One run of a batch, and the kinds of trouble that are its own.

    `neighbour` is another installation. A hand-over has a `cut`; if a person acts there, `how` says what.
    """

    case: Case
    kind: Kind
    neighbour: str | None = None
    when: When | None = None
    cut: Cut | None = None
    how: str = ""

    @property
    def kinds(self) -> frozenset[Kind]:
        beside = {
            Kind.OTHER_INSTALLATION: self.neighbour is not None,
            Kind.WORKER_DIES: bool(self.case.kill_at),
            Kind.TRIGGER_FAILS: self.case.deferrable and self.case.trigger_fails_after is not None,
            Kind.SEVERAL_TYPES: self.case.types > 1,
            Kind.GOES_BACK: self.case.goes_back,
        }
        return frozenset({self.kind, *(kind for kind, is_there in beside.items() if is_there)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a batch does: its runs, and everything that happens to them."""

    slots: tuple[Slot, ...]
    events: tuple[Event, ...]
    regime: Regime = Regime.QUICK

    def to_json(self) -> dict[str, Any]:
        """All that is not as it is by default."""
        return {
            "regime": self.regime,
            "slots": [_unusual(slot, case=_unusual(slot.case)) for slot in self.slots],
            "events": [asdict(event) for event in self.events],
        }

    @property
    def freezes(self) -> list[Event]:
        return [event for event in self.events if event.what == "freeze"]

    def of_all(self) -> Counter[Kind]:
        """The kinds that concern all runs, and how often each comes."""
        drawn = Counter[Kind]()
        for event in self.events:
            drawn.update(Kind(name) for name in event.details.get("kinds", ()))
        return drawn

    def drawn(self) -> Counter[Kind]:
        """How often each kind comes, in a run or for all."""
        drawn = self.of_all()
        for slot in self.slots:
            drawn.update(slot.kinds)
        return drawn


def draw(
    seed: int, batch: int, *, size: int = BATCH_SIZE, losses: Sequence[str] = LOSSES, has_tasks: bool = True
) -> Schedule:
    """The schedule of one batch. Without `has_tasks` the tasks' processes are a component, `worker`."""
    rng = seeded(f"{seed}/{batch}")
    place = batch % BATCHES_PER_DECK
    is_quick = place < BATCHES_PER_DECK - BATCHES_WITH_DEFAULTS
    regime = Regime.QUICK if is_quick else Regime.DEFAULTS
    deck = _Deck(seed, batch // BATCHES_PER_DECK)
    slots = tuple(
        _draw_slot(rng, kind, regime, has_neighbour=has_neighbour, nth=nth)
        for kind, has_neighbour, nth in deck.of_batch(place)[:size]
    )
    slots, found = _draw_types(seeded(f"{seed}/{batch}/types"), slots)
    events = [event for number, slot in enumerate(slots) for event in _draw_deeds(rng, number, slot)]
    events += found
    events += _draw_new_retries(rng, slots)
    events += _draw_freezes(rng, deck.frozen[place], regime, has_tasks=has_tasks)
    events += [draw_fault(rng) for _ in range(rng.randint(1, 4))]
    events += draw_wrong_answers(rng, batch)
    events += [_draw_market(rng, size) for _ in range(rng.randint(1, 6))]
    if batch % BATCHES_PER_OUTAGE == 3:
        details = {"operation": "*", "error": "InternalFailure", "seconds": OUTAGE_SECONDS}
        events.append(_fault(moment(rng, 25), Kind.CALLS_FAIL, **details))
    if is_quick:  # one lost component in a batch, in turn: a campaign loses each several times
        quick_batch = (batch // BATCHES_PER_DECK) * (BATCHES_PER_DECK - BATCHES_WITH_DEFAULTS) + place
        details = {"component": losses[quick_batch % len(losses)], "kinds": [Kind.LOSS]}
        events.append(Event(at_seconds=moment(rng, 25), what="lose", details=details))
    in_order = tuple(sorted(events, key=lambda event: event.at_seconds))
    return Schedule(slots=slots, events=in_order, regime=regime)


def _unusual(thing: Any, **more: Any) -> dict[str, Any]:
    values = {each.name: getattr(thing, each.name) for each in fields(thing) if each.name not in more}
    defaults = {each.name: each.default for each in fields(thing)}
    return more | {name: value for name, value in values.items() if value not in (defaults[name], (), {})}


def sample(seed: int) -> Schedule:
    """One run of each kind, and one of each kind of trouble for all: what is played every time."""
    rng = seeded(f"sample {seed}")
    slots = tuple(
        _draw_slot(rng, kind, Regime.QUICK, has_neighbour=kind is Kind.UNTOUCHED) for kind in OF_A_RUN
    )
    events = [event for number, slot in enumerate(slots) for event in _draw_deeds(rng, number, slot)]
    events += _draw_new_retries(rng, slots)
    hand = [Kind.FREEZE_TRIGGERER, Kind.FREEZE_SCHEDULER, *(kind for kind in _FROZEN if kind not in _SEVERAL)]
    events += _draw_freezes(rng, hand, Regime.QUICK, has_tasks=True)
    events += [_draw_wrong_answer(rng, kind) for kind in _WRONG]
    events.append(draw_fault(rng))
    return Schedule(slots=slots, events=tuple(sorted(events, key=lambda event: event.at_seconds)))


def together(one: Schedule, other: Schedule) -> Schedule:
    """Both at once, as one batch."""
    moved = [
        replace(event, details=event.details | {"slot": event.details["slot"] + len(one.slots)})
        if "slot" in event.details
        else event
        for event in other.events
    ]
    events = sorted((*one.events, *moved), key=lambda event: event.at_seconds)
    return replace(one, slots=(*one.slots, *other.slots), events=tuple(events))


def stops(seed: int) -> Schedule:
    """A run for each phase in which a person may stop its job."""
    rng = seeded(f"stops {seed}")
    slots = tuple(Slot(case=_case_to_stop(rng, when), kind=Kind.STOP, when=when) for when in When)
    events = [event for number, slot in enumerate(slots) for event in _draw_deeds(rng, number, slot)]
    return Schedule(slots=slots, events=tuple(events))


def seeded(name: str) -> random.Random:
    return random.Random(name)  # noqa: S311 - a story that can be told again


def moment(rng: random.Random, latest: float, *, earliest: float = 0.5) -> float:
    return round(rng.uniform(earliest, latest), 1)


# Cards ---------------------------------------------------------------------------------------------------


class _Deck:
    """What is dealt to the batches of one deck."""

    def __init__(self, seed: int, number: int) -> None:
        rng = seeded(f"{seed}/deck {number}")
        self._kinds = _deal_kinds(rng)
        size = BATCHES_PER_DECK * BATCH_SIZE
        self._neighbours = frozenset(rng.sample(range(size), OTHER_INSTALLATIONS))
        self.frozen = _deal_frozen(rng)

    def of_batch(self, place: int) -> list[tuple[Kind, bool, int]]:
        """The kind of each run, whether it has a neighbour, and how many of its kind came before it."""
        places = range(place * BATCH_SIZE, (place + 1) * BATCH_SIZE)
        kinds = self._kinds
        return [(kinds[n], n in self._neighbours, kinds[:n].count(kinds[n])) for n in places]


def _deal_kinds(rng: random.Random) -> list[Kind]:
    """A kind for each schedule of the deck; two of them need one of the two ways that Airflow is set up."""
    size = BATCHES_PER_DECK * BATCH_SIZE
    last = BATCHES_WITH_DEFAULTS * BATCH_SIZE
    anywhere = [kind for kind in _DEALT[:-2] for _ in range(OF_EACH_KIND)]
    anywhere += [Kind.UNTOUCHED] * (size - len(anywhere) - 2 * OF_EACH_KIND)
    rng.shuffle(anywhere)
    with_defaults = [Kind.CLEAR_ON_SUCCESS] * OF_EACH_KIND + anywhere[: last - OF_EACH_KIND]
    quick = [Kind.DELETED_JOB] * OF_EACH_KIND + anywhere[last - OF_EACH_KIND :]
    rng.shuffle(with_defaults)
    rng.shuffle(quick)
    return [*quick, *with_defaults]


def _deal_frozen(rng: random.Random) -> list[list[Kind]]:
    """Five components for each batch of the deck, at most two of a kind, and of one that runs once one."""
    left = Counter(_FROZEN)
    dealt = []
    for _ in range(BATCHES_PER_DECK):
        hand: list[Kind] = []
        while len(hand) < FROZEN_IN_A_BATCH:
            fitting = [kind for kind in _FROZEN if hand.count(kind) < (2 if kind in _SEVERAL else 1)]
            most = max(left[kind] for kind in fitting)
            hand.append(rng.choice([kind for kind in fitting if left[kind] == most]))
            left[hand[-1]] -= 1
        rng.shuffle(hand)
        dealt.append(hand)
    return dealt


# One run -------------------------------------------------------------------------------------------------


def _draw_slot(
    rng: random.Random, kind: Kind, regime: Regime, *, has_neighbour: bool = False, nth: int = 0
) -> Slot:
    # One that went by the name of all Airflows with 0.1.0, or by one of its own.
    other = rng.choice([SHARED_NAME, "airflow-0f1e2d3c4b5a"]) if kind is not Kind.OLD_STATE else "staging"
    neighbour = other if has_neighbour else None
    if kind is Kind.STOP:
        when = list(When)[nth % len(When)]
        if regime is Regime.DEFAULTS and when in _NEED_QUICK:
            when = When.TRAINING
        return Slot(case=_case_to_stop(rng, when), kind=kind, neighbour=neighbour, when=when)
    case = _draw_case(rng, kind, regime, has_neighbour=has_neighbour)
    return Slot(case=case, kind=kind, neighbour=None if case.watches else neighbour)


def _draw_case(rng: random.Random, kind: Kind, regime: Regime, *, has_neighbour: bool) -> Case:
    match kind:
        case Kind.TIME_LIMIT:
            return Case(dag=LIMITED, has_capacity=rng.random() < 0.5, **_long(rng, 6 * DAY))
        case Kind.DELETED_JOB:
            return Case(
                deferrable=False,
                hold_at=("after-create-2",),
                kill_at=("after-create-2",),
                **_long(rng, SPEED * 50),
            )
        case Kind.CLEAR_ON_SUCCESS:
            return Case(seconds=rng.choice([300, 1200, 3600]), deferrable=rng.random() < 0.7)
        case Kind.OLD_STATE:
            return Case(deferrable=rng.random() < 0.7, **_long(rng, _span(rng, regime)))
        case Kind.CONNECTION:
            kill_at: tuple[str, ...] = (
                ("after-create",) if regime is Regime.QUICK and rng.random() < 0.5 else ()
            )
            return Case(kill_at=kill_at, deferrable=rng.random() < 0.7, **_long(rng, _span(rng, regime)))
        case Kind.CLEAR_RAISED:
            return Case(dag=RAISED, deferrable=rng.random() < 0.75, **_draw_length(rng, regime))
        case Kind.CLEAR_LOWERED:
            kill_at = ()
            if regime is Regime.QUICK:
                kill_at = tuple(rng.sample(KILL_POINTS[:4], rng.choice([0, 1])))
            return Case(
                dag=LOWERED, kill_at=kill_at, deferrable=rng.random() < 0.75, **_draw_length(rng, regime)
            )
    case = Case(
        kill_at=tuple(rng.sample(KILL_POINTS, rng.choice([0, 0, 1, 1, 2, 3])))
        if regime is Regime.QUICK
        else (),
        deferrable=rng.random() < 0.75,
        has_retries=rng.random() < 0.8,
        trigger_fails_after=rng.choice([0, 1, 3]) if rng.random() < 0.4 else None,
        **_draw_length(rng, regime),
    )
    return _draw_watching(rng, case) if not has_neighbour and rng.random() < 0.25 else case


def _span(rng: random.Random, regime: Regime) -> int:
    """AWS's seconds for which a job is to be alive, so that freezes find it so."""
    return round(SPEED * rng.uniform(15, 45 if regime is Regime.QUICK else 90))


def _draw_length(rng: random.Random, regime: Regime) -> dict[str, Any]:
    """A job that lasts for most of the batch, a short one, or one that never gets spot capacity."""
    match rng.choice(["long", "long", "short", "no capacity"]):
        case "long":
            return _long(rng, _span(rng, regime))
        case "short":
            return {"seconds": rng.choice([300, 1200, 3600]), "first_wait": rng.choice([7200, 14400])}
        case _:
            return {"has_capacity": False, "seconds": rng.choice([300, 1200, 3600])}


def _long(rng: random.Random, seconds: int) -> dict[str, Any]:
    return {"seconds": seconds, "max_run": 2 * seconds, "first_wait": rng.choice([3, 4]) * seconds}


def _draw_watching(rng: random.Random, case: Case) -> Case:
    """The job is under way before its task looks: it takes longer, so that there is something to watch."""
    return replace(
        case,
        watches=True,
        deferrable=rng.random() < 0.5,
        looks=rng.choice(["poke", "reschedule"]),
        seconds=rng.choice([1200, 6000, 12000]),
        max_run=14400,
        first_wait=rng.choice([14400, 28800]),
    )


def _case_to_stop(rng: random.Random, when: When) -> Case:
    """One whose job is alive, and in that phase, for as long as it takes to stop it."""
    case = Case(deferrable=rng.random() < 0.75, **_long(rng, SPEED * 120))
    match when:
        case When.WAITING:
            return replace(case, has_capacity=False)
        case When.INTERRUPTED:
            return replace(case, stumbles=True)
        case When.DEFERRING:
            return replace(case, deferrable=True, hold_at=("before-defer",))
        case When.WORKER_DEAD | When.RETRIED:
            return replace(case, kill_at=("after-create",))
        case When.TRAINING:
            return case


def _draw_types(rng: random.Random, slots: Sequence[Slot]) -> tuple[tuple[Slot, ...], list[Event]]:
    """Half of the plain trainings have two instance types, one of which gets capacity in the end."""
    drawn, events = list(slots), []
    for number, slot in enumerate(slots):
        if slot.kind in _MAY_HAVE_TYPES and not slot.case.watches and rng.random() < 0.5:
            case = replace(slot.case, types=2, scout_seconds=rng.choice(SCOUT_SECONDS))
            drawn[number] = replace(slot, case=case)
            seconds = moment(rng, 15)
            events.append(
                capacity(number, rng.choice([0, 1, 1]), after="scouts out", seconds=seconds, available=True)
            )
    return tuple(drawn), events


def capacity(slot: int, number: int, *, after: str, seconds: float, available: bool) -> Event:
    """For one of a run's types, so long after its scouts, or the job after a hand-over, are there."""
    details = {"slot": slot, "after": after, "seconds": seconds, "type": number, "available": available}
    return Event(at_seconds=0.5, what="capacity", details={**details, "kinds": [Kind.MARKET]})


# What is done to one run ---------------------------------------------------------------------------------


#: Kind -> what somebody does then, within how many seconds, and how it may be done.
_DEEDS: dict[Kind, tuple[str, float, dict[str, tuple[Any, ...]]]] = {
    Kind.CLEAR: ("act", 40, {"action": (Action.CLEAR, Action.CLEAR_DOWNSTREAM)}),
    Kind.CLEAR_RAISED: ("act", 40, {"action": (Action.CLEAR,), "needs_new_retries": (True,)}),
    Kind.CLEAR_LOWERED: ("act", 40, {"action": (Action.CLEAR,), "needs_new_retries": (True,)}),
    Kind.CLEAR_ON_SUCCESS: ("clear when over", 1, {}),
    Kind.MARK: ("act", 40, {"action": (Action.MARK_FAILED, Action.MARK_SUCCESS)}),
    Kind.DELETE: ("act", 40, {"action": (Action.DELETE,)}),
    Kind.REMAKE: ("act", 40, {"action": (Action.REMAKE,)}),
    Kind.STOP: ("stop job", 10, {}),
    Kind.CONNECTION: ("move connection", 20, {"away_seconds": (3, 8, 15, 25)}),
    Kind.DELETED_JOB: ("delete job and state", 1, {}),
}


def _draw_deeds(rng: random.Random, slot_number: int, slot: Slot) -> list[Event]:
    if slot.kind not in _DEEDS:
        return []
    what, latest, choices = _DEEDS[slot.kind]
    details = {name: rng.choice(values) for name, values in choices.items()}
    return [Event(at_seconds=moment(rng, latest), what=what, details={"slot": slot_number, **details})]


def _draw_new_retries(rng: random.Random, slots: Sequence[Slot]) -> list[Event]:
    """The author of a Dag changes its `retries`, once in a batch."""
    new = {RAISED: 5, LOWERED: rng.choice([0, 0, 1])}
    dags = {slot.case.dag for slot in slots} & set(new)
    return [
        Event(at_seconds=moment(rng, 20), what="new retries", details={"dag": dag, "retries": new[dag]})
        for dag in sorted(dag for dag in dags if dag)
    ]


# What happens to all -------------------------------------------------------------------------------------


def _draw_freezes(
    rng: random.Random, hand: Sequence[Kind], regime: Regime, *, has_tasks: bool
) -> list[Event]:
    """One freeze of two components, the others of one; half of them or more outlast the threshold."""
    components = _name_components(rng, hand, has_tasks=has_tasks)
    groups = [components[:2], *([each] for each in components[2:])]
    kinds = [hand[:2], *([each] for each in hand[2:])]
    half = len(groups) // 2
    outlast = [True] * (len(groups) - half) + [rng.random() < 0.5] * (half > 0) + [False] * (half - 1)
    rng.shuffle(outlast)
    return [
        Event(
            at_seconds=moment(rng, 22, earliest=4),
            what="freeze",
            details={
                "components": group,
                "seconds": _draw_freeze_seconds(rng, regime, outlasts=outlasts),
                "threshold_seconds": regime.threshold_seconds,
                "kinds": [Kind.FREEZE_PAIR if len(group) > 1 else Kind.FREEZE_ALONE, *of_group],
            },
        )
        for group, of_group, outlasts in zip(groups, kinds, outlast, strict=True)
    ]


def draw_freeze(rng: random.Random, kind: Kind, regime: Regime, *, latest: float) -> Event:
    """One component stands still for longer than the threshold."""
    return Event(
        at_seconds=moment(rng, latest, earliest=4),
        what="freeze",
        details={
            "components": _name_components(rng, [kind], has_tasks=True),
            "seconds": _draw_freeze_seconds(rng, regime, outlasts=True),
            "threshold_seconds": regime.threshold_seconds,
            "kinds": [Kind.FREEZE_ALONE, kind],
        },
    )


def _name_components(rng: random.Random, hand: Sequence[Kind], *, has_tasks: bool) -> list[str]:
    """Which of several processes of a kind; never the same one twice."""
    names: list[str] = []
    for kind in hand:
        of_kind = _COMPONENTS[kind] if has_tasks or kind is not Kind.FREEZE_TASKS else ("worker",)
        taken = {name.partition(" ")[0] for name in names}
        names.append(rng.choice([name for name in of_kind if name.partition(" ")[0] not in taken]))
    return names


def _draw_freeze_seconds(rng: random.Random, regime: Regime, *, outlasts: bool) -> float:
    threshold = regime.threshold_seconds
    if not outlasts:
        return round(rng.uniform(SHORTEST_FREEZE, threshold), 1)
    usual = 4 * threshold if regime is Regime.QUICK else 3 * threshold
    longest = LONGEST_FREEZE if rng.random() < 0.1 else usual
    return round(rng.uniform(1.2 * threshold, longest), 1)


def _fault(at_seconds: float, kind: Kind, **details: Any) -> Event:
    return Event(at_seconds=at_seconds, what="fault", details={**details, "kinds": [kind]})


def draw_fault(rng: random.Random) -> Event:
    call = rng.choice(CALLS)
    details = rng.choice(
        [
            {"error": "ThrottlingException", "count": rng.randint(1, 6)},
            {"error": "ThrottlingException", "probability": 0.5, "seconds": 30},
            {"error": "InternalFailure", "count": rng.randint(1, 6)},
            {"error": "DropConnection", "count": rng.randint(1, 4)},
            {"error": "LoseResponse", "count": rng.randint(1, 4)},
            {"error": "SlowResponse", "delay_seconds": 5, "count": rng.randint(1, 3)},
            {"error": "SlowResponse", "delay_seconds": 1, "seconds": 20},
        ]
    )
    return _fault(moment(rng, 25), Kind.CALLS_FAIL, operation=call, **details)


def draw_wrong_answers(rng: random.Random, batch: int) -> list[Event]:
    """Three of the four kinds in a batch."""
    kinds = [kind for number, kind in enumerate(_WRONG) if number != batch % len(_WRONG)]
    return [_draw_wrong_answer(rng, kind) for kind in kinds]


def _draw_wrong_answer(rng: random.Random, kind: Kind) -> Event:
    """From the start, when jobs are new, or later; for all jobs or some.

    Each job gets one burst: one answer, or all that come within less than a minute of AWS's.
    """
    operations, error = _WRONG[kind]
    burst = rng.choice([1, rng.uniform(10, LONGEST_WRONG), LONGEST_WRONG]) / SPEED
    return _fault(
        moment(rng, 30, earliest=5) if rng.random() < 0.5 else 0.0,
        kind,
        operation=rng.choice(operations),
        error=error,
        seconds=60,
        burst_seconds=max(0.001, round(burst, 4)),
        probability=rng.choice([1, 0.3, 0.05]),
    )


def _draw_market(rng: random.Random, size: int) -> Event:
    details: dict[str, Any] = {"slot": rng.randrange(size), "kinds": [Kind.MARKET]}
    match rng.choice(["interrupt", "flap", "every minute"]):
        case "interrupt":
            what, more = "interrupt", {"notice_seconds": rng.choice([0, 120])}
        case "flap":
            what, more = "flap", {"times": rng.randint(1, 6)}
        case _:
            what, more = "interrupt", {"notice_seconds": 120, "times": 10}
    return Event(at_seconds=moment(rng, 25), what=what, details=details | more)
