"""The advisor: what a training will cost by when, and how long to wait for spot. Also the simulator.

`advise_on` answers in a Dag, `main` is the command. They load with their first use: `simulator` alone needs
the standard library only, and `spot_training.policies` is built on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .answer import advise_on
    from .command import main

__all__ = ["advise_on", "main"]


def __getattr__(name: str) -> Any:
    if name == "advise_on":
        from .answer import advise_on

        return advise_on
    if name == "main":
        from .command import main

        return main
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
