"""Rows of DuckDB as records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spot_training.domain.records import TrainingRecord

from .unknown import joined


def record_of(row: Mapping[str, Any]) -> TrainingRecord:
    """A row of `trainings` as a record. Raises KeyError, TypeError or ValueError if it is not one."""
    data = _plain({name: value for name, value in row.items() if name not in {"counts", "unknown"}})
    unknown = row.get("unknown")
    return TrainingRecord.from_json(joined(data, json.loads(unknown)) if unknown else data)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value
