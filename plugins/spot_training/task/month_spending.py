"""What a Dag's trainings have cost in a calendar month: billed, running, and about to be bought."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from spot_training.domain.budget import MonthSpending, PriceOf, month_of
from spot_training.domain.savings import Attempt, PurchaseOption, billed_usd, cost_usd, on_demand_rate
from spot_training.ledger import Selection

from .past_runs import Teachers, learn

if TYPE_CHECKING:
    from spot_training.domain.records import CurrentJob, TrainingRecord
    from spot_training.ledger import LedgerReader
    from spot_training.ledger.reservations import Reservation
    from spot_training.sagemaker.identity import RunIdentity


#: A job that nobody has seen counts as bought for this long after its training's record was written: to
#: create it takes seconds, and the task notes it then. The sweeper later closes a job that was never created.
UNSEEN_FOR = timedelta(minutes=30)
#: SageMaker ends a job after 28 days: a record that says it runs for longer was never settled.
LONGEST_RUN = timedelta(days=30)

_BILLED = """
SELECT coalesce(sum(usd), 0) AS usd, count(*) FILTER (usd IS NULL) AS unpriced
FROM (
    SELECT a.job_name, max(a.billed_usd) AS usd
    FROM (SELECT unnest(list_concat(attempts, scouts)) AS a FROM trainings
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
    """What the Dag's trainings have cost this month. The cost of those that run is estimated.

    A job counts once, in the month in which it ended, whichever tasks watched it. `own_attempts` are those of
    the training that asks: the ledger may not have the last one yet. `installations` are the names of this
    Airflow's records (default: the training's). `reserved` are other trainings' reservations.
    """
    spending, _ = spending_and_reserved(
        reader,
        identity,
        own_attempts,
        now=now,
        price_of=price_of,
        installations=installations or (identity.installation,),
        reserved=reserved,
    )
    return spending


def spending_and_reserved(
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
    """This machine's time, which dates records and reservations. AWS's time may differ."""
    return datetime.now(UTC)


_ATTEMPTS_MADE = """
SELECT key, generation, coalesce(list_max([a.number FOR a IN attempts]), 0) AS made
FROM trainings WHERE list_contains($keys::VARCHAR[], key)
"""


def _open_reservations(reader: LedgerReader, reserved: Sequence[Reservation]) -> dict[str, Reservation]:
    """By key: reservations for attempts that are not over, so that they are not in what was billed."""
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
    """What the Dag's other running jobs cost: spot so far, on-demand to its expected end.

    Also the keys of the trainings with a reservation that is part of that.
    """
    since, names = now - LONGEST_RUN, tuple(installations)
    under_way = Selection(since=since, dag_ids=(identity.dag_id,), installations=names, states=("running",))
    parameters = {"dag_id": identity.dag_id, "installations": list(names), "since": since}
    (share,) = reader.query(_SPOT_SHARE, parameters)
    teachers = Teachers(installations=names, dag_ids=(identity.dag_id,))
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
    """Whether the job most likely does not exist: its task would have noted it by now."""
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
    """What may have been bought counts as bought: the newest job may not have been seen yet."""
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
    # As for an attempt that is about to be bought: what past runs took, or else the longest it may take.
    longest = float(job.max_runtime_seconds or 0)
    expected = past.runtime.mean_seconds + past.billed_launch_seconds if past else longest
    return _cost(record, job, max(held, expected), price_of)


def _held_seconds(job: CurrentJob, now: datetime) -> float:
    return (now - job.started_at).total_seconds() if job.started_at else 0.0


def _cost(record: TrainingRecord, job: CurrentJob, seconds: float, price_of: PriceOf) -> float | None:
    kind = job.instance_type or record.instance_type or ""
    price = record.usd_per_hour.get(kind) or price_of(kind)
    if job.purchase is PurchaseOption.ON_DEMAND:
        price = on_demand_rate(price)
    return cost_usd(round(seconds * job.instance_count), price)
