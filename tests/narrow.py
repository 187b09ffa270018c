"""What a person sees of a page on a narrow screen, measured in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH = 390

_TROUBLES = Path(__file__).with_suffix(".js").read_text()


def troubles_of(page: Page) -> list[str]:
    """What is cut, broken or too small on the page as it is shown now, with everything opened."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found: Any = page.evaluate(_TROUBLES)
    return list(found)
