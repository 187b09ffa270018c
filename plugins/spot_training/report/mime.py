"""The parts of a mail: the same as text and as HTML, and attachments with their types.

Airflow's SMTP provider makes a mail of HTML, with attachments of the type `application/octet-stream`, which
mail programs offer to save instead of showing them.
"""

from __future__ import annotations

import mimetypes
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

#: What a report is attached as, wherever Python's table of types comes from.
_TYPES = {".csv": "text/csv", ".html": "text/html"}


def add_text(notifier: Any, text: str) -> None:
    """Let a notifier of the SMTP provider send this text with its HTML.

    The provider has no argument for it, so its hook's message is rearranged. A provider that builds it in
    another way sends the HTML alone.
    """
    hook: Any = getattr(notifier, "hook", None)
    build = getattr(hook, "_build_mime_message", None)
    if build is None:
        return

    def build_alternatives(*args: Any, **kwargs: Any) -> Any:
        message, recipients = build(*args, **kwargs)
        return rearranged(message, text), recipients

    hook._build_mime_message = build_alternatives  # noqa: SLF001


def rearranged(message: MIMEMultipart, text: str) -> MIMEMultipart:
    """The provider's message of an HTML part and attachments, with the text before the HTML."""
    parts: Any = message.get_payload()
    html, *attachments = parts
    alternatives = MIMEMultipart("alternative")
    alternatives.attach(MIMEText(text, "plain", "utf-8"))
    alternatives.attach(html)
    for part in attachments:
        kind = _type_of(part.get_filename() or "")
        if kind:
            part.set_type(kind)
        if kind.startswith("text/"):
            part.set_param("charset", "utf-8")
    message.set_payload([alternatives, *attachments])
    return message


def _type_of(name: str) -> str:
    known = (kind for end, kind in _TYPES.items() if name.endswith(end))
    return next(known, mimetypes.guess_type(name)[0] or "")
