"""What one training cost and saved, from the XComs `savings` and `attempts` of its task.

For a task downstream of the training, in the same Dag run:

    report = TrainingReport.of(savings, attempts, title=run_id)
    print(report.text)                    # for the task log
    report.markdown                       # for an XCom, or anything that shows Markdown
    send(setting, report, context)        # `sending`: mail or Slack

The report over a window (`facts`) reads the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import Any

from spot_training.domain.errors import InvalidInput
from spot_training.domain.messages import attempt_line, statement_line
from spot_training.domain.money import in_currency
from spot_training.domain.savings import Attempt, CleanRunBasis, SavingsStatement

NO_FIGURES = (
    "The training task has no figures: it failed before its first attempt, or a person or a lost worker "
    "ended it. See its log."
)
NO_ATTEMPT = "No training job was created, so nothing was billed. See the log of the training task."
#: The most characters of a failure message. The task log has all of it.
MOST_LETTERS = 500
_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """One training as text: `sentences` about the training, and a line for each of its `attempts`."""

    title: str
    sentences: tuple[str, ...]
    attempts: tuple[str, ...] = ()

    @classmethod
    def of(cls, savings: object, attempts: object, *, title: str) -> TrainingReport:
        """From the two XComs, which are None if the task pushed none.

        Raises `InvalidInput` for anything else.
        """
        if savings is None:
            return cls(title=title, sentences=(NO_FIGURES,))
        statement, listed = _statement(savings), _attempts(attempts)
        if not listed:
            return cls(title=title, sentences=(NO_ATTEMPT,))
        simulated = _simulated(savings)
        sentences = (statement_line(statement), _cost(statement, savings), simulated, _last_words(listed[-1]))
        return cls(
            title=title,
            sentences=tuple(filter(None, sentences)),
            attempts=tuple(f"{attempt_line(attempt)} Reason: {attempt.reason}." for attempt in listed),
        )

    @property
    def text(self) -> str:
        """Lines for a task log."""
        return "\n".join((self.title, *self.sentences, *self.attempts))

    @property
    def markdown(self) -> str:
        """A heading, a paragraph for each sentence, and a list of the attempts."""
        parts = [f"## {_in_markdown(self.title)}", *map(_in_markdown, self.sentences)]
        if self.attempts:
            parts.append("\n".join(f"- {_in_markdown(line)}" for line in self.attempts))
        return "\n\n".join(parts)

    @property
    def subject(self) -> str:
        """One line with the most important fact."""
        return _one_line(f"{self.title}: {self.sentences[0]}")

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything that is not in `subject`."""
        return (*self.sentences[1:], *self.attempts)

    @property
    def mail(self) -> str:
        """The body of a mail, as HTML."""
        paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences)
        attempts = "".join(f"<li>{escape(line)}</li>" for line in self.attempts)
        return f"<h1>{escape(self.title)}</h1>{paragraphs}" + (f"<ul>{attempts}</ul>" if attempts else "")

    @property
    def links(self) -> Mapping[str, str]:
        """None of its own: whoever sends it adds the run."""
        return {}

    @property
    def files(self) -> tuple[str, ...]:
        """Nothing to attach."""
        return ()


def _statement(savings: object) -> SavingsStatement:
    if not isinstance(savings, Mapping) or "completed" not in savings:
        raise InvalidInput("savings", savings, "give the XCom `savings` of a SpotTrainingOperator.")
    known: dict[str, Any] = {field.name: savings.get(field.name) for field in fields(SavingsStatement)}
    known["clean_run_basis"] = CleanRunBasis(known["clean_run_basis"] or CleanRunBasis.UNKNOWN)
    return SavingsStatement(**known)


def _simulated(savings: object) -> str:
    clock = savings.get("local_cloud") if isinstance(savings, Mapping) else None
    return f"Its times and costs are simulated ({clock})." if clock else ""


def _attempts(attempts: object) -> tuple[Attempt, ...]:
    is_list = isinstance(attempts, Sequence) and not isinstance(attempts, str)
    if attempts is not None and not is_list:
        raise InvalidInput("attempts", attempts, "give the XCom `attempts` of a SpotTrainingOperator.")
    return tuple(Attempt.from_json(attempt) for attempt in attempts or ())  # type: ignore[attr-defined]


def _cost(statement: SavingsStatement, savings: object) -> str:
    currency, billed, clean_run = _money(statement, savings)
    if billed is None:
        return "Its cost in dollars is not known."
    cost = f"It cost {in_currency(billed, currency)}"
    if not statement.completed:
        return f"{cost} and produced no model."
    if clean_run is None:
        return f"{cost}."
    about = "about " if statement.clean_run_basis is CleanRunBasis.ESTIMATED else ""
    return f"{cost} instead of {about}{in_currency(clean_run, currency)} on demand."


def _money(statement: SavingsStatement, savings: object) -> tuple[str | None, float | None, float | None]:
    """The currency (None: US dollars), and what the training and a clean run cost in it."""
    other = savings if isinstance(savings, Mapping) else {}
    if other.get("currency") and other.get("billed_in_currency") is not None:
        return other["currency"], other["billed_in_currency"], other.get("clean_run_in_currency")
    return None, statement.billed_usd, statement.clean_run_usd


def _last_words(last: Attempt) -> str:
    """The failure message of SageMaker or the script. Empty for a training that completed."""
    text = _one_line(last.message)
    if last.ending == "completed" or not text:
        return ""
    return f"The last attempt ended with: {text if len(text) <= MOST_LETTERS else text[:MOST_LETTERS] + '…'}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _in_markdown(text: str) -> str:
    """Text with Markdown's special characters escaped."""
    return _MARKUP.sub(r"\\\1", _one_line(text))
