"""Removes merged records of long ago, whole months at a time.

Only files that the newest manifest names are considered. What is under way is in small files, and stays. A
file goes if its month is older than what is kept, and all of its records were last written before that. It
goes as with a merge: the next manifest does not name it, and a later merge deletes it when no manifest does.
So readers, writers and mergers may work at the same time, and of two that publish at once, one tries again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import as_whole_number, is_left_out

from .manifest import Manifest, MergedFile
from .merged import check, parquet
from .opening import keep_months_setting
from .schema import connect
from .set_aside import CannotRead

if TYPE_CHECKING:
    from .files import LedgerFiles

# ruff: noqa: S608 - the SQL is made of paths of this package

#: What is kept at least: learned run times look back 180 days, a budget a month and the longest run.
MONTHS_AT_LEAST = 7
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is removed, or would be: files of months before `before`. `refused` says why nothing is."""

    before: str
    files: tuple[MergedFile, ...] = ()
    is_done: bool = False
    refused: str | None = None

    @property
    def records(self) -> int:
        return sum(file.rows for file in self.files)

    def __str__(self) -> str:
        if self.refused:
            return f"No old record is removed: {self.refused}"
        months = sorted({file.month for file in self.files})
        what = f"{self.records} record(s) in {len(self.files)} file(s)"
        if not months:
            return f"No month before {self.before} has records to remove"
        span = months[0] if len(months) == 1 else f"{months[0]} to {months[-1]}"
        return f"{what} of {span} {'removed' if self.is_done else 'would be removed'}"


def keep_months_from(value: object, *, field: str) -> int | None:
    """The months to keep; None for all. Raises `InvalidInput`."""
    if is_left_out(value):
        return None
    months = as_whole_number(value, field=field)
    if months < MONTHS_AT_LEAST:
        raise InvalidInput(
            field,
            value,
            f"give at least {MONTHS_AT_LEAST}: learned run times need half a year, budgets two months.",
        )
    return months


def configured_months() -> int | None:
    """`[spot_training] ledger_keep_months`; None to keep all."""
    value, field = keep_months_setting()
    return keep_months_from(value, field=field)


def prune(
    ledger: LedgerFiles,
    *,
    keep_months: int,
    now: datetime | None = None,
    is_only_one: bool = False,
    is_dry_run: bool = False,
) -> Retention:
    """Remove the records of all but the last `keep_months` months, this one included.

    `is_only_one` says that nothing else merges this ledger, as for `compact`.
    """
    moment = now or datetime.now(UTC)
    keep_months_from(keep_months, field="keep_months")
    first = _first_kept(moment, keep_months)
    nothing = Retention(before=f"{first:%Y-%m}")
    if not is_dry_run and not is_only_one and not ledger.has_conditional_writes():
        return replace(
            nothing, refused="this store has no conditional writes (see ledger_is_merged_in_one_place)."
        )
    for _ in range(TRIES):
        try:
            manifest = Manifest.newest(ledger)
        except CannotRead as error:
            return replace(nothing, refused=str(error))
        files = _of_long_ago(ledger, manifest.files, first)
        if is_dry_run or not files:
            return replace(nothing, files=files)
        kept = tuple(file for file in manifest.files if file not in files)
        following = replace(manifest, number=manifest.number + 1, files=kept)
        if following.publish(ledger, made_at=moment, is_only_one=is_only_one):
            return replace(nothing, files=files, is_done=True)
    return replace(nothing, refused="others merged this ledger at the same time. The next time does it.")


def _first_kept(now: datetime, keep_months: int) -> datetime:
    """The beginning of the first month that is kept."""
    months = now.year * 12 + now.month - keep_months
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def _of_long_ago(ledger: LedgerFiles, files: Sequence[MergedFile], first: datetime) -> tuple[MergedFile, ...]:
    """Files of earlier months. One that cannot be read stays: nobody knows what is in it."""
    old = [file for file in files if file.month < f"{first:%Y-%m}"]
    readable, _ = check(ledger, old)
    connection = connect()
    try:
        return tuple(
            file
            for file, path in readable.items()
            if not connection.execute(
                f"SELECT count(*) FROM {parquet([path])} "
                "WHERE state = 'running' OR greatest(written_at, ended_at, began_at) >= ?",
                [first],
            ).fetchone()[0]
        )
    finally:
        connection.close()
