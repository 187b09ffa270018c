"""What on-demand will cost, written down before it is decided: so that trainings that decide together see
each other.

    reservations/<key>.json    the last writer wins, and only its own training writes it

A reservation counts against the budget of its Dag until it is released or expires, and longer while the job
that it was made for is under way. `budget_terms` holds the rule.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.domain.record_keys import is_record_key
from spot_training.domain.records import RECORD_FORMAT, check_format
from spot_training.domain.text import with_whole_text

from .set_aside import CannotRead, parse

if TYPE_CHECKING:
    from .files import LedgerFiles

RESERVATIONS = "reservations"
#: How long a reservation counts of which no job is seen: far longer than from the decision to the record that
#: names the job.
HELD_FOR = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """US dollars held for one on-demand attempt, by the clock of the machine that holds them.

    `key` and `generation` are the training's, `attempt` is the attempt's number. `is_decided`: it is being
    bought, and gives way to none.
    """

    key: str
    installation: str
    dag_id: str
    generation: int
    attempt: int
    usd: float
    made_at: datetime
    is_decided: bool = False

    @property
    def order(self) -> tuple[bool, datetime, str]:
        """Which one goes first, where not all of them fit."""
        return not self.is_decided, self.made_at, self.key

    def has_expired(self, now: datetime) -> bool:
        """Whether it holds nothing any more, unless its job is under way."""
        return now - self.made_at > HELD_FOR

    def to_json(self) -> dict[str, Any]:
        return {"format": RECORD_FORMAT, **asdict(self), "made_at": self.made_at.astimezone(UTC).isoformat()}

    @classmethod
    def from_json(cls, data: Any) -> Reservation:
        """Undo `to_json`. Raises `NewerFormat`, and KeyError, TypeError or ValueError for what is none."""
        check_format(data, "The reservation")
        known = {"is_decided": False} | {
            each.name: data[each.name] for each in fields(cls) if each.name in data
        }
        made_at = datetime.fromisoformat(known["made_at"])
        return cls(**{**known, "usd": float(known["usd"]), "made_at": made_at.astimezone(UTC)})


def reserve(ledger: LedgerFiles, reservation: Reservation) -> None:
    """Write the reservation down: whoever reads after this sees it. Raises what the file system raises."""
    data = with_whole_text(reservation.to_json())
    ledger.put(_path(ledger, reservation.key), json.dumps(data).encode())


def release(ledger: LedgerFiles, key: str) -> None:
    """Hold nothing any more for this training."""
    if is_record_key(key):
        ledger.remove([_path(ledger, key)])


def reservations(ledger: LedgerFiles) -> list[Reservation]:
    """All that are written down, those that have expired too.

    Raises `CannotRead` for one that cannot be read and may still count; an old one is no matter.
    """
    names = [name for name in ledger.list_names(RESERVATIONS) if is_record_key(name.removesuffix(".json"))]
    paths = {ledger.path(RESERVATIONS, name): name for name in names}
    found: list[Reservation] = []
    for path, content in ledger.fetch(paths).items():
        try:
            found.append(parse(f"{RESERVATIONS}/{paths[path]}", content, Reservation.from_json))
        except CannotRead as error:
            if not ledger.is_older(path, datetime.now(UTC) - HELD_FOR):
                raise
            error.trouble.tell(ledger.root)
    return found


def _path(ledger: LedgerFiles, key: str) -> str:
    return ledger.path(RESERVATIONS, f"{key}.json")
