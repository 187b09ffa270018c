"""A local SageMaker that models managed spot training. The rest of AWS comes from moto, at the same address.

Folders, each of which imports only from those above it (`tests/test_imports.py` checks this):

    market      which instance type has capacity when, at what price, and which jobs are interrupted
    jobs        the training jobs: statuses, limits, refusals, and the engine that moves them
    services    S3, logs, metrics and events in moto; the price list
    containers  what a job does on its instances: a script with the container contract, or simulated work
    api         SageMaker's API: AWS JSON 1.1, validation, one handler for each operation, faults
    control     the control API and the page, at `/_local/`
    http        the HTTP server, and the check that refuses what a web page may have sent

Apart from these, `conformance` asks a SageMaker, this one or AWS's, how it behaves. It is a client.

At the top, `server` puts these together, `process` starts a server in its own process for tests, `clock` is
simulated time, `account` the account and region, `service_model` botocore's model of SageMaker, `reply` an
answer. `old_names` keeps the module names from before there were folders.

The package imports nothing of Airflow or `spot_training`. Use the names in `__all__`. A name loads its module
on first use, so importing the package is cheap.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .old_names import OldNames

if TYPE_CHECKING:
    from local_sagemaker.containers.checkpoints import MARKER_SUFFIXES, UNSYNCED_SUFFIXES
    from local_sagemaker.containers.images import ImageRule, Images
    from local_sagemaker.containers.interpreter import HOW_TO_MAKE, PYTHON_VARIABLE, find_interpreter
    from local_sagemaker.containers.observer import ContainerObserver
    from local_sagemaker.market import MarketSpec, TypeRule

    from .account import forget_account, make_client
    from .clock import SimulatedClock
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
    "MARKER_SUFFIXES",
    "PYTHON_VARIABLE",
    "UNSYNCED_SUFFIXES",
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
    "containers.checkpoints": ("MARKER_SUFFIXES", "UNSYNCED_SUFFIXES"),
    "containers.images": ("ImageRule", "Images"),
    "containers.interpreter": ("HOW_TO_MAKE", "PYTHON_VARIABLE", "find_interpreter"),
    "containers.observer": ("ContainerObserver",),
    "market": ("MarketSpec", "TypeRule"),
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


sys.meta_path.append(OldNames())
