"""The module names of this package from before it had folders: imports of them still work.

An old module forwards each name to the modules that have it now.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_PACKAGE = __name__.rpartition(".")[0]
#: Old name -> where its content is now. Where there are several, the first is the one to use.
MOVED: dict[str, tuple[str, ...]] = {
    "access": ("http.access",),
    "checkpoints": ("containers.checkpoints", "containers.processes"),
    "container": (
        "containers.script",
        "containers.context",
        "containers.contract",
        "containers.archives",
    ),
    "engine": ("jobs.engine", "jobs.life", "jobs.messages", "jobs.errors"),
    "events": ("services.events",),
    "faults": ("api.faults",),
    "gaps": ("services.gaps",),
    "images": ("containers.images",),
    "inputs": ("containers.inputs",),
    "interpreter": ("containers.interpreter",),
    "launcher": ("containers.launcher",),
    "lifecycle": ("jobs.lifecycle",),
    "logs": ("services.logs",),
    "metrics": ("services.metrics", "containers.usage"),
    "objects": ("services.objects",),
    "observer": ("containers.observer",),
    "operations": ("api.operations", "jobs.description"),
    "page": ("control.page",),
    "pricing": ("services.pricing",),
    "protocol": ("api.protocol", "reply"),
    "rules": ("jobs.rules", "jobs.errors"),
    "search": ("api.search",),
    "stopping": ("jobs.stopping",),
    "store": ("jobs.store", "jobs.job", "jobs.errors", "account"),
    "traces": ("market.traces",),
    "validation": ("api.validation", "service_model", "jobs.errors"),
    "work": ("jobs.work", "containers.simulated"),
    "wrong_answers": ("api.wrong_answers",),
}


class OldNames(MetaPathFinder):
    """Finds the modules in `MOVED`. Goes last on `sys.meta_path`, so it costs other imports nothing."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, _Forward()) if package == _PACKAGE and name in MOVED else None


class _Forward(Loader):
    def exec_module(self, module: ModuleType) -> None:
        places = [f"{_PACKAGE}.{place}" for place in MOVED[module.__name__.rpartition(".")[2]]]

        def __getattr__(name: str) -> Any:  # noqa: N807  (a module's own, PEP 562)
            for place in places:
                found = import_module(place)
                if hasattr(found, name):
                    return getattr(found, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__dict__["__getattr__"] = __getattr__
        message = f"{module.__name__} is now {places[0]}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
