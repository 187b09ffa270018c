"""Hands a finished report to a notifier of Airflow's providers: SMTP or Slack. Off unless it is set.

The setting is one JSON object (for the report over a window the Airflow Variable `spot_report_notifier`):

    {"kind": "smtp", "to": ["boss@example.com"]}                 connection smtp_default, unless `connection`
    {"kind": "slack", "channel": "#ml-costs"}                    slack_api_default
    {"kind": "slack_webhook"}                                    slack_default

The providers are not this package's dependencies: each is imported when its kind is named.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from spot_training.domain.parsing import is_left_out
from spot_training.domain.records import Totals

from .bill import sentences
from .writing import to_mail

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

SETTING = "spot_report_notifier"
#: What a kind takes beside `kind` and `connection`, what of it must be there, and the provider it needs.
_KINDS: dict[str, tuple[frozenset[str], frozenset[str], str]] = {
    "smtp": (frozenset({"to", "from", "cc"}), frozenset({"to"}), "apache-airflow-providers-smtp"),
    "slack": (frozenset({"channel"}), frozenset({"channel"}), "apache-airflow-providers-slack"),
    "slack_webhook": (frozenset(), frozenset(), "apache-airflow-providers-slack"),
}


class NotifierProblem(ValueError):
    """The setting cannot be used: says which part, and the way out. The report itself is written already.

    `variable` is the name of the setting.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.variable = SETTING

    def __str__(self) -> str:
        return f"{self.variable}: {self.problem} The report was written, and not sent."


class Sendable(Protocol):
    """A finished report: over a window (`Message`), or of one training (`training.TrainingReport`)."""

    @property
    def subject(self) -> str:
        """One line, whatever the names in it are: a mail header must not break."""

    @property
    def lines(self) -> Sequence[str]:
        """What Slack shows below the subject, as plain text."""

    @property
    def mail(self) -> str:
        """The body of a mail, as HTML."""

    @property
    def files(self) -> Sequence[str]:
        """What is attached to a mail: paths or object storage URLs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A finished report as it is sent. `html` and `csv` are paths or object storage URLs."""

    title: str
    window: str
    totals: Totals
    html: str
    csv: str

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Message:
        """From the summary in XCom."""
        return cls(
            title=summary["title"],
            window=summary["window"],
            totals=Totals.from_json(summary),
            html=summary["html"],
            csv=summary["csv"],
        )

    @property
    def subject(self) -> str:
        """One line, whatever the names in it are: a mail header must not break."""
        return " ".join(f"{self.title}, {self.window}".split())

    @property
    def lines(self) -> tuple[str, ...]:
        """The sentences, and where the report is."""
        return (*sentences(self.totals), f"Report: {self.html}")

    @property
    def mail(self) -> str:
        """The sentences and the account."""
        where = f"The whole report and its CSV are attached, and in {self.html}"
        return to_mail(self.totals, title=self.title, window=self.window, where=where)

    @property
    def files(self) -> tuple[str, ...]:
        """The report and its CSV."""
        return (self.html, self.csv)


def send(setting: object, message: Sendable, context: Context, *, variable: str = SETTING) -> str | None:
    """Send the report as the setting says. Returns how, in words; None where nothing is set.

    `variable` is the name of the setting in errors. Raises `NotifierProblem`, and what the notifier raises.
    """
    try:
        return _send(setting, message, context)
    except NotifierProblem as problem:
        problem.variable = variable
        raise


def _send(setting: object, message: Sendable, context: Context) -> str | None:
    options = _options(setting)
    if options is None:
        return None
    kind = options.pop("kind")
    with tempfile.TemporaryDirectory(prefix="spot-report-") as folder:
        notifier = _NOTIFIERS[kind](options, message, Path(folder))
        # Not called as a callback is: that logs errors instead of raising them, and takes every name for a
        # template.
        notifier.notify(context)
    return f"Sent by {kind} to {options.get('to') or options.get('channel') or 'the webhook'}."


def _options(setting: object) -> dict[str, Any] | None:
    if is_left_out(setting) or setting == {}:
        return None
    example = 'give JSON, like {"kind": "smtp", "to": ["boss@example.com"]}.'
    try:
        options = json.loads(setting) if isinstance(setting, str) else setting
    except ValueError as error:
        raise NotifierProblem(f"it is no JSON ({error}): {example}") from error
    if not isinstance(options, Mapping):
        raise NotifierProblem(f"it is {options!r}: {example}")
    kind = options.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise NotifierProblem(f"kind is {kind!r}: choose {', '.join(_KINDS)}.")
    known, needed, _ = _KINDS[kind]
    if unknown := sorted(set(options) - known - {"kind", "connection"}):
        raise NotifierProblem(
            f"{unknown[0]} is not known: {kind} takes {', '.join(sorted(known)) or 'nothing'}."
        )
    if missing := sorted(name for name in needed if not options.get(name)):
        raise NotifierProblem(f"{missing[0]} is missing: {kind} needs it.")
    return dict(options)


def _smtp(options: Mapping[str, Any], message: Sendable, folder: Path) -> BaseNotifier:
    try:
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    except ImportError as error:
        raise _not_installed("smtp") from error
    to, cc = _addresses(options, "to"), _addresses(options, "cc")
    return SmtpNotifier(
        to=to,
        cc=cc or None,
        from_email=options.get("from"),
        subject=message.subject,
        html_content=message.mail,
        files=[str(_local_copy(path, folder)) for path in message.files],
        smtp_conn_id=options.get("connection"),
    )


def _addresses(options: Mapping[str, Any], name: str) -> list[str]:
    given = options.get(name) or []
    listed = given.split(",") if isinstance(given, str) else given
    if not isinstance(listed, Sequence) or not all(
        isinstance(one, str) and "@" in one and one.isprintable() for one in listed
    ):
        raise NotifierProblem(f'{name} is {given!r}: give addresses, like ["boss@example.com"].')
    return [one.strip() for one in listed]


def _slack_text(message: Sendable) -> str:
    """For Slack, whose mark-up begins with `<` and `&`."""
    text = "\n".join([f"*{message.subject}*", *message.lines])
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _slack(options: Mapping[str, Any], message: Sendable, _folder: Path) -> BaseNotifier:
    try:
        from airflow.providers.slack.notifications.slack import SlackNotifier
    except ImportError as error:
        raise _not_installed("slack") from error
    return SlackNotifier(
        slack_conn_id=options.get("connection") or "slack_api_default",
        channel=str(options["channel"]),
        text=_slack_text(message),
        unfurl_links=False,
        unfurl_media=False,
    )


def _slack_webhook(options: Mapping[str, Any], message: Sendable, _folder: Path) -> BaseNotifier:
    try:
        from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier
    except ImportError as error:
        raise _not_installed("slack_webhook") from error
    return SlackWebhookNotifier(
        slack_webhook_conn_id=options.get("connection") or "slack_default",
        text=_slack_text(message),
        unfurl_links=False,
    )


_NOTIFIERS = {"smtp": _smtp, "slack": _slack, "slack_webhook": _slack_webhook}


def _not_installed(kind: str) -> NotifierProblem:
    package = _KINDS[kind][2]
    return NotifierProblem(
        f"it names {kind}, and {package} is not installed: install it beside Airflow, or empty the Variable."
    )


def _local_copy(where: str, folder: Path) -> Path:
    """A file of the report on this machine, for a notifier that attaches it."""
    from airflow.sdk import ObjectStoragePath

    source = ObjectStoragePath(where)
    copy = folder / source.name
    copy.write_bytes(source.read_bytes())
    return copy
