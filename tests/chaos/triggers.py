"""A trigger that fails. Here, and not beside the Dag, because a triggerer cannot import what lies there."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from spot_training.triggers import TrainingJobTrigger
from spot_training.watching.following import Follower
from spot_training.watching.reports import Report


class MortalTrigger(TrainingJobTrigger):
    """Raises after so many seconds, whatever its job is doing then."""

    def __init__(self, *, fails_after_seconds: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fails_after_seconds = fails_after_seconds

    @classmethod
    def instead_of(cls, trigger: TrainingJobTrigger, *, fails_after_seconds: float) -> MortalTrigger:
        return cls(fails_after_seconds=fails_after_seconds, **trigger.serialize()[1])

    def serialize(self) -> tuple[str, dict[str, Any]]:
        path, arguments = super().serialize()
        return path, arguments | {"fails_after_seconds": self.fails_after_seconds}

    def _follower(self) -> Any:
        return _Mortal(super()._follower(), self.fails_after_seconds)


class _Mortal:
    """Reports that end with an error after so many seconds."""

    def __init__(self, reports: Follower, seconds: float) -> None:
        self._reports = reports
        self._over_at = asyncio.get_running_loop().time() + seconds

    def __aiter__(self) -> Self:
        aiter(self._reports)
        return self

    async def __anext__(self) -> Report:
        async with asyncio.timeout_at(self._over_at):
            return await anext(self._reports)

    def close(self) -> None:
        self._reports.close()
