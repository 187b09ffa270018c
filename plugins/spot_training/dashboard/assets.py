"""The static files of a page: our own, and Vega-Lite from its package.

The address of a file has a digest of its content, so a browser may cache it forever and never uses an old
one.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

STATIC = Path(__file__).parent / "static"
CHARTS = "charts.js"
LOGIN = "login.js"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
#: The package's V8 makes the bundle in about a second.
_BUNDLE_SECONDS = 120
_bundle_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file as it is served."""

    content: bytes
    media_type: str


def names() -> tuple[str, ...]:
    """The names of the files, without the charts if their package is missing."""
    ours = sorted(path.name for path in STATIC.iterdir() if path.suffix in _TYPES)
    return (*ours, CHARTS) if has_charts() else tuple(ours)


def has_charts() -> bool:
    """Whether the package with the charts is installed."""
    return bool(_charts_version())


def url(name: str) -> str:
    """The address of a file, relative to the page."""
    return f"static/{digest(name)}/{name}"


@cache
def digest(name: str) -> str:
    """Changes with the content of a file. For the charts, it depends on the version of their package."""
    content = _charts_version().encode() if name == CHARTS else (STATIC / name).read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def read(name: str) -> Asset:
    """One of the files in `names()`."""
    if name == CHARTS:
        with _bundle_lock:
            return Asset(content=_bundle(), media_type=_TYPES[".js"])
    return Asset(content=(STATIC / name).read_bytes(), media_type=_TYPES[Path(name).suffix])


@cache
def _charts_version() -> str:
    try:
        return version("vl-convert-python")
    except PackageNotFoundError:
        return ""


@cache
def _bundle() -> bytes:
    """Vega-Lite, Vega and Vega-Embed as one JavaScript module.

    Made in a separate process, because it takes 150 MB, which the API server would never release.
    """
    code = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=_BUNDLE_SECONDS, check=True
    )
    return done.stdout
