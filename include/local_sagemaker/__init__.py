"""The old import names of `local_sagemaker` and `spot_drill` (packages/local-sagemaker).

`include.local_sagemaker.X` is the module `local_sagemaker.X`, and `include.local_sagemaker.drill` is
`spot_drill`. They are the same module objects, because two copies of a class are two classes. Only `__main__`
and `pytest_plugin` are modules of this folder. If the package is not installed, its source in this repository
is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_OWN = {f"{__name__}.__main__", f"{__name__}.pytest_plugin"}
_DRILL = f"{__name__}.drill"


def _new_name(name: str) -> str:
    if name == _DRILL or name.startswith(f"{_DRILL}."):
        return f"spot_drill{name.removeprefix(_DRILL)}"
    return f"local_sagemaker{name.removeprefix(__name__)}"


class _SameModule(Loader):
    """Returns the module of the new name, and restores its own spec."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _OldNames(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{__name__}.") or fullname in _OWN:
            return None
        new_name = _new_name(fullname)
        if importlib.util.find_spec(new_name) is None:
            return None
        return ModuleSpec(fullname, _SameModule(importlib.import_module(new_name)))


if importlib.util.find_spec("local_sagemaker") is None:
    sys.path.append(str(Path(__file__).resolve().parents[2] / "packages" / "local-sagemaker"))
# First, because the folders of the new packages have files with these names: they would be imported as
# copies.
sys.meta_path.insert(0, _OldNames())
warnings.warn(
    "include.local_sagemaker is now local_sagemaker, and include.local_sagemaker.drill is now spot_drill",
    DeprecationWarning,
    stacklevel=2,
)
