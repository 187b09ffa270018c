"""Jobs and records that no task will look at again: find them, stop the jobs, complete the records.

The names here load with their first use: `sweep.orphans` alone needs neither the ledger nor a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .command import main, settle_this_airflow, sweep_this_airflow

__all__ = ["main", "settle_this_airflow", "sweep_this_airflow"]


def __getattr__(name: str) -> Any:
    if name.startswith("__") or name == "command":  # asked by the import system itself
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import command

    return getattr(command, name)
