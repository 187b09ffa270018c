"""One look at a checkpoint prefix: a listing, reduced to what may be a new checkpoint. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint_pattern import CheckpointPattern, Part

#: A listing is reduced to so many possible checkpoints while it is read.
MOST_GROUPS = 2_000


@dataclass(frozen=True, slots=True)
class SeenObject:
    """An object below the prefix: its path from there, and when S3 got it, on SageMaker's clock."""

    key: str
    size: int
    etag: str
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint. S3 got its objects from `began_at` to `arrived_at`."""

    name: str
    began_at: datetime
    arrived_at: datetime
    size: int = 0
    ranks: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "began_at": self.began_at.isoformat(),
            "arrived_at": self.arrived_at.isoformat(),
            "size": self.size,
            "ranks": self.ranks,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Checkpoint:
        return cls(
            name=str(data["name"]),
            began_at=datetime.fromisoformat(data["began_at"]),
            arrived_at=datetime.fromisoformat(data["arrived_at"]),
            size=int(data.get("size", 0)),
            ranks=int(data.get("ranks", 0)),
        )


@dataclass(slots=True)
class _Group:
    """The new objects of what may be a checkpoint, while they are read."""

    began_at: datetime
    arrived_at: datetime
    count: int = 0
    size: int = 0
    digest: int = 0
    has_index: bool = False
    needs_index: bool = False
    ranks: dict[str, tuple[int | None, set[int]]] = field(default_factory=dict)

    def add(self, item: SeenObject, part: Part) -> None:
        self.began_at = min(self.began_at, item.modified_at)
        self.arrived_at = max(self.arrived_at, item.modified_at)
        self.count += 1
        self.size += item.size
        # A sum: the order of the listing does not matter.
        self.digest += zlib.crc32(f"{item.key}\n{item.size}\n{item.etag}".encode())
        self.has_index |= part.is_index
        self.needs_index |= part.needs_index
        if part.rank is not None:
            expected, there = self.ranks.setdefault(part.set_name, (part.ranks, set()))
            self.ranks[part.set_name] = (expected or part.ranks, there | {part.rank})


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be a checkpoint. `fingerprint` is another one if an object changed.

    It was the same at all looks from `since` to `seen_at`.
    """

    checkpoint: Checkpoint
    fingerprint: tuple[int, int, int]
    is_whole: bool
    since: datetime
    seen_at: datetime

    def replaces(self, was: Candidate) -> bool:
        """Whether the same objects were written again since then, and none was added."""
        is_same = self.fingerprint == was.fingerprint
        return not is_same and self.fingerprint[0] == was.fingerprint[0] and was.is_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One listing at `at`. Of a full one, what is not in it does not exist.

    `present` are the remembered checkpoints that are still there. `size_bytes` is the size of all objects:
    SageMaker copies them all to a new launch.
    """

    at: datetime
    is_full: bool = True
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    is_empty: bool = False
    size_bytes: int = 0

    def following(self, before: Look | None) -> Look:
        """With the first look at which each candidate was as it is now.

        A look that is not full has only some of them.
        """
        if before is None:
            return self
        candidates = {
            name: replace(found, since=was.since)
            if (was := before.candidates.get(name)) is not None and was.fingerprint == found.fingerprint
            else found
            for name, found in self.candidates.items()
        }
        if not self.is_full:
            candidates = {**before.candidates, **candidates}
        return replace(self, candidates=candidates)


class LookReader:
    """Takes in the objects of one listing, page by page, in bounded memory.

    `saved` are the checkpoints that are known, `launched_at` is when the launch began whose checkpoints are
    looked for.
    """

    def __init__(
        self, pattern: CheckpointPattern, saved: Sequence[Checkpoint], launched_at: datetime
    ) -> None:
        self._pattern = pattern
        self._known = {checkpoint.name: checkpoint for checkpoint in saved}
        self._counted_at = saved[-1].began_at if saved else None
        self._most_ranks = max((checkpoint.ranks for checkpoint in saved), default=0)
        self._launched_at = launched_at
        self._groups: dict[str, _Group] = {}
        self._present: set[str] = set()
        self._has_any = False
        self._size_bytes = 0

    def add(self, objects: Iterable[SeenObject]) -> None:
        for item in objects:
            self._size_bytes += item.size
            part = self._pattern.part(item.key)
            if part is None:
                continue
            self._has_any = True
            known = self._known.get(part.checkpoint)
            if known is not None:
                self._present.add(part.checkpoint)
            # A folder that is written again and again: what was there before belongs to the one before.
            since = max(self._launched_at, known.arrived_at) if known else self._launched_at
            if item.modified_at <= since:
                continue
            group = self._groups.get(part.checkpoint)
            if group is None:
                group = self._groups[part.checkpoint] = _Group(item.modified_at, item.modified_at)
            group.add(item, part)
            if len(self._groups) > 2 * MOST_GROUPS:
                self._keep_newest()

    def look(self, at: datetime, *, is_full: bool = True) -> Look:
        """What the objects so far show."""
        self._keep_newest()
        return Look(
            at=at,
            is_full=is_full,
            candidates={name: self._candidate(name, group, at) for name, group in self._groups.items()},
            present=frozenset(self._present),
            is_empty=is_full and not self._has_any,
            size_bytes=self._size_bytes,
        )

    def _keep_newest(self) -> None:
        counted = self._counted_at
        newer = [(n, g) for n, g in self._groups.items() if counted is None or g.arrived_at > counted]
        newer.sort(key=lambda pair: pair[1].arrived_at)
        self._groups = dict(newer[-MOST_GROUPS:])

    def _candidate(self, name: str, group: _Group, at: datetime) -> Candidate:
        ranks = sum(len(there) for _, there in group.ranks.values())
        return Candidate(
            checkpoint=Checkpoint(
                name=name,
                began_at=group.began_at,
                arrived_at=group.arrived_at,
                size=group.size,
                ranks=ranks,
            ),
            fingerprint=(group.count, group.size, group.digest),
            is_whole=self._is_whole(group, ranks),
            since=at,
            seen_at=at,
        )

    def _is_whole(self, group: _Group, ranks: int) -> bool:
        """Its index is there, or every rank, as far as is known."""
        if group.has_index:
            return True
        if not group.ranks:
            return not group.needs_index
        sets = group.ranks.values()
        if any(expected is None for expected, _ in sets):
            return ranks >= self._most_ranks and not group.needs_index
        return all(len(there) >= (expected or 0) for expected, there in sets)
