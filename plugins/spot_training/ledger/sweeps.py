"""What the last sweep of an Airflow found, for the page and the commands.

    sweeps/<digest of the installation's name>.json     the last writer wins

Holds the orphans that were still running after the sweep. A sweep that cannot write it works all the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from spot_training.domain.text import with_whole_text
from spot_training.process import within

if TYPE_CHECKING:
    from .files import LedgerFiles

log = logging.getLogger(__name__)

SWEEPS = "sweeps"
SWEEP_FORMAT = 1
KEEP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanLeft:
    """A job of a task that is over, which still ran after the sweep. `stop_failed`: the stop was tried."""

    job_name: str
    reason: str
    stop_failed: bool
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """When the last sweep was, and what it left."""

    at: datetime
    orphans: tuple[OrphanLeft, ...] = ()


def keep_sweep(ledger: LedgerFiles, installation: str, report: SweepReport) -> None:
    """Write the report down. Raises nothing."""
    orphans = [asdict(orphan) for orphan in report.orphans]
    facts = {"format": SWEEP_FORMAT, "at": report.at.isoformat(), "orphans": orphans}
    content = json.dumps(with_whole_text(facts), ensure_ascii=False).encode()
    try:
        within(KEEP_SECONDS, lambda: ledger.put(_path(ledger, installation), content))
    except Exception as error:  # noqa: BLE001 - the sweep matters more
        log.warning("What the sweep found could not be written into the ledger: %s", error)


def last_sweep(ledger: LedgerFiles, installations: Sequence[str]) -> SweepReport | None:
    """The newest report of an Airflow with these names. None if no sweep has written one."""
    content = ledger.fetch([_path(ledger, name) for name in installations])
    reports = [found for text in content.values() if (found := _report(text))]
    return max(reports, key=lambda report: report.at, default=None)


def _path(ledger: LedgerFiles, installation: str) -> str:
    return ledger.path(SWEEPS, f"{sha256(installation.encode()).hexdigest()[:32]}.json")


def _report(content: bytes) -> SweepReport | None:
    """None if it is torn, or a newer version wrote it: the next sweep replaces it."""
    try:
        facts: dict[str, Any] = json.loads(content)
        if facts["format"] > SWEEP_FORMAT:
            return None
        return SweepReport(at=datetime.fromisoformat(facts["at"]), orphans=tuple(_orphans(facts["orphans"])))
    except (ValueError, KeyError, TypeError):
        return None


def _orphans(facts: Iterable[dict[str, Any]]) -> Iterable[OrphanLeft]:
    names = OrphanLeft.__dataclass_fields__
    for each in facts:
        yield OrphanLeft(**{name: value for name, value in each.items() if name in names})
