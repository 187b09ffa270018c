"""A local SageMaker that models managed spot training; everything else of AWS comes from moto, on its port.

    lifecycle    statuses, and the moves between them; `stopping`: the limits of run time and max wait
    protocol     AWS JSON 1.1: parse, validate against botocore's model, answer, errors
    operations   one handler per operation, in a dispatch table
    rules        what the model cannot say: spot and max wait, names, limits
    store        the training jobs
    engine       a heap of due events that moves the jobs through `lifecycle`
    market       who has capacity when, at what price; `traces` reads recorded capacity
    container    a script job's processes: /opt/ml, channels, checkpoints, logs, model
    access       refuses what a web page may have sent
    control      /_local/: capacity, interruptions, faults, clock, a page for people
    process      a server as a process of its own, for tests

Imports nothing of Airflow and nothing of `spot_training`. `__all__` is what others may use; a name loads its
module when it is first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .account import forget_account, make_client
    from .clock import SimulatedClock
    from .images import ImageRule, Images
    from .interpreter import HOW_TO_MAKE, PYTHON_VARIABLE, find_interpreter
    from .market import MarketSpec, TypeRule
    from .observer import ContainerObserver
    from .process import (
        ENVIRONMENT,
        ControlError,
        ServerHandle,
        ServerStartError,
        complaint_in,
        module_command,
        module_environment,
        serve,
    )
    from .server import LocalSageMaker

__all__ = [
    "ENVIRONMENT",
    "HOW_TO_MAKE",
    "PYTHON_VARIABLE",
    "ContainerObserver",
    "ControlError",
    "ImageRule",
    "Images",
    "LocalSageMaker",
    "MarketSpec",
    "ServerHandle",
    "ServerStartError",
    "SimulatedClock",
    "TypeRule",
    "complaint_in",
    "find_interpreter",
    "forget_account",
    "make_client",
    "module_command",
    "module_environment",
    "serve",
]

_MODULES = {
    "account": ("forget_account", "make_client"),
    "clock": ("SimulatedClock",),
    "images": ("ImageRule", "Images"),
    "interpreter": ("HOW_TO_MAKE", "PYTHON_VARIABLE", "find_interpreter"),
    "market": ("MarketSpec", "TypeRule"),
    "observer": ("ContainerObserver",),
    "process": (
        "ENVIRONMENT",
        "ControlError",
        "ServerHandle",
        "ServerStartError",
        "complaint_in",
        "module_command",
        "module_environment",
        "serve",
    ),
    "server": ("LocalSageMaker",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
