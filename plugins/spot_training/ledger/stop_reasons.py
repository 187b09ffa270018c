"""Why we stopped jobs, if their tag could not be written: kept in the ledger for whoever looks at them later.

One small file for each such job. Tagging hardly ever fails.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from spot_training.domain.errors import ServiceFailed
from spot_training.domain.stop_reasons import StopNote, note_of
from spot_training.process import within

from .store import Ledger

log = logging.getLogger(__name__)

FOLDER = "stops"
#: Time limits: a process that writes may be killed within seconds; a training waits for the answer.
KEEP_SECONDS = 1.0
ASK_SECONDS = 10.0


class LedgerStops:
    """The driver's `StopNotes` over a ledger."""

    def __init__(self, open_ledger: Callable[[], Ledger] = Ledger.configured) -> None:
        self._open_ledger = open_ledger

    def keep(self, job_name: str, note: StopNote) -> None:
        """Write the reason down within a second. Raises nothing: the stop matters more."""
        at = note.at.isoformat() if note.at else None
        content = json.dumps({"job_name": job_name, "stopped_for": str(note.why), "stopped_at": at}).encode()

        def write() -> None:
            ledger = self._open_ledger()
            ledger.put(ledger.path(FOLDER, f"{job_name}.json"), content)

        try:
            within(KEEP_SECONDS, write)
        except Exception as error:  # noqa: BLE001
            log.warning(
                "Why training job %s is stopped (%s) could not be kept: %s", job_name, note.why, error
            )

    def note_of(self, job_name: str) -> StopNote | None:
        """What `keep` wrote down. None if there is nothing.

        Raises `ServiceFailed` if the ledger does not answer: the reason is not known yet then.
        """

        def read() -> bytes | None:
            ledger = self._open_ledger()
            path = ledger.path(FOLDER, f"{job_name}.json")
            return ledger.fetch([path]).get(path)

        try:
            content = within(ASK_SECONDS, read)
        except Exception as error:
            raise ServiceFailed(
                f"Training job {job_name} was stopped, and its tags do not say by whom. The ledger, which "
                f"may know, could not be asked ({error}). No other job is started; the next try asks again."
            ) from error
        try:
            kept = json.loads(content) if content else {}
            return note_of(kept.get("stopped_for"), kept.get("stopped_at"))
        except (ValueError, AttributeError, TypeError):
            return None
