"""The content of a market file as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .capacity import Changes


class Origin(StrEnum):
    """The instant from which the times of a type's capacity count."""

    SERVER_START = "server-start"
    FIRST_JOB = "first-job"


class Shortage(StrEnum):
    """What an on-demand job does without capacity."""

    WAIT = "wait"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """A scripted interruption. `job` is None (the first that gets that far), a number, or "each"."""

    after_seconds: float | None = None
    after_checkpoints: int | None = None
    job: int | str | None = None
    away_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StalledUploads:
    """For this time, counted from the origin, no checkpoint of these jobs reaches S3."""

    start_seconds: float = 0.0
    end_seconds: float = float("inf")
    job_names: str = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRule:
    """The part of the file for one instance type, or its top level for all types."""

    origin: Origin = Origin.SERVER_START
    available: bool = True
    price_steps: tuple[tuple[float, float], ...] = ((0.0, 0.3),)
    launch_seconds: float = 120.0
    download_seconds: float = 60.0
    upload_seconds: float = 60.0
    enforcement_lag_seconds: float = 60.0
    spot_changes: Callable[[str], Changes] | None = None
    interruptions: tuple[Interruption, ...] = ()
    internal_errors: tuple[Interruption, ...] = ()
    stalled_uploads: tuple[StalledUploads, ...] = ()
    on_demand_changes: Callable[[str], Changes] | None = None
    shortage: Shortage = Shortage.WAIT
    fail_after_seconds: float = 600.0
    spot_quota: int | None = None
    on_demand_quota: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSpec:
    """A whole market file."""

    description: str = ""
    general: TypeRule = field(default_factory=TypeRule)
    by_type: Mapping[str, TypeRule] = field(default_factory=dict)

    def rule_for(self, instance_type: str) -> TypeRule:
        return self.by_type.get(instance_type, self.general)
