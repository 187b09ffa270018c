"""Why we stopped jobs whose tag could not be written: kept in the ledger, for whoever looks at them later.

One small file a job, written only where tagging failed, so next to never. Nothing here raises: a stop matters
more than its reason, and without a reason on record a stop counts as a person's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from spot_training.aws.bounded import within
from spot_training.domain.stops import StopReason, stop_reason_of

from .store import Ledger

log = logging.getLogger(__name__)

FOLDER = "stops"
#: Where a process is killed within seconds, and where a training waits for the answer.
KEEP_SECONDS = 1.0
ASK_SECONDS = 10.0


class LedgerStops:
    """The driver's `StopReasons` over a ledger."""

    def __init__(self, open_ledger: Callable[[], Ledger] = Ledger.configured) -> None:
        self._open_ledger = open_ledger

    def keep(self, job_name: str, why: StopReason) -> None:
        """Write the reason down, within a second."""
        content = json.dumps({"job_name": job_name, "stopped_for": str(why)}).encode()

        def write() -> None:
            ledger = self._open_ledger()
            ledger.put(ledger.path(FOLDER, f"{job_name}.json"), content)

        try:
            within(KEEP_SECONDS, write)
        except Exception as error:  # noqa: BLE001 - the stop matters more
            log.warning("Why training job %s is stopped (%s) could not be kept: %s", job_name, why, error)

    def reason_of(self, job_name: str) -> StopReason | None:
        """The reason that `keep` wrote down; None where there is none, or the ledger does not answer."""

        def read() -> bytes | None:
            ledger = self._open_ledger()
            path = ledger.path(FOLDER, f"{job_name}.json")
            return ledger.fetch([path]).get(path)

        try:
            content = within(ASK_SECONDS, read)
            return stop_reason_of(json.loads(content)["stopped_for"]) if content else None
        except Exception as error:  # noqa: BLE001 - then the tags tell, or nobody can
            log.warning("The ledger could not be asked why training job %s was stopped: %s", job_name, error)
            return None
