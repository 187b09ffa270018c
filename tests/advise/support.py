"""A workload of ten hours, and what a policy sees of it."""

from __future__ import annotations

from typing import Any

from spot_training.advise.moves import Mode, View, Workload

HOUR = 3600.0


def make_workload(**overrides: Any) -> Workload:
    values = {"work_seconds": 10 * HOUR, "deadline_seconds": 20 * HOUR, "overhead_seconds": 600.0}
    return Workload(**{**values, **overrides})


def make_view(**overrides: Any) -> View:
    values = {
        "seconds_left": 20 * HOUR,
        "work_seconds": 10 * HOUR,
        "overhead_seconds": 600.0,
        "mode": Mode.WAIT,
        "has_spot": False,
        "total_work_seconds": 10 * HOUR,
        "total_seconds": 20 * HOUR,
        "tick_seconds": 60.0,
    }
    return View(**{**values, **overrides})
