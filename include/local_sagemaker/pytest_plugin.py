"""The old name of `spot_drill.pytest_plugin`: registers that plugin, unless it is registered already.

It is a separate module, because pytest refuses the same module under two names.
"""

from __future__ import annotations

from typing import Any

from spot_drill import pytest_plugin as _plugin

pytest_plugins = ["spot_drill.pytest_plugin"]


def __getattr__(name: str) -> Any:
    """For imports only. pytest looks for fixtures and hooks with `dir`, which does not list these names."""
    return getattr(_plugin, name)
