"""Notes of live jobs: nobody waits for them, and the newest of each record is what is written."""

from __future__ import annotations

import threading
from dataclasses import replace

from spot_training.domain.lifecycle import JobSnapshot
from spot_training.ledger.notes import NoteTaker
from tests.records import make_job


class _SlowLedger:
    """Writes nothing before it may."""

    def __init__(self) -> None:
        self.may_write = threading.Event()
        self.has_begun = threading.Event()
        self.written: list[tuple[str, str]] = []
        self.is_done = threading.Event()

    def write(self, key: str, job: JobSnapshot) -> None:
        self.has_begun.set()
        assert self.may_write.wait(30)
        self.written.append((key, job.name))
        if key == "last":
            self.is_done.set()


def _named(name: str) -> JobSnapshot:
    return replace(make_job(("Starting", 60)), name=name)


def test_of_the_notes_a_slow_ledger_is_late_with_only_the_newest_is_written() -> None:
    ledger = _SlowLedger()
    notes = NoteTaker(ledger.write)
    notes.take("busy", _named("first"))
    assert ledger.has_begun.wait(30)
    for name in ("older", "old", "new"):
        notes.take("one", _named(name))
    notes.take("last", _named("other"))
    assert ledger.written == []
    ledger.may_write.set()
    assert ledger.is_done.wait(30)
    assert ledger.written == [("busy", "first"), ("one", "new"), ("last", "other")]


def test_notes_are_taken_again_after_a_quiet_while() -> None:
    ledger = _SlowLedger()
    ledger.may_write.set()
    notes = NoteTaker(ledger.write)
    for _ in range(3):
        ledger.is_done.clear()
        notes.take("last", _named("job"))
        assert ledger.is_done.wait(30)
        while notes._thread is not None:
            threading.Event().wait(0.001)
    assert ledger.written == [("last", "job")] * 3
