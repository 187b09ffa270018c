"""A trigger that fails. Here, and not beside the Dag, because a triggerer cannot import what lies there."""

from __future__ import annotations

import asyncio
from typing import Any

from spot_training.triggers import TrainingJobTrigger


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

    async def _wait(self) -> str:
        async with asyncio.timeout(self.fails_after_seconds):
            return await super()._wait()
