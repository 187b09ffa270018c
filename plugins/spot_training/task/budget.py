"""Checks a task's budget before it buys on-demand: what the month has cost, and what would come on top.

Nothing here may fail a training: what cannot be read is not known, and the rule (`domain.decide`) says what
follows from that.

Trainings that decide at the same time see each other by their reservations. Each writes down what on-demand
will cost, and only then reads what the month has cost, with the reservations of all others. If everything
fits, it buys. Of several that do not fit together, the first to reserve goes first: the others release theirs
and wait for spot. Of any two, the one that reads last sees the other, so both never buy what only one can.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spot_training import settings
from spot_training.domain.budget import Budget, BudgetCheck, MonthSpending, PriceOf, budget_from, month_of
from spot_training.domain.parsing import is_left_out
from spot_training.installation import names_of_own_records
from spot_training.ledger import Ledger
from spot_training.ledger.reservations import Reservation, release, reservations, reserve
from spot_training.process import within

from .month_spending import LONGEST_RUN, UNSEEN_FOR, month_spending, spending_and_reserved
from .on_demand_cost import READ_SECONDS, AskedPrices, on_demand_cost

if TYPE_CHECKING:
    from spot_training.domain.checkpoints_seen import SeenCheckpoints
    from spot_training.domain.deadline import Runtime
    from spot_training.domain.ladder import Step
    from spot_training.domain.savings import Attempt
    from spot_training.ledger.set_aside import SetAside
    from spot_training.sagemaker.identity import RunIdentity
    from spot_training.sagemaker.request import TrainingPlan

log = logging.getLogger(__name__)

__all__ = [
    "UNSEEN_FOR",
    "AskedPrices",
    "PriceOf",
    "budget_of",
    "check_budget",
    "month_spending",
    "on_demand_cost",
]

#: How long the training that reserved first waits for later ones to give way.
GIVE_WAY_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.25


def budget_of(task: Any) -> Budget | None:
    """The task's `budget`, else `[spot_training] budget`. A sensor has none. Raises `InvalidInput`."""
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
    scouts: Sequence[Attempt] = (),
    like: Sequence[str] = (),
    seen: SeenCheckpoints | None = None,
    is_to_reserve: bool = False,
) -> BudgetCheck:
    """The state of the budget if the training now went on demand on `step`. `now` is AWS's time.

    `attempts` and `scouts` are this training's, over. `like` are other Dags with runs that show how long the
    training takes, `seen` is what is saved. With `is_to_reserve` the training is about to buy: if the budget
    has no objection, its cost is reserved from then on.
    """
    cost = on_demand_cost(
        plan,
        step.instance_types,
        attempts=attempts,
        runtime=runtime,
        now=now,
        price_of=price_of,
        like=like,
        seen=seen,
    )
    month = _Month(
        identity=plan.identity,
        attempts=attempts,
        scouts=scouts,
        now=now,
        price_of=price_of,
        installations=names_of_own_records(plan.identity.installation),
    )
    blank = BudgetCheck(budget=budget, spending=None, cost=cost)
    return _ask_ledger(blank, lambda ledger: _filled(ledger, blank, month, is_to_reserve=is_to_reserve))


def _ask_ledger(blank: BudgetCheck, ask: Callable[[Ledger], BudgetCheck]) -> BudgetCheck:
    try:
        return within(READ_SECONDS, lambda: ask(Ledger.configured()))
    except _NotKnown as error:
        return replace(blank, trouble=str(error))
    except Exception as error:  # noqa: BLE001 - the spending is not known then
        log.warning("The ledger could not be read for what this month has cost: %s", error)
        return blank


class _NotKnown(Exception):
    """What the month has cost is not known. The message is the check's `trouble`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Month:
    """A question about the month: for which training, and with which prices."""

    identity: RunIdentity
    attempts: Sequence[Attempt]
    scouts: Sequence[Attempt]
    now: datetime
    price_of: PriceOf
    installations: Sequence[str]

    def look(self, ledger: Ledger, *, only_decided: bool = False) -> tuple[MonthSpending, list[Reservation]]:
        """What it has cost, and the reservations of others in that. Raises `_NotKnown`.

        `only_decided` leaves out reservations that may still give way.
        """
        # Before the records: a reservation that is used meanwhile is in its training's record then.
        others = [
            held
            for held in reservations(ledger)
            if self._is_others(held) and (held.is_decided or not only_decided)
        ]
        with ledger.read() as reader:
            if missing := [t for t in reader.set_aside if _hides_spending(t, self.now)]:
                raise _NotKnown(f"the ledger's {missing[0].path} cannot be read")
            return spending_and_reserved(
                reader,
                self.identity,
                (*self.attempts, *self.scouts),
                now=self.now,
                price_of=self.price_of,
                installations=self.installations,
                reserved=others,
            )

    def _is_others(self, held: Reservation) -> bool:
        """Whether it belongs to another training of the same Dag."""
        is_same_dag = held.dag_id == self.identity.dag_id and held.installation in self.installations
        return is_same_dag and held.key != self.identity.record_key

    def reservation(self, usd: float) -> Reservation:
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
    """Whether a file that is left out may hold many of this month's trainings."""
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
    """The check, with the cost reserved if it fits."""
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
            time.sleep(LOOK_AGAIN_SECONDS)  # the others are about to release theirs


def _has_its_turn(mine: Reservation, others: Sequence[Reservation], *, left_usd: float) -> bool:
    """Whether the reservation is among those that fit. The first to reserve goes first."""
    for held in sorted([mine, *others], key=lambda held: held.order):
        if held.usd <= left_usd:
            left_usd -= held.usd
            if held is mine:
                return True
    return False


@contextlib.contextmanager
def _released_on_error(ledger: Ledger, mine: Reservation) -> Iterator[None]:
    try:
        yield
    except Exception:
        with contextlib.suppress(Exception):  # it expires
            release(ledger, mine.key)
        raise
