"""The page in a real browser, in a real Airflow below a base path, with real trainings on the local cloud."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import httpx
import pytest

from include.local_stack import wait_until
from include.local_stack.environment import airflow_version
from spot_training.dashboard import assets
from spot_training.domain.record_keys import record_key

from .conftest import ROOT, SPEED, Site, Visitor
from .hostile import MARKUP
from .trainings import BEGAN

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Frame, Locator, Page

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

#: Set it to have the pictures in the docs taken anew.
TAKES_PICTURES = os.environ.get("SPOT_SCREENSHOTS") == "1"
PICTURES = ROOT / "docs" / "images"
#: Airflow's UI shows the pages of plugins since 3.1, and its address follows what is in the frame since 3.3.
#: The login is a cookie since 3.1.
FRAMES = HAS_LOGIN_COOKIE = airflow_version() >= (3, 1)
FOLLOWS_THE_FRAME = airflow_version() >= (3, 3)
PAST_RUN = "manual__2026-03-02T09:00:00+00:00"


def _wait_until_drawn(page: Page | Frame) -> None:
    page.locator("html[data-drawn]").wait_for(state="attached")


def _frame(page: Page, title: str = "Spot") -> Frame:
    """What Airflow frames."""
    page.frame_locator(f"iframe[title='{title}']").locator("main").wait_for()
    return next(frame for frame in page.frames if frame.parent_frame)


def _forgive(visitor: Visitor, status: int) -> None:
    """A refusal that was asked for: the browser itself tells of it."""
    visitor.troubles[:] = [trouble for trouble in visitor.troubles if f"status of {status}" not in trouble]


def _take_picture(page: Page, name: str) -> None:
    if TAKES_PICTURES:
        PICTURES.mkdir(exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}.png")


def _table(page: Page | Frame, caption: str) -> Locator:
    return page.get_by_role("table", name=caption, exact=True)


# Who may see it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "training?dag_id=predict_churn&run_id=x&task_id=train",
        "now",
        "api/now",
        "api/overview",
        "api/trainings",
        "api/choices",
        "api/training?dag_id=predict_churn&run_id=x&task_id=train",
        "api/openapi.json",
        "icon.svg",
        assets.url("page.js"),
        "openapi.json",
        "docs",
        "redoc",
    ],
)
def test_nothing_is_served_without_airflows_login(site: Site, path: str) -> None:
    answer = httpx.get(site.page + path)
    # FastAPI's own addresses are not there at all.
    assert answer.status_code in ({404} if path in {"openapi.json", "docs", "redoc"} else {401})
    assert "html" not in answer.text or "Log in to Airflow" in answer.text
    forged = httpx.get(site.page + path, headers={"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."})
    assert forged.status_code in {401, 403, 404}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["", "training", "api/overview", "api/training", "icon.svg"])
def test_there_is_nothing_to_change(site: Site, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {site.token('admin')}"}
    assert httpx.request(method, site.page + path, headers=headers).status_code == 405


def test_every_answer_forbids_what_the_page_does_not_need(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.token('admin')}"}
    # Whoever asks first waits until the server has read the ledger, and made the charts.
    with httpx.Client(base_url=site.page, headers=headers, timeout=60) as client:
        for path, status in (("", 200), ("api/choices", 200), ("api/training", 422), ("nothing", 404)):
            answer = client.get(path)
            assert answer.status_code == status
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "no-store" in answer.headers["Cache-Control"]
        assert "page.css" in client.get("").text
        for name in assets.names():
            file = client.get(assets.url(name))
            assert file.status_code == 200
            assert "immutable" in file.headers["Cache-Control"]


def test_a_user_sees_only_the_dags_airflow_lets_them_read(site: Site, visit: Any) -> None:
    visitor = visit("guest")
    guest = visitor.page
    guest.goto(f"{site.page}?window=all")
    dags = "select[name=dag_id]"
    assert guest.locator(f"{dags} option").all_inner_texts() == ["All Dags", "predict_churn"]
    assert "ranking" not in guest.locator("main").inner_text()
    assert "forecasting" not in guest.locator("body").inner_html()
    admin = visit("admin").page
    admin.goto(f"{site.page}?window=all")
    assert "rank_search" in admin.locator(f"{dags} option").all_inner_texts()

    headers = {"Authorization": f"Bearer {site.token('guest')}"}
    mine = httpx.get(f"{site.page}api/overview?window=all", headers=headers).json()
    asked = httpx.get(f"{site.page}api/overview?window=all&dag_id=rank_search", headers=headers).json()
    everything = httpx.get(
        f"{site.page}api/overview?window=all", headers={"Authorization": f"Bearer {site.token('admin')}"}
    ).json()
    assert 0 < mine["totals"]["trainings"] < everything["totals"]["trainings"]
    assert asked["totals"]["trainings"] == 0
    theirs = {"dag_id": "retrain_flight_delays", "run_id": PAST_RUN, "task_id": "train.train"}
    missing = theirs | {"run_id": "there is none"}
    for task in (theirs, missing):
        answer = httpx.get(f"{site.page}api/training", params=task, headers=headers)
        assert answer.status_code == 403
    guest.goto(site.training(PAST_RUN, "retrain_flight_delays", "train.train"))
    assert guest.get_by_role("heading").inner_text() == "This page cannot be shown"
    _forgive(visitor, 403)


def test_who_is_not_logged_in_is_shown_the_way(site: Site, visit: Any) -> None:
    visitor = visit(None)
    visitor.page.goto(site.page)
    visitor.page.get_by_role("link", name="Log in to Airflow").click()
    _log_in(visitor.page, site)
    visitor.page.get_by_role("heading", name="Spot training", exact=True).wait_for()
    assert visitor.page.url == site.page
    _forgive(visitor, 401)


def _log_in(page: Page, site: Site) -> None:
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(site.passwords["admin"])
    page.get_by_role("button", name="Sign in").click()


# The page --------------------------------------------------------------------------------------------


def _train_for_a_picture(site: Site) -> None:
    """Two trainings that run, for the pictures in the docs alone."""
    for dag_id in ("predict_churn", "forecast_demand"):
        site.start(dag_id, seconds=600 * SPEED)
    headers = {"Authorization": f"Bearer {site.token('admin')}"}

    def train() -> bool:
        phases = httpx.get(f"{site.page}api/now", headers=headers, timeout=60).json()["phases"]
        return bool(phases.get("training", 0) >= 2)

    wait_until(train, "two trainings train", timeout_seconds=120)


def test_the_navigation_leads_to_the_page(site: Site, visit: Any) -> None:
    if TAKES_PICTURES:
        _train_for_a_picture(site)
    page = visit().page
    page.goto(f"{site.url}/")
    page.get_by_role("link", name="Home").first.wait_for()
    if not FRAMES:
        assert page.get_by_role("link", name="Spot", exact=True).count() == 0
        return
    page.get_by_role("link", name="Spot", exact=True).click()
    frame = _frame(page)
    assert re.search(r"Spot (saved|lost)", frame.locator(".headline").inner_text())
    assert page.url.startswith(f"{site.url}/plugin/spot-training")
    _wait_until_drawn(frame)
    _take_picture(page, "page-light")
    frame.get_by_label("Started").select_option("all")
    frame.get_by_role("button", name="Apply").click()
    if FOLLOWS_THE_FRAME:
        page.wait_for_url(re.compile("window=all"))
        # Airflow keeps the frame's own address in its own, so that it can be handed on.
        page.reload()
    assert _frame(page).get_by_label("Started").input_value() == "all"


def test_a_login_to_airflow_is_one_to_the_page_until_the_person_logs_out(site: Site, visit: Any) -> None:
    visitor = visit(None)
    page = visitor.page
    page.goto(f"{site.url}/")
    _log_in(page, site)
    page.get_by_role("link", name="Home").first.wait_for()
    page.goto(site.page)
    page.get_by_role("heading", name="Spot training", exact=True).wait_for()
    page.get_by_role("link", name="Newest").click()
    _table(page, "Trainings: newest").wait_for()
    _check_the_cookie_of_the_page(visitor, site)
    other = visitor.context.new_page()
    other.goto(f"{site.url}/")
    if HAS_LOGIN_COOKIE:
        other.goto(f"{site.url}/api/v2/auth/logout")
    else:
        other.evaluate("localStorage.removeItem('token')")  # what Airflow's UI does
    wait_until(lambda: not visitor.context.cookies(), "the login to be forgotten", timeout_seconds=60)
    for _ in range(2):
        page.reload()
        page.get_by_role("link", name="Log in to Airflow").wait_for()
    _forgive(visitor, 401)


def _check_the_cookie_of_the_page(visitor: Visitor, site: Site) -> None:
    """Where Airflow keeps the login in the browser's storage, a minute of it is in a cookie of the page."""
    cookies = {cookie["name"]: cookie for cookie in visitor.context.cookies()}
    if HAS_LOGIN_COOKIE:
        assert set(cookies) == {"_token"}
        return
    assert set(cookies) == {"spot_training_login"}
    cookie = cookies["spot_training_login"]
    assert cookie["path"] == httpx.URL(site.page).path
    assert 0 < cookie["expires"] - time.time() <= 60
    assert cookie["sameSite"] == "Strict"


def test_filters_choose_what_is_summed(site: Site, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(f"{site.page}?window=all")
    everything = page.locator(".statement").inner_text()
    page.get_by_label("Model").select_option("ranking")
    page.get_by_role("button", name="Apply").press("Enter")
    page.wait_for_url(re.compile("model=ranking"))
    assert page.locator(".statement").inner_text() != everything
    rows = _table(page, "Trainings: most expensive").locator("tbody tr")
    assert {text.splitlines()[0] for text in rows.all_inner_texts()} == {"ranking"}
    for order in ("Least saved", "Longest wait", "Most interruptions", "Newest"):
        page.get_by_role("link", name=order).click()
        _table(page, f"Trainings: {order.lower()}").wait_for()
        assert page.get_by_label("Model").input_value() == "ranking"
    page.get_by_role("link", name="Next").click()
    page.get_by_text("Page 2 of").wait_for()
    page.get_by_label("From", exact=True).fill("2020-01-01")
    page.get_by_label("To", exact=True).fill("2020-02-01")
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("heading", name="No trainings").wait_for()
    page.get_by_role("link", name="Reset").click()
    page.wait_for_url(site.page)
    page.goto(f"{site.page}?window=never")
    assert "window" in page.locator("main").inner_text()
    _forgive(visitor, 422)


def test_what_the_charts_show_is_in_tables_too(site: Site, visit: Any) -> None:
    page = visit().page
    page.goto(f"{site.page}?window=90d")
    _wait_until_drawn(page)
    page.get_by_text("Show the figures", exact=True).press("Enter")
    periods = _table(page, "Savings over time").locator("tbody tr")
    bars = page.locator("#savings-chart .mark-rect path")
    shown = {label.split(",")[0] for label in bars.evaluate_all("all => all.map(one => one.ariaLabel)")}
    # A week has no bar if nothing is billed in it. On a Sunday the local SageMaker's fast clock begins one.
    rows = {row.split()[0]: row.count("$0.00") for row in periods.all_inner_texts()}
    assert shown == {
        f"week from {week}" for week, zeros in rows.items() if zeros < len(("billed", "on demand"))
    }
    page.get_by_text("Show the figures by hour").click()
    hours = _table(page, "Waits and interruptions by instance type and hour of the day").locator("tbody tr")
    assert hours.count() >= page.locator("#waits-chart .mark-rect path").count() > 40
    page.locator("#savings-chart .mark-rect path").first.hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "on demand" in tooltip.inner_text()


def test_the_page_is_whole_without_a_script(site: Site, visit: Any) -> None:
    page = visit(java_script_enabled=False).page
    page.goto(f"{site.page}?window=90d")
    assert re.search(r"Spot (saved|lost)", page.locator(".headline").inner_text())
    page.get_by_label("Model").select_option("demand")
    page.get_by_role("button", name="Apply").click()
    rows = _table(page, "Trainings: most expensive").locator("tbody tr")
    assert {text.splitlines()[0] for text in rows.all_inner_texts()} == {"demand"}


def test_a_name_full_of_markup_is_text(site: Site, visit: Any) -> None:
    page = visit().page
    page.goto(f"{site.page}?window=all&model={MARKUP}")
    _wait_until_drawn(page)
    training_link = page.locator("tbody th > a", has_text=MARKUP)
    assert training_link.count() == 1
    page.locator("#waits-chart .mark-rect path").first.hover()
    page.locator("#vg-tooltip-element.visible", has_text="<script>").wait_for()
    training_link.click()
    _wait_until_drawn(page)
    assert MARKUP in page.get_by_role("heading", level=1).inner_text()
    page.locator("#timeline-chart .mark-symbol path").last.hover()
    page.locator("#vg-tooltip-element.visible", has_text="<script>").wait_for()
    assert page.locator("img, main script, [onerror]").count() == 0
    assert page.title().startswith(MARKUP)


# One training ----------------------------------------------------------------------------------------


def test_a_past_training_is_shown_by_bars_marks_lines_and_tables(site: Site, visit: Any) -> None:
    page = visit().page
    page.goto(site.training(PAST_RUN, "retrain_flight_delays", "train.train"))
    _wait_until_drawn(page)
    chart = page.locator("#timeline-chart")
    labels = chart.locator("[aria-label]").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert "Attempt 1, interrupted: 2 min" in labels
    assert "Attempt 2, training: 32 min" in labels
    assert "Decision to start attempt 2: max wait of 2 h passed: next is on-demand" in labels
    assert any(label.startswith(f"deadline: {BEGAN:%Y-%m-%d} 12:00:00") for label in labels)
    assert any(label.startswith("latest on-demand start: ") for label in labels)
    assert "$0.20 billed; the same time on demand costs $0.34" in page.locator("main").inner_text()
    assert _table(page, "Attempts").locator("tbody tr").count() == 2
    page.get_by_text("Show the phases").press("Enter")
    assert _table(page, "Phases of the attempts").locator("tbody tr").count() == 10


def test_a_training_is_followed_while_it_runs(site: Site, visit: Any) -> None:
    site.set_capacity("ml.m5.xlarge", available=False)
    run_id = site.start("predict_churn", seconds=3600)  # half a minute here, also on a busy machine
    site.stack.api.wait_for_task("predict_churn", run_id, "train", {"deferred"})
    page = visit().page
    frame = _open_training(page, site, run_id)
    headline = frame.locator(".headline")
    frame.get_by_text("Attempt 1 (spot ml.m5.xlarge) is waiting.").wait_for()
    assert frame.locator(".state").inner_text() == "running"
    frame.get_by_text("Show the phases").click()
    site.set_capacity("ml.m5.xlarge", available=True)
    frame.get_by_text("Attempt 1 (spot ml.m5.xlarge) is training.").wait_for()
    assert frame.locator("#timeline-chart [aria-label^='Attempt 1, training']").count() == 1
    assert "At most" in frame.locator("[data-live=costs]").inner_text()
    site.set_capacity("ml.m5.xlarge", available=False)
    frame.locator("#timeline-chart [aria-label^='Attempt 1, interrupted']").wait_for(state="attached")
    site.set_capacity("ml.m5.xlarge", available=True)
    frame.get_by_text("Attempt 1 (spot ml.m5.xlarge) is training.").wait_for()
    frame.get_by_role("heading", level=1).scroll_into_view_if_needed()
    _take_picture(page, "timeline-live")
    # AWS is not asked by the page: what it shows came from the triggerer.
    frame.locator(".headline", has_text="Training completed: 1 attempt").wait_for(timeout=120_000)
    assert frame.locator(".state").inner_text() == "completed"
    assert frame.locator("details").get_attribute("open") is not None, "what a person opened stays open"
    assert "interrupted once" in headline.inner_text()
    links = site.stack.api.request("GET", f"dags/predict_churn/dagRuns/{run_id}/taskInstances/train/links")[
        "extra_links"
    ]
    assert set(links) == {"Training timeline", "SageMaker training job", "CloudWatch log"}
    page.goto(links["Training timeline"])
    shown = _frame(page) if FOLLOWS_THE_FRAME else page
    shown.locator(".headline", has_text="Training completed: 1 attempt").wait_for()
    job = httpx.get(links["SageMaker training job"].partition("#")[0])
    assert links["SageMaker training job"].partition("#job-")[2] in job.text
    _click_links(shown, page, site, run_id)
    _check_without_the_ledger(site, run_id)


def _open_training(page: Page, site: Site, run_id: str) -> Page | Frame:
    """The tab of the task; where there are none, the page's own address."""
    if not FRAMES:
        page.goto(site.training(run_id))
        return page
    page.goto(site.task_instance(run_id))
    page.get_by_role("link", name="Spot training").last.click()
    return _frame(page, "Spot training")


def _click_links(shown: Page | Frame, page: Page, site: Site, run_id: str) -> None:
    """The links lead out of Airflow's frame, although its sandbox lets them open nothing."""
    assert shown.locator("h1 .simulated").inner_text() == f"local cloud, clock x{SPEED}"
    local = site.stack.sagemaker_url
    for name, place in (
        ("SageMaker job", "#job-churn-"),
        ("Job log", "logs/churn-"),
        ("s3://models/checkpoints", "objects/models/checkpoints/"),
    ):
        with page.context.expect_page() as opened:
            shown.get_by_role("link", name=name).first.click()
        opened.value.wait_for_load_state()
        assert opened.value.url.startswith(f"{local}/_local/{place}")
        opened.value.close()
    at = page.url
    run = f"{site.url}/dags/predict_churn/runs/{quote(run_id, safe='')}"
    for name, place in (
        ("predict_churn", f"{site.url}/dags/predict_churn"),
        (run_id, run),
        ("train", f"{run}/tasks/train"),
        ("Task log", f"{run}/tasks/train"),
    ):
        page.goto(at)
        where = _frame(page) if FOLLOWS_THE_FRAME else page
        where.get_by_role("link", name=name, exact=True).click()
        page.wait_for_url(_is_at(place))
    page.goto(at)
    where = _frame(page) if FOLLOWS_THE_FRAME else page
    where.get_by_role("link", name="Spot training", exact=True).click()
    # The frame's own links stay in it.
    where.get_by_role("link", name="Newest").click()
    _table(where, "Trainings: newest").wait_for()
    assert where.locator("tbody .simulated").first.inner_text() == f"local cloud, clock x{SPEED}"


def _is_at(place: str) -> Callable[[str], bool]:
    return lambda url: unquote(url.partition("?")[0]) == unquote(place)


def _check_without_the_ledger(site: Site, run_id: str) -> None:
    """Airflow's task state store knows of the attempts what the ledger would."""
    shown = site.ask(run_id)
    for name in site.ledger.fresh_names():
        if name.key == record_key(
            installation="airflow", dag_id="predict_churn", run_id=run_id, task_id="train"
        ):
            site.ledger.forget(name)
    known: Any = wait_until(
        lambda: (without := site.ask(run_id))["team"] is None and without,
        "the ledger's record to be gone",
        timeout_seconds=20,
    )
    for fact in ("state", "model", "bars"):
        assert known[fact] == shown[fact]
    # The state does not say where the jobs are.
    links = {"job_url": "", "log_url": ""}
    assert known["attempts"] == [{**attempt, **links} for attempt in shown["attempts"]]
    assert [mark["action"] for mark in known["marks"]] == ["start attempt 1"]


def test_a_task_that_trains_nothing_says_so(site: Site, visit: Any) -> None:
    page = visit().page
    page.goto(site.training("no such run", "predict_churn", "another_task"))
    page.get_by_role("heading", name="There is no record of a training of this task").wait_for()


# For everybody ---------------------------------------------------------------------------------------


def test_the_page_follows_the_theme_chosen_in_airflow(site: Site, visit: Any) -> None:
    visitor = visit(theme="dark")
    airflow = page = visitor.page
    page.goto(f"{site.url}/plugin/spot-training" if FRAMES else site.page)
    frame = _frame(page) if FRAMES else page
    background = "getComputedStyle(document.body).backgroundColor"
    dark = frame.evaluate(background)
    assert frame.evaluate("document.documentElement.dataset.theme") == "dark"
    _wait_until_drawn(frame)
    if FRAMES:
        theirs = page.evaluate(
            "getComputedStyle(document.documentElement).getPropertyValue('--chakra-colors-bg')"
        )
        assert frame.evaluate("document.documentElement.style.getPropertyValue('--bg')") == theirs
        _take_picture(page, "page-dark")
    else:
        airflow = visitor.context.new_page()
        airflow.goto(f"{site.url}/")
    # What Airflow does when a person chooses another theme.
    airflow.evaluate("localStorage.theme = 'light'; document.documentElement.className = 'light'")
    frame.locator("html[data-theme=light]").wait_for(state="attached")
    assert frame.evaluate(background) != dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_a_choice_in_airflow_the_system_decides(site: Site, visit: Any, scheme: str) -> None:
    page = visit(theme="system", color_scheme=scheme).page
    page.goto(site.page)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(site: Site, visit: Any, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(theme=theme).page
    for address in (
        f"{site.page}?window=all",
        f"{site.page}?dag_id=nobody",
        site.training(PAST_RUN, "retrain_flight_delays", "train.train"),
        site.training("no such run"),
    ):
        page.goto(address)
        _wait_until_drawn(page)
        for summary in page.locator("summary").all():
            summary.click()
        found = axe.run(page).response["violations"]
        shown = [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]
        assert [one["id"] for one in found if one["impact"] in {"serious", "critical"}] == [], shown


def test_the_keyboard_is_enough(site: Site, visit: Any) -> None:
    page = visit().page
    page.goto(f"{site.page}?window=all")
    _wait_until_drawn(page)
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.tagName + ':' + document.activeElement.innerText.trim()")
        )
    for wanted in ("BUTTON:Apply", "A:Reset", "SUMMARY:Show the figures", "A:Most expensive"):
        assert wanted in reached
    assert any(one.startswith("A:ranking") for one in reached)


def test_a_narrow_screen_shows_it_all(site: Site, visit: Any) -> None:
    page = visit(viewport={"width": 360, "height": 700}).page
    for address in (
        f"{site.page}?window=all",
        site.training(PAST_RUN, "retrain_flight_delays", "train.train"),
    ):
        page.goto(address)
        _wait_until_drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_pictures_in_the_docs_are_there() -> None:
    text = (ROOT / "docs" / "page.md").read_text()
    pictures = re.findall(r"\]\((images/[^)]+)\)", text)
    assert pictures
    for picture in pictures:
        assert (ROOT / "docs" / Path(picture)).stat().st_size < 200_000
