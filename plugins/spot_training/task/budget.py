"""What a task says of its month's budget, made into the `BudgetCheck` that on-demand has to fit into.

Reads the ledger and the prices. Nothing here may fail a training: what cannot be read is not known, and the
rule (`domain.decide`) says what follows from that.

Trainings that decide at the same time see each other by their reservations. Each writes down what on-demand
will cost, and only then reads what the month has cost, with the reservations of all others. If everything
fits, it buys. Of several that do not fit together the first to reserve goes first: the others give up theirs
and wait for spot. Of any two, the one that reads last sees the other, so both never buy what only one can.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training import settings
from spot_training.domain.budget import (
    Budget,
    BudgetCheck,
    MonthSpending,
    OnDemandCost,
    budget_from,
    month_of,
)
from spot_training.domain.deadline import CHECKPOINT_EVERY_SECONDS, LAUNCH_SECONDS, Runtime, kept_by_attempts
from spot_training.domain.parsing import is_left_out
from spot_training.domain.records import CurrentJob, TrainingRecord, model_of
from spot_training.domain.savings import Attempt, PurchaseOption, billed_usd, cost_usd
from spot_training.installation import names_of_own_records

from .past_runs import Teachers, learn

if TYPE_CHECKING:
    from spot_training.connections import AwsAccess
    from spot_training.domain.ladder import Step
    from spot_training.ledger import Ledger, LedgerReader
    from spot_training.ledger.reservations import Reservation
    from spot_training.ledger.set_aside import SetAside
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.request import TrainingPlan

log = logging.getLogger(__name__)

#: A decision waits so long for the ledger or a price.
READ_SECONDS = 30.0
#: So long the training that reserved first waits for those that come later to give way.
GIVE_WAY_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.25
#: A job that nobody has seen counts as bought for so long after its training's record was written: creating
#: it takes seconds, and the task notes it then. One that was never created is closed by the sweeper, later.
UNSEEN_FOR = timedelta(minutes=30)
#: SageMaker ends a job after 28 days: what says it runs for longer was never settled.
LONGEST_RUN = timedelta(days=30)

PriceOf = Callable[[str], float | None]
"""On-demand US dollars per hour of an instance type in the training's region, None where it is not known."""


def budget_of(task: Any) -> Budget | None:
    """The task's `budget`, else `[spot_training] budget`; a sensor has none. Raises `InvalidInput`."""
    if not hasattr(task, "budget"):
        return None
    if not is_left_out(task.budget):
        return budget_from(task.budget)
    return budget_from(settings.text("budget"), field=settings.field("budget"))


def check_budget(
    budget: Budget,
    plan: TrainingPlan,
    step: Step,
    *,
    attempts: Sequence[Attempt],
    runtime: Runtime | None,
    price_of: PriceOf,
    now: datetime,
    like: Sequence[str] = (),
    is_to_reserve: bool = False,
) -> BudgetCheck:
    """How the budget stands if the training now went on demand on `step`. `now` is AWS's time.

    `like` are Dags whose runs teach, too, how long the training takes. With `is_to_reserve` the training is
    about to buy: where the budget has no objection, its cost is reserved from then on.
    """
    cost = on_demand_cost(
        plan,
        step.instance_types,
        attempts=attempts,
        runtime=runtime,
        now=now,
        price_of=price_of,
        like=like,
    )
    month = _Month(
        identity=plan.identity,
        attempts=attempts,
        now=now,
        price_of=price_of,
        installations=names_of_own_records(plan.identity.installation),
    )
    blank = BudgetCheck(budget=budget, spending=None, cost=cost)
    return _ask_ledger(blank, lambda ledger: _filled(ledger, blank, month, is_to_reserve=is_to_reserve))


def _ask_ledger(blank: BudgetCheck, ask: Callable[[Ledger], BudgetCheck]) -> BudgetCheck:
    from spot_training.ledger import Ledger
    from spot_training.process import within

    try:
        return within(READ_SECONDS, lambda: ask(Ledger.configured()))
    except _NotKnown as error:
        return replace(blank, trouble=str(error))
    except Exception as error:  # noqa: BLE001 - what cannot be read is not known
        log.warning("The ledger could not be asked what this month has cost: %s", error)
        return blank


class _NotKnown(Exception):
    """Why what the month has cost is not known, as the check says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Month:
    """Of which training, and by whose prices, the month is asked about."""

    identity: RunIdentity
    attempts: Sequence[Attempt]
    now: datetime
    price_of: PriceOf
    installations: Sequence[str]

    def look(self, ledger: Ledger, *, only_decided: bool = False) -> tuple[MonthSpending, list[Reservation]]:
        """What it has cost, and the reservations of others in that. Raises `_NotKnown`.

        `only_decided` leaves those out that may still give way.
        """
        from spot_training.ledger.reservations import reservations

        # Before the records: one that is used up meanwhile is on its record then.
        others = [
            held
            for held in reservations(ledger)
            if self._is_others(held) and (held.is_decided or not only_decided)
        ]
        with ledger.read() as reader:
            if missing := [t for t in reader.set_aside if _hides_spending(t, self.now)]:
                raise _NotKnown(f"the ledger's {missing[0].path} cannot be read")
            return _spending_and_reserved(
                reader,
                self.identity,
                self.attempts,
                now=self.now,
                price_of=self.price_of,
                installations=self.installations,
                reserved=others,
            )

    def _is_others(self, held: Reservation) -> bool:
        """Whether it is another training's, of the same Dag."""
        is_same_dag = held.dag_id == self.identity.dag_id and held.installation in self.installations
        return is_same_dag and held.key != self.identity.record_key

    def reservation(self, usd: float) -> Reservation:
        from spot_training.ledger.reservations import Reservation

        return Reservation(
            key=self.identity.record_key,
            installation=self.identity.installation,
            dag_id=self.identity.dag_id,
            generation=self.identity.generation,
            attempt=max((a.number for a in self.attempts), default=0) + 1,
            usd=usd,
            made_at=datetime.now(UTC),
        )


def _hides_spending(trouble: SetAside, now: datetime) -> bool:
    """Whether a file that is left out may hold many of the trainings that this month is about."""
    folder, _, month = trouble.path.rpartition("/")[0].partition("/")
    return trouble.has_many and (folder != "months" or month >= f"{month_of(now - LONGEST_RUN):%Y-%m}")


def _filled(ledger: Ledger, blank: BudgetCheck, month: _Month, *, is_to_reserve: bool) -> BudgetCheck:
    check = replace(blank, spending=month.look(ledger, only_decided=True)[0])
    usd = check.cost.usd
    if not is_to_reserve or usd is None or check.spending is None:
        return check
    if check.spending.usd - check.spending.reserved_usd + usd > check.budget.usd:
        return check  # whatever the others do
    return _reserved(ledger, blank, month, month.reservation(usd))


def _reserved(ledger: Ledger, blank: BudgetCheck, month: _Month, mine: Reservation) -> BudgetCheck:
    """The check with the cost reserved, or without, where it does not fit."""
    from spot_training.ledger.reservations import release, reserve

    until = time.monotonic() + GIVE_WAY_SECONDS
    with _released_on_error(ledger, mine):
        reserve(ledger, mine)
        while True:
            spending, others = month.look(ledger)
            check = replace(blank, spending=spending)
            if check.objection is None:
                reserve(ledger, replace(mine, is_decided=True))
                return check
            left = blank.budget.usd - (spending.usd - spending.reserved_usd)
            if not _has_its_turn(mine, others, left_usd=left) or time.monotonic() > until:
                release(ledger, mine.key)
                return check
            time.sleep(LOOK_AGAIN_SECONDS)  # the others are about to give theirs up


def _has_its_turn(mine: Reservation, others: Sequence[Reservation], *, left_usd: float) -> bool:
    """Whether the reservation is among those that fit, the first to reserve going first."""
    for held in sorted([mine, *others], key=lambda held: held.order):
        if held.usd <= left_usd:
            left_usd -= held.usd
            if held is mine:
                return True
    return False


@contextlib.contextmanager
def _released_on_error(ledger: Ledger, mine: Reservation) -> Iterator[None]:
    from spot_training.ledger.reservations import release

    try:
        yield
    except Exception:
        with contextlib.suppress(Exception):  # it expires
            release(ledger, mine.key)
        raise


class AskedPrices:
    """The prices of one region, each asked for once. What cannot be had is not known."""

    def __init__(self, access: AwsAccess, region: str) -> None:
        self._access = access
        self._region = region
        self._known: dict[str, float | None] = {}

    def __call__(self, instance_type: str) -> float | None:
        if instance_type not in self._known:
            self._known[instance_type] = self._ask(instance_type)
        return self._known[instance_type]

    def _ask(self, instance_type: str) -> float | None:
        from spot_training.ledger.prices import configured_prices
        from spot_training.process import within

        def ask() -> float | None:
            price = configured_prices(self._access).price_of(self._region, instance_type)
            return price.usd_per_hour if price else None

        try:
            return within(READ_SECONDS, ask)
        except Exception as error:  # noqa: BLE001 - what cannot be had is not known
            log.warning("The price of %s is not known: %s", instance_type, error)
            return None


# What an on-demand attempt would cost ---------------------------------------------------------------


def on_demand_cost(
    plan: TrainingPlan,
    instance_types: Sequence[str] = (),
    *,
    attempts: Sequence[Attempt],
    runtime: Runtime | None,
    now: datetime,
    price_of: PriceOf,
    like: Sequence[str] = (),
) -> OnDemandCost:
    """What going on demand from the checkpoints of `attempts` would cost.

    `instance_types` are the step's (the dearest counts, for SageMaker may choose any), `runtime` what the
    task says of itself; None: learned from past runs, or else the request's longest.
    """
    from spot_training.sagemaker.request import max_runtime_of

    past = learn(
        model=model_of(plan.job_name(1)),
        instance_type=plan.instance_type,
        instance_count=plan.instance_count,
        teachers=Teachers.of(plan.identity, like),
        now=now,
    )
    known = runtime or (past.runtime if past else None)
    longest = max_runtime_of(plan.request)
    lost = known.checkpoint_every_seconds if known else CHECKPOINT_EVERY_SECONDS
    kept = kept_by_attempts(attempts, lost) if plan.checkpoint_uri else 0.0
    work = max(0.0, (known.mean_seconds if known else longest) - kept)
    choices = _choices(plan.request["ResourceConfig"], instance_types)
    dearest = max(choices, key=lambda choice: _usd_per_hour(choice, price_of) or 0.0)
    is_priced = all(_usd_per_hour(choice, price_of) is not None for choice in choices)
    return OnDemandCost(
        instances=" and ".join(f"{count} x {kind}" for kind, count in dearest.items()),
        seconds=work + (past.billed_launch_seconds if past else LAUNCH_SECONDS),
        basis=known.basis if known else "MaxRuntimeInSeconds: no past run is on record",
        usd_per_hour=_usd_per_hour(dearest, price_of) if is_priced else None,
    )


def _choices(resources: Mapping[str, Any], instance_types: Sequence[str]) -> list[dict[str, int]]:
    """The sets of instances the job may get: instance types and how many of each."""
    if instance_types:
        return [{kind: int(resources.get("InstanceCount", 1))} for kind in instance_types]
    if preferences := resources.get("InstancePreferences"):
        return [{choice["InstanceType"]: int(choice.get("InstanceCount", 1))} for choice in preferences]
    together: dict[str, int] = {}
    for group in resources.get("InstanceGroups") or [resources]:
        kind = str(group.get("InstanceType", ""))
        together[kind] = together.get(kind, 0) + int(group.get("InstanceCount", 1))
    return [together]


def _usd_per_hour(instances: Mapping[str, int], price_of: PriceOf) -> float | None:
    total = 0.0
    for kind, count in instances.items():
        price = price_of(kind)
        if price is None:
            return None
        total += price * count
    return total


# What the month has cost -----------------------------------------------------------------------------

_BILLED = """
SELECT coalesce(sum(usd), 0) AS usd, count(*) FILTER (usd IS NULL) AS unpriced
FROM (
    SELECT a.job_name, max(a.billed_usd) AS usd
    FROM (SELECT unnest(attempts) AS a FROM trainings
          WHERE dag_id = $dag_id AND list_contains($installations::VARCHAR[], installation)
            AND NOT (key = $key AND generation = $generation))
    WHERE a.started_at IS NOT NULL AND a.ended_at >= $since AND a.ended_at < $until
    GROUP BY a.job_name
)
"""
_REPLACED = """
SELECT coalesce(sum(replaced_usd), 0) AS usd FROM trainings
WHERE dag_id = $dag_id AND list_contains($installations::VARCHAR[], installation)
  AND began_at >= $since AND began_at < $until
"""
_SPOT_SHARE = """
SELECT sum(a.billable_seconds * a.instance_count)
       / nullif(sum(a.training_seconds * a.instance_count), 0) AS share
FROM (SELECT unnest(attempts) AS a FROM trainings
      WHERE dag_id = $dag_id AND list_contains($installations::VARCHAR[], installation)
        AND began_at >= $since)
WHERE a.purchase = 'spot' AND a.billable_seconds IS NOT NULL
"""


def month_spending(
    reader: LedgerReader,
    identity: RunIdentity,
    own_attempts: Iterable[Attempt],
    *,
    now: datetime,
    price_of: PriceOf,
    installations: Sequence[str] = (),
    reserved: Sequence[Reservation] = (),
) -> MonthSpending:
    """What the Dag's trainings have cost this month, those under way by the best knowledge there is.

    A job counts in the month it ended in, and once, whichever tasks watched it. `own_attempts` are those of
    the training that asks: the ledger may not have the last one yet. `installations` are the names of this
    Airflow's records; left out, the training's own. `reserved` are other trainings' reservations.
    """
    spending, _ = _spending_and_reserved(
        reader,
        identity,
        own_attempts,
        now=now,
        price_of=price_of,
        installations=installations or (identity.installation,),
        reserved=reserved,
    )
    return spending


def _spending_and_reserved(
    reader: LedgerReader,
    identity: RunIdentity,
    own_attempts: Iterable[Attempt],
    *,
    now: datetime,
    price_of: PriceOf,
    installations: Sequence[str],
    reserved: Sequence[Reservation],
) -> tuple[MonthSpending, list[Reservation]]:
    """`month_spending`, and the reservations that are in its `reserved_usd`."""
    since = month_of(now)
    month = {
        "dag_id": identity.dag_id,
        "installations": list(installations),
        "since": since,
        "until": month_of(since + timedelta(days=32)),
    }
    key = identity.record_key
    (billed,) = reader.query(_BILLED, {**month, "key": key, "generation": identity.generation})
    (replaced,) = reader.query(_REPLACED, month)
    own = [a for a in own_attempts if a.has_started and a.ended_at and month_of(a.ended_at) == since]
    asked = {a.instance_type: price_of(a.instance_type) for a in own if a.instance_type}
    prices = {kind: price for kind, price in asked.items() if price is not None}
    own_usd = [billed_usd(a, prices) for a in own]
    open_ones = _open_reservations(reader, reserved)
    running, used = _running(reader, identity, installations, now=now, price_of=price_of, reserved=open_ones)
    counted = [h for key, h in open_ones.items() if key not in used and not h.has_expired(real_now())]
    spending = MonthSpending(
        began_at=since,
        billed_usd=billed["usd"] + replaced["usd"] + sum(usd or 0.0 for usd in own_usd),
        running_usd=sum(usd or 0.0 for usd in running),
        reserved_usd=sum(held.usd for held in counted),
        unpriced=billed["unpriced"] + own_usd.count(None) + running.count(None),
        unread=len({trouble.key for trouble in reader.set_aside if trouble.key}),
    )
    return spending, counted


def real_now() -> datetime:
    """This machine's time, for what is dated by it: records and reservations. AWS's may be another."""
    return datetime.now(UTC)


_ATTEMPTS_MADE = """
SELECT key, generation, coalesce(list_max([a.number FOR a IN attempts]), 0) AS made
FROM trainings WHERE list_contains($keys::VARCHAR[], key)
"""


def _open_reservations(reader: LedgerReader, reserved: Sequence[Reservation]) -> dict[str, Reservation]:
    """By key: those whose attempt is not over, so that it is not among what was billed."""
    rows = reader.query(_ATTEMPTS_MADE, {"keys": [held.key for held in reserved]})
    made = {row["key"]: (row["generation"], row["made"]) for row in rows}
    return {
        held.key: held for held in reserved if (held.generation, held.attempt) > made.get(held.key, (0, 0))
    }


def _running(
    reader: LedgerReader,
    identity: RunIdentity,
    installations: Sequence[str],
    *,
    now: datetime,
    price_of: PriceOf,
    reserved: Mapping[str, Reservation],
) -> tuple[list[float | None], set[str]]:
    """What the Dag's other live jobs will have cost: spot so far, on-demand to its expected end.

    And the keys of trainings whose reservation is among that.
    """
    from spot_training.ledger import Selection

    since, whose = now - LONGEST_RUN, tuple(installations)
    under_way = Selection(since=since, dag_ids=(identity.dag_id,), installations=whose, states=("running",))
    parameters = {"dag_id": identity.dag_id, "installations": list(whose), "since": since}
    (share,) = reader.query(_SPOT_SHARE, parameters)
    teachers = Teachers(installations=whose, dag_ids=(identity.dag_id,))
    costs: list[float | None] = []
    used: set[str] = set()
    for record in reader.records(under_way):
        if record.key == identity.record_key or (job := record.current_job) is None:
            continue
        held = reserved.get(record.key)
        if held and (held.generation, held.attempt) == (record.generation, job.number):
            used.add(record.key)
        else:
            held = None
        if job.purchase is PurchaseOption.SPOT:
            costs.append(_spot_so_far(record, job, now=now, share=share["share"] or 1.0, price_of=price_of))
        elif not _was_never_seen(record, job):
            costs.append(
                _on_demand_in_the_end(
                    record, job, now=now, price_of=price_of, teachers=teachers, reserved=held
                )
            )
    return costs, used


def _was_never_seen(record: TrainingRecord, job: CurrentJob) -> bool:
    """Whether there is no such job, as far as can be told: its task would have noted it by now."""
    is_seen = any((job.seen_at, job.created_at, job.started_at))
    written_at = record.written_at
    return not is_seen and written_at is not None and real_now() - written_at > UNSEEN_FOR


def _spot_so_far(
    record: TrainingRecord, job: CurrentJob, *, now: datetime, share: float, price_of: PriceOf
) -> float | None:
    return _cost(record, job, max(0.0, _held_seconds(job, now)) * share, price_of)


def _on_demand_in_the_end(
    record: TrainingRecord,
    job: CurrentJob,
    *,
    now: datetime,
    price_of: PriceOf,
    teachers: Teachers,
    reserved: Reservation | None,
) -> float | None:
    """What may have been bought counts as bought: nobody has seen yet how the newest job is."""
    held = _held_seconds(job, now)
    if reserved is not None:
        return max(_cost(record, job, held, price_of) or 0.0, reserved.usd)
    past = learn(
        model=record.model,
        instance_type=job.instance_type or record.instance_type or "",
        instance_count=job.instance_count,
        teachers=teachers,
        now=now,
    )
    # As for one that is about to be bought: what past runs took, or else the longest it may take.
    longest = float(job.max_runtime_seconds or 0)
    expected = past.runtime.mean_seconds + past.billed_launch_seconds if past else longest
    return _cost(record, job, max(held, expected), price_of)


def _held_seconds(job: CurrentJob, now: datetime) -> float:
    return (now - job.started_at).total_seconds() if job.started_at else 0.0


def _cost(record: TrainingRecord, job: CurrentJob, seconds: float, price_of: PriceOf) -> float | None:
    kind = job.instance_type or record.instance_type or ""
    price = record.usd_per_hour.get(kind) or price_of(kind)
    return cost_usd(round(seconds * job.instance_count), price)
