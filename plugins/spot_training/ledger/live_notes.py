"""The notes of running jobs, for a reader that asks again and again: only changed files are read again."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING

from .files import NOTES
from .fresh import read_notes

if TYPE_CHECKING:
    from spot_training.domain.records import CurrentJob

    from .files import LedgerFiles


class LiveNotes:
    """The newest note of each record that is asked for. One thread at a time."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Hashable, CurrentJob]] = {}

    def read(self, ledger: LedgerFiles, keys: Iterable[str]) -> Mapping[str, CurrentJob]:
        """The notes of these records' jobs, as they are now. One that cannot be read stays as it was."""
        stamps = ledger.stamps(NOTES)
        wanted = {key: stamps[name] for key in keys if (name := f"{key}.json") in stamps}
        changed = [key for key, stamp in wanted.items() if not self._is_newest(key, stamp)]
        read, _ = read_notes(ledger, changed)
        kept = {key: self._kept[key] for key in wanted if key in self._kept}
        self._kept = kept | {key: (wanted[key], note) for key, note in read.items()}
        return {key: note for key, (_, note) in self._kept.items()}

    def _is_newest(self, key: str, stamp: Hashable) -> bool:
        """A file without a stamp may have changed."""
        return stamp is not None and key in self._kept and self._kept[key][0] == stamp
