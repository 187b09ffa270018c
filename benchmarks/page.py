"""How quick the page is in a real browser, with 100,000 trainings on record.

    python benchmarks/page.py [--trainings 100000] [--rounds 7] [--out FILE]

A merged ledger (made as in `benchmarks/ledger.py`), only Airflow's API server, and Chromium. The
server is warm: the page was requested once. Each round opens the page in a browser with an empty cache, and
prints the median and the worst time from the request to the first contentful paint and to the last chart, for
the last 30 days and for all time. Nothing is written without --out.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from benchmarks.ledger import build  # noqa: E402
from include.local_stack import LocalStack  # noqa: E402

BROWSER = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
WINDOWS = {"the last 30 days of records": "since=2025-12-01&until=2025-12-31", "all time": "window=all"}
DAGS = """
from airflow.sdk import DAG
for number in range(40):
    with DAG(f"retrain_model-{number}", schedule=None):
        pass
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trainings", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = list(_measure(options.trainings, options.rounds))
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    return 0


def _measure(trainings: int, rounds: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "ledger", trainings)
        (folder / "dags").mkdir()
        (folder / "dags" / "models.py").write_text(DAGS)
        with LocalStack(
            ROOT,
            folder / "state",
            components=("api-server",),
            dags_folder=folder / "dags",
            start_timeout_seconds=280,
            env={
                "AIRFLOW__SPOT_TRAINING__LEDGER": f"file://{folder / 'ledger'}",
                "AIRFLOW__SPOT_TRAINING__INSTALLATION": "airflow",  # the owner of the records
            },
        ) as stack:
            stack.run_airflow("dags", "reserialize")
            yield f"{trainings:,} trainings, {platform.platform()}, load {os.getloadavg()[0]:.1f}"
            yield ""
            yield "| | first paint, ms | worst | last chart, ms | worst |"
            yield "| --- | ---: | ---: | ---: | ---: |"
            yield from _rows(stack, rounds)


def _rows(stack: LocalStack, rounds: int) -> Iterator[str]:
    from playwright.sync_api import sync_playwright

    login = {"username": stack.login.username, "password": stack.login.password}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER.split())
        for title, query in WINDOWS.items():
            times = [_visit(browser, stack.airflow_url, login, query) for _ in range(rounds + 1)][1:]
            cells = [f"{f(one):.0f}" for one in zip(*times, strict=True) for f in (statistics.median, max)]
            yield f"| {title} | {' | '.join(cells)} |"
        browser.close()


def _visit(browser: Any, url: str, login: dict[str, str], query: str) -> tuple[float, float]:
    """Milliseconds to the first contentful paint and to the last chart, in a fresh browser profile."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    token = context.request.post(f"{url}/auth/token", data=login).json()["access_token"]
    context.add_cookies([{"name": "_token", "value": token, "url": url}])
    page = context.new_page()
    started = time.monotonic()
    page.goto(f"{url}/spot-training/?{query}")
    assert page.locator(".headline").count() == 1, page.locator("main").inner_text()  # noqa: S101
    page.locator("html[data-drawn]").wait_for(state="attached")
    drawn = (time.monotonic() - started) * 1000
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    painted = float(page.evaluate(paint))
    context.close()
    return painted, drawn


if __name__ == "__main__":
    raise SystemExit(main())
