"""What the ledger has of a policy's instance types: the order of scouts and the way back depend on it.

Nothing here may fail or delay a training: without an answer, the order of the policy counts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

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

    def ask() -> Sequence[TypeHistory]:
        with Ledger.configured().read() as reader:
            return type_histories(
                reader,
                now=now,
                installations=names_of_own_records(installation),
                region=region,
                types=types,
                is_simulated=is_simulated,
            )

    try:
        return within(ANSWER_WITHIN_SECONDS, ask)
    except MissingPackage:
        return []  # duckdb is an extra
    except Exception as error:  # noqa: BLE001 - the order of the policy counts
        log.warning("The ledger could not be read for what happened on %s: %s", " and ".join(types), error)
        return []
