"""A browser for tests that look at pages as people do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """Chromium, which uses no network but what a page asks for. Skips the test without it.

    While it is open, an event loop runs in this thread: no test may start another one.
    """
    api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or pytest.skip("no chromium")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program, args=[*OPTIONS, *options], timeout=60_000
        )
        try:
            yield running
        finally:
            running.close()
