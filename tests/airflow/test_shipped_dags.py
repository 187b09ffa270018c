"""The shipped Dags as they are, as a user meets them: Airflow's form in a real browser, and a run's report.

All runs are started first, so that they run at the same time; each test then waits for its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from aiosmtpd.controller import Controller

from include.local_stack import LocalStack, best_database, wait_until
from include.local_stack.environment import airflow_version, find_free_port
from tests.browser import chromium

from .conftest import set_capacity

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
#: A file has the name of its Dag, which a test holds: a Dag that is added is tried as well.
#: Airflow before 3.1 cannot ask a person: that file says so instead of loading (tests/dags).
ASKS, CAN_ASK = {"retrain_with_approval"}, airflow_version() >= (3, 1)
DAGS = sorted({file.stem for file in (ROOT / "dags").glob("*.py")} - (set() if CAN_ASK else ASKS))
TRAIN, FIRST, TASK, REPORT = "retrain_flight_delays", "prepare.channels", "train.train", "report_savings"
#: A minute a second: the default of an hour of run time is a minute on this machine.
SPEED = 60
#: All runs share this machine, and prepare real data.
FINISH_SECONDS = 300

#: What is typed into the form, by Dag and param; "" empties a field. All optional params must be here.
TYPED: dict[str, dict[str, str]] = {
    "advise_on_spot": {
        "work": "5h",
        "model": "flight-delays",
        "scenario": "2h/30m",
        "trace": "s3://not-read/it-is-not-the-spot-market.json",
        "further_types": "2h/1h, 5h/3h",
        "on_demand_price": "0.25",
        "max_runtime": "1d",
        "deadline_reserve": "30m",
    },
    "retrain_flight_delays": {
        "deadline": "2d",
        "policy": "deadline",
        "num_round": "10",
        "max_run": "1h 30m",
        "first_wait": "1d 6h",
    },
    "spot_savings_report": {
        "since": "2020-01-01",
        "until": "2100-12-31",
        "dag_id": TRAIN,
        "model": "flight-delays",
        "instance_type": "ml.m5.xlarge",
        "team": "research",
        "group_by": "",
    },
}

#: Airflow's name for the fields without a section. It opens with the form.
FIRST_SECTION = "Run Parameters"

#: An instance type without spot capacity.
NO_SPOT = "ml.c5.2xlarge"
#: Runs of `retrain_flight_delays` with a conf as the form sent it before: a deadline left empty was "", and
#: durations were seconds.
CONFS: dict[str, dict[str, Any]] = {
    "cleared": {"policy": "planner", "deadline": "2d", "num_round": 10},
    "fails": {
        "policy": "spot_only",
        "deadline": "",
        "instance_type": NO_SPOT,
        "max_run": 600,
        "first_wait": 600,
    },
    "bad input": {"deadline": "", "max_run": 7200, "first_wait": 3600},
    "marked": {"policy": "spot_only", "instance_type": NO_SPOT, "max_run": 600, "first_wait": 86400},
}


class _Inbox:
    """What a mail server does with what it got: keeps it."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture(scope="module")
def inbox() -> Iterator[tuple[_Inbox, int]]:
    kept, port = _Inbox(), find_free_port()
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield kept, port
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, inbox: tuple[_Inbox, int]) -> Iterator[LocalStack]:
    """Airflow with the project's own Dags folder, nothing in it changed."""
    state = tmp_path_factory.mktemp("shipped")
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": inbox[1], "extra": extra}
    settings = {
        "AIRFLOW_VAR_SPOT_TRAINING_CHECK_INTERVAL": "1",
        "AIRFLOW_VAR_SPOT_REPORT_FOLDER": f"file://{state / 'reports'}",
        "AIRFLOW_VAR_FLIGHT_DELAYS_NOTIFIER": json.dumps({"kind": "smtp", "to": "boss@example.com"}),
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(connection),
    }
    with (
        best_database() as database,
        LocalStack(ROOT, state / "state", speed=SPEED, env=database | settings) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Runs: `as_opened` and `filled` by the form, by Dag; `by_conf` of `TRAIN`.

    Since then a person has cleared one of these, and marked another one as failed.
    """

    as_opened: dict[str, str]
    filled: dict[str, str]
    by_conf: dict[str, str]


@pytest.fixture(scope="module")
def started(shipped: LocalStack, browser: Browser) -> Started:
    for dag_id in DAGS:
        shipped.api.wait_for_dag(dag_id)
        shipped.api.unpause(dag_id)
    set_capacity(shipped, NO_SPOT, available=False)
    by_conf = {name: str(shipped.api.trigger(TRAIN, conf)["dag_run_id"]) for name, conf in CONFS.items()}
    page = _log_in(shipped, browser)
    # The Dags that train first: their runs take the longest.
    in_order = sorted(DAGS, key=lambda dag_id: not dag_id.startswith("retrain"))
    started = Started(
        by_conf=by_conf,
        as_opened={dag_id: _send_form(shipped, page, dag_id, {}) for dag_id in in_order},
        filled={dag_id: _send_form(shipped, page, dag_id, typed) for dag_id, typed in TYPED.items()},
    )
    page.context.close()  # an open page draws all the time
    shipped.api.wait_for_task(
        TRAIN, by_conf["marked"], TASK, states={"deferred"}, timeout_seconds=FINISH_SECONDS
    )
    _mark_failed(shipped, TRAIN, by_conf["marked"])
    assert _finish(shipped, TRAIN, by_conf["cleared"])["run"] == "success"
    shipped.api.clear(TRAIN, by_conf["cleared"])
    return started


def _log_in(stack: LocalStack, browser: Browser, *, width: int = 1280) -> Page:
    login = {"username": stack.login.username, "password": stack.login.password}
    token = httpx.post(f"{stack.airflow_url}/auth/token", json=login).json()["access_token"]
    context = browser.new_context(viewport={"width": width, "height": 1400})
    context.add_cookies([{"name": "_token", "value": token, "url": f"{stack.airflow_url}/"}])
    page = context.new_page()
    page.set_default_timeout(60_000)
    return page


def _send_form(stack: LocalStack, page: Page, dag_id: str, typed: dict[str, str]) -> str:
    """Open the form of a Dag, type, press *Trigger*. Returns the run's id."""
    page.goto(f"{stack.airflow_url}/dags/{dag_id}")
    submit = _open_form(page)
    submit.wait_for()
    params = stack.api.request("GET", f"dags/{dag_id}/details")["params"]
    for name, text in typed.items():
        _open_section(page, params[name]["schema"].get("section") or FIRST_SECTION)
        _fill(page, name, text)
    wait_until(submit.is_enabled, f"Trigger to be enabled in the form of {dag_id}", timeout_seconds=60)
    with page.expect_response(
        lambda a: a.request.method == "POST" and a.url.endswith("/dagRuns")
    ) as answered:
        submit.click()
    assert answered.value.ok, f"{dag_id}: {answered.value.text()}"
    return str(answered.value.json()["dag_run_id"])


def _open_form(page: Page) -> Locator:
    """Press *Trigger*; returns the button of the same name in the form."""
    if airflow_version() >= (3, 2):
        page.get_by_test_id("trigger-dag-button").click()
        return page.get_by_test_id("trigger-dag-submit")
    page.get_by_role("button", name="Trigger").first.click()
    return page.get_by_role("dialog").get_by_role("button", name="Trigger").last


def _open_section(page: Page, section: str) -> None:
    """Open a section of the form, which closes the others."""
    heading = page.get_by_role("dialog").get_by_role("button", name=section, exact=True)
    if heading.get_attribute("aria-expanded") != "true":
        heading.click()


def _fill(page: Page, name: str, text: str) -> None:
    page.locator(f"[name=element_{name}]:visible, #element_{name}:visible").first.wait_for()
    field = page.locator(f"input[name=element_{name}]:visible")
    if field.count():
        field.fill(text)
    else:
        _empty_choices(page.locator(f"#element_{name}"))


def _empty_choices(field: Locator) -> None:
    """Take all that is chosen out of a field for several choices."""
    for remove in reversed(field.get_by_label("Remove").all()):
        remove.click()


def _mark_failed(stack: LocalStack, dag_id: str, run_id: str) -> None:
    path = f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
    stack.api.request("PATCH", path, body={"state": "failed"})


def _optional(stack: LocalStack, dag_id: str) -> dict[str, Any]:
    """The params that may be null, and their defaults."""
    params = stack.api.request("GET", f"dags/{dag_id}/details")["params"]
    return {name: told["value"] for name, told in params.items() if "null" in told["schema"]["type"]}


def _finish(stack: LocalStack, dag_id: str, run_id: str) -> dict[str, str]:
    """The states of a finished run and its tasks."""
    run = stack.api.wait_for_run(dag_id, run_id, timeout_seconds=FINISH_SECONDS)
    tasks = {str(task["task_id"]): str(task["state"]) for task in stack.api.task_instances(dag_id, run_id)}
    return {"run": str(run["state"]), **tasks}


# The form --------------------------------------------------------------------------------------------


def test_every_dag_has_a_file_of_its_name(shipped: LocalStack) -> None:
    for dag_id in DAGS:
        shipped.api.wait_for_dag(dag_id)
    assert sorted(dag["dag_id"] for dag in shipped.api.request("GET", "dags")["dags"]) == DAGS


@pytest.mark.parametrize("dag_id", DAGS)
def test_every_optional_param_is_typed_here(shipped: LocalStack, dag_id: str) -> None:
    shipped.api.wait_for_dag(dag_id)
    assert _optional(shipped, dag_id).keys() <= TYPED.get(dag_id, {}).keys()


@pytest.mark.parametrize("dag_id", DAGS)
def test_the_form_as_it_opens_starts_a_run_that_succeeds(
    shipped: LocalStack, started: Started, dag_id: str
) -> None:
    run_id = started.as_opened[dag_id]
    states = _finish(shipped, dag_id, run_id)
    assert states["run"] == "success", states
    conf = shipped.api.get_run(dag_id, run_id)["conf"]
    assert _optional(shipped, dag_id).items() <= conf.items()


@pytest.mark.parametrize("dag_id", TYPED)
def test_the_form_with_each_optional_field_filled_starts_a_run_that_succeeds(
    shipped: LocalStack, started: Started, dag_id: str
) -> None:
    run_id = started.filled[dag_id]
    conf = shipped.api.get_run(dag_id, run_id)["conf"]
    sent = {name: "" if conf[name] is None else str(conf[name]) for name in TYPED[dag_id]}
    assert sent == TYPED[dag_id]
    states = _finish(shipped, dag_id, run_id)
    assert states["run"] == "success", states


def test_the_form_says_which_duration_is_wrong_also_on_a_phone(shipped: LocalStack, browser: Browser) -> None:
    page = _log_in(shipped, browser, width=390)
    page.goto(f"{shipped.airflow_url}/dags/{TRAIN}")
    submit = _open_form(page)
    _fill(page, "max_run", "two hours")
    with page.expect_response(lambda answer: answer.url.endswith("/dagRuns")) as answered:
        submit.click()
    assert not answered.value.ok
    page.get_by_role("dialog").get_by_text("Invalid input for param max_run: 'two hours'").first.wait_for()
    box = page.locator("#element_max_run").bounding_box()
    assert box is not None
    assert box["width"] > 150
    assert box["x"] + box["width"] <= 390
    page.context.close()


def test_a_run_with_a_policy_that_the_form_no_longer_offers_can_be_cleared(
    shipped: LocalStack, started: Started
) -> None:
    run_id = started.by_conf["cleared"]
    states = _finish(shipped, TRAIN, run_id)
    assert states["run"] == "success", states
    assert shipped.api.task_instance(TRAIN, run_id, TASK)["try_number"] == 2


# The report downstream -------------------------------------------------------------------------------


def test_a_training_that_completes_is_reported(shipped: LocalStack, started: Started) -> None:
    run_id = started.as_opened[TRAIN]
    assert _finish(shipped, TRAIN, run_id)[REPORT] == "success"
    savings = shipped.api.xcom(TRAIN, run_id, TASK, "savings")
    report = shipped.api.xcom(TRAIN, run_id, REPORT, "report")
    assert report.startswith("## retrain\\_flight\\_delays manual\\_\\_")
    assert "Training completed: 1 attempt" in report
    assert f"{savings['savings_percent']:g} % against on-demand without interruptions" in report
    assert "It cost $" in report
    assert "Training completed: 1 attempt" in shipped.api.task_log(TRAIN, run_id, REPORT)


def test_a_training_that_fails_is_reported_and_its_run_stays_failed(
    shipped: LocalStack, started: Started, inbox: tuple[_Inbox, int]
) -> None:
    run_id = started.by_conf["fails"]
    states = _finish(shipped, TRAIN, run_id)
    assert (states["run"], states[TASK], states[REPORT]) == ("failed", "failed", "success")
    report = shipped.api.xcom(TRAIN, run_id, REPORT, "report")
    assert "Training not completed: 2 attempts" in report
    assert report.count("never got capacity") == 2
    (mail,) = [mail for mail in inbox[0].mails if run_id in mail["Subject"]]
    assert "Training not completed: 2 attempts" in mail["Subject"]
    assert mail["To"] == "boss@example.com"


def test_a_training_that_failed_before_its_first_attempt_is_reported_too(
    shipped: LocalStack, started: Started
) -> None:
    run_id = started.by_conf["bad input"]
    states = _finish(shipped, TRAIN, run_id)
    assert (states["run"], states[FIRST], states[REPORT]) == ("failed", "failed", "success")
    assert states[TASK] == "upstream_failed"
    assert "policy.first_wait is 3600" in shipped.api.task_log(TRAIN, run_id, FIRST)
    assert "failed before its first attempt" in shipped.api.xcom(TRAIN, run_id, REPORT, "report")


def test_a_run_that_a_person_marks_as_failed_stays_failed(shipped: LocalStack, started: Started) -> None:
    states = _finish(shipped, TRAIN, started.by_conf["marked"])
    assert (states["run"], states[TASK], states[REPORT]) == ("failed", "failed", "skipped")
