"""A compaction in a process of its own, which kills itself at its n-th change: `compacting.py FOLDER N`."""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from typing import Any

from spot_training.ledger.compaction import compact
from spot_training.ledger.store import Ledger


def main(folder: str, dies_at: int) -> None:
    changes = 0
    ledger = Ledger.at(folder)

    def dying(name: str) -> None:
        change = getattr(ledger, name)

        def counted(*arguments: Any) -> Any:
            nonlocal changes
            changes += 1
            if changes == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments)

        setattr(ledger, name, counted)

    for name in ("put", "create"):
        dying(name)
    remove = ledger.remove

    def remove_one_by_one(paths: Any) -> None:
        nonlocal changes
        for path in paths:
            changes += 1
            if changes == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            remove([path])

    ledger.remove = remove_one_by_one  # type: ignore[method-assign]
    compact(ledger, settled_after=timedelta(0))
    print(changes)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
