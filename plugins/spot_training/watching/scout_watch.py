"""When a waiting task looks at its scouts again: the call's moment, on this machine's clock.

The rules are in `domain.scouting`. Operator and trigger use it in the same way as a `DeadlineStop`: `update`
with each report of the job, wait until `look_again_at`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.domain.lifecycle import JobSnapshot
from spot_training.domain.scouting import ScoutCall, holds_instances

from .reports import Missing, Over, Report, ScoutNews
from .watched import Watch

if TYPE_CHECKING:
    from spot_training.sagemaker.clock import ServiceClock

    from .watched import Watcher


@dataclass(slots=True)
class ScoutWatch:
    """One job and the call to look at its scouts, on AWS's `clock`."""

    call: ScoutCall
    clock: Callable[[], ServiceClock]
    _moment: datetime | None = field(default=None, repr=False)

    @property
    def scouts(self) -> tuple[str, ...]:
        return self.call.scouts

    def update(self, job: JobSnapshot) -> None:
        """Take in how AWS describes the job now."""
        self._moment = self.call.moment(job)

    @property
    def look_again_at(self) -> datetime | None:
        """When the task has to look, on this machine's clock; None while nothing is due."""
        if self._moment is None:
            return None
        clock = self.clock()
        left = clock.real_seconds((self._moment - clock.now()).total_seconds())
        return datetime.now(UTC) + timedelta(seconds=max(0.0, left))

    def is_due(self) -> bool:
        moment = self.look_again_at
        return moment is not None and moment <= datetime.now(UTC)


def watch_scouts(
    watcher: Watcher, names: tuple[str, ...], *, interval_seconds: float, notify: Callable[[Report], None]
) -> list[Watch]:
    """Register for the scouts: `notify` gets a `ScoutNews` when one runs or is over."""
    watches = []
    for name in names:
        watch = Watch(name=name, notify=_filter(name, notify), interval_seconds=interval_seconds)
        watcher.add(watch)
        watches.append(watch)
    return watches


def _filter(name: str, notify: Callable[[Report], None]) -> Callable[[Report], None]:
    def hear(report: Report) -> None:
        is_news = isinstance(report, Over | Missing) or (
            isinstance(report, JobSnapshot) and (report.is_terminal or holds_instances(report))
        )
        if is_news:
            notify(ScoutNews(name=name))

    return hear


def call_to_json(call: ScoutCall) -> dict[str, Any]:
    """As plain JSON, for a trigger's arguments."""
    return {
        "scouts": list(call.scouts),
        "not_before": call.not_before.isoformat() if call.not_before else None,
    }


def call_from_json(data: Mapping[str, Any]) -> ScoutCall:
    """Undo `call_to_json`."""
    moment = data.get("not_before")
    return ScoutCall(
        scouts=tuple(data.get("scouts") or ()),
        not_before=datetime.fromisoformat(moment) if moment else None,
    )
