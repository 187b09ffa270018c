"""The advisor: what a training will cost, when it will be complete, and how long to wait for spot.

`advise_on` is for a Dag, `main` is the command. Both are loaded when they are first used. The simulator needs
only the standard library, and `spot_training.policies` uses it.
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
