"""The built site, once for all tests, and a browser that types into its search."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.browser import chromium
from tests.cloud import Cloud, serving
from tests.serving import running

ROOT = Path(__file__).resolve().parents[2]
MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[Cloud]:
    """A cloud without spot capacity and with a plain clock, on which jobs wait for hours."""
    with serving("--speed", "1", "--market", "no-capacity") as cloud:
        yield cloud


class Built(NamedTuple):
    """The folder of the site, and the lines of mkdocs that are warnings or errors."""

    folder: Path
    problems: list[str]


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The site. A warning is a problem, as in scripts/docs, but does not hide what other tests look at."""
    if not MKDOCS.exists():
        pytest.skip("mkdocs is missing: scripts/docs installs it into .venv-docs")
    folder = tmp_path_factory.mktemp("site")
    command = [str(MKDOCS), "build", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return Built(
        folder, [line for line in said.splitlines() if line.startswith(("WARNING", "ERROR", "  - "))]
    )


@pytest.fixture(scope="session")
def site(built_site: Built) -> Path:
    """The folder of the site."""
    return built_site.folder


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    with running(partial(_Quiet, directory=str(site))) as found:
        yield found


@pytest.fixture(scope="module")
def browser_page(address: str) -> Iterator[Any]:
    """A page of the site with its search open. No longer than a module: it keeps an event loop running."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        yield page
