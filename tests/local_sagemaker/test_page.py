"""The page for people: what it says, and that it stays up to date without losing what a person opened."""

from __future__ import annotations

import re
import urllib.request
from typing import Any

import pytest

from local_sagemaker.control.page import render_page, words
from tests.browser import chromium

from .support import START, Server, Simulation, on_demand_request_for, request_for, source_archive


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (725, "12 min 5 s"),
        (3600, "1 h"),
        (7390, "2 h 3 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_durations_are_said_in_words(seconds: float, text: str) -> None:
    assert words(seconds) == text


def _page_of(simulation: Simulation) -> str:
    with simulation.engine as now:
        jobs = list(simulation.engine.store.jobs())
    return render_page(jobs, now=now, speed=60.0, count=len(jobs))


def test_a_timeline_is_reported_in_words_too() -> None:
    simulation = Simulation()
    simulation.create(CheckpointConfig={"S3Uri": "s3://bucket/ck"})
    simulation.run_until(lambda: simulation.job().secondary_status == "Training")
    simulation.pass_time(600)
    simulation.engine.interrupt("job")
    simulation.run_to_end()
    page = _page_of(simulation)
    story = "Timeline: waiting 2 min, downloading 1 min, training 10 min, interrupted 2 min, waiting 2 min"
    assert story in page
    assert "Waited 6 min, had instances for 33 min, billed 9 min 54 s (70% saved)" in page


def test_every_type_of_instance_groups_is_reported_with_its_number() -> None:
    simulation = Simulation()
    types = {"ml.c5.xlarge": 1, "ml.m5.xlarge": 2}
    groups = [
        {"InstanceGroupName": f"g{count}", "InstanceType": each, "InstanceCount": count}
        for each, count in types.items()
    ]
    simulation.create(ResourceConfig={"InstanceGroups": groups})
    assert "1 × ml.c5.xlarge + 2 × ml.m5.xlarge, spot." in _page_of(simulation)


def test_a_job_that_waits_and_one_that_never_started_say_so() -> None:
    simulation = Simulation()
    simulation.engine.set_capacity("ml.m5.xlarge", available=False)
    simulation.create("waits")
    simulation.create("given-up")
    simulation.pass_time(3600)
    simulation.engine.stop("given-up")
    simulation.pass_time(600)
    page = _page_of(simulation)
    assert "Waiting for 1 h 10 min" in page
    assert "Waited 1 h, never had instances" in page


def test_an_empty_page_says_how_to_begin_and_a_long_one_what_it_leaves_out() -> None:
    assert "No training jobs yet." in render_page([], now=START, speed=60.0, count=0)
    simulation = Simulation()
    simulation.create()
    page = render_page([simulation.job()], now=START, speed="max", count=900)
    assert "The newest 1 of 900 are shown." in page
    assert "speed max" in page


def test_the_log_of_a_script_is_a_link_and_that_of_a_simulated_job_is_not(
    server: Server, training_python: str
) -> None:
    server.put("s3://bucket/source.tar.gz", source_archive("print('<b>hello</b>')"))
    parameters = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": "s3://bucket/source.tar.gz",
    }
    client = server.client("sagemaker")
    long = {"MaxRuntimeInSeconds": 5 * 86400}
    client.create_training_job(
        **on_demand_request_for(
            "script", Environment=None, HyperParameters=parameters, StoppingCondition=long
        )
    )
    client.create_training_job(**request_for("simulated", Environment={"LOCAL_TRAINING_SECONDS": "60"}))
    for name in ("script", "simulated"):
        server.wait_for_end(name)
    page = server.send("GET", "/_local/")[1].decode()
    assert 'href="logs/script"' in page
    assert 'href="logs/simulated"' not in page
    status, log = server.send("GET", "/_local/logs/script")
    assert status == 200
    assert b"== script/algo-1-" in log
    assert b"\n<b>hello</b>\n" in log
    assert server.send("GET", "/_local/logs/simulated")[0] == 404


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_stays_up_to_date_and_keeps_what_a_person_opened(server: Server, scheme: Any) -> None:
    client = server.client("sagemaker")
    client.create_training_job(**request_for("first", Environment={"LOCAL_TRAINING_SECONDS": "7000"}))
    with chromium() as browser:
        page = browser.new_page(color_scheme=scheme, viewport={"width": 360, "height": 700})
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
        page.goto(f"{server.url}/_local/")
        page.locator("#job-first summary").click()
        client.stop_training_job(TrainingJobName="first")
        client.create_training_job(**request_for("second"))
        page.locator("#jobs > li").first.get_by_role("heading", name="second").wait_for()
        page.locator("#job-first .status", has_text="Stopped").wait_for()
        assert page.locator("#job-first details[open] li").last.inner_text().startswith("Stopped at")
        assert page.locator("#job-first").get_by_role("img").get_attribute("aria-label")
        page.get_by_role("button", name="Pause updates").press("Enter")
        assert page.get_by_role("button", name="Resume updates").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert troubles == []


def test_a_file_is_a_download_and_a_folder_lists_its_files(server: Server) -> None:
    name = "models/<b>&'.tar.gz"
    server.put(f"s3://bucket/{name}", b"a model")
    server.put("s3://bucket/models2/other", b"")
    status, listed = server.send("GET", "/_local/objects/bucket/models")
    page = listed.decode()
    assert status == 200
    assert "&lt;b&gt;&amp;&#x27;.tar.gz</a>" in page
    assert "models2" not in page
    (address,) = re.findall(r'href="(/_local/[^"]*)"', page)
    with urllib.request.urlopen(server.url + address, timeout=20) as answer:  # noqa: S310
        assert answer.read() == b"a model"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for place in ("bucket/nothing", "no-bucket/models", "bucket/model"):
        assert server.send("GET", f"/_local/objects/{place}")[0] == 404
