"""Passes a finished report to one of Airflow's notifiers, for SMTP or Slack. Sends nothing unless it is set.

The setting is a JSON object (for the report over a window, in the Airflow Variable `spot_report_notifier`):

    {"kind": "smtp", "to": ["boss@example.com"]}                 connection smtp_default, unless `connection`
    {"kind": "slack", "channel": "#ml-costs"}                    slack_api_default
    {"kind": "slack_webhook"}                                    slack_default

The notifiers connect, authenticate, attach and send. This module checks the setting and writes the message.
This package does not depend on their providers: each is imported when its kind is used.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from spot_training.domain.messages import simulated_line
from spot_training.domain.parsing import is_left_out
from spot_training.domain.records import Totals

from .bill import headline, sentences
from .links import Links
from .mime import add_text
from .writing import to_log, to_mail

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

SETTING = "spot_report_notifier"


class NotifierProblem(ValueError):
    """The setting cannot be used. The message says why and what to do. The report itself is already written.

    `variable` is the name of the setting.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.variable = SETTING

    def __str__(self) -> str:
        return f"{self.variable}: {self.problem} The report was written, but not sent."


class Sendable(Protocol):
    """A finished report: over a window (`Message`), or of one training (`training.TrainingReport`)."""

    @property
    def subject(self) -> str:
        """One line, whatever names are in it: a mail header must not break."""

    @property
    def lines(self) -> Sequence[str]:
        """What Slack shows below the subject, as plain text."""

    @property
    def mail(self) -> str:
        """The body of a mail, as HTML."""

    @property
    def text(self) -> str:
        """The same as text, for mail programs and people that prefer it."""

    @property
    def links(self) -> Mapping[str, str]:
        """Addresses in Airflow by what they lead to. Empty ones are left out."""

    @property
    def files(self) -> Sequence[str]:
        """The attachments of a mail: paths or object storage URLs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A finished report over a window. `html` and `csv` are paths or object storage URLs.

    `about` is the Dag if the report is about one, `page` the address of the page with the same window.
    """

    title: str
    window: str
    totals: Totals
    html: str
    csv: str
    about: str = ""
    page: str = ""
    #: How many of the trainings ran on a local SageMaker.
    simulated: int = 0

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Message:
        """From the summary in the XCom."""
        return cls(
            title=summary["title"],
            window=summary["window"],
            totals=Totals.from_json(summary),
            html=summary["html"],
            csv=summary["csv"],
            about=summary.get("about", ""),
            page=summary.get("page", ""),
            simulated=summary.get("simulated", 0),
        )

    @property
    def subject(self) -> str:
        """The net amount and the window: `Spot saved $0.34 net, 2026-11-16 to 2026-11-23`."""
        amount = headline(self.totals)
        about = f" in {self.about}" if self.about else ""
        first = f"{amount}{about}" if amount else self.title
        return " ".join(f"{first}, {self.window}".split())

    @property
    def lines(self) -> tuple[str, ...]:
        """The sentences, and where the report is: people cannot open a file of a worker."""
        where = () if self.page and self._is_on_worker else (f"Report: {self.html}",)
        return (*sentences(self.totals), *filter(None, [simulated_line(self.simulated)]), *where)

    @property
    def mail(self) -> str:
        """The sentences and the costs."""
        return to_mail(
            self.totals, title=self.title, window=self.window, where=self._where, simulated=self.simulated
        )

    @property
    def text(self) -> str:
        """The same as text."""
        costs = to_log(self.totals, simulated=self.simulated)
        return f"{self.title}\n{self.window}\n\n{costs}\n\n{self._where}"

    @property
    def links(self) -> Mapping[str, str]:
        """The page with the same window."""
        return {"These trainings in Airflow": self.page}

    @property
    def _where(self) -> str:
        attached = "The report and its CSV are attached."
        return attached if self._is_on_worker else f"{attached} They are also stored in {self.html}"

    @property
    def _is_on_worker(self) -> bool:
        return self.html.startswith("file:") or "://" not in self.html

    @property
    def files(self) -> tuple[str, ...]:
        """The report and its CSV."""
        return (self.html, self.csv)


def send(setting: object, message: Sendable, context: Context, *, variable: str = SETTING) -> str | None:
    """Send the report as the setting says. Returns a sentence about it, or None if nothing is set.

    `variable` is the name of the setting in errors. Raises `NotifierProblem`, and what the notifier raises.
    """
    try:
        options = _options(setting)
        if options is None:
            return None
        with tempfile.TemporaryDirectory(prefix="spot-report-") as folder:
            notifier = _notifier(options, _Linked(message, Links.configured().run_of(context)), Path(folder))
            # A notifier that is called as a callback logs errors instead of raising them, and renders its
            # fields, so a name in a report could be a template.
            notifier.notify(context)
    except NotifierProblem as problem:
        problem.variable = variable
        raise
    to = options.get("to") or options.get("channel") or "the webhook"
    return f"Sent by {options['kind']} to {to}."


#: As in `mail.html.j2`: a mail program takes no font from a style sheet.
_FONT = "font: 15px/1.55 system-ui, sans-serif"


class _Linked:
    """A message with its addresses in Airflow, and that of the run that sends it."""

    def __init__(self, message: Sendable, run: str) -> None:
        # A message of someone else may have neither links nor text.
        given = {**getattr(message, "links", {}), "The Dag run": run}
        text = getattr(message, "text", None) or "\n".join(message.lines)
        links = {label: url for label, url in given.items() if url}
        self.subject, self.files = message.subject, message.files
        plain = [f"{label}: {url}" for label, url in links.items()]
        self.lines = (*message.lines, *plain)
        self.text = "\n".join([text, *([""] if plain else []), *plain])
        anchors = (f'<a href="{escape(url)}">{escape(label)}</a>' for label, url in links.items())
        self.mail = message.mail + "".join(f'<p style="{_FONT}">{anchor}</p>' for anchor in anchors)


def _options(setting: object) -> dict[str, Any] | None:
    if is_left_out(setting) or setting == {}:
        return None
    example = 'give JSON, like {"kind": "smtp", "to": ["boss@example.com"]}.'
    try:
        options = json.loads(setting) if isinstance(setting, str) else setting
    except ValueError as error:
        raise NotifierProblem(f"it is not JSON ({error}): {example}") from error
    if not isinstance(options, Mapping):
        raise NotifierProblem(f"it is {options!r}: {example}")
    name = options.get("kind")
    if not isinstance(name, str) or name not in _KINDS:
        raise NotifierProblem(f"kind is {name!r}: choose {', '.join(_KINDS)}.")
    kind = _KINDS[name]
    if unknown := sorted(set(options) - {"kind", "connection", kind.needs, *kind.takes}):
        known = ", ".join(sorted(filter(None, ["connection", kind.needs, *kind.takes])))
        raise NotifierProblem(f"{unknown[0]} is not known: {name} takes {known}.")
    if kind.needs and not options.get(kind.needs):
        raise NotifierProblem(f"{kind.needs} is missing: {name} needs it.")
    return dict(options)


def _notifier(options: Mapping[str, Any], message: _Linked, folder: Path) -> BaseNotifier:
    kind = _KINDS[options["kind"]]
    module, _, name = kind.notifier.rpartition(".")
    try:
        notifier = getattr(import_module(module), name)
    except ImportError as error:
        provider = f"apache-airflow-providers-{module.split('.')[2]}"
        raise NotifierProblem(
            f"its kind is {options['kind']}, and {provider} is not installed: install it where Airflow's "
            "workers run, or empty the setting."
        ) from error
    made: BaseNotifier = notifier(**kind.arguments(options, message, folder))
    if options["kind"] == "smtp":
        add_text(made, message.text)
    return made


def _smtp(options: Mapping[str, Any], message: _Linked, folder: Path) -> dict[str, Any]:
    # An earlier provider takes an absent argument as its default, and None as a connection.
    connection = {"smtp_conn_id": options["connection"]} if options.get("connection") else {}
    return connection | {
        "to": _addresses(options, "to"),
        "cc": _addresses(options, "cc") or None,
        "from_email": options.get("from"),
        "subject": message.subject,
        "html_content": message.mail,
        "files": [str(_local_copy(path, folder)) for path in message.files],
    }


def _slack(options: Mapping[str, Any], message: _Linked, _folder: Path) -> dict[str, Any]:
    return {
        "slack_conn_id": options.get("connection") or "slack_api_default",
        "channel": str(options["channel"]),
        "text": _slack_text(message),
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _slack_webhook(options: Mapping[str, Any], message: _Linked, _folder: Path) -> dict[str, Any]:
    return {
        "slack_webhook_conn_id": options.get("connection") or "slack_default",
        "text": _slack_text(message),
        "unfurl_links": False,
    }


class _Kind(NamedTuple):
    """A notifier of a provider, and its arguments; the option it needs, and others it takes."""

    notifier: str
    arguments: Callable[[Mapping[str, Any], _Linked, Path], dict[str, Any]]
    needs: str = ""
    takes: tuple[str, ...] = ()


_PROVIDERS = "airflow.providers"
_KINDS = {
    "smtp": _Kind(f"{_PROVIDERS}.smtp.notifications.smtp.SmtpNotifier", _smtp, "to", ("from", "cc")),
    "slack": _Kind(f"{_PROVIDERS}.slack.notifications.slack.SlackNotifier", _slack, "channel"),
    "slack_webhook": _Kind(
        f"{_PROVIDERS}.slack.notifications.slack_webhook.SlackWebhookNotifier", _slack_webhook
    ),
}


def _addresses(options: Mapping[str, Any], name: str) -> list[str]:
    given = options.get(name) or []
    listed = given.split(",") if isinstance(given, str) else given
    if not isinstance(listed, Sequence) or not all(
        isinstance(one, str) and "@" in one and one.isprintable() for one in listed
    ):
        raise NotifierProblem(f'{name} is {given!r}: give addresses, like ["boss@example.com"].')
    return [one.strip() for one in listed]


def _slack_text(message: _Linked) -> str:
    """Plain text, escaped: Slack's markup begins with `<` and `&`."""
    text = "\n".join([f"*{message.subject}*", *message.lines])
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _local_copy(where: str, folder: Path) -> Path:
    """A file of the report on this machine: the notifier attaches local files only."""
    from airflow.sdk import ObjectStoragePath

    source = ObjectStoragePath(where)
    copy = folder / source.name
    copy.write_bytes(source.read_bytes())
    return copy
