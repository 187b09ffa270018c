"""What on-demand will cost, written down before the decision, so that trainings that decide at the same time
see each other.

    reservations/<key>.json    the last writer wins, and only its own training writes it

A reservation counts against the budget of its Dag until it is released or expires, and longer while its job
runs. `task.budget` has the rule.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.domain.record_keys import is_record_key
from spot_training.domain.records import FORMAT_WITHOUT_SCOUTS, check_format
from spot_training.domain.text import with_whole_text

from .set_aside import CannotRead, parse

if TYPE_CHECKING:
    from .files import LedgerFiles

RESERVATIONS = "reservations"
#: How long a reservation counts without a job: far longer than it takes from the decision to the record that
#: names the job.
HELD_FOR = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """US dollars held for one on-demand attempt, by the clock of the machine that holds them.

    `key` and `generation` are the training's, `attempt` is the attempt's number. `is_decided`: the attempt is
    being bought, and the reservation no longer gives way.
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
        """Which one goes first if not all fit."""
        return not self.is_decided, self.made_at, self.key

    def has_expired(self, now: datetime) -> bool:
        """Whether it no longer counts, unless its job runs."""
        return now - self.made_at > HELD_FOR

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT_WITHOUT_SCOUTS,
            **asdict(self),
            "made_at": self.made_at.astimezone(UTC).isoformat(),
        }

    @classmethod
    def from_json(cls, data: Any) -> Reservation:
        """Undo `to_json`. Raises `NewerFormat`; KeyError, TypeError or ValueError if it is not one."""
        check_format(data, "The reservation")
        known = {"is_decided": False} | {
            each.name: data[each.name] for each in fields(cls) if each.name in data
        }
        made_at = datetime.fromisoformat(known["made_at"])
        return cls(**{**known, "usd": float(known["usd"]), "made_at": made_at.astimezone(UTC)})


def reserve(ledger: LedgerFiles, reservation: Reservation) -> None:
    """Write the reservation. Whoever reads after this sees it. Raises what the file system raises."""
    data = with_whole_text(reservation.to_json())
    ledger.put(_path(ledger, reservation.key), json.dumps(data).encode())


def release(ledger: LedgerFiles, key: str) -> None:
    """Remove this training's reservation."""
    if is_record_key(key):
        ledger.remove([_path(ledger, key)])


def reservations(ledger: LedgerFiles) -> list[Reservation]:
    """All reservations, also expired ones.

    Raises `CannotRead` if one cannot be read and may still count. An old one is ignored.
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
            error.trouble.warn(ledger.root)
    return found


def _path(ledger: LedgerFiles, key: str) -> str:
    return ledger.path(RESERVATIONS, f"{key}.json")
