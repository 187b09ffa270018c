"""What the ledger has of instance types, for the order of scouts, the way back, and advice.

Nothing here may fail or delay a training: without an answer, the order of the policy counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import MissingPackage
from spot_training.installation import names_of_own_records
from spot_training.ledger import Ledger
from spot_training.ledger.type_history import type_histories
from spot_training.process import within

if TYPE_CHECKING:
    from spot_training.domain.type_history import TypeHistory

log = logging.getLogger(__name__)

#: How long a training waits for the ledger's answer.
ANSWER_WITHIN_SECONDS = 10.0


def histories_of_types(
    types: Sequence[str], *, region: str, installation: str, is_simulated: bool, now: datetime
) -> Sequence[TypeHistory]:
    """What spot jobs met on these types lately. Raises nothing."""
    return _or_nothing(
        lambda: read_histories(
            now=now,
            installations=names_of_own_records(installation),
            region=region,
            types=types,
            is_simulated=is_simulated,
        )
    )


def known_histories(installations: Sequence[str]) -> Sequence[TypeHistory]:
    """Those of all types and regions, for the advisor. Empty if the ledger does not answer."""
    return _or_nothing(lambda: read_histories(now=datetime.now(UTC), installations=installations))


def read_histories(**question: Any) -> Sequence[TypeHistory]:
    """The answer of the configured ledger to `type_histories`."""
    with Ledger.configured().read() as reader:
        return type_histories(reader, **question)


def _or_nothing(ask: Callable[[], Sequence[TypeHistory]]) -> Sequence[TypeHistory]:
    try:
        return within(ANSWER_WITHIN_SECONDS, ask)
    except MissingPackage:
        return []  # duckdb is an extra
    except Exception as error:  # noqa: BLE001 - the order of the policy counts
        log.warning("The ledger could not be read for what happened on each type: %s", error)
        return []
