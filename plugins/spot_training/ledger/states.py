"""What a task keeps between its tries, in the ledger's storage: for Airflow before 3.3, which has no store.

    states/<key>.<version>.json             where one of several writers creates a name
    states/<key>.<version>.<writer>.json    where the store has no conditional writes

There is one file per task: the next version is created, then the last one is removed. A process that does not
have the newest version cannot write, so a process that Airflow has replaced, and that does not know it yet,
changes nothing. After each write the writer looks again. A later version of another process, or the same one
in a store without conditional writes, means that this process is too late: it removes its own file.

A new try writes at once what it has found, so that the try before it, which may be frozen, cannot write any
more. The state of a run that was deleted counts as none (`state_writer`).
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import NewerFormat, StateReplaced
from spot_training.domain.text import with_whole_text

from .state_writer import Origin, StateWriter

if TYPE_CHECKING:
    from .files import LedgerFiles

STATES = "states"
STATE_FORMAT = 1
#: No job of a training is alive 28 days after its last state: SageMaker's longest run and wait. A clear later
#: than this starts a new generation, as where a state is lost.
KEPT_FOR = timedelta(days=180)
_NAME = re.compile(r"([0-9a-f]{32})\.(\d{10})(?:\.[0-9a-f]{32})?\.json")
#: A version that is listed may be removed before it is read: its writer has written the next one.
_LOOKS = 5


@dataclass(frozen=True, slots=True)
class _Found:
    """The newest version of a task's state, and which process wrote it."""

    name: str
    version: int
    values: dict[str, Any]
    by: StateWriter


@dataclass(slots=True)
class LedgerState:
    """The values of one task: `get` and `set` as Airflow's task state store has them.

    `keys` are the record keys under which the task may be known, its own first: an Airflow that was renamed
    has others. `about` says in the file which task it is, `by` which process this one is (None: it only
    reads). `is_latest_try` asks Airflow whether the task has no later try than this process's. The object is
    for one process: it writes only after what it has read or written itself. Raises what the file system
    raises (OSError, botocore's errors).
    """

    ledger: LedgerFiles
    keys: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    by: StateWriter | None = None
    is_latest_try: Callable[[], bool] = lambda: False
    _writer: str = field(default_factory=lambda: uuid.uuid4().hex)
    _known: _Found | None = None
    _is_read: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def get(self, key: str) -> Any:
        """The value, or None. Raises `StateReplaced` if another process of the task has written since."""
        with self._lock:
            if not self._is_read:
                self._take_over()
            elif max(self._listed(), default=None) != self._place:
                raise StateReplaced(self._said())
            return None if self._known is None else self._known.values.get(key)

    def first_values(self) -> Mapping[str, Any]:
        """All values, read once and not taken over: for whoever keeps them elsewhere."""
        with self._lock:
            if not self._is_read:
                self._known = self._find()
                self._is_read = True
            return self._known.values if self._known else {}

    def set(self, key: str, value: Any) -> None:
        """Write the value. Raises `StateReplaced` if another process of the task has written since."""
        with self._lock:
            if not self._is_read:
                self._take_over()
            self._write({**(self._known.values if self._known else {}), key: value})

    def has_later_try(self) -> bool:
        """Whether a later try of the task has written. A signal handler may ask: no lock."""
        found = self._newest()
        return found is not None and self.by is not None and self.by.origin_of(found.by) is Origin.LATER

    def _take_over(self) -> None:
        """Read what earlier processes left, and keep an earlier try from writing by writing first."""
        for _ in range(_LOOKS):
            self._known = self._find()
            try:
                if self._follows_other_try():
                    self._write(self._known.values if self._known else {})
            except StateReplaced:
                continue  # it has just written, for the last time
            self._is_read = True
            return
        raise StateReplaced(self._said())

    def _follows_other_try(self) -> bool:
        """Whether a process of another try may still write."""
        if self.by is None:
            return False
        if self._known is None:
            return self.by.try_number > 1
        return not self.by.is_same_try(self._known.by)

    def _find(self) -> _Found | None:
        """The newest version, without values if a deleted run left it.

        Raises `StateReplaced` if a later try wrote it. The metadata database may have been restored from a
        backup, so Airflow says whether there is a later try.
        """
        found = self._newest()
        if found is None or self.by is None:
            return found
        match self.by.origin_of(found.by):
            case Origin.THIS_RUN:
                return found
            case Origin.LATER if self.by.ti_id == found.by.ti_id or not self.is_latest_try():
                raise StateReplaced(self._said())
        return replace(found, values={})

    def _write(self, values: dict[str, Any]) -> None:
        known = self._known
        version = known.version + 1 if known else 1
        name = self._create(version, values)
        self._known = _Found(name, version, values, self.by or StateWriter())
        if known is not None:
            self.ledger.remove([self.ledger.path(STATES, known.name)])

    def _create(self, version: int, values: Mapping[str, Any]) -> str:
        content = self._content(values)
        is_exclusive = self.ledger.has_conditional_writes()
        name = f"{self.keys[0]}.{version:010d}{'' if is_exclusive else f'.{self._writer}'}.json"
        path = self.ledger.path(STATES, name)
        if not is_exclusive:
            self.ledger.put(path, content)
        elif not self.ledger.create(path, content):
            if not self._is_ours(path):
                raise StateReplaced(self._said())
            self.ledger.put(path, content)
        # The version may have been there before, and be gone because its writer has gone on to the next.
        if any(found >= version and other != name for found, other in self._listed()):
            self.ledger.remove([path])
            raise StateReplaced(self._said())
        return name

    def _is_ours(self, path: str) -> bool:
        """Whether this process created the file, and only the answer was lost."""
        content = self.ledger.fetch([path]).get(path)
        return content is not None and json.loads(content).get("writer") == self._writer

    @property
    def _place(self) -> tuple[int, str] | None:
        return (self._known.version, self._known.name) if self._known else None

    def _said(self) -> str:
        return (
            f"Another process of this task ({self._task()}) has written its state since this one read it. "
            "This process changes nothing more; the other one goes on with the training."
        )

    def _task(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.about.items()) or self.keys[0]

    def _content(self, values: Mapping[str, Any]) -> bytes:
        facts = {
            "format": STATE_FORMAT,
            **self.about,
            **(self.by.to_json() if self.by else {}),
            "writer": self._writer,
            "written_at": datetime.now(UTC).isoformat(),
            "values": values,
        }
        return json.dumps(with_whole_text(facts), ensure_ascii=False).encode()

    def _newest(self) -> _Found | None:
        for _ in range(_LOOKS):
            listed = self._listed()
            if not listed:
                return None
            version, name = max(listed)
            path = self.ledger.path(STATES, name)
            if content := self.ledger.fetch([path]).get(path):
                facts = self._facts(name, content)
                return _Found(name, version, facts["values"], StateWriter.from_json(facts))
        raise StateReplaced(self._said())

    def _facts(self, name: str, content: bytes) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(content)
        found = facts.get("format", STATE_FORMAT)
        if found > STATE_FORMAT:
            raise NewerFormat(f"The task's state ({name})", found=found, newest_known=STATE_FORMAT)
        return facts

    def _listed(self) -> list[tuple[int, str]]:
        names = [name for key in self.keys for name in self.ledger.list_names(STATES, beginning=f"{key}.")]
        return [(int(match[2]), name) for name in names if (match := _NAME.fullmatch(name))]


def forget_states(ledger: LedgerFiles, *, before: datetime) -> int:
    """Remove the states that were last written before a moment; how many were removed."""
    paths = [ledger.path(STATES, name) for name in ledger.list_names(STATES) if _NAME.fullmatch(name)]
    old = [path for path in paths if ledger.is_older(path, before)]
    ledger.remove(old)
    return len(old)
