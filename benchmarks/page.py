"""How quick the page is in a real browser, with 100,000 trainings on record.

    python benchmarks/page.py [--trainings 100000] [--live 0] [--rounds 7] [--out FILE]

With `--live`, so many more trainings run, each with a record and a note of its job in small files.
A merged ledger (made as in `benchmarks/ledger.py`), only Airflow's API server, and Chromium. The
server is warm: the page was requested once. Each round opens the page in a browser with an empty cache, and
prints the median and the worst time from the request to the first contentful paint and to the last chart, for
the last 30 days, for all time and for the page of what runs now. Nothing is written without --out.
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
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from benchmarks.ledger import build  # noqa: E402
from include.local_stack import LocalStack  # noqa: E402
from spot_training.domain.lifecycle import (  # noqa: E402
    JobSnapshot,
    SecondaryStatus,
    TrainingStatus,
    Transition,
)
from spot_training.domain.records import CurrentJob, Price, TrainingRecord  # noqa: E402
from spot_training.domain.savings import PurchaseOption  # noqa: E402
from spot_training.ledger import Ledger  # noqa: E402

BROWSER = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
PAGES = {
    "the last 30 days of records": "?since=2025-12-01&until=2025-12-31",
    "all time": "?window=all",
    "what runs now": "now",
}
DAGS = """
from airflow.sdk import DAG
for number in range(40):
    with DAG(f"retrain_model-{number}", schedule=None):
        pass
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trainings", type=int, default=100_000)
    parser.add_argument("--live", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = list(_measure(options.trainings, options.live, options.rounds))
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    return 0


def _start_trainings(ledger: Ledger, count: int) -> None:
    """Records and notes of trainings that run: half of them wait."""
    now = datetime.now(UTC)
    for number in range(count):
        began = now - timedelta(minutes=number % 500 + 5)
        waited = began + timedelta(minutes=4)
        first = Transition(status=SecondaryStatus.STARTING, started_at=began, ended_at=waited)
        trains = Transition(status=SecondaryStatus.TRAINING, started_at=waited)
        visits = (first, trains) if number % 2 else (replace(first, ended_at=None),)
        job = JobSnapshot(
            name=f"model-{number % 40}-0123456789ab-{number}",
            arn="",
            status=TrainingStatus.IN_PROGRESS,
            secondary_status=visits[-1].status,
            is_spot=True,
            created_at=began,
            last_modified_at=now,
            instance_type="ml.m5.xlarge",
            transitions=visits,
        )
        record = TrainingRecord(
            dag_id=f"retrain_model-{number % 40}",
            run_id=f"live {number}",
            task_id="train",
            version=1,
            model=f"model-{number % 40}",
            team=f"team-{number % 8}",
            region="us-east-1",
            instance_type="ml.m5.xlarge",
            began_at=began,
            deadline_at=began + timedelta(hours=12),
            latest_on_demand_at=began + timedelta(hours=8),
            current_job=CurrentJob(
                job_name=job.name, reason="first of 3 steps", purchase=PurchaseOption.SPOT
            ),
            prices=(Price(instance_type="ml.m5.xlarge", usd_per_hour=0.23, as_of=began, source="a file"),),
            written_at=began,
        )
        ledger.write(record)
        ledger.note(record.key, job)


def _measure(trainings: int, live: int, rounds: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "ledger", trainings)
        _start_trainings(Ledger.at(folder / "ledger"), live)
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
            load = f"load {os.getloadavg()[0]:.1f}"
            yield f"{trainings:,} trainings, {live:,} more that run, {platform.platform()}, {load}"
            yield ""
            yield "| | first paint, ms | worst | last chart, ms | worst |"
            yield "| --- | ---: | ---: | ---: | ---: |"
            yield from _rows(stack, rounds)


def _rows(stack: LocalStack, rounds: int) -> Iterator[str]:
    from playwright.sync_api import sync_playwright

    login = {"username": stack.login.username, "password": stack.login.password}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER.split())
        for title, path in PAGES.items():
            times = [_visit(browser, stack.airflow_url, login, path) for _ in range(rounds + 1)][1:]
            cells = [f"{f(one):.0f}" for one in zip(*times, strict=True) for f in (statistics.median, max)]
            yield f"| {title} | {' | '.join(cells)} |"
        browser.close()


def _visit(browser: Any, url: str, login: dict[str, str], path: str) -> tuple[float, float]:
    """Milliseconds to the first contentful paint and to the last chart, in a fresh browser profile."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    token = context.request.post(f"{url}/auth/token", data=login).json()["access_token"]
    context.add_cookies([{"name": "_token", "value": token, "url": url}])
    page = context.new_page()
    started = time.monotonic()
    page.goto(f"{url}/spot-training/{path}")
    assert page.locator("#month").count() == 1, page.locator("main").inner_text()  # noqa: S101
    if path != "now":  # without charts
        page.locator("html[data-drawn]").wait_for(state="attached")
    drawn = (time.monotonic() - started) * 1000
    # The browser may report its first paint a moment after the charts are there.
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    painted = float(page.wait_for_function(paint).json_value())
    context.close()
    return painted, drawn


if __name__ == "__main__":
    raise SystemExit(main())
