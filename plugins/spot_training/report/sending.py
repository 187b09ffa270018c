"""Hands a finished report to a notifier of Airflow's providers: SMTP or Slack. Off unless it is set.

The setting is one JSON object (the Airflow Variable `spot_report_notifier`):

    {"kind": "smtp", "to": ["boss@example.com"]}                 connection smtp_default, unless `connection`
    {"kind": "slack", "channel": "#ml-costs"}                    slack_api_default
    {"kind": "slack_webhook"}                                    slack_default

The providers are not this package's dependencies: each is imported when its kind is named.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spot_training.domain.casting import is_left_out
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
    """The setting cannot be used: says which part, and the way out. The report itself is written already."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{SETTING}: {problem} The report was written, and not sent.")


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
            totals=Totals(**{field.name: summary[field.name] for field in fields(Totals)}),
            html=summary["html"],
            csv=summary["csv"],
        )

    @property
    def subject(self) -> str:
        """One line, whatever the names in it are: a mail header must not break."""
        return " ".join(f"{self.title}, {self.window}".split())

    @property
    def text(self) -> str:
        """For Slack, whose mark-up begins with `<` and `&`."""
        lines = [f"*{self.subject}*", *sentences(self.totals), f"Report: {self.html}"]
        return "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def send(setting: object, message: Message, context: Context) -> str | None:
    """Send the report as the setting says. Returns how, in words; None where nothing is set.

    Raises `NotifierProblem`, and what the notifier raises.
    """
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


def _smtp(options: Mapping[str, Any], message: Message, folder: Path) -> BaseNotifier:
    try:
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    except ImportError as error:
        raise _not_installed("smtp") from error
    to, cc = _addresses(options, "to"), _addresses(options, "cc")
    where = f"The whole report and its CSV are attached, and in {message.html}"
    return SmtpNotifier(
        to=to,
        cc=cc or None,
        from_email=options.get("from"),
        subject=message.subject,
        html_content=to_mail(message.totals, title=message.title, window=message.window, where=where),
        files=[str(_local_copy(path, folder)) for path in (message.html, message.csv)],
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


def _slack(options: Mapping[str, Any], message: Message, _folder: Path) -> BaseNotifier:
    try:
        from airflow.providers.slack.notifications.slack import SlackNotifier
    except ImportError as error:
        raise _not_installed("slack") from error
    return SlackNotifier(
        slack_conn_id=options.get("connection") or "slack_api_default",
        channel=str(options["channel"]),
        text=message.text,
        unfurl_links=False,
        unfurl_media=False,
    )


def _slack_webhook(options: Mapping[str, Any], message: Message, _folder: Path) -> BaseNotifier:
    try:
        from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier
    except ImportError as error:
        raise _not_installed("slack_webhook") from error
    return SlackWebhookNotifier(
        slack_webhook_conn_id=options.get("connection") or "slack_default",
        text=message.text,
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
