"""The report in the mail and on Slack: the providers' own notifiers against servers on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spot_training.domain.records import totals_of
from spot_training.domain.savings import statement_of
from spot_training.ledger import Selection
from spot_training.report import TrainingReport, sentences
from spot_training.report.links import Links
from spot_training.report.sending import Message, NotifierProblem, send
from tests.notifiers import Inbox

from .support import DONE, FAILED, LOST

TOTALS = totals_of([DONE, FAILED, LOST])
SMTP = {"kind": "smtp", "to": ["boss@example.com", "cfo@example.com"]}


@pytest.fixture
def message(tmp_path: Path) -> Message:
    for name in ("report.html", "report.csv"):
        (tmp_path / name).write_text(f"the {name}")
    return Message(
        title="Spot trainings of all Dags",
        window="2026-05-04 to 2026-05-10",
        totals=TOTALS,
        html=f"file://{tmp_path / 'report.html'}",
        csv=f"file://{tmp_path / 'report.csv'}",
    )


@pytest.fixture
def training() -> TrainingReport:
    """As a task downstream of the training makes it."""
    savings = statement_of(FAILED.attempts).to_json()
    attempts = [attempt.to_json() for attempt in FAILED.attempts]
    return TrainingReport.of(savings, attempts, title="retrain manual__1 <!channel>\r\nBcc: a@b.c")


def test_a_mail_has_the_sentences_the_account_and_the_files(inbox: Inbox, message: Message) -> None:
    assert send(json.dumps(SMTP), message, {}) == "Sent by smtp to ['boss@example.com', 'cfo@example.com']."
    (mail,) = inbox.mails
    assert inbox.recipients == SMTP["to"]
    assert mail["Subject"] == "Spot saved 18 min of instance time net, 2026-05-04 to 2026-05-10"
    assert mail["From"] == "airflow@example.com"
    body = mail.get_body(("html",))
    assert body is not None
    text = body.get_content()
    assert sentences(TOTALS)[1] in text
    assert "Billed for failed trainings" in text
    attached = {part.get_filename(): part for part in mail.iter_attachments()}
    assert {name: part.get_payload(decode=True) for name, part in attached.items()} == {
        "report.html": b"the report.html",
        "report.csv": b"the report.csv",
    }
    assert [part.get_content_type() for part in attached.values()] == ["text/html", "text/csv"]
    assert "file:" not in text, "nobody can open a file of a worker"


def test_a_mail_is_text_and_html_and_leads_to_airflow(
    inbox: Inbox, message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/team/")
    since, until = datetime(2026, 5, 4, tzinfo=UTC), datetime(2026, 5, 11, tzinfo=UTC)
    page = Links.configured().page(Selection(since=since, until=until, dag_ids=("re train",)))
    assert page == (
        "https://airflow.example.com/team/spot-training/?dag_id=re+train&since=2026-05-04&until=2026-05-10"
    )
    run = SimpleNamespace(dag_id="spot_savings_report", run_id="manual__2026-05-11T00:00:00+00:00")
    send(SMTP, replace(message, page=page, about="re train"), {"dag_run": run})
    (mail,) = inbox.mails
    assert mail.get_content_type() == "multipart/mixed"
    alternatives, *_ = mail.iter_parts()
    assert alternatives.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in alternatives.iter_parts()] == ["text/plain", "text/html"]
    assert mail["Subject"] == "Spot saved 18 min of instance time net in re train, 2026-05-04 to 2026-05-10"
    plain, html = (part.get_content() for part in alternatives.iter_parts())
    address = "https://airflow.example.com/team/dags/spot_savings_report/runs/manual__2026-05-11T00%3A00%3A00%2B00%3A00"
    assert f"The Dag run: {address}" in plain
    assert f'<a href="{address}">The Dag run</a>' in html
    assert f"These trainings in Airflow: {page}" in plain
    assert page.replace("&", "&amp;") in html
    assert "Billed in total" in plain
    assert "<" not in plain


def test_simulated_figures_are_marked_in_mail_and_chat(message: Message) -> None:
    local = replace(message, simulated=2)
    mark = "2 trainings ran on a local cloud: their times and costs are simulated."
    assert all(mark in text for text in (local.mail, local.text, "\n".join(local.lines)))
    assert all("local cloud" not in text for text in (message.mail, message.text, *message.lines))


def test_nothing_leads_to_an_airflow_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "")
    nowhere = Links.configured()
    assert nowhere.page(Selection()) == ""
    assert nowhere.run_of({"dag_run": SimpleNamespace(dag_id="a", run_id="b")}) == ""
    assert Links(airflow_url="https://airflow").run_of({}) == ""
    assert Links(airflow_url="https://airflow").page(Selection()).endswith("/spot-training/?window=all")


def test_a_report_on_object_storage_says_where_it_is(message: Message) -> None:
    stored = replace(message, html="s3://bucket/report.html")
    assert "They are also stored in s3://bucket/report.html" in stored.mail
    assert "They are also stored in s3://bucket/report.html" in stored.text
    assert message.html not in replace(message, page="https://airflow/").lines[-1]


def test_a_name_in_a_mail_is_neither_markup_nor_template_nor_header(inbox: Inbox, message: Message) -> None:
    name = "{{ 7 * 7 }}\r\nBcc: everybody@example.com <b>"
    hostile = replace(message, title=name, window="w", about=name)
    send(SMTP, hostile, {})
    (mail,) = inbox.mails
    nothing = replace(hostile, totals=totals_of([]))
    assert nothing.subject == "{{ 7 * 7 }} Bcc: everybody@example.com <b>, w"
    assert (
        mail["Subject"]
        == "Spot saved 18 min of instance time net in {{ 7 * 7 }} Bcc: everybody@example.com <b>, w"
    )
    assert mail["Bcc"] is None
    body = mail.get_body(("html",))
    assert body is not None
    assert "&lt;b&gt;" in body.get_content()
    assert "49" not in body.get_content().split("</h1>")[0]


def test_the_report_of_one_training_is_mailed_without_files(inbox: Inbox, training: TrainingReport) -> None:
    assert send(json.dumps(SMTP), training, {}) is not None
    (mail,) = inbox.mails
    assert mail["Subject"].startswith("retrain manual__1 <!channel> Bcc: a@b.c: Training not completed")
    assert mail["Bcc"] is None
    body = mail.get_body(("html",))
    assert body is not None
    assert "algorithm error" in body.get_content()
    assert "&lt;!channel&gt;" in body.get_content()
    assert list(mail.iter_attachments()) == []


def test_a_mail_that_cannot_be_sent_fails(message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = {
        "conn_type": "smtp",
        "host": "127.0.0.1",
        "port": 1,
        "extra": {"disable_ssl": True, "timeout": 2},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(nobody))
    with pytest.raises(Exception, match=r"(?i)refused|connect"):
        send({**SMTP, "from": "airflow@example.com"}, message, {})


@pytest.mark.parametrize("kind", ["slack", "slack_webhook"])
def test_slack_gets_the_sentences_and_where_the_report_is(
    slack: list[tuple[str, Any]], message: Message, kind: str
) -> None:
    setting = {"kind": kind, **({"channel": "#ml-costs"} if kind == "slack" else {})}
    assert send(setting, message, {}) is not None
    ((path, got),) = slack
    assert path in {"/api/chat.postMessage", "/hook/T000/B000/X"}
    assert got["text"].startswith(
        "*Spot saved 18 min of instance time net, 2026-05-04 to 2026-05-10*\nSpot saved 18 min of"
    )
    assert message.html in got["text"]
    if kind == "slack":
        assert got["channel"] == "#ml-costs"


def test_slack_gets_the_report_of_one_training(
    slack: list[tuple[str, Any]], training: TrainingReport
) -> None:
    send({"kind": "slack", "channel": "#c"}, training, {})
    first, *rest = slack[0][1]["text"].splitlines()
    assert first.startswith("*retrain manual__1 &lt;!channel&gt; Bcc: a@b.c: Training not completed")
    assert "algorithm error" in rest[-1]


def test_a_name_on_slack_calls_nobody(slack: list[tuple[str, Any]], message: Message) -> None:
    hostile = replace(message, window="w", about="<!channel> & {{ 7 * 7 }}")
    send({"kind": "slack", "channel": "#c"}, hostile, {})
    assert slack[0][1]["text"].startswith(
        "*Spot saved 18 min of instance time net in &lt;!channel&gt; &amp; {{ 7 * 7 }}, w*"
    )


@pytest.mark.parametrize("setting", ["", None, "None", {}])
def test_nothing_is_sent_unless_it_is_set(message: Message, setting: object) -> None:
    assert send(setting, message, {}) is None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("smtp", "it is not JSON"),
        ("[1]", "give JSON"),
        ('{"kind": "pigeon"}', "choose smtp, slack, slack_webhook"),
        ('{"kind": ["smtp"]}', "choose smtp"),
        ('{"kind": "smtp"}', "to is missing"),
        ('{"kind": "smtp", "to": "nobody"}', "give addresses"),
        ('{"kind": "smtp", "to": [7]}', "give addresses"),
        ('{"kind": "smtp", "to": "a@b.c", "bcc": "d@e.f"}', "bcc is not known"),
        ('{"kind": "slack"}', "channel is missing"),
    ],
)
def test_a_setting_that_cannot_be_used_says_the_way_out(message: Message, setting: str, said: str) -> None:
    with pytest.raises(NotifierProblem, match=said) as caught:
        send(setting, message, {})
    assert "The report was written, but not sent." in str(caught.value)


def test_the_variable_that_cannot_be_used_is_named(message: Message, training: TrainingReport) -> None:
    with pytest.raises(NotifierProblem, match=r"^spot_report_notifier: it is not JSON"):
        send("smtp", message, {})
    with pytest.raises(NotifierProblem, match=r"^flight_delays_notifier: it is not JSON"):
        send("smtp", training, {}, variable="flight_delays_notifier")


@pytest.mark.parametrize("given", [{}, {"connection": ""}, {"connection": "mine"}])
def test_without_a_connection_the_provider_of_mail_takes_its_own(
    message: Message, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider of Airflow 3.0's time looks for a connection named None where it is given None."""
    got: dict[str, Any] = {}

    class Notifier:
        def __init__(self, **arguments: Any) -> None:
            got.update(arguments)

        def notify(self, context: Any) -> None: ...

    monkeypatch.setattr("airflow.providers.smtp.notifications.smtp.SmtpNotifier", Notifier)
    send(json.dumps(SMTP | given), message, {})
    assert got.get("smtp_conn_id", "its own") == (given.get("connection") or "its own")


@pytest.mark.parametrize("kind", ["smtp", "slack", "slack_webhook"])
def test_a_provider_that_is_not_installed_is_named(
    message: Message, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (
        "smtp.notifications.smtp",
        "slack.notifications.slack",
        "slack.notifications.slack_webhook",
    ):
        monkeypatch.setitem(sys.modules, f"airflow.providers.{module}", None)
    package = f"apache-airflow-providers-{kind.removesuffix('_webhook')} is not installed"
    needed = {"smtp": {"to": "a@b.c"}, "slack": {"channel": "#c"}}.get(kind, {})
    with pytest.raises(NotifierProblem, match=package):
        send({"kind": kind, **needed}, message, {})


def test_the_summary_in_xcom_is_all_a_message_needs(message: Message) -> None:
    summary = {
        **TOTALS.to_json(),
        "title": message.title,
        "window": message.window,
        "html": message.html,
        "csv": message.csv,
        "groups": {},
    }
    assert Message.of(json.loads(json.dumps(summary))) == message
    assert Message.of({**summary, "simulated": 2}) == replace(message, simulated=2)
