"""Compile where numba is installed; without it the same functions run as plain Python, and slower."""

from __future__ import annotations

from typing import Any

try:
    from numba import njit
except ImportError:
    IS_COMPILED = False

    def jit(function: Any) -> Any:
        return function
else:
    IS_COMPILED = True

    def jit(function: Any) -> Any:
        # cache: the first use on a machine compiles for seconds, later ones load
        return njit(cache=True, nogil=True)(function)
