"""Each page in a browser as wide as a phone: whole words and legends, and nothing wider than the screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local_sagemaker.control.page import render_page
from spot_training.dashboard import assets, rendering
from spot_training.dashboard.overview import Filters, Window
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import Attempt, statement_of
from spot_training.ledger import Ledger, Selection
from spot_training.report import Links, TrainingReport, report_of, to_html
from spot_training.sagemaker.console import console_of
from tests.browser import chromium
from tests.dashboard.rendered import NOW, overview_page, training_page
from tests.dashboard.trainings import BEGAN, history, training, under_way
from tests.local_sagemaker.support import Simulation
from tests.narrow import WIDTH, troubles_of
from tests.records import make_attempt
from tests.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ENDPOINT = "http://127.0.0.1:4566"
PLACE = {
    "region": "us-east-1",
    "endpoint_url": ENDPOINT,
    "local_cloud": "local cloud, clock x150",
    "checkpoint_uri": "s3://a-bucket-with-a-long-name/checkpoints/flight-delays/0123456789ab",
    "model_uri": "s3://a-bucket-with-a-long-name/models/model-0123456789ab-2/output/model.tar.gz",
}
DRAWN = ("overview", "one training", "running", "over")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The pages with their files on loopback, and the report."""
    folder = tmp_path_factory.mktemp("pages")
    # A report without a waste: its legend has all it can have.
    lost = training(run_id="lost", attempts=tuple(_lost()), prices=training().prices, **PLACE)
    records = [*history(60, until=NOW, days=60), under_way(dag_id="predict_churn", **PLACE), lost]
    console = console_of(ENDPOINT, region="us-east-1")
    pages = {
        "overview": overview_page(folder / "many", *records, filters=Filters(window=Window.ALL)),
        "one training": overview_page(folder / "one", training(), filters=Filters(since=BEGAN.date())),
        "running": training_page(under_way(**PLACE), console=console),
        "over": training_page(training(scouts=SCOUTS, **PLACE), console=console),
        "problem": rendering.render("problem.html.j2", status=422, detail="window: " + "x" * 300, login=None),
        "report": _report(folder / "many"),
        "report of one": _report(folder / "one"),
        "report of a training": f"<meta name=viewport content='width=device-width'>{_mail()}",
    }
    files = {f"/page/{name}": (page.encode(), "text/html; charset=utf-8") for name, page in pages.items()}
    for name in assets.names():
        asset = assets.read(name)
        files[f"/page/{assets.url(name)}"] = (asset.content, asset.media_type)
    with serving({path.replace(" ", "%20"): file for path, file in files.items()}) as url:
        yield f"{url}/page"


def _scouts() -> Iterator[Attempt]:
    """In four rounds: one that found capacity, and one that waited in vain."""
    for number in range(1, 9):
        found, kind = number % 2 == 1, 5 + (number + 1) % 2
        name = f"predict-churn-scout-0123456789ab-{number}"
        used = {"training_seconds": 120, "billable_seconds": 40}
        unused = {"started_at": None, "training_seconds": 0, "billable_seconds": 0}
        yield make_attempt(
            number=number,
            job_name=name,
            ending=Ending.SCOUT_DONE,
            instance_type=f"ml.g{kind}.12xlarge",
            instance_count=4,
            **(used if found else unused),
        )


SCOUTS = tuple(_scouts())


def _lost() -> Iterator[Any]:
    """Attempts that cost more than on-demand would have."""
    first, second = training().attempts
    yield replace(first, has_checkpoints=False, billable_seconds=20_000, training_seconds=20_000)
    yield replace(second, has_checkpoints=False)


def _report(folder: Path) -> str:
    with Ledger.at(folder).read() as reader:
        made = report_of(reader, Selection(), title="Spot trainings of retrain_flight_delays", made_at=NOW)
    return to_html(made, Links(airflow_url="https://airflow.example.com"))


def _mail() -> str:
    attempts = training().attempts
    savings = statement_of(attempts).to_json()
    return TrainingReport.of(
        savings,
        [attempt.to_json(with_transitions=False) for attempt in attempts],
        title="retrain_flight_delays manual__2026-03-02T09:00:00+00:00",
    ).mail


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": WIDTH, "height": 800})
    yield opened
    opened.close()


def _open(page: Page, site: str, name: str) -> None:
    page.goto(f"{site}/{name}")
    if name in DRAWN:
        page.locator("html[data-drawn]").wait_for(state="attached")


@pytest.mark.parametrize("name", [*DRAWN, "problem", "report", "report of one", "report of a training"])
def test_a_page_is_whole_on_a_phone(site: str, page: Page, name: str) -> None:
    _open(page, site, name)
    assert troubles_of(page) == []


def test_many_scouts_are_few_thin_rows_with_words_for_each_bar(site: str, page: Page) -> None:
    _open(page, site, "over")
    chart = page.locator("#scouts-chart")
    bars = chart.locator("[aria-label^='Scout ']")
    assert len(SCOUTS) == 8
    assert bars.first.get_attribute("aria-label") == "Scout 1 for ml.g5.12xlarge, waiting: 1 h"
    assert bars.count() == 12, "each waited, and every other one had capacity"
    box = chart.bounding_box()
    assert box is not None
    assert 0 < box["height"] < 100
    assert "scout with capacity" in page.locator(".legend").first.inner_text()
    _open(page, site, "running")
    assert page.locator("#scouts-chart").is_hidden()


def test_the_page_of_the_local_sagemaker_is_whole_on_a_phone(page: Page) -> None:
    simulation = Simulation()
    simulation.create(
        "retrain-flight-delays-train-0123456789ab-1", CheckpointConfig={"S3Uri": "s3://bucket/ck"}
    )
    simulation.run_to_end("retrain-flight-delays-train-0123456789ab-1")
    simulation.create("another")
    with simulation.engine as now:
        jobs = list(simulation.engine.store.jobs())
    page.set_content(render_page(jobs, now=now + timedelta(hours=30), speed=60.0, count=900))
    assert page.locator(".job").count() == 2
    assert troubles_of(page) == []


def test_filters_are_behind_one_button_that_says_what_is_chosen(site: str, page: Page) -> None:
    _open(page, site, "one training")
    button, form = page.get_by_role("button", name="Filters"), page.get_by_role("form", name="Filters")
    assert "from 2026-03-02" in page.locator(".fold").inner_text()
    assert form.count() == 0
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    form.get_by_label("Model").select_option("flight-delays")
    button.click()
    assert form.count() == 0
    page.set_viewport_size({"width": 1440, "height": 900})
    assert form.count() == 1
    assert not button.is_visible()


def test_without_a_script_the_filters_are_shown(site: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": WIDTH, "height": 800}, java_script_enabled=False)
    page.goto(f"{site}/overview")
    assert page.get_by_role("form", name="Filters").is_visible()
    assert not page.get_by_role("button", name="Filters").is_visible()
    page.close()


@pytest.mark.parametrize("width", [1440, WIDTH])
def test_a_single_bar_does_not_fill_the_chart(site: str, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    _open(page, site, "one training")
    chart = page.locator("#savings-chart svg").bounding_box()
    bar = page.locator("#savings-chart .mark-rect path").first.bounding_box()
    assert chart
    assert bar
    assert 5 < bar["width"] < chart["width"] / 6


def test_axes_of_time_say_utc(site: str, page: Page) -> None:
    for name, charts in (("overview", 3), ("over", 2)):
        _open(page, site, name)
        titles = page.locator(".chart .role-axis-title text").all_text_contents()
        assert sum("UTC" in title for title in titles) == charts, titles


def test_links_of_the_report_lead_to_airflow_and_to_the_jobs(site: str, page: Page) -> None:
    _open(page, site, "report")
    row = page.locator(".dearest tr", has=page.get_by_text("lost", exact=True))
    run = "https://airflow.example.com/dags/retrain_flight_delays/runs/lost"
    found = {link.inner_text(): link.get_attribute("href") for link in row.locator("th a").all()}
    assert found["retrain_flight_delays"] == "https://airflow.example.com/dags/retrain_flight_delays"
    assert (found["lost"], found["train.train"]) == (run, f"{run}/tasks/train.train")
    assert (found["timeline"] or "").startswith("https://airflow.example.com/spot-training/training?dag_id=")
    assert row.locator(".simulated").inner_text() == PLACE["local_cloud"]
    row.locator("summary").click()
    job = training().attempts[0].job_name
    assert row.get_by_role("link", name="job").first.get_attribute("href") == f"{ENDPOINT}/_local/#job-{job}"
    assert row.get_by_role("link", name="log").first.get_attribute("href") == f"{ENDPOINT}/_local/logs/{job}"
    assert row.get_by_role("link", name="model.tar.gz").get_attribute("href") == (
        f"{ENDPOINT}/_local/objects/{PLACE['model_uri'].removeprefix('s3://')}"
    )
