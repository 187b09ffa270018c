"""Waiting for a condition with a time limit. Only this module of the stack sleeps."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypeVar

from include.local_stack.errors import StackTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")
#: How many times as long as usual everything may take, for a slow or busy machine; 1 by default.
PATIENCE = "LOCAL_STACK_PATIENCE"


def patience() -> float:
    """The factor by which every time limit of a wait is longer."""
    return float(os.environ.get(PATIENCE) or 1)


def wait_until(
    look: Callable[[], Found | None],
    what: str,
    *,
    timeout_seconds: float,
    poll_seconds: float = 0.2,
    explain: Callable[[], str] | None = None,
) -> Found:
    """Return what `look` finds as soon as it is truthy.

    Raises:
        StackTimeoutError: with `what` it waited for, and the result of `explain`.
    """
    timeout_seconds *= patience()
    limit = time.monotonic() + timeout_seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= limit:
            detail = f": {explain()}" if explain else ""
            raise StackTimeoutError(f"waited {timeout_seconds:g} s for {what}{detail}")
        time.sleep(poll_seconds)
